//! Contents that are cut by content: chunks of various lengths, which files share, and the table that finds them.

use super::bytes::ByteReader;
use super::checksum::crc;
use super::codec::MAX_CODECS;
use super::{Malformed, PAGE_BYTES, PAGE_SIZE, Parsed};
use std::ops::RangeInclusive;

/// Bytes before the rows of a table block.
pub const BLOCK_HEADER: usize = 24;

/// Bytes of a row of a table block.
pub const ROW: usize = 20;

/// Most rows of a table block, which takes one page.
pub const BLOCK_ROWS: usize = (PAGE_SIZE - BLOCK_HEADER) / ROW;

/// What bytes of data a table block may cover, as powers of 2.
pub const SPAN_SHIFTS: RangeInclusive<u32> = 12..=62;

/// Largest chunk of any image, in bytes.
const LARGEST_CHUNK_SHIFT: u32 = 24;

/// Numbers of rows that the column leaves room for.
const ROWS_BITS: u32 = 8;

/// Bytes of the largest chunk in an image whose other chunks have `1 << chunk_shift` bytes.
pub fn largest_chunk(chunk_shift: u32) -> u64 {
    1 << chunk_shift.saturating_add(2).min(LARGEST_CHUNK_SHIFT)
}

/// What the index says of a file that is cut by content; with its size it tells where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Each table block is about `1 << span_shift` bytes of data.
    span_shift: u8,
    /// Rows of the last block.
    last_rows: u8,
}

impl Cut {
    /// A table with a block for each `1 << span_shift` bytes of data, `last_rows` rows in the last. `None` if the
    /// format has no such table.
    pub fn new(span_shift: u32, last_rows: usize) -> Option<Self> {
        let shift = u8::try_from(span_shift).ok();
        let rows = u8::try_from(last_rows).ok();
        let possible = SPAN_SHIFTS.contains(&span_shift) && (1..=BLOCK_ROWS).contains(&last_rows);
        match (shift, rows) {
            (Some(span_shift), Some(last_rows)) if possible => Some(Self {
                span_shift,
                last_rows,
            }),
            _ => None,
        }
    }

    /// What column `cut` says; `None` for 0, which is a file in chunks of equal lengths.
    pub fn from_column(value: u64) -> Parsed<Option<Self>> {
        let Some(value) = value.checked_sub(1) else {
            return Ok(None);
        };
        let rows = usize::try_from(value & ((1 << ROWS_BITS) - 1)).ok();
        let shift = u32::try_from(value >> ROWS_BITS).ok();
        shift
            .zip(rows)
            .and_then(|(shift, rows)| Self::new(shift, rows))
            .map(Some)
            .ok_or(Malformed("file is cut in an impossible way"))
    }

    /// The value of column `cut`.
    pub fn column(self) -> u64 {
        (u64::from(self.span_shift) << ROWS_BITS | u64::from(self.last_rows)) + 1
    }

    /// The block that covers the byte at `offset` of the data.
    pub fn block_of(self, offset: u64) -> u64 {
        offset >> self.span_shift
    }

    /// Number of blocks for `size` bytes of data, below 2^63.
    pub fn blocks(self, size: u64) -> u64 {
        size.div_ceil(1 << self.span_shift)
    }

    /// Where what block `block` covers of `size` bytes of data ends.
    pub fn block_end(self, size: u64, block: u64) -> u64 {
        let end = block.saturating_add(1).checked_mul(1 << self.span_shift);
        end.map_or(size, |end| end.min(size))
    }

    /// Bytes of block `block`.
    pub fn block_length(self, size: u64, block: u64) -> usize {
        if block.saturating_add(1) < self.blocks(size) {
            return PAGE_SIZE;
        }
        BLOCK_HEADER + usize::from(self.last_rows) * ROW
    }

    /// Bytes of the table of `size` bytes of data, below 2^63.
    pub fn table_length(self, size: u64) -> u64 {
        match self.blocks(size).checked_sub(1) {
            None => 0,
            Some(full) => full * PAGE_BYTES + self.block_length(size, full) as u64,
        }
    }

    /// Stored length of the extent if all chunks were its own and stored as they are; 0 without data.
    pub fn default_stored_length(self, size: u64) -> u64 {
        size + self.table_length(size)
    }
}

