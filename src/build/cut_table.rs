//! Collects the chunk table of a file that is cut by content while its chunks are written or found.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::format::bytes::ByteReader;
use crate::format::cut::{BLOCK_ROWS, Cut, CutChunk, ROW, encode_block};
use crate::{Error, ErrorKind, Result};

/// Bytes of rows kept in memory: a file of some 6 GiB in chunks of 128 KiB. Those of a larger one wait in a file.
const MEMORY: usize = 1 << 20;

/// Rows that are read back at once.
const READ_ROWS: usize = 4096;

/// Average chunks that a block may be about, as powers of 2. With the first, a block is two thirds full; the last always
/// fits, since no chunk but that at the end has less than a quarter of the average.
const SPANS: [u32; 3] = [7, 6, 5];

/// A length of data that blocks may be about, and how many rows they need then.
#[derive(Debug, Clone, Copy)]
struct Span {
    shift: u32,
    /// Number of the current block, and its rows.
    block: u64,
    rows: usize,
    most: usize,
}

impl Span {
    /// A chunk comes whose data is not empty.
    fn push(&mut self, start: u64, end: u64) {
        let (first, last) = (start >> self.shift, (end - 1) >> self.shift);
        if first > self.block {
            (self.block, self.rows) = (first, 0);
        }
        self.rows += 1;
        self.most = self.most.max(self.rows);
        if last > first {
            (self.block, self.rows) = (last, 1);
        }
    }
}

/// The table of one file, in the making.
#[derive(Debug)]
pub(super) struct CutTable {
    scratch: PathBuf,
    /// Position of the extent.
    position: u64,
    size: u64,
    spans: [Span; SPANS.len()],
    rows: Vec<u8>,
    spilled: Option<File>,
    memory: usize,
}

impl CutTable {
    /// An empty table of an extent at `position`, for chunks of `1 << average_shift` bytes on the average; it spills into
    /// the directory `scratch`.
    pub(super) fn new(scratch: &Path, position: u64, average_shift: u32) -> Self {
        Self {
            scratch: scratch.to_path_buf(),
            position,
            size: 0,
            spans: SPANS.map(|span| Span {
                shift: average_shift + span,
                block: 0,
                rows: 0,
                most: 0,
            }),
            rows: Vec::new(),
            spilled: None,
            memory: MEMORY,
        }
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, chunk: &CutChunk) -> Result<()> {
        let end = self.size + u64::from(chunk.length);
        for span in &mut self.spans {
            span.push(self.size, end);
        }
        self.size = end;
        chunk.encode_into(&mut self.rows);
        if self.rows.len() >= self.memory {
            self.spill()?;
        }
        Ok(())
    }

    /// Hands the bytes of the table, of at least one chunk, to `write`, front to back. Returns what the index must say.
    pub(super) fn finish(mut self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<Cut> {
        let wide = self.spans.iter().find(|span| span.most <= BLOCK_ROWS);
        let shift = wide.map(|span| span.shift).ok_or_else(impossible)?;
        let mut blocks = Blocks {
            shift,
            size: self.size,
            position: self.position,
            number: 0,
            rows: Vec::with_capacity(BLOCK_ROWS),
            first: (0, 0),
            at: 0,
            own: 0,
            bytes: Vec::new(),
        };
        if let Some(mut file) = self.spilled.take() {
            let failed = |e| Error::io(&self.scratch, "read scratch data here", e);
            file.rewind().map_err(failed)?;
            let mut buffer = vec![0; READ_ROWS * ROW];
            loop {
                let length = fill(&mut file, &mut buffer).map_err(failed)?;
                blocks.add_all(buffer.get(..length).unwrap_or(&[]), write)?;
                if length < buffer.len() {
                    break;
                }
            }
        }
        blocks.add_all(&self.rows, write)?;
        let rows = blocks.rows.len();
        blocks.put(true, write)?;
        Cut::new(shift, rows).ok_or_else(impossible)
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |e| Error::io(&self.scratch, "write scratch data here", e);
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.scratch).map_err(failed)?),
        };
        file.write_all(&self.rows).map_err(failed)?;
        self.rows.clear();
        Ok(())
    }
}

