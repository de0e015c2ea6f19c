//! Contents of files: extents of the volumes, checked before a byte is handed out.

use super::codecs::Codecs;
use super::cut::CutBlocks;
use super::decode_ahead::Ahead;
use super::decoded::DecodedChunks;
use super::files::Part;
use super::node::{Extent, Node};
use super::room::Room;
use crate::format::checksum::crc;
use crate::format::cut::largest_chunk;
use crate::format::extent::{BLOCK_ROWS, CRC_BYTES, Chunk, Shape, TableBlock};
use crate::format::header::Header;
use crate::format::member::MAX_SHARED_DATA;
use crate::format::volume::Span;
use crate::format::{PAGE_BYTES, PAGE_SIZE};
use crate::{Error, Result};
use quick_cache::sync::Cache;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

/// Table blocks kept decoded: 4 KiB each, and one covers 510 chunks (64 MiB at the default chunk size).
const KEPT_TABLE_BLOCKS: usize = 256;

/// Bytes that are read at once where all of a file is checked, if a chunk is not more.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// Bytes of a thread's buffer for frames that it keeps from one read to the next.
const KEPT_BUFFER: usize = 4 << 20;

thread_local! {
    /// Frames as they lie in the volume.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Neighbouring chunks of a file.
struct Group<'a> {
    /// The number of the first.
    first: u64,
    chunks: &'a [Chunk],
    /// Where it begins in the volume.
    start: u64,
}

/// Gets neighbouring chunks that are all stored or all not.
type VisitChunks<'a> = dyn FnMut(&Group<'_>) -> Result<()> + 'a;

/// A volume with the positions it covers.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) part: Part,
    pub(super) span: Span,
    /// Whether it could not be opened; reads of it fail then.
    pub(super) absent: bool,
}

impl Volume {
    /// Fills `buffer` with a whole small extent. Pages of the smallest hold their neighbours as well, so these are
    /// left to the page cache in any case.
    fn read_small(&self, buffer: &mut [u8], at: u64, once: bool) -> Result<()> {
        if once && buffer.len() >= PAGE_SIZE {
            self.part.read_once(buffer, at)
        } else {
            self.part.read(buffer, at)
        }
    }
}

/// All volumes of an image.
#[derive(Debug)]
pub(super) struct Contents {
    volumes: Vec<Volume>,
    chunk_shift: u32,
    codecs: Codecs,
    /// By everything that says what a block holds: extents of an untrusted image may lie over each other.
    tables: Cache<(Extent, u64, u64), Arc<TableBlock>>,
    decoded: DecodedChunks,
    /// Whether files may be cut by content.
    pub(super) is_cut: bool,
    /// Whether files may share frames.
    pub(super) has_members: bool,
    pub(super) cut_blocks: CutBlocks,
    ahead: Ahead,
}

/// A file whose contents are read.
struct Source<'a> {
    volume: &'a Volume,
    /// Offset of its extent in the volume.
    at: u64,
    node: &'a Node,
    shape: Shape,
}

impl Contents {
    /// Contents in `volumes` of an image with this header. Up to `chunk_bytes` of decoded chunks are kept, and `ahead_bytes`
    /// for those who read in order.
    pub(super) fn new(
        volumes: Vec<Volume>,
        header: &Header,
        codecs: Codecs,
        chunk_bytes: usize,
        ahead_bytes: usize,
    ) -> Self {
        let (chunk_shift, is_cut) = (header.chunk_shift, header.is_cut());
        let largest = if is_cut {
            largest_chunk(chunk_shift)
        } else {
            1 << chunk_shift
        };
        let has_members = header.has_members();
        let largest = if has_members {
            largest.max(MAX_SHARED_DATA as u64)
        } else {
            largest
        };
        Self {
            volumes,
            chunk_shift,
            codecs,
            tables: Cache::new(KEPT_TABLE_BLOCKS),
            decoded: DecodedChunks::new(chunk_bytes, in_memory(largest)),
            is_cut,
            has_members,
            cut_blocks: CutBlocks::new(),
            ahead: Ahead::new(ahead_bytes, chunk_shift),
        }
    }

    pub(super) fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    pub(super) fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    pub(super) fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    pub(super) fn chunk_shift(&self) -> u32 {
        self.chunk_shift
    }

    pub(super) fn decoded(&self) -> &DecodedChunks {
        &self.decoded
    }

    /// Where the contents of `node` are read from.
    fn locate<'a>(&'a self, node: &'a Node) -> Result<Source<'a>> {
        let (volume, at) = self.place(node.extent.position, node.extent.stored)?;
        Ok(Source {
            volume,
            at,
            node,
            shape: Shape::new(node.data_length(), self.chunk_shift),
        })
    }

