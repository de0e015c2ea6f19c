//! Collects the chunk table of a large file while its chunks are written.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::format::extent::{BLOCK_ROWS, Chunk, TableBlock};
use crate::{Error, Result};

/// Bytes of table kept in memory: a file of 16 GiB in chunks of 128 KiB. The table of a larger one
/// waits in a file, since it lies behind the last chunk.
const MEMORY: usize = 1 << 20;

/// The table of one file, in the making.
#[derive(Debug)]
pub(super) struct ChunkTable {
    scratch: PathBuf,
    block: TableBlock,
    blocks: Vec<u8>,
    spilled: Option<File>,
    memory: usize,
}

impl ChunkTable {
    /// An empty table that spills into the directory `scratch`.
    pub(super) fn new(scratch: &Path) -> Self {
        Self {
            scratch: scratch.to_path_buf(),
            block: TableBlock {
                first: 0,
                offset: 0,
                chunks: Vec::new(),
            },
            blocks: Vec::new(),
            spilled: None,
            memory: MEMORY,
        }
    }

    /// The number of chunks so far.
    pub(super) fn chunks(&self) -> u64 {
        self.block.first + self.block.chunks.len() as u64
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, chunk: Chunk) -> Result<()> {
        if self.block.chunks.len() == BLOCK_ROWS {
            self.end_block()?;
        }
        self.block.chunks.push(chunk);
        Ok(())
    }

    /// Hands the bytes of the table to `write`, front to back.
    pub(super) fn finish(mut self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.block.encode_into(&mut self.blocks);
        if let Some(mut file) = self.spilled.take() {
            let failed = |e| Error::io(&self.scratch, "read scratch data here", e);
            file.rewind().map_err(failed)?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                let length = file.read(&mut buffer).map_err(failed)?;
                match buffer.get(..length) {
                    Some(read) if !read.is_empty() => write(read)?,
                    _ => break,
                }
            }
        }
        write(&self.blocks)
    }

    fn end_block(&mut self) -> Result<()> {
        self.block.encode_into(&mut self.blocks);
        self.block.first += self.block.chunks.len() as u64;
        self.block.offset += self
            .block
            .chunks
            .iter()
            .map(|chunk| u64::from(chunk.stored))
            .sum::<u64>();
        self.block.chunks.clear();
        if self.blocks.len() >= self.memory {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let failed = |e| Error::io(&self.scratch, "write scratch data here", e);
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&self.scratch).map_err(failed)?),
        };
        file.write_all(&self.blocks).map_err(failed)?;
        self.blocks.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::extent::Shape;

    /// Every block of a table of several blocks decodes to the chunks that went in, spilled or not.
    #[test]
    fn tables_decode_to_their_chunks() {
        let scratch = tempfile::tempdir().unwrap();
        for memory in [0, 5000, MEMORY] {
            for count in [2, 509, 510, 511, 1020, 1021, 3000u32] {
                let shape = Shape::new(u64::from(count) * 4096 - 7, 12);
                let chunks: Vec<Chunk> = (0..count)
                    .map(|number| match number % 3 {
                        0 => Chunk { stored: 0, crc: 0 },
                        _ => Chunk {
                            stored: u32::try_from(shape.chunk_length(number.into())).unwrap(),
                            crc: number,
                        },
                    })
                    .collect();
                let mut table = ChunkTable::new(scratch.path());
                table.memory = memory;
                for &chunk in &chunks {
                    table.push(chunk).unwrap();
                }
                assert_eq!(table.chunks(), u64::from(count));
                let mut bytes = Vec::new();
                table
                    .finish(|part| {
                        bytes.extend_from_slice(part);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(bytes.len() as u64, shape.table_length());
                let chunk_bytes = chunks.iter().map(|chunk| u64::from(chunk.stored)).sum();
                let mut decoded = Vec::new();
                let mut at = 0;
                for block in 0..u64::from(count).div_ceil(BLOCK_ROWS as u64) {
                    let end = at + usize::try_from(shape.block_length(block)).unwrap();
                    let block =
                        TableBlock::decode(&bytes[at..end], &shape, block, chunk_bytes, true);
                    decoded.extend(block.unwrap().chunks);
                    at = end;
                }
                assert_eq!(decoded, chunks);
            }
        }
    }
}
