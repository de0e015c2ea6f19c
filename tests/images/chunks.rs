//! A small image with contents of several chunks, chunks of zeros, and holes.

use super::Parts;
use super::every_kind::Numbers;
use super::handmade::{Entry, Handmade};
use dgfs::format::checksum::crc;
use dgfs::format::extent::{Chunk, TableBlock};
use dgfs::format::holes::HoleMap;

/// Bytes of a chunk in this image: the smallest there may be.
const CHUNK: usize = 4096;

/// Appends the extent of `data`; returns how much shorter it is for its chunks of zeros.
fn store(data: &[u8], contents: &mut Vec<u8>) -> u64 {
    if data.is_empty() {
        return 0;
    }
    if data.len() <= CHUNK {
        contents.extend_from_slice(data);
        contents.extend_from_slice(&crc(data).to_le_bytes());
        return 0;
    }
    let mut saved = 0;
    let mut chunks = Vec::new();
    for bytes in data.chunks(CHUNK) {
        if bytes.iter().all(|&byte| byte == 0) {
            saved += bytes.len() as u64;
            chunks.push(Chunk { stored: 0, crc: 0 });
        } else {
            let stored = bytes.len() as u32;
            contents.extend_from_slice(bytes);
            chunks.push(Chunk {
                stored,
                crc: crc(bytes),
            });
        }
    }
    let (first, offset) = (0, 0);
    TableBlock {
        first,
        offset,
        chunks,
    }
    .encode_into(contents);
    saved
}

/// The image.
pub(crate) fn chunks_and_holes() -> Parts {
    let mut numbers = Numbers(2);
    let mut contents = Vec::new();
    let mut entries = Vec::new();
    let noise = numbers.bytes(2 * CHUNK);
    let zeros = vec![0; CHUNK];
    let mut add = |name: &[u8], data: &[u8], hole_bytes: u64, hole_map: u64| {
        let saved = store(data, &mut contents);
        let size = data.len() as u64 + hole_bytes;
        entries.push(Entry {
            hole_bytes,
            hole_map,
            saved,
            ..Entry::file(name, size)
        });
    };
    let mut map = HoleMap::empty(100_000);
    map.push(10_000, 5_000);
    map.push(90_000, 10_000 - 8);
    let second = 8 + map.encode().len() as u64;
    let mut small = HoleMap::empty(64);
    small.push(0, 10);
    small.push(30, 20);
    add(
        b"chunks",
        &[&noise, zeros.as_slice(), &noise[..9]].concat(),
        0,
        0,
    );
    add(b"hole", &[], 50_000, 0);
    add(
        b"holes",
        &[&noise[..6_000], &zeros[..], &zeros[..], &noise[..800]].concat(),
        100_000 - 14_992,
        0,
    );
    add(b"one chunk", &noise[..CHUNK], 0, 0);
    add(b"small holes", &noise[..30], 34, second);
    add(b"zeros", &[zeros.as_slice(), &zeros, &[0]].concat(), 0, 0);
    let mut image = Handmade::new(entries, contents);
    image.blob(&map.encode());
    image.blob(&small.encode());
    image.write()
}
