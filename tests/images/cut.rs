//! A small image with contents that are cut by content and share chunks, with extents that files share, and with
//! extents that lie in another order than their files.

use super::Parts;
use super::every_kind::Numbers;
use super::handmade::{Entry, Handmade};
use dgfs::format::PAGE_BYTES;
use dgfs::format::checksum::crc;
use dgfs::format::cut::{Cut, CutChunk, encode_block};
use dgfs::format::frame::ContentEncoder;
use dgfs::format::holes::HoleMap;
use zstd_safe::CDict;

/// A chunk of a file in the making.
pub(crate) enum Piece<'a> {
    /// Stored here as it is.
    Own(&'a [u8]),
    /// Stored here as a frame of this codec.
    Frame(&'a [u8], u32, Option<&'a CDict<'static>>),
    /// One that was stored before.
    Again(CutChunk),
    Zeros(u32),
}

/// An extent that was appended.
pub(crate) struct Stored {
    pub(crate) position: u64,
    pub(crate) size: u64,
    pub(crate) saved: u64,
    pub(crate) cut: Cut,
    pub(crate) chunks: Vec<CutChunk>,
}

impl Stored {
    pub(crate) fn entry(&self, name: &[u8]) -> Entry {
        Entry {
            saved: self.saved,
            cut: Some(self.cut),
            ..Entry::file(name, self.size)
        }
    }
}

/// The rows of each table block, with the number of the first of them, for blocks of `1 << span_shift` bytes.
fn blocks(chunks: &[CutChunk], span_shift: u32) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut at = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        let end = at + u64::from(chunk.length);
        for block in at >> span_shift..=(end - 1) >> span_shift {
            blocks.resize_with(blocks.len().max(block as usize + 1), Vec::new);
            blocks[block as usize].push(number);
        }
        at = end;
    }
    blocks
}

/// Appends the table of `chunks`, of an extent at `position`.
pub(crate) fn put_table(
    chunks: &[CutChunk],
    position: u64,
    span_shift: u32,
    contents: &mut Vec<u8>,
) -> Cut {
    let blocks = blocks(chunks, span_shift);
    for (number, rows) in blocks.iter().enumerate() {
        let before = &chunks[..rows[0]];
        let start = before.iter().map(|chunk| u64::from(chunk.length)).sum();
        let own = before.iter().fold(0, |own, chunk| {
            let is_own = chunk.stored > 0 && chunk.position == position + own;
            own + u64::from(chunk.stored) * u64::from(is_own)
        });
        let rows = &chunks[rows[0]..=rows[rows.len() - 1]];
        let last = number + 1 == blocks.len();
        encode_block(number as u64, start, own, rows, last, contents);
    }
    Cut::new(span_shift, blocks[blocks.len() - 1].len()).unwrap()
}

/// Appends an extent of these chunks.
pub(crate) fn store(pieces: &[Piece<'_>], span_shift: u32, contents: &mut Vec<u8>) -> Stored {
    let position = PAGE_BYTES + contents.len() as u64;
    let mut encoder = ContentEncoder::new(9).unwrap();
    let mut chunks = Vec::new();
    for piece in pieces {
        let at = PAGE_BYTES + contents.len() as u64;
        let mut put = |length: usize, stored: &[u8], codec: u32| {
            contents.extend_from_slice(stored);
            CutChunk {
                length: length as u32,
                stored: stored.len() as u32,
                crc: crc(stored),
                codec,
                position: at,
            }
        };
        chunks.push(match piece {
            Piece::Own(bytes) => put(bytes.len(), bytes, 0),
            Piece::Frame(bytes, codec, dictionary) => {
                let frame = encoder.encode(bytes, *dictionary).unwrap();
                assert!(frame.len() < bytes.len());
                put(bytes.len(), frame, *codec)
            }
            Piece::Again(chunk) => *chunk,
            Piece::Zeros(length) => CutChunk::zeros(*length),
        });
    }
    let cut = put_table(&chunks, position, span_shift, contents);
    let size = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let stored = PAGE_BYTES + contents.len() as u64 - position;
    Stored {
        position,
        size,
        saved: cut.default_stored_length(size) - stored,
        cut,
        chunks,
    }
}

/// The image.
pub(crate) fn cut_and_moved() -> Parts {
    let mut numbers = Numbers(5);
    let noise = numbers.bytes(6000);
    let text = b"one line, and then another one like it\n".repeat(200);
    let dictionary = text[..1000].to_vec();
    let prepared = CDict::create(&dictionary, 9);
    let mut contents = Vec::new();

    // Stored ahead of all: two files in the other order, and one that others share.
    let mut ahead = Vec::new();
    for data in [&noise[..300], &noise[300..350], &noise[350..480]] {
        ahead.push(PAGE_BYTES + contents.len() as u64);
        contents.extend_from_slice(data);
        contents.extend_from_slice(&crc(data).to_le_bytes());
    }
    let first = PAGE_BYTES + contents.len() as u64;

    let mut again = Vec::new();
    let one = store(
        &[
            Piece::Own(&noise[..1500]),
            Piece::Zeros(700),
            Piece::Frame(&text, 1, Some(&prepared)),
            Piece::Own(&noise[1500..1600]),
        ],
        12,
        &mut contents,
    );
    again.extend_from_slice(&one.chunks);
    let two = store(
        &[
            Piece::Again(again[3]),
            Piece::Frame(&text[..900], 0, None),
            Piece::Again(again[2]),
            Piece::Again(again[0]),
            Piece::Own(&noise[2000..2009]),
            Piece::Again(again[2]),
        ],
        13,
        &mut contents,
    );
    let mut map = HoleMap::empty(9_000);
    map.push(1_000, 1_600);
    map.push(8_000, 500);
    let holes = store(
        &[Piece::Again(again[0]), Piece::Own(&noise[3000..3600])],
        12,
        &mut contents,
    );
    let all_shared = store(
        &[Piece::Again(two.chunks[4]), Piece::Again(again[0])],
        20,
        &mut contents,
    );

    let moved = |name: &[u8], size: u64, position: u64| Entry {
        place: Some(position),
        ..Entry::file(name, size)
    };
    let entries = vec![
        one.entry(b"cut"),
        Entry {
            place: Some(one.position),
            ..one.entry(b"cut, the same extent")
        },
        two.entry(b"cut, with chunks of the other"),
        Entry {
            size: 9_000,
            hole_bytes: 9_000 - 2_100,
            hole_map: 0,
            ..holes.entry(b"cut, with holes")
        },
        all_shared.entry(b"cut, without a chunk of its own"),
        moved(b"moved", 50, ahead[1]),
        moved(b"moved, too", 300, ahead[0]),
        moved(b"shared", 130, ahead[2]),
        moved(b"shared, the second", 130, ahead[2]),
    ];
    let mut image = Handmade::new(entries, contents);
    image.pages[0].position = first;
    image.dictionary(&dictionary, b".txt");
    image.blob(&map.encode());
    image.write()
}
