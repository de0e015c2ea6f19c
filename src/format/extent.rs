//! How the contents of one file lie in a volume: chunks, their checksums, and the chunk table.

use super::bytes::ByteReader;
use super::checksum::crc;
use super::{Malformed, PAGE_SIZE, Parsed};

/// Bytes of a checksum behind the contents of a small file.
pub const CRC_BYTES: usize = 4;

/// Bytes before the rows of a table block.
pub const BLOCK_HEADER: usize = 16;

/// Bytes of a row of a table block.
pub const ROW: usize = 8;

/// Rows of a full table block; with its header it takes one page.
pub const BLOCK_ROWS: usize = (PAGE_SIZE - BLOCK_HEADER) / ROW;

/// Where chunks and table blocks of a file of known size lie; all by arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    size: u64,
    chunk_shift: u32,
}

impl Shape {
    /// The shape of a file with `size` bytes of data, below 2^63, in chunks of `1 << chunk_shift` bytes.
    pub fn new(size: u64, chunk_shift: u32) -> Self {
        Self { size, chunk_shift }
    }

    /// Bytes of a full chunk.
    pub fn chunk_size(&self) -> u64 {
        1 << self.chunk_shift
    }

    /// Whether the contents are more than one chunk and so have a table.
    pub fn has_table(&self) -> bool {
        self.size > self.chunk_size()
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(self.chunk_size())
    }

    /// Bytes of contents in chunk `number`.
    pub fn chunk_length(&self, number: u64) -> u64 {
        let start = number << self.chunk_shift;
        self.size.saturating_sub(start).min(self.chunk_size())
    }

    /// Bytes of the chunk table; 0 for a single chunk.
    pub fn table_length(&self) -> u64 {
        if !self.has_table() {
            return 0;
        }
        let blocks = self.chunks().div_ceil(BLOCK_ROWS as u64);
        blocks * BLOCK_HEADER as u64 + self.chunks() * ROW as u64
    }

    /// Stored length of the extent if no chunk is left out; 0 without data.
    pub fn default_stored_length(&self) -> u64 {
        if self.size == 0 {
            return 0;
        }
        self.size
            + if self.has_table() {
                self.table_length()
            } else {
                CRC_BYTES as u64
            }
    }

    /// Number of chunks whose rows table block `block` holds.
    pub fn block_rows(&self, block: u64) -> u64 {
        self.chunks()
            .saturating_sub(block * BLOCK_ROWS as u64)
            .min(BLOCK_ROWS as u64)
    }

    /// Bytes of table block `block`.
    pub fn block_length(&self, block: u64) -> u64 {
        BLOCK_HEADER as u64 + self.block_rows(block) * ROW as u64
    }
}

/// One chunk of a file with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Bytes it takes in the volume; 0 for a chunk of zeros that is not stored, fewer than its data for a frame.
    pub stored: u32,
    /// CRC-32C of these bytes; 0 if it is not stored.
    pub crc: u32,
}

/// A decoded table block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableBlock {
    /// Number of the first chunk.
    pub first: u64,
    /// Offset of the first chunk in the extent.
    pub offset: u64,
    /// The chunks.
    pub chunks: Vec<Chunk>,
}