#[cold]
fn impossible() -> Error {
    Error::new(
        ErrorKind::Limit,
        "chunks of a file are too short for a table of them",
    )
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Makes blocks of rows.
struct Blocks {
    shift: u32,
    size: u64,
    position: u64,
    /// Of the current block: its number, its rows, and what comes before them: bytes of data, bytes of own chunks.
    number: u64,
    rows: Vec<CutChunk>,
    first: (u64, u64),
    /// The same behind all rows.
    at: u64,
    own: u64,
    bytes: Vec<u8>,
}

impl Blocks {
    fn add_all(&mut self, rows: &[u8], write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for row in rows.chunks_exact(ROW) {
            self.add(CutChunk::read(&mut ByteReader::new(row))?, write)?;
        }
        Ok(())
    }

    fn add(&mut self, chunk: CutChunk, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let before = (self.at, self.own);
        if self.rows.is_empty() {
            self.first = before;
        }
        self.rows.push(chunk);
        self.at += u64::from(chunk.length);
        if chunk.stored > 0 && chunk.position == self.position + self.own {
            self.own += u64::from(chunk.stored);
        }
        loop {
            let end = (self.number + 1) << self.shift;
            if end >= self.size || self.at < end {
                return Ok(());
            }
            self.put(false, write)?;
            self.number += 1;
            if self.at > end {
                self.first = before;
                self.rows.push(chunk);
            }
        }
    }

    fn put(&mut self, last: bool, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.bytes.clear();
        let (start, own) = self.first;
        encode_block(self.number, start, own, &self.rows, last, &mut self.bytes);
        self.rows.clear();
        write(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cut::{CutBlock, CutFile};

    const POSITION: u64 = 123_456;

    /// Every block of a table decodes to the chunks that went in, spilled or not, whatever their lengths.
    #[test]
    fn tables_decode_to_their_chunks() {
        let scratch = tempfile::tempdir().unwrap();
        // Shortest, average, longest; the first needs the shortest span, and the last the widest.
        for (length, shift) in [(1024, 17), (4096, 19), (16384, 19)] {
            for count in [1u32, 2, 31, 203, 204, 900, 5000] {
                for memory in [0, 1000, MEMORY] {
                    let mut own = 0;
                    let mut chunks = Vec::new();
                    for n in 0..count {
                        let length = length + n % 2 * (n % 7) * u32::from(length < 16384);
                        let mut chunk = CutChunk {
                            length,
                            stored: length,
                            crc: n,
                            codec: 0,
                            position: POSITION + own,
                        };
                        match n % 5 {
                            2 => chunk = CutChunk::zeros(length),
                            3 => chunk.position = 4096,
                            _ => own += u64::from(length),
                        }
                        chunks.push(chunk);
                    }
                    let mut table = CutTable::new(scratch.path(), POSITION, 12);
                    table.memory = memory;
                    for chunk in &chunks {
                        table.push(chunk).unwrap();
                    }
                    let size = table.size;
                    let mut bytes = Vec::new();
                    let mut write = |part: &[u8]| {
                        bytes.extend_from_slice(part);
                        Ok(())
                    };
                    let cut = table.finish(&mut write).unwrap();
                    assert_eq!(bytes.len() as u64, cut.table_length(size));
                    if count == 5000 {
                        assert_eq!(cut.block_of(1 << shift), 1, "{length}: {cut:?}");
                    }
                    let file = CutFile {
                        cut,
                        size,
                        position: POSITION,
                        stored: own + cut.table_length(size),
                        largest: 1 << 14,
                        compressed: false,
                    };
                    let mut decoded: Vec<CutChunk> = Vec::new();
                    let mut before: Option<CutBlock> = None;
                    for number in 0..cut.blocks(size) {
                        let start = usize::try_from(number * 4096).unwrap();
                        let end = start + cut.block_length(size, number);
                        let block = CutBlock::decode(&bytes[start..end], &file, number).unwrap();
                        let crosses = before.as_ref().is_some_and(|before| {
                            assert!(block.follows(before));
                            before.chunks.last() == block.chunks.first()
                        });
                        let new = block.chunks.iter().skip(usize::from(crosses));
                        decoded.extend(new.map(|placed| placed.chunk));
                        before = Some(block);
                    }
                    assert_eq!(decoded, chunks);
                }
            }
        }
    }
}