    /// The volume with `stored` bytes from `position` on, and the offset there.
    pub(super) fn place(&self, position: u64, stored: u64) -> Result<(&Volume, u64)> {
        let index = self
            .volumes
            .partition_point(|volume| volume.span.end <= position);
        let volume = self.volumes.get(index).filter(|volume| {
            position >= volume.span.start.saturating_add(PAGE_BYTES)
                && position.saturating_add(stored) <= volume.span.end
        });
        match volume {
            Some(volume) => Ok((volume, position - volume.span.start)),
            None if self.volumes.is_empty() => Err(Error::new(
                crate::ErrorKind::InvalidInput,
                "image was opened without its volumes",
            )),
            None => Err(Error::corrupt(format!(
                "file's extent at position {position} lies outside the volumes"
            ))),
        }
    }

    /// As [`Self::read_at`] of bytes that the data have, read now.
    pub(super) fn read_range<'s>(
        &self,
        node: &Node,
        range: Range<u64>,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let place = self.read_somewhere(node, range, scratch)?;
        scratch.get(place).ok_or_else(too_short)
    }

    /// As [`Self::read_range`]; says where in `scratch` the bytes are.
    pub(super) fn read_somewhere(
        &self,
        node: &Node,
        Range { start: offset, end }: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<Range<usize>> {
        if let Some(cut) = node.extent.cut {
            let bytes = self.read_cut(node, cut, offset..end, scratch)?;
            return Ok(0..bytes.len());
        }
        if let Some(member) = node.extent.member {
            let bytes = self.read_member(node, member, &(offset..end), scratch)?;
            return Ok(0..bytes.len());
        }
        let source = self.locate(node)?;
        let number = offset >> self.chunk_shift;
        let start = offset - (number << self.chunk_shift);
        let in_one = number == (end - 1) >> self.chunk_shift;
        let part = end - offset < source.shape.chunk_length(number);
        if in_one && part && self.codecs.is_compressed() {
            let chunk = self.kept_chunk(&source, number)?;
            if let Some(chunk) = chunk {
                let bytes = part_of(&chunk, start, end - offset)?;
                scratch.clear();
                scratch.extend_from_slice(bytes);
                return Ok(0..scratch.len());
            }
        }
        if source.shape.has_table() {
            self.read_chunks(&source, offset..end, scratch)?;
        } else {
            self.read_small(&source, !part, scratch)?;
        }
        let first = in_memory(start);
        let place = first..first.saturating_add(in_memory(end - offset));
        (place.end <= scratch.len())
            .then_some(place)
            .ok_or_else(too_short)
    }

    /// Reads the whole chunks that cover `range` to somewhere in `room`, by one read, and says where the range is. `None` if
    /// they are not all neighbours and stored as they are. `is_in_order` says that they go on where other reads ended.
    pub(super) fn read_plain(
        &self,
        node: &Node,
        range: &Range<u64>,
        room: &mut Room,
        is_in_order: bool,
    ) -> Result<Option<Range<usize>>> {
        let source = &self.locate(node)?;
        if !source.shape.has_table() || node.extent.cut.is_some() || node.extent.member.is_some() {
            return Ok(None);
        }
        let numbers = range.start >> self.chunk_shift..((range.end - 1) >> self.chunk_shift) + 1;
        let table = self.table_block(source, numbers.start / BLOCK_ROWS as u64)?;
        let skip = in_memory(numbers.start - table.first);
        let (before, rows) = table.chunks.split_at(skip.min(table.chunks.len()));
        let Some(chunks) = rows.get(..in_memory(numbers.end - numbers.start)) else {
            return Ok(None);
        };
        let plain = numbers
            .clone()
            .map(|number| source.shape.chunk_length(number));
        if !chunks.iter().map(|chunk| u64::from(chunk.stored)).eq(plain) {
            return Ok(None);
        }
        let group = Group {
            first: numbers.start,
            chunks,
            start: source.at + table.offset + stored_length(before) as u64,
        };
        let length = stored_length(chunks);
        let part = &source.volume.part;
        let place = part.read_large(room, group.start, length, is_in_order)?;
        source.check_chunks(&group, room.bytes(place.clone()).unwrap_or(&[]))?;
        let skip = in_memory(range.start - (numbers.start << self.chunk_shift));
        let first = place.start.saturating_add(skip);
        let last = first.saturating_add(in_memory(range.end - range.start));
        Ok((last <= place.end).then_some(first..last))
    }

    /// Whether the stored bytes of `range` are known to lie on the device rather than in memory, as far as their place
    /// follows from the size of the file.
    pub(super) fn is_cold(&self, node: &Node, range: &Range<u64>) -> bool {
        self.locate(node).is_ok_and(|source| {
            let length = range.end.saturating_sub(range.start);
            let at = source.at.saturating_add(range.start);
            source.volume.part.is_cold(at, length)
        })
    }

    fn table_block(&self, source: &Source<'_>, block: u64) -> Result<Arc<TableBlock>> {
        let (node, shape) = (source.node, &source.shape);
        self.tables
            .get_or_insert_with(&(node.extent, node.data_length(), block), || {
                let chunk_bytes = node.extent.stored - shape.table_length();
                let start = source.at + chunk_bytes + block * PAGE_BYTES;
                let mut bytes = vec![0; usize::try_from(shape.block_length(block)).unwrap_or(0)];
                source.volume.part.read(&mut bytes, start)?;
                let compressed = self.codecs.is_compressed();
                TableBlock::decode(&bytes, shape, block, chunk_bytes, compressed)
                    .map(Arc::new)
                    .map_err(|m| source.wrong(m.0, start))
            })
    }

    /// Checks the chunks of `node`'s data in which the bytes of `range` lie, without handing them out. Chunks of zeros
    /// cost a look into the table.
    pub(super) fn check(
        &self,
        node: &Node,
        range: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let range = range.start..range.end.min(node.data_length());
        if range.is_empty() {
            return Ok(());
        }
        if let Some(member) = node.extent.member {
            return self.shared_frame(node, member).map(|_| ());
        }
        let source = self.locate(node)?;
        if !source.shape.has_table() {
            return self.read_small(&source, true, scratch);
        }
        self.visit_chunks(&source, range, &mut |group| {
            if !is_stored(group.chunks) {
                return Ok(());
            }
            let step = (CHECKED_AT_ONCE >> self.chunk_shift).max(1);
            let (mut first, mut start) = (group.first, group.start);
            for chunks in group.chunks.chunks(step) {
                let part = Group {
                    first,
                    chunks,
                    start,
                };
                let length = part.data_length(&source.shape);
                scratch.resize(length.max(scratch.len()), 0);
                let target = scratch.get_mut(..length).unwrap_or(&mut []);
                self.read_stored(&source, &part, target)?;
                start += stored_length(chunks) as u64;
                first += chunks.len() as u64;
            }
            Ok(())
        })
    }

    /// Fills `scratch` with the whole chunks that cover `range`. Neighbouring chunks are one read, but for those that
    /// are kept.
    fn read_chunks(
        &self,
        source: &Source<'_>,
        range: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let mut filled = 0;
        self.visit_chunks(source, range.clone(), &mut |group| {
            let here = filled..filled + group.data_length(&source.shape);
            filled = here.end;
            if scratch.len() < filled {
                // What an earlier read has left there is overwritten; to clear it costs as much as its checksum.
                scratch.resize(filled, 0);
            }
            let mut target = scratch.get_mut(here).unwrap_or(&mut []);
            if !is_stored(group.chunks) {
                target.fill(0);
                return Ok(());
            }
            let mut group = Group { ..*group };
            // The first and the last may be read in part, again and again.
            if self.is_cut(source, group.first, &range) {
                if let Some(chunk) = self.decoded.get(&source.key(group.first)) {
                    let (chunks, rest) = group.chunks.split_at(1);
                    let (here, behind) = target.split_at_mut(chunk.len().min(target.len()));
                    copy(here, &chunk)?;
                    group = Group {
                        first: group.first + 1,
                        chunks: rest,
                        start: group.start + stored_length(chunks) as u64,
                    };
                    target = behind;
                }
            }
            self.read_stored(source, &group, target)?;
            let last = group.first + (group.chunks.len() as u64).saturating_sub(1);
            let is_frame = group
                .chunks
                .last()
                .is_some_and(|chunk| u64::from(chunk.stored) < source.shape.chunk_length(last));
            if is_frame && self.is_cut(source, last, &range) {
                let length = in_memory(source.shape.chunk_length(last));
                if let Some(at) = target.len().checked_sub(length) {
                    let chunk = target.get(at..).unwrap_or(&[]);
                    self.decoded.insert(source.key(last), chunk);
                }
            }
            Ok(())
        })?;
        scratch.truncate(filled);
        Ok(())
    }

    /// Whether only a part of chunk `number` lies in `range`.
    fn is_cut(&self, source: &Source<'_>, number: u64, range: &Range<u64>) -> bool {
        let start = number << self.chunk_shift;
        let end = start + source.shape.chunk_length(number);
        self.codecs.is_compressed() && (start < range.start || end > range.end)
    }

    /// Chunk `number`, if it is a frame: decoded at another time, or now, to be kept.
    fn kept_chunk(&self, source: &Source<'_>, number: u64) -> Result<Option<Arc<[u8]>>> {
        let key = source.key(number);
        if let Some(chunk) = self.decoded.get(&key) {
            return Ok(Some(chunk));
        }
        let length = source.shape.chunk_length(number);
        let chunk = if source.shape.has_table() {
            let table = self.table_block(source, number / BLOCK_ROWS as u64)?;
            let skip = in_memory(number - table.first);
            let before = table.chunks.iter().take(skip);
            let start = source.at + table.offset + before.map(|c| u64::from(c.stored)).sum::<u64>();
            let chunk = table.chunks.get(skip).copied();
            chunk.map(|chunk| (chunk, start))
        } else {
            None
        };
        match chunk {
            Some((chunk, _)) if chunk.stored == 0 || u64::from(chunk.stored) == length => {
                return Ok(None);
            }
            None if source.node.extent.stored == source.shape.default_stored_length() => {
                return Ok(None);
            }
            _ => {}
        }
        self.decoded
            .get_or_decode(&key, || {
                let mut bytes = Vec::new();
                match chunk {
                    Some((chunk, start)) => {
                        bytes.resize(in_memory(length), 0);
                        let group = Group {
                            first: number,
                            chunks: &[chunk],
                            start,
                        };
                        self.read_stored(source, &group, &mut bytes)?;
                    }
                    None => self.read_small(source, true, &mut bytes)?,
                }
                Ok(bytes)
            })
            .map(Some)
    }

    /// Visits the chunks that cover `range` in groups of neighbours that are all stored or all not.
    fn visit_chunks(
        &self,
        source: &Source<'_>,
        range: Range<u64>,
        visit: &mut VisitChunks<'_>,
    ) -> Result<()> {
        let chunks = range.start >> self.chunk_shift..((range.end - 1) >> self.chunk_shift) + 1;
        let mut next = chunks.start;
        while next < chunks.end {
            let table = self.table_block(source, next / BLOCK_ROWS as u64)?;
            let skip = in_memory(next - table.first);
            let before = table.chunks.iter().take(skip);
            let mut start =
                source.at + table.offset + before.map(|c| u64::from(c.stored)).sum::<u64>();
            let wanted = in_memory(chunks.end - next);
            let rows = table.chunks.get(skip..).unwrap_or(&[]);
            let rows = rows.get(..wanted.min(rows.len())).unwrap_or(rows);
            if rows.is_empty() {
                return Err(Error::corrupt("chunk table lacks a chunk"));
            }
            for group in rows.chunk_by(|a, b| (a.stored == 0) == (b.stored == 0)) {
                visit(&Group {
                    first: next,
                    chunks: group,
                    start,
                })?;
                start += stored_length(group) as u64;
                next += group.len() as u64;
            }
        }
        Ok(())
    }

    /// Fills `target` with the data of stored chunks, by one read, and checks each.
    fn read_stored(&self, source: &Source<'_>, group: &Group<'_>, target: &mut [u8]) -> Result<()> {
        let stored = stored_length(group.chunks);
        if stored == target.len() {
            source.volume.part.read(target, group.start)?;
            return source.check_chunks(group, target);
        }
        with_packed(stored, |packed| {
            source.volume.part.read(packed, group.start)?;
            source.check_chunks(group, packed)?;
            let (mut packed, mut target, mut at) = (&*packed, target, group.start);
            for (number, chunk) in (group.first..).zip(group.chunks) {
                let (bytes, rest) = packed.split_at(packed.len().min(chunk.stored as usize));
                let length = in_memory(source.shape.chunk_length(number));
                let (here, behind) = target.split_at_mut(target.len().min(length));
                if bytes.len() == here.len() {
                    copy(here, bytes)?;
                } else {
                    self.decode(source, bytes, here, at)?;
                }
                (packed, target) = (rest, behind);
                at += u64::from(chunk.stored);
            }
            Ok(())
        })
    }

    /// Decodes the frame that lies at `at` of the volume.
    fn decode(&self, source: &Source<'_>, frame: &[u8], to: &mut [u8], at: u64) -> Result<()> {
        let decoded = self.codecs.decode(source.node.extent.codec, frame, to);
        decoded.map_err(|error| {
            if error.path().is_some() {
                return error;
            }
            error.at_path(source.volume.part.path()).at_offset(at)
        })
    }

    /// Fills `scratch` with the contents of a file of one chunk, by one read. `once` says that nobody will come back for
    /// a part of them.
    fn read_small(&self, source: &Source<'_>, once: bool, scratch: &mut Vec<u8>) -> Result<()> {
        let (stored, default) = (
            source.node.extent.stored,
            source.shape.default_stored_length(),
        );
        let length = in_memory(source.node.data_length());
        if stored == default {
            scratch.resize(length + CRC_BYTES, 0);
            source.volume.read_small(scratch, source.at, once)?;
            return source.check_small(scratch).map(|_| ());
        }
        if !self.codecs.is_compressed() || stored > default || stored <= CRC_BYTES as u64 {
            return Err(Error::corrupt("file has an impossible stored length"));
        }
        scratch.resize(length, 0);
        with_packed(in_memory(stored), |packed| {
            source.volume.read_small(packed, source.at, once)?;
            let frame = source.check_small(packed)?;
            self.decode(source, frame, scratch, source.at)
        })
    }
}

