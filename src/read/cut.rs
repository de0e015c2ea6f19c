//! Contents of files that are cut by content. Their chunks lie anywhere in the volumes: what comes next in the file may
//! have been stored for another one.

use super::Image;
use super::contents::{Contents, DAMAGED, Volume, copy, in_memory, part_of, with_packed};
use super::decoded::Key;
use super::node::{Extent, Node};
use crate::format::PAGE_BYTES;
use crate::format::checksum::crc;
use crate::format::cut::{Cut, CutBlock, CutChunk, CutFile, PlacedChunk, largest_chunk};
use crate::{Error, Result};
use quick_cache::sync::Cache;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Table blocks kept decoded: some 8 KiB each, and one covers 16 MiB of data as the builder makes them.
const KEPT_BLOCKS: usize = 256;

/// Bytes of chunks behind one another that are read at once where all of a file is checked.
const CHECKED_AT_ONCE: u64 = 1 << 20;

/// Chunks that are remembered as right: 16 GiB of them at the default size, in some 10 MiB.
const KNOWN_CHUNKS: usize = 1 << 17;

/// Set in the number of a chunk that the cache of chunks knows by its checksum; numbers of chunks in a file are smaller.
const BY_CHECKSUM: u64 = 1 << 63;

/// Table blocks read lately, by everything that says what one holds.
#[derive(Debug)]
pub(super) struct CutBlocks(Cache<(Extent, u64, u64), Arc<CutBlock>>);

impl CutBlocks {
    pub(super) fn new() -> Self {
        Self(Cache::new(KEPT_BLOCKS))
    }
}

/// Chunks that were found right, so that what many files share is read once. When there are too many, those that were
/// not asked for lately are forgotten. Images without such chunks have none of it in memory.
#[derive(Debug, Default)]
pub(super) struct KnownChunks(OnceLock<Cache<CutChunk, ()>>);

impl KnownChunks {
    fn cache(&self) -> &Cache<CutChunk, ()> {
        self.0.get_or_init(|| Cache::new(KNOWN_CHUNKS))
    }
}

/// A file that is cut by content.
struct CutSource<'a> {
    node: &'a Node,
    file: CutFile,
    volume: &'a Volume,
    /// Where the table begins in the volume.
    table: u64,
}

/// Gets chunks that lie behind one another in a volume, or one that is not stored, in their order in the file.
type VisitRun<'a> = dyn FnMut(&[PlacedChunk]) -> Result<()> + 'a;

impl Contents {
    fn cut_source<'a>(&'a self, node: &'a Node, cut: Cut) -> Result<CutSource<'a>> {
        if !self.is_cut {
            return Err(Error::corrupt(
                "contents are cut by content in an image that says it has none of these",
            ));
        }
        let extent = node.extent;
        let (volume, at) = self.place(extent.position, extent.stored)?;
        let file = CutFile {
            cut,
            size: node.data_length(),
            position: extent.position,
            stored: extent.stored,
            largest: largest_chunk(self.chunk_shift()),
            compressed: self.codecs().is_compressed(),
        };
        Ok(CutSource {
            node,
            file,
            volume,
            table: at.saturating_add(file.own_bytes()),
        })
    }

