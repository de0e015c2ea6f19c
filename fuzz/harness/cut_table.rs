//! The table of a file that is cut by content: two blocks of it that follow each other.

use super::{cut, cut_number};
use dgfs::format::checksum::crc;
use dgfs::format::cut::{
    BLOCK_ROWS, Cut, CutBlock, CutChunk, CutFile, encode_block, largest_chunk,
};

/// Bytes before the blocks that say what they belong to, see [`run`].
pub(crate) const OF_FILE: usize = 31;

/// Bytes 0-7 size, 8-15 position, 16-23 stored length, 24 span, 25 rows of the last block, 26 chunk shift and whether chunks
/// may be frames, 27-30 number of the first block, then the length of that block in two bytes, and both blocks without
/// their checksums.
pub(crate) fn run(mut data: &[u8]) {
    let mut number = |count: usize| cut_number(&mut data, count);
    let size = (number(8) & ((1 << 63) - 1)).max(1);
    let (position, stored) = (number(8) >> 1, number(8));
    let shape = Cut::new(number(1) as u32, number(1) as usize);
    let (chunks, block, length) = (number(1), number(4), number(2));
    let Some(shape) = shape else { return };
    assert_eq!(Cut::from_column(shape.column()), Ok(Some(shape)));
    assert!(shape.default_stored_length(size) > size);
    let file = CutFile {
        cut: shape,
        size,
        position,
        stored,
        largest: largest_chunk(12 + chunks as u32 % 13),
        compressed: chunks >= 128,
    };
    let first = decode(cut(&mut data, length as usize), &file, block);
    let second = decode(data, &file, block + 1);
    if let (Some(first), Some(second)) = (first, second) {
        if second.follows(&first) {
            let (last, next) = (first.chunks[first.chunks.len() - 1], second.chunks[0]);
            assert!(next == last || next.start == last.end());
        }
    }
}

/// A block with these bytes behind its checksum, and what holds of it if it is one.
fn decode(block: &[u8], file: &CutFile, number: u64) -> Option<CutBlock> {
    let bytes = [&crc(block).to_le_bytes(), block].concat();
    let decoded = CutBlock::decode(&bytes, file, number).ok()?;
    let chunks = &decoded.chunks;
    assert!((1..=BLOCK_ROWS).contains(&chunks.len()));
    let (start, end) = (chunks[0].start, chunks[chunks.len() - 1].end());
    let from = number
        .checked_sub(1)
        .map_or(0, |before| file.cut.block_end(file.size, before));
    assert!(start <= from && from < chunks[0].end());
    assert!(end >= file.cut.block_end(file.size, number) && end <= file.size);
    assert!(chunks.windows(2).all(|pair| pair[0].end() == pair[1].start));
    for chunk in chunks {
        assert!(chunk.chunk.stored <= chunk.chunk.length);
        assert!(u64::from(chunk.chunk.length) <= file.largest);
    }
    // The same block comes of it; where it is not the last, with zeros to the end of the page.
    let rows: Vec<CutChunk> = chunks.iter().map(|chunk| chunk.chunk).collect();
    let own = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let mut again = Vec::new();
    encode_block(number, start, own, &rows, true, &mut again);
    assert_eq!(again[4..], bytes[4..again.len()]);
    Some(decoded)
}

/// Inputs to begin with: the file and its two blocks, plain and with everything that a row may be.
pub(crate) fn samples() -> Vec<(Vec<u8>, [Vec<u8>; 2])> {
    let own = |length, position| CutChunk {
        length,
        stored: length,
        crc: 7,
        codec: 0,
        position,
    };
    let frame = CutChunk {
        stored: 20,
        codec: 5,
        ..own(500, 12_000)
    };
    let rows = [
        own(1500, 10_000),
        own(1000, 77),
        CutChunk::zeros(1000),
        own(500, 11_500),
        own(1500, 10_000),
        frame,
    ];
    let sample = |rows: &[CutChunk], own_bytes: u64, compressed: u8| {
        let size: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
        let last = &rows[4..];
        let shape = Cut::new(12, last.len()).unwrap();
        let mut of_file = Vec::new();
        for number in [size, 20_000, own_bytes + shape.table_length(size)] {
            of_file.extend_from_slice(&number.to_le_bytes());
        }
        of_file.extend_from_slice(&[12, last.len() as u8, 2 | compressed, 0, 0, 0, 0]);
        assert_eq!(of_file.len(), OF_FILE);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encode_block(0, 0, 0, &rows[..5], false, &mut first);
        encode_block(1, 4000, 2000, last, true, &mut second);
        (of_file, [first[4..].to_vec(), second[4..].to_vec()])
    };
    vec![sample(&rows, 2020, 128), sample(&rows[..5], 2000, 0)]
}
