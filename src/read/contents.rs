//! Contents of files: extents of the volumes, checked before a byte is handed out.

use super::files::Part;
use super::node::{Extent, Node};
use crate::format::PAGE_BYTES;
use crate::format::checksum::crc;
use crate::format::extent::{BLOCK_ROWS, CRC_BYTES, Chunk, Shape, TableBlock};
use crate::format::volume::Span;
use crate::{Error, Result};
use quick_cache::sync::Cache;
use std::ops::Range;
use std::sync::Arc;

/// Table blocks kept decoded: 4 KiB each, and one covers 510 chunks (64 MiB at the default chunk size).
const KEPT_TABLE_BLOCKS: usize = 256;

/// Bytes that are read at once where all of a file is checked, if a chunk is not more.
const CHECKED_AT_ONCE: usize = 1 << 20;

/// Gets neighbouring chunks, the offset in the volume where they begin, and how many bytes of data they are.
type VisitChunks<'a> = dyn FnMut(&[Chunk], u64, u64) -> Result<()> + 'a;

/// A volume with the positions it covers.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) part: Part,
    pub(super) span: Span,
    /// Whether it could not be opened; reads of it fail then.
    pub(super) absent: bool,
}

/// All volumes of an image.
#[derive(Debug)]
pub(super) struct Contents {
    volumes: Vec<Volume>,
    chunk_shift: u32,
    /// By everything that says what a block holds: extents of an untrusted image may lie over each other.
    tables: Cache<(Extent, u64, u64), Arc<TableBlock>>,
}

impl Contents {
    pub(super) fn new(volumes: Vec<Volume>, chunk_shift: u32) -> Self {
        Self {
            volumes,
            chunk_shift,
            tables: Cache::new(KEPT_TABLE_BLOCKS),
        }
    }

    pub(super) fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    /// The volume that holds the extent of `node`, and the extent's offset in that file.
    fn locate(&self, node: &Node) -> Result<(&Volume, u64)> {
        let (position, stored) = (node.extent.position, node.extent.stored);
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

    /// Reads `length` bytes of the file's data, as it is without holes, from `offset` on into `scratch` and returns them; fewer only at its end.
    pub(super) fn read_at<'s>(
        &self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let end = node.data_length().min(offset.saturating_add(length as u64));
        if offset >= end {
            return Ok(&[]);
        }
        let (volume, at) = self.locate(node)?;
        let shape = Shape::new(node.data_length(), self.chunk_shift);
        let start = if shape.has_table() {
            self.read_chunks(volume, at, node, &shape, offset..end, scratch)?;
            offset - (offset >> self.chunk_shift << self.chunk_shift)
        } else {
            read_small(volume, at, node, &shape, scratch)?;
            offset
        };
        let bytes = usize::try_from(start).ok().and_then(|start| {
            scratch
                .get(start..)?
                .get(..usize::try_from(end - offset).ok()?)
        });
        bytes.ok_or_else(|| Error::corrupt("extent is shorter than its file"))
    }

