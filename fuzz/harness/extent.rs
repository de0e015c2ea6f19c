//! The shape of an extent and its chunk table.

use super::cut_number;
use dgfs::format::checksum::crc;
use dgfs::format::extent::{Shape, TableBlock};

/// Bytes 0-7 size, 8 chunk shift, 9-16 bytes of the chunks, 17-18 number of the block, then the block without its
/// checksum.
pub(crate) fn run(mut data: &[u8]) {
    let mut number = |count: usize| cut_number(&mut data, count);
    let size = (number(8) & ((1 << 63) - 1)).max(1);
    let shape = Shape::new(size, 12 + number(1) as u32 % 13);
    let (chunk_bytes, block) = (number(8), number(2));
    assert!(shape.chunks() > 0 && shape.table_length() < 1 << 56);
    assert!(shape.default_stored_length() > size);
    assert_eq!(shape.chunk_length(shape.chunks()), 0);
    let last = shape.chunk_length(shape.chunks() - 1);
    assert!(last > 0 && last <= shape.chunk_size());
    let mut bytes = crc(data).to_le_bytes().to_vec();
    bytes.extend_from_slice(data);
    if let Ok(table) = TableBlock::decode(&bytes, &shape, block, chunk_bytes, size % 2 == 0) {
        let mut again = Vec::new();
        table.encode_into(&mut again);
        assert_eq!(again, bytes);
        assert_eq!(table.chunks.len() as u64, shape.block_rows(block));
        let stored: u64 = table
            .chunks
            .iter()
            .map(|chunk| u64::from(chunk.stored))
            .sum();
        assert!(table.offset + stored <= chunk_bytes);
    }
}