impl TableBlock {
    /// Appends the block.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "2^32 chunks of at least 4 KiB are 16 TiB; the field wraps beyond and is compared wrapped"
        )]
        out.extend_from_slice(&(self.first as u32).to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.stored.to_le_bytes());
            out.extend_from_slice(&chunk.crc.to_le_bytes());
        }
        let sum = crc(out.get(start + 4..).unwrap_or(&[]));
        if let Some(field) = out.get_mut(start..start + 4) {
            field.copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// Parses table block `block` of a file of `shape` whose chunks take `chunk_bytes` in the volume. Chunks shorter
    /// than their data are refused unless the image is `compressed`.
    pub fn decode(
        bytes: &[u8],
        shape: &Shape,
        block: u64,
        chunk_bytes: u64,
        compressed: bool,
    ) -> Parsed<Self> {
        let mut reader = ByteReader::new(bytes);
        if reader.u32()? != crc(reader.rest()) {
            return Err(Malformed("chunk table checksum does not match"));
        }
        let first = block * BLOCK_ROWS as u64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the field holds the low 32 bits"
        )]
        if reader.u32()? != first as u32 {
            return Err(Malformed("chunk table block belongs elsewhere"));
        }
        let offset = reader.u64()?;
        let rows = shape.block_rows(block);
        if rows == 0 || reader.rest().len() as u64 != rows * ROW as u64 {
            return Err(Malformed("chunk table block has an impossible length"));
        }
        let mut chunks = Vec::with_capacity(BLOCK_ROWS);
        let mut end = offset;
        for number in first..first + rows {
            let chunk = Chunk {
                stored: reader.u32()?,
                crc: reader.u32()?,
            };
            let length = shape.chunk_length(number);
            let possible = match u64::from(chunk.stored) {
                0 => chunk.crc == 0,
                stored if stored < length => compressed,
                stored => stored == length,
            };
            if !possible {
                return Err(Malformed("chunk has an impossible stored length"));
            }
            end = end
                .checked_add(u64::from(chunk.stored))
                .filter(|&end| end <= chunk_bytes)
                .ok_or(Malformed("chunk lies outside its extent"))?;
            chunks.push(chunk);
        }
        let is_last = first + rows == shape.chunks();
        if is_last && end != chunk_bytes || first == 0 && offset != 0 {
            return Err(Malformed("chunk table does not agree with the extent"));
        }
        Ok(Self {
            first,
            offset,
            chunks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_arithmetic() {
        assert_eq!(Shape::new(0, 12).default_stored_length(), 0);
        let small = Shape::new(100, 12);
        assert_eq!((small.chunks(), small.table_length()), (1, 0));
        assert_eq!(small.default_stored_length(), 104);
        assert!(!Shape::new(4096, 12).has_table());
        let two = Shape::new(4097, 12);
        assert_eq!(
            (two.chunks(), two.chunk_length(0), two.chunk_length(1)),
            (2, 4096, 1)
        );
        assert_eq!(two.default_stored_length(), 4097 + 16 + 16);
        let blocks = Shape::new(511 * 4096, 12);
        assert_eq!(
            (
                blocks.block_rows(0),
                blocks.block_rows(1),
                blocks.block_rows(2)
            ),
            (510, 1, 0)
        );
        assert_eq!(blocks.table_length(), 4096 + 24);
        assert_eq!(
            blocks.table_length(),
            blocks.block_length(0) + blocks.block_length(1)
        );
        let huge = Shape::new((1 << 63) - 1, 12);
        assert!(huge.default_stored_length() > huge.chunks());
    }

    #[test]
    fn tables_round_trip_and_every_flipped_byte_is_noticed() {
        let shape = Shape::new(3 * 4096 + 5, 12);
        let full = |stored| Chunk {
            stored,
            crc: 0x1234_5678,
        };
        let block = TableBlock {
            first: 0,
            offset: 0,
            chunks: vec![full(4096), Chunk { stored: 0, crc: 0 }, full(4096), full(5)],
        };
        let mut bytes = Vec::new();
        block.encode_into(&mut bytes);
        assert_eq!(bytes.len() as u64, shape.table_length());
        let chunk_bytes = 2 * 4096 + 5;
        assert_eq!(
            TableBlock::decode(&bytes, &shape, 0, chunk_bytes, false),
            Ok(block.clone())
        );
        assert!(TableBlock::decode(&bytes, &shape, 1, chunk_bytes, false).is_err());
        assert!(TableBlock::decode(&bytes, &shape, 0, chunk_bytes + 1, false).is_err());
        assert!(TableBlock::decode(&bytes, &shape, 0, chunk_bytes - 1, false).is_err());
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(
                TableBlock::decode(&damaged, &shape, 0, chunk_bytes, false).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_shorter_chunk_is_a_frame_of_a_compressed_image() {
        let shape = Shape::new(2 * 4096, 12);
        let block = TableBlock {
            first: 0,
            offset: 0,
            chunks: vec![
                Chunk {
                    stored: 4096,
                    crc: 1,
                },
                Chunk {
                    stored: 4000,
                    crc: 1,
                },
            ],
        };
        let mut bytes = Vec::new();
        block.encode_into(&mut bytes);
        assert!(TableBlock::decode(&bytes, &shape, 0, 8096, false).is_err());
        assert_eq!(TableBlock::decode(&bytes, &shape, 0, 8096, true), Ok(block));
    }
}
