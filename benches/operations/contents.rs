//! Contents of files, decompressed.

#![expect(
    clippy::unwrap_used,
    reason = "contents that cannot be compressed or read leave nothing to measure"
)]

use dgfs::format::frame::{ContentEncoder, decode_exactly};
use divan::Bencher;
use divan::counter::BytesCount;
use std::fs;
use std::path::{Path, PathBuf};
use zstd_safe::{CDict, DDict};

/// Bytes of a small file.
const FILE: usize = 8192;

/// Bytes of a dictionary, as the builder makes them.
const DICTIONARY: usize = 256 << 10;

/// Zstd level.
const LEVEL: i32 = 9;

/// The sources of this crate one after the other: text as people write it.
fn text() -> Vec<u8> {
    let mut pending = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path: &PathBuf| fs::read::<&Path>(path).unwrap();
    files.iter().flat_map(read).collect()
}

/// A file of 8 KiB, of a codec with a dictionary or without. The files are those behind the dictionary, in turn.
fn decompress(bencher: Bencher<'_, '_>, has_dictionary: bool) {
    let text = text();
    let (shared, files) = text.split_at(DICTIONARY);
    let (prepared, loaded) = (CDict::create(shared, LEVEL), DDict::create(shared));
    let mut encoder = ContentEncoder::new(LEVEL).unwrap();
    let frames: Vec<Vec<u8>> = files
        .chunks_exact(FILE)
        .map(|file| {
            let dictionary = has_dictionary.then_some(&prepared);
            encoder.encode(file, dictionary).unwrap().to_vec()
        })
        .collect();
    let dictionary = has_dictionary.then_some(&loaded);
    let mut out = vec![0; FILE];
    let mut frames = frames.iter().cycle();
    bencher.counter(BytesCount::new(FILE)).bench_local(|| {
        decode_exactly(frames.next().unwrap(), dictionary, &mut out).unwrap();
    });
}

#[divan::bench(name = "decompress 8 KiB with dictionary")]
fn with_dictionary(bencher: Bencher<'_, '_>) {
    decompress(bencher, true);
}

#[divan::bench(name = "decompress 8 KiB")]
fn without_dictionary(bencher: Bencher<'_, '_>) {
    decompress(bencher, false);
}