    fn table_block(
        &self,
        volume: &Volume,
        at: u64,
        node: &Node,
        shape: &Shape,
        block: u64,
    ) -> Result<Arc<TableBlock>> {
        self.tables
            .get_or_insert_with(&(node.extent, node.data_length(), block), || {
                let chunk_bytes = node.extent.stored - shape.table_length();
                let start = at + chunk_bytes + block * PAGE_BYTES;
                let mut bytes = vec![0; usize::try_from(shape.block_length(block)).unwrap_or(0)];
                volume.part.read(&mut bytes, start)?;
                TableBlock::decode(&bytes, shape, block, chunk_bytes)
                    .map(Arc::new)
                    .map_err(|m| {
                        Error::corrupt(m.0)
                            .at_path(volume.part.path())
                            .at_offset(start)
                    })
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
        let (volume, at) = self.locate(node)?;
        let shape = Shape::new(node.data_length(), self.chunk_shift);
        if !shape.has_table() {
            return read_small(volume, at, node, &shape, scratch);
        }
        self.visit_chunks(
            volume,
            at,
            node,
            &shape,
            range,
            &mut |chunks, mut start, _| {
                let step = (CHECKED_AT_ONCE >> self.chunk_shift).max(1);
                for group in chunks.chunks(step).take_while(|group| is_stored(group)) {
                    let length = stored_length(group);
                    scratch.resize(length.max(scratch.len()), 0);
                    let target = scratch.get_mut(..length).unwrap_or(&mut []);
                    read_stored(volume, start, group, target)?;
                    start += length as u64;
                }
                Ok(())
            },
        )
    }

    /// Fills `scratch` with the whole chunks that cover `range`. Neighbouring chunks are one read.
    fn read_chunks(
        &self,
        volume: &Volume,
        at: u64,
        node: &Node,
        shape: &Shape,
        range: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        scratch.clear();
        self.visit_chunks(
            volume,
            at,
            node,
            shape,
            range,
            &mut |group, start, logical| {
                let filled = scratch.len();
                scratch.resize(filled + usize::try_from(logical).unwrap_or(0), 0);
                if is_stored(group) {
                    let target = scratch.get_mut(filled..).unwrap_or(&mut []);
                    read_stored(volume, start, group, target)?;
                }
                Ok(())
            },
        )
    }

    /// Visits the chunks that cover `range` in groups of neighbours that are all stored or all not.
    fn visit_chunks(
        &self,
        volume: &Volume,
        at: u64,
        node: &Node,
        shape: &Shape,
        range: Range<u64>,
        visit: &mut VisitChunks<'_>,
    ) -> Result<()> {
        let chunks = range.start >> self.chunk_shift..((range.end - 1) >> self.chunk_shift) + 1;
        let mut next = chunks.start;
        while next < chunks.end {
            let block = next / BLOCK_ROWS as u64;
            let table = self.table_block(volume, at, node, shape, block)?;
            let skip = usize::try_from(next - table.first).unwrap_or(usize::MAX);
            let before = table.chunks.iter().take(skip);
            let mut start = at + table.offset + before.map(|c| u64::from(c.stored)).sum::<u64>();
            let wanted = usize::try_from(chunks.end - next).unwrap_or(usize::MAX);
            let rows = table.chunks.get(skip..).unwrap_or(&[]);
            let rows = rows.get(..wanted.min(rows.len())).unwrap_or(rows);
            if rows.is_empty() {
                return Err(Error::corrupt("chunk table lacks a chunk"));
            }
            for group in rows.chunk_by(|a, b| (a.stored == 0) == (b.stored == 0)) {
                let logical: u64 = (next..)
                    .take(group.len())
                    .map(|n| shape.chunk_length(n))
                    .sum();
                visit(group, start, logical)?;
                start += stored_length(group) as u64;
                next += group.len() as u64;
            }
        }
        Ok(())
    }
}

fn is_stored(group: &[Chunk]) -> bool {
    group.first().is_some_and(|chunk| chunk.stored > 0)
}

/// Bytes that the chunks take in the volume.
fn stored_length(group: &[Chunk]) -> usize {
    group.iter().map(|chunk| chunk.stored as usize).sum()
}

/// Fills `target` with stored chunks that begin at `start` of the volume, by one read, and checks each.
fn read_stored(volume: &Volume, mut start: u64, group: &[Chunk], target: &mut [u8]) -> Result<()> {
    volume.part.read(target, start)?;
    let mut rest: &[u8] = target;
    for chunk in group {
        let (bytes, tail) = rest.split_at(rest.len().min(chunk.stored as usize));
        if crc(bytes) != chunk.crc {
            return Err(damaged(volume, start));
        }
        start += u64::from(chunk.stored);
        rest = tail;
    }
    Ok(())
}

fn damaged(volume: &Volume, at: u64) -> Error {
    Error::corrupt("contents do not match their checksum")
        .at_path(volume.part.path())
        .at_offset(at)
}

/// Fills `scratch` with the contents of a file of one chunk, by one read.
fn read_small(
    volume: &Volume,
    at: u64,
    node: &Node,
    shape: &Shape,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    if node.extent.stored != shape.default_stored_length() {
        return Err(Error::corrupt("file has an impossible stored length"));
    }
    let length = usize::try_from(node.data_length()).unwrap_or(0);
    scratch.resize(length + CRC_BYTES, 0);
    volume.part.read(scratch, at)?;
    let (bytes, sum) = scratch.split_at(length);
    if crc(bytes).to_le_bytes() != sum {
        return Err(damaged(volume, at));
    }
    Ok(())
}
