//! A small image with contents as frames: of one chunk and of several, with a dictionary and without.

use super::Parts;
use super::every_kind::Numbers;
use super::handmade::{Entry, Handmade};
use dgfs::format::checksum::crc;
use dgfs::format::codec::{Codec, Dictionary, Section};
use dgfs::format::extent::{Chunk, TableBlock};
use dgfs::format::frame::ContentEncoder;
use zstd_safe::CDict;

/// Bytes of a chunk in this image.
const CHUNK: usize = 4096;

/// What the files of the second codec share.
const SHARED: &[u8] =
    b"{\"kind\": \"record\", \"comment\": \"what all of them have in common\", \"value\": ";

/// Appends the extent of `data`, a frame for each chunk that gets shorter by it; returns how much shorter it is.
fn store(data: &[u8], dictionary: Option<&CDict<'static>>, contents: &mut Vec<u8>) -> u64 {
    let mut encoder = ContentEncoder::new(9).unwrap();
    let mut chunks = Vec::new();
    let mut saved = 0;
    for bytes in data.chunks(CHUNK) {
        let frame = encoder.encode(bytes, dictionary).unwrap();
        let stored = if frame.len() < bytes.len() {
            frame
        } else {
            bytes
        };
        contents.extend_from_slice(stored);
        saved += (bytes.len() - stored.len()) as u64;
        chunks.push(Chunk {
            stored: stored.len() as u32,
            crc: crc(stored),
        });
    }
    match &chunks[..] {
        [only] => contents.extend_from_slice(&only.crc.to_le_bytes()),
        _ => TableBlock {
            first: 0,
            offset: 0,
            chunks,
        }
        .encode_into(contents),
    }
    saved
}

/// An image with one `file` of so many bytes, whose frame needs the dictionary that is stored so and is said to have
/// `length` bytes.
pub(crate) fn with_dictionary(stored: &[u8], length: usize, frame: &[u8], file: usize) -> Parts {
    let contents = [frame, &crc(frame).to_le_bytes()].concat();
    let entry = Entry {
        saved: file.saturating_sub(frame.len()) as u64,
        codec: 1,
        ..Entry::file(b"file", (file.max(frame.len())) as u64)
    };
    let dictionary = Dictionary {
        offset: 0,
        stored: stored.len() as u32,
        crc: crc(stored),
        length: length as u32,
    };
    let codecs = [
        Codec::default(),
        Codec {
            dictionary: Some(dictionary),
        },
    ];
    let mut image = Handmade::new(vec![entry], contents);
    image.sections = Section::of_codecs(&codecs, stored.to_vec(), &[]);
    image.write()
}

/// The image.
pub(crate) fn compressed() -> Parts {
    let mut numbers = Numbers(3);
    let mut contents = Vec::new();
    let mut entries = Vec::new();
    let dictionary = SHARED.repeat(3);
    let prepared = CDict::create(&dictionary, 9);
    let noise = numbers.bytes(CHUNK);
    let text = b"a line of text, and another one\n".repeat(300);
    let record = [SHARED, b"17}\n"].concat();
    let mixed = [&text[..CHUNK], &noise, &text[..9]].concat();
    for (name, data, codec) in [
        (&b"chunks"[..], &text[..], 0),
        (b"chunks with a dictionary", &text[..2 * CHUNK], 1),
        (b"mixed", &mixed, 0),
        (b"noise", &noise[..200], 0),
        (b"record", &record, 1),
        (b"text", &text[..1000], 0),
    ] {
        let saved = store(data, (codec == 1).then_some(&prepared), &mut contents);
        entries.push(Entry {
            saved,
            codec,
            ..Entry::file(name, data.len() as u64)
        });
    }
    let mut image = Handmade::new(entries, contents);
    image.dictionary(&dictionary, b".json");
    image.write()
}