/// One chunk of a file that is cut by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CutChunk {
    /// Bytes of data, 1 to 2^24.
    pub length: u32,
    /// Bytes it takes in the volume; 0 for zeros that are not stored, fewer than its data for a frame.
    pub stored: u32,
    /// CRC-32C of these bytes; 0 if it is not stored.
    pub crc: u32,
    /// The codec of a frame.
    pub codec: u32,
    /// Position of these bytes among all volumes; 0 if it is not stored.
    pub position: u64,
}

impl CutChunk {
    /// A chunk of zeros.
    pub fn zeros(length: u32) -> Self {
        Self {
            length,
            stored: 0,
            crc: 0,
            codec: 0,
            position: 0,
        }
    }

    /// Appends the row.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are 64 codecs at most"
    )]
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.stored.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let [a, b, c, _] = self.length.wrapping_sub(1).to_le_bytes();
        out.extend_from_slice(&[a, b, c, self.codec as u8]);
    }

    /// Reads a row. What cannot be is left for [`CutBlock::decode`] to refuse.
    pub fn read(reader: &mut ByteReader<'_>) -> Parsed<Self> {
        let (position, stored, crc) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let rest = reader.u32()?;
        Ok(Self {
            length: (rest & 0xff_ffff) + 1,
            stored,
            crc,
            codec: rest >> 24,
            position,
        })
    }
}

/// A chunk and where its data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedChunk {
    /// Where its data begins, holes of the file not counted.
    pub start: u64,
    /// Whether it lies in the extent of this file and was not there before.
    pub own: bool,
    /// The chunk.
    pub chunk: CutChunk,
}

impl PlacedChunk {
    /// Where its data ends.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.chunk.length))
    }
}

/// What a table belongs to, which each of its blocks is checked against.
#[derive(Debug, Clone, Copy)]
pub struct CutFile {
    /// What the index says.
    pub cut: Cut,
    /// Bytes of data, below 2^63.
    pub size: u64,
    /// Position of the extent.
    pub position: u64,
    /// Its stored length, the table included.
    pub stored: u64,
    /// Bytes of the largest chunk.
    pub largest: u64,
    /// Whether chunks may be frames.
    pub compressed: bool,
}

impl CutFile {
    /// Bytes of the file's own chunks.
    pub fn own_bytes(&self) -> u64 {
        self.stored.saturating_sub(self.cut.table_length(self.size))
    }
}

/// A decoded table block: the chunks that overlap what it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutBlock {
    /// The chunks, without a gap.
    pub chunks: Vec<PlacedChunk>,
    /// Bytes of the file's own chunks before the first of them, and up to the last.
    own: (u64, u64),
}

/// Appends block `block` with these rows to `out`, as long as the rows need it. `start` is where the data of the first
/// begins, `own` how many bytes of the file's own chunks come before it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the field holds the low 32 bits and is compared so"
)]
pub fn encode_block(
    block: u64,
    start: u64,
    own: u64,
    rows: &[CutChunk],
    last: bool,
    out: &mut Vec<u8>,
) {
    let begun = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(block as u32).to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&own.to_le_bytes());
    for row in rows {
        row.encode_into(out);
    }
    if !last {
        out.resize(begun + PAGE_SIZE, 0);
    }
    let sum = crc(out.get(begun + 4..).unwrap_or(&[]));
    if let Some(field) = out.get_mut(begun..begun + 4) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