impl Source<'_> {
    /// What is read, as the cache of chunks knows it.
    fn key(&self, number: u64) -> (Extent, u64, u64) {
        (self.node.extent, self.node.data_length(), number)
    }

    #[cold]
    fn wrong(&self, what: &str, at: u64) -> Error {
        Error::corrupt(what)
            .at_path(self.volume.part.path())
            .at_offset(at)
    }

    /// Compares chunks as they are stored with their checksums.
    fn check_chunks(&self, group: &Group<'_>, mut stored: &[u8]) -> Result<()> {
        let mut start = group.start;
        for chunk in group.chunks {
            let (bytes, rest) = stored.split_at(stored.len().min(chunk.stored as usize));
            if crc(bytes) != chunk.crc {
                return Err(self.wrong(DAMAGED, start));
            }
            start += u64::from(chunk.stored);
            stored = rest;
        }
        Ok(())
    }

    /// What stands before the checksum of a file of one chunk.
    fn check_small<'s>(&self, stored: &'s [u8]) -> Result<&'s [u8]> {
        let (bytes, sum) = stored.split_at(stored.len().saturating_sub(CRC_BYTES));
        if crc(bytes).to_le_bytes() != sum {
            return Err(self.wrong(DAMAGED, self.at));
        }
        Ok(bytes)
    }
}