    /// As [`Contents::read_at`], of a file that is cut by content.
    pub(super) fn read_cut<'s>(
        &self,
        node: &Node,
        cut: Cut,
        range: Range<u64>,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let source = self.cut_source(node, cut)?;
        scratch.clear();
        let wanted = range.clone();
        self.visit_runs(&source, range, u64::MAX, &mut |run| {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                return Ok(());
            };
            let filled = scratch.len();
            if run.len() == 1 && is_cut_off(first, &wanted) && first.chunk.stored > 0 {
                let chunk = self.kept_cut_chunk(&first.chunk)?;
                let start = wanted.start.max(first.start);
                let end = wanted.end.min(first.end());
                let bytes = part_of(&chunk, start - first.start, end - start)?;
                scratch.extend_from_slice(bytes);
                return Ok(());
            }
            let start = wanted.start.max(first.start);
            let end = wanted.end.min(last.end());
            scratch.resize(filled.saturating_add(in_memory(end - start)), 0);
            if first.chunk.stored == 0 {
                return Ok(());
            }
            self.read_run(run, scratch.get_mut(filled..).unwrap_or(&mut []))
        })?;
        Ok(scratch)
    }

    /// As [`Contents::check`], of a file that is cut by content. What is `known` is not read.
    pub(super) fn check_cut(
        &self,
        node: &Node,
        cut: Cut,
        range: Range<u64>,
        known: &KnownChunks,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let source = self.cut_source(node, cut)?;
        for block in cut.block_of(range.start)..=cut.block_of(range.end.saturating_sub(1)) {
            self.check_block(&source, block)?;
        }
        self.visit_runs(&source, range, CHECKED_AT_ONCE, &mut |run| {
            let is_new = |chunk: &PlacedChunk| {
                chunk.chunk.stored > 0 && known.cache().get(&chunk.chunk).is_none()
            };
            for part in run.chunk_by(|a, b| is_new(a) == is_new(b)) {
                if !part.first().is_some_and(is_new) {
                    continue;
                }
                let length = part.iter().map(|chunk| u64::from(chunk.chunk.length)).sum();
                let length = in_memory(length);
                scratch.resize(length.max(scratch.len()), 0);
                self.read_run(part, scratch.get_mut(..length).unwrap_or(&mut []))?;
                for chunk in part {
                    known.cache().insert(chunk.chunk, ());
                }
            }
            Ok(())
        })
    }

    /// Where the chunk of `node`'s data ends that holds the byte at `offset`. Where a table cannot be read, all that
    /// it covers counts as one chunk.
    pub(super) fn chunk_end(&self, node: &Node, offset: u64) -> u64 {
        let size = node.data_length();
        let Some(cut) = node.extent.cut else {
            let chunk = 1u64 << self.chunk_shift();
            return size.min((offset - offset % chunk).saturating_add(chunk));
        };
        let block = cut.block_of(offset);
        let found = self
            .cut_source(node, cut)
            .and_then(|source| self.cut_block(&source, block));
        let chunk = found.ok().and_then(|block| {
            let at = block.chunks.partition_point(|chunk| chunk.end() <= offset);
            block.chunks.get(at).map(PlacedChunk::end)
        });
        chunk.unwrap_or(cut.block_end(size, block))
    }

    fn cut_block(&self, source: &CutSource<'_>, block: u64) -> Result<Arc<CutBlock>> {
        let (extent, size) = (source.node.extent, source.file.size);
        self.cut_blocks
            .0
            .get_or_insert_with(&(extent, size, block), || {
                let at = source.table.saturating_add(block * PAGE_BYTES);
                let mut bytes = vec![0; source.file.cut.block_length(size, block)];
                source.volume.part.read(&mut bytes, at)?;
                CutBlock::decode(&bytes, &source.file, block)
                    .map(Arc::new)
                    .map_err(|malformed| {
                        Error::corrupt(malformed.0)
                            .at_path(source.volume.part.path())
                            .at_offset(at)
                    })
            })
    }

    /// Checks that block `block` and the one before agree. A chunk that covers a block as a whole would hide it from who
    /// reads all in order.
    fn check_block(&self, source: &CutSource<'_>, block: u64) -> Result<()> {
        let found = self.cut_block(source, block)?;
        let Some(before) = block.checked_sub(1) else {
            return Ok(());
        };
        if found.follows(&*self.cut_block(source, before)?) {
            return Ok(());
        }
        let at = source.table.saturating_add(block * PAGE_BYTES);
        let what = "block of a chunk table is out of step with the one before";
        Err(Error::corrupt(what)
            .at_path(source.volume.part.path())
            .at_offset(at))
    }

    /// Visits the chunks that overlap `range`, which is not empty, in runs: of chunks that lie behind one another in a
    /// volume and are wanted as a whole, or of one chunk. No run of several chunks has more than `most` bytes of data.
    fn visit_runs(
        &self,
        source: &CutSource<'_>,
        range: Range<u64>,
        most: u64,
        visit: &mut VisitRun<'_>,
    ) -> Result<()> {
        let mut at = range.start;
        let mut is_first = true;
        while at < range.end {
            let block = self.cut_block(source, source.file.cut.block_of(at))?;
            let skip = block.chunks.partition_point(|chunk| chunk.end() <= at);
            let rest = block.chunks.get(skip..).unwrap_or(&[]);
            let wanted = rest.partition_point(|chunk| chunk.start < range.end);
            let mut rest = rest.get(..wanted).unwrap_or(rest);
            let next = rest.first().map(|chunk| chunk.start);
            // Blocks may contradict each other in an image that lies.
            if next.is_none_or(|next| next > at || next < at && !is_first) {
                return Err(Error::corrupt("chunk table is out of step with the file"));
            }
            is_first = false;
            while let Some(first) = rest.first() {
                let mut length = 1;
                let mut bytes = u64::from(first.chunk.length);
                if first.chunk.stored > 0 && !is_cut_off(first, &range) {
                    for (a, b) in rest.iter().zip(rest.get(1..).unwrap_or(&[])) {
                        let (end, follows) = (a.chunk, b.chunk.position);
                        bytes += u64::from(b.chunk.length);
                        if b.chunk.stored == 0
                            || end.position.checked_add(u64::from(end.stored)) != Some(follows)
                            || is_cut_off(b, &range)
                            || bytes > most
                        {
                            break;
                        }
                        length += 1;
                    }
                }
                let (run, behind) = rest.split_at(length);
                visit(run)?;
                at = run.last().map_or(range.end, PlacedChunk::end);
                rest = behind;
            }
        }
        Ok(())
    }

    /// A chunk that is read in part: decoded at another time, or now, to be kept.
    fn kept_cut_chunk(&self, chunk: &CutChunk) -> Result<Arc<[u8]>> {
        // Not by its file, so that all who share the chunk find it.
        let extent = Extent {
            position: chunk.position,
            stored: u64::from(chunk.stored),
            codec: chunk.codec,
            cut: None,
            member: None,
        };
        let key: Key = (
            extent,
            u64::from(chunk.length),
            BY_CHECKSUM | u64::from(chunk.crc),
        );
        self.decoded().get_or_decode(&key, || {
            let mut bytes = vec![0; chunk.length as usize];
            let placed = PlacedChunk {
                start: 0,
                own: false,
                chunk: *chunk,
            };
            self.read_run(&[placed], &mut bytes)?;
            Ok(bytes)
        })
    }

    /// Fills `target` with the data of stored chunks that lie behind one another, by one read, and checks each.
    fn read_run(&self, run: &[PlacedChunk], target: &mut [u8]) -> Result<()> {
        let Some(first) = run.first() else {
            return Ok(());
        };
        let stored: u64 = run.iter().map(|chunk| u64::from(chunk.chunk.stored)).sum();
        let (volume, start) = self.place(first.chunk.position, stored)?;
        let wrong = |error: Error, at: u64| {
            if error.path().is_some() {
                return error;
            }
            error.at_path(volume.part.path()).at_offset(at)
        };
        let check = |mut stored: &[u8]| {
            let mut at = start;
            for PlacedChunk { chunk, .. } in run {
                let (bytes, rest) = stored.split_at(stored.len().min(chunk.stored as usize));
                if crc(bytes) != chunk.crc {
                    return Err(wrong(Error::corrupt(DAMAGED), at));
                }
                at += u64::from(chunk.stored);
                stored = rest;
            }
            Ok(())
        };
        if stored == target.len() as u64 {
            volume.part.read(target, start)?;
            return check(target);
        }
        with_packed(in_memory(stored), |packed| {
            volume.part.read(packed, start)?;
            check(packed)?;
            let (mut packed, mut target, mut at) = (&*packed, target, start);
            for PlacedChunk { chunk, .. } in run {
                let (bytes, rest) = packed.split_at(packed.len().min(chunk.stored as usize));
                let (here, behind) = target.split_at_mut(target.len().min(chunk.length as usize));
                if bytes.len() == here.len() {
                    copy(here, bytes)?;
                } else {
                    let decoded = self.codecs().decode(chunk.codec, bytes, here);
                    decoded.map_err(|error| wrong(error, at))?;
                }
                (packed, target) = (rest, behind);
                at += u64::from(chunk.stored);
            }
            Ok(())
        })
    }
}