impl CutBlock {
    /// Parses block `block` of the table of `file`.
    pub fn decode(bytes: &[u8], file: &CutFile, block: u64) -> Parsed<Self> {
        let mut reader = ByteReader::new(bytes);
        if reader.u32()? != crc(reader.rest()) {
            return Err(Malformed("chunk table checksum does not match"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the field holds the low 32 bits"
        )]
        if reader.u32()? != block as u32 {
            return Err(Malformed("chunk table block belongs elsewhere"));
        }
        let (mut at, mut own) = (reader.u64()?, reader.u64()?);
        let own_before = own;
        let from = block
            .checked_sub(1)
            .map_or(0, |before| file.cut.block_end(file.size, before));
        let to = file.cut.block_end(file.size, block);
        let own_bytes = file.own_bytes();
        if at > from || from >= to || block == 0 && own != 0 {
            return Err(OUT_OF_STEP);
        }
        let mut chunks = Vec::with_capacity(BLOCK_ROWS);
        while at < to {
            if chunks.len() == BLOCK_ROWS {
                return Err(OUT_OF_STEP);
            }
            let chunk = CutChunk::read(&mut reader)?;
            check(&chunk, file)?;
            let placed = PlacedChunk {
                start: at,
                own: chunk.stored > 0 && file.position.checked_add(own) == Some(chunk.position),
                chunk,
            };
            at = placed.end();
            // The first one overlaps what the block covers, as all that follow do.
            if at <= from || at > file.size {
                return Err(OUT_OF_STEP);
            }
            if placed.own {
                own = own.saturating_add(u64::from(chunk.stored));
            }
            if own > own_bytes {
                return Err(Malformed("chunk lies outside its extent"));
            }
            chunks.push(placed);
        }
        if to == file.size && own != own_bytes {
            return Err(Malformed("chunk table does not agree with the extent"));
        }
        if reader.rest().iter().any(|&byte| byte != 0) {
            return Err(Malformed("chunk table goes on behind its last row"));
        }
        Ok(Self {
            chunks,
            own: (own_before, own),
        })
    }

    /// Whether the block goes on where `before`, the one before it, ends: with the chunk that crosses the border if there
    /// is one, else with the next.
    pub fn follows(&self, before: &Self) -> bool {
        let (Some(first), Some(last)) = (self.chunks.first(), before.chunks.last()) else {
            return false;
        };
        if first.start < last.end() {
            let repeated = if last.own { last.chunk.stored } else { 0 };
            return first == last
                && self.own.0.checked_add(u64::from(repeated)) == Some(before.own.1);
        }
        first.start == last.end() && self.own.0 == before.own.1
    }
}

const OUT_OF_STEP: Malformed = Malformed("chunk table is out of step with the file");

/// Refuses a chunk that cannot be.
fn check(chunk: &CutChunk, file: &CutFile) -> Parsed<()> {
    let possible = match chunk.stored {
        0 => *chunk == CutChunk::zeros(chunk.length),
        stored if stored < chunk.length => file.compressed && (chunk.codec as usize) < MAX_CODECS,
        stored => stored == chunk.length && chunk.codec == 0,
    };
    if !possible || u64::from(chunk.length) > file.largest {
        return Err(Malformed("chunk has an impossible length"));
    }
    let end = chunk.position.checked_add(u64::from(chunk.stored));
    if end.is_none_or(|end| end >= 1 << 63) {
        return Err(Malformed("chunk lies beyond all positions"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: u64 = 10_000;

    fn own(length: u32, position: u64) -> CutChunk {
        CutChunk {
            length,
            stored: length,
            crc: 7,
            codec: 0,
            position,
        }
    }

    /// Own, shared, zeros, own again, the first one once more, a frame: 6000 bytes with two blocks of 4096.
    fn sample() -> (CutFile, [Vec<u8>; 2]) {
        let frame = CutChunk {
            length: 500,
            stored: 20,
            crc: 3,
            codec: 5,
            position: POSITION + 2000,
        };
        let rows = [
            own(1500, POSITION),
            own(1000, 77),
            CutChunk::zeros(1000),
            own(500, POSITION + 1500),
            own(1500, POSITION),
            frame,
        ];
        let cut = Cut::new(12, 2).unwrap();
        let file = CutFile {
            cut,
            size: 6000,
            position: POSITION,
            stored: 2020 + cut.table_length(6000),
            largest: 1 << 14,
            compressed: true,
        };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encode_block(0, 0, 0, &rows[..5], false, &mut first);
        encode_block(1, 4000, 2000, &rows[4..], true, &mut second);
        (file, [first, second])
    }

    #[test]
    fn columns_round_trip() {
        assert_eq!(Cut::from_column(0), Ok(None));
        for (shift, rows) in [(12, 1), (12, 203), (24, 100), (62, 203)] {
            let cut = Cut::new(shift, rows).unwrap();
            assert_eq!(Cut::from_column(cut.column()), Ok(Some(cut)));
        }
        for (shift, rows) in [(11u64, 5u64), (63, 5), (12, 0), (12, 204), (1 << 40, 1)] {
            assert!(Cut::from_column((shift << 8 | rows) + 1).is_err());
        }
        assert!(Cut::from_column(u64::MAX).is_err());
    }

    #[test]
    fn tables_by_arithmetic() {
        let cut = Cut::new(20, 3).unwrap();
        let last = (BLOCK_HEADER + 3 * ROW) as u64;
        assert_eq!(cut.default_stored_length(0), 0);
        assert_eq!(cut.default_stored_length(1), 1 + last);
        assert_eq!(cut.table_length(1 << 20), last);
        assert_eq!(cut.table_length((1 << 20) + 1), PAGE_BYTES + last);
        // The largest that there may be does not overflow.
        let huge = Cut::new(12, BLOCK_ROWS).unwrap();
        assert!(huge.default_stored_length((1 << 63) - 1) > 1 << 63);
        let wide = Cut::new(62, 1).unwrap();
        assert_eq!(wide.blocks((1 << 63) - 1), 2);
        assert_eq!(wide.block_end((1 << 63) - 1, 1), (1 << 63) - 1);
        assert_eq!(BLOCK_ROWS, 203);
        assert_eq!(
            (largest_chunk(12), largest_chunk(17), largest_chunk(24)),
            (1 << 14, 1 << 19, 1 << 24)
        );
    }

    #[test]
    fn blocks_round_trip_and_every_flipped_byte_is_noticed() {
        let (file, blocks) = sample();
        let [first, second] =
            [0, 1].map(|n| CutBlock::decode(&blocks[n], &file, n as u64).unwrap());
        assert_eq!(
            first.chunks.iter().map(|c| c.own).collect::<Vec<_>>(),
            [true, false, false, true, false]
        );
        assert_eq!(
            second
                .chunks
                .iter()
                .map(|c| (c.start, c.own))
                .collect::<Vec<_>>(),
            [(4000, false), (5500, true)]
        );
        assert_eq!(first.chunks[4], second.chunks[0]);
        assert!(second.follows(&first) && !first.follows(&second));
        for (start, own) in [(4001, 2000), (4000, 1999), (4000, 2001)] {
            let mut other = second.clone();
            other.chunks[0].start = start;
            other.own.0 = own;
            assert!(!other.follows(&first));
        }
        for (number, block) in blocks.iter().enumerate() {
            assert_eq!(block.len(), file.cut.block_length(6000, number as u64));
            assert!(CutBlock::decode(block, &file, 1 - number as u64).is_err());
            for at in 0..block.len() {
                let mut damaged = block.clone();
                damaged[at] ^= 1;
                assert!(
                    CutBlock::decode(&damaged, &file, number as u64).is_err(),
                    "byte {at}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (file, blocks) = sample();
        let refuses =
            |file: CutFile| (0..2).any(|n| CutBlock::decode(&blocks[n], &file, n as u64).is_err());
        assert!(!refuses(file));
        assert!(refuses(CutFile {
            compressed: false,
            ..file
        }));
        assert!(refuses(CutFile {
            largest: 1499,
            ..file
        }));
        assert!(refuses(CutFile {
            stored: file.stored + 1,
            ..file
        }));
        assert!(refuses(CutFile {
            stored: file.stored - 1,
            ..file
        }));
        assert!(refuses(CutFile { size: 5999, ..file }));
        assert!(refuses(CutFile { size: 6001, ..file }));
        assert!(refuses(CutFile {
            position: POSITION + 1,
            ..file
        }));
        let one = |chunk: CutChunk, start: u64, own: u64| {
            let cut = Cut::new(12, 1).unwrap();
            let size = u64::from(chunk.length);
            let of = CutFile {
                cut,
                size,
                stored: u64::from(chunk.stored) + cut.table_length(size),
                ..file
            };
            let mut bytes = Vec::new();
            encode_block(0, start, own, &[chunk], true, &mut bytes);
            CutBlock::decode(&bytes, &of, 0)
        };
        assert!(one(own(100, POSITION), 0, 0).is_ok());
        assert!(one(own(100, POSITION), 1, 0).is_err());
        assert!(one(own(100, POSITION), 0, 1).is_err());
        assert!(one(own(100, u64::MAX - 5), 0, 0).is_err());
        assert!(
            one(
                CutChunk {
                    codec: 1,
                    ..own(100, POSITION)
                },
                0,
                0
            )
            .is_err()
        );
        assert!(
            one(
                CutChunk {
                    stored: 101,
                    ..own(100, POSITION)
                },
                0,
                0
            )
            .is_err()
        );
        assert!(
            one(
                CutChunk {
                    stored: 99,
                    codec: 64,
                    ..own(100, POSITION)
                },
                0,
                0
            )
            .is_err()
        );
        assert!(
            one(
                CutChunk {
                    crc: 1,
                    ..CutChunk::zeros(100)
                },
                0,
                0
            )
            .is_err()
        );
        assert!(
            one(
                CutChunk {
                    position: 1,
                    ..CutChunk::zeros(100)
                },
                0,
                0
            )
            .is_err()
        );
    }
}