impl Group<'_> {
    /// Bytes of data of the chunks.
    fn data_length(&self, shape: &Shape) -> usize {
        let numbers = (self.first..).take(self.chunks.len());
        in_memory(numbers.map(|number| shape.chunk_length(number)).sum())
    }
}

/// What is wrong with contents whose checksum is.
pub(super) const DAMAGED: &str = "contents do not match their checksum";

fn is_stored(group: &[Chunk]) -> bool {
    group.first().is_some_and(|chunk| chunk.stored > 0)
}

/// Bytes that the chunks take in the volume.
fn stored_length(group: &[Chunk]) -> usize {
    group.iter().map(|chunk| chunk.stored as usize).sum()
}

/// A length that is known to be one in memory.
pub(super) fn in_memory(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// `length` bytes of `bytes` from `start` on.
pub(super) fn part_of(bytes: &[u8], start: u64, length: u64) -> Result<&[u8]> {
    let part = bytes.get(in_memory(start)..);
    part.and_then(|part| part.get(..in_memory(length)))
        .ok_or_else(too_short)
}

/// An extent that has less than the file, as no image has that dgfs made.
#[cold]
pub(super) fn too_short() -> Error {
    Error::corrupt("extent is shorter than its file")
}

pub(super) fn copy(to: &mut [u8], from: &[u8]) -> Result<()> {
    if to.len() != from.len() {
        return Err(Error::corrupt(
            "chunk has another length than the file says",
        ));
    }
    to.copy_from_slice(from);
    Ok(())
}

/// Runs `read` with `length` bytes of the thread's buffer.
pub(super) fn with_packed<T>(
    length: usize,
    read: impl FnOnce(&mut [u8]) -> Result<T>,
) -> Result<T> {
    PACKED.with_borrow_mut(|packed| {
        if packed.len() < length {
            packed.resize(length, 0);
        }
        let done = read(packed.get_mut(..length).unwrap_or(&mut []));
        if packed.len() > KEPT_BUFFER {
            *packed = Vec::new();
        }
        done
    })
}