/// What the chunk table of a file says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ChunkCounts {
    /// Chunks of the file.
    pub chunks: u64,
    /// Those that are zeros, and not stored.
    pub zeros: u64,
    /// Those that were stored before, for this file or another.
    pub shared: u64,
    /// What these would have taken.
    pub shared_bytes: u64,
}

impl Image {
    /// Counts the chunks of a file that is cut by content; `None` for others. Reads its whole chunk table, some 0.03 % of
    /// its size.
    pub fn chunk_counts(&self, node: &Node) -> Result<Option<ChunkCounts>> {
        let size = node.data_length();
        let Some(cut) = node.extent.cut.filter(|_| size > 0) else {
            return Ok(None);
        };
        let source = self.contents.cut_source(node, cut)?;
        let mut counts = ChunkCounts::default();
        let mut end = 0;
        for block in 0..cut.blocks(size) {
            let block = self.contents.cut_block(&source, block)?;
            // One that crosses the border of two blocks stands in both.
            for chunk in block.chunks.iter().filter(|chunk| chunk.start >= end) {
                let is_shared = chunk.chunk.stored > 0 && !chunk.own;
                counts.chunks += 1;
                counts.zeros += u64::from(chunk.chunk.stored == 0);
                counts.shared += u64::from(is_shared);
                counts.shared_bytes += u64::from(chunk.chunk.stored) * u64::from(is_shared);
            }
            end = block.chunks.last().map_or(end, PlacedChunk::end);
        }
        Ok(Some(counts))
    }
}

/// Whether only a part of the chunk lies in `range`.
fn is_cut_off(chunk: &PlacedChunk, range: &Range<u64>) -> bool {
    chunk.start < range.start || chunk.end() > range.end
}
