//! Volumes read back with nothing but the format's own parsers.
#![expect(
    clippy::cast_possible_truncation,
    reason = "what these tests write is small"
)]

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::build::volume_writer::BUFFER;
use crate::format::checksum::crc;
use crate::format::extent::TableBlock;
use crate::format::volume::{decode_header, decode_trailer};

const UUID: Uuid = [7; 16];
const SHIFT: u32 = 12;
const CHUNK: usize = 1 << SHIFT;

fn outputs(directory: &Path, count: usize) -> Vec<Output> {
    (0..count)
        .map(|number| {
            let path = directory.join(number.to_string());
            let file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            Output::new(Arc::new(file.unwrap()), path)
        })
        .collect()
}

/// What a test does with one file.
#[derive(Debug, Clone)]
struct Plan {
    /// For each chunk whether it is zeros.
    zeros: Vec<bool>,
    last: usize,
    /// Given up half-way.
    dropped: bool,
    streamed: bool,
}

impl Plan {
    fn contents(&self, seed: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, &zero) in self.zeros.iter().enumerate() {
            let full = number + 1 < self.zeros.len();
            let length = if full { CHUNK } else { self.last };
            let byte = if zero { 0 } else { seed | 1 };
            bytes.resize(bytes.len() + length, byte);
            if let (Some(last), false) = (bytes.last_mut(), zero) {
                *last = number as u8;
            }
        }
        bytes
    }
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let sizes = prop_oneof![
        8 => 0..2usize,
        4 => 2..5usize,
        1 => 300..600usize,
    ];
    let plan = (sizes, 1..=CHUNK, any::<u64>(), 0..8u8, any::<bool>()).prop_map(
        |(chunks, last, bits, dropped, streamed)| Plan {
            zeros: (0..chunks).map(|n| bits >> (n % 64) & 1 == 1).collect(),
            last,
            dropped: dropped == 0,
            streamed,
        },
    );
    prop::collection::vec(plan, 0..12)
}

fn write(volumes: &mut VolumeSet, plan: &Plan, contents: &[u8]) -> Option<Placed> {
    if !plan.streamed && !plan.dropped && contents.len() <= CHUNK {
        return Some(
            volumes
                .append_small(&StoredChunk::raw(contents, crc(contents)))
                .unwrap(),
        );
    }
    let mut file = volumes.begin_file(contents.len() as u64).unwrap();
    for (chunk, &zero) in contents.chunks(CHUNK).zip(&plan.zeros) {
        if zero {
            file.chunk(&StoredChunk::zeros(chunk.len())).unwrap();
        } else {
            file.chunk(&StoredChunk::raw(chunk, crc(chunk))).unwrap();
        }
    }
    if plan.dropped {
        return None;
    }
    Some(file.finish().unwrap())
}

/// The contents of an extent, with every checksum checked.
fn read(extent: &[u8], placed: &Placed) -> Vec<u8> {
    let shape = Shape::new(placed.size, SHIFT);
    if !shape.has_table() {
        let (contents, sum) = extent.split_at(placed.size as usize);
        assert_eq!(sum, crc(contents).to_le_bytes());
        return contents.to_vec();
    }
    let (chunks, mut table) = extent.split_at(extent.len() - shape.table_length() as usize);
    let mut contents = Vec::new();
    let mut block = 0;
    while !table.is_empty() {
        let (bytes, rest) = table.split_at(shape.block_length(block) as usize);
        let decoded = TableBlock::decode(bytes, &shape, block, chunks.len() as u64, true).unwrap();
        let mut at = decoded.offset as usize;
        for (chunk, number) in decoded.chunks.iter().zip(decoded.first..) {
            let stored = &chunks[at..at + chunk.stored as usize];
            at += stored.len();
            if stored.is_empty() {
                let length = contents.len() + shape.chunk_length(number) as usize;
                contents.resize(length, 0);
            } else {
                assert_eq!(crc(stored), chunk.crc);
                contents.extend_from_slice(stored);
            }
        }
        table = rest;
        block += 1;
    }
    contents
}

fn page(bytes: &[u8], at: usize) -> &[u8; PAGE_SIZE] {
    bytes[at..at + PAGE_SIZE].try_into().unwrap()
}

fn check(plans: &[Plan], count: usize, with_index: bool) {
    let directory = tempfile::tempdir().unwrap();
    let files = outputs(directory.path(), count);
    let contents: Vec<_> = (0u8..).zip(plans).map(|(n, p)| p.contents(n)).collect();
    let expected = contents
        .iter()
        .map(|c| default_stored_length(c.len() as u64, SHIFT))
        .sum();
    let mut volumes = VolumeSet::begin(files.clone(), UUID, SHIFT, expected).unwrap();
    let placed: Vec<_> = plans
        .iter()
        .zip(&contents)
        .map(|(plan, contents)| write(&mut volumes, plan, contents))
        .collect();
    let closed = volumes.close_extents().unwrap();
    let spans = closed.spans();
    let index_bytes: Vec<u8> = (0..3 * BUFFER / 2).map(|n| (n / 4096) as u8).collect();
    let path = directory.path().join("index");
    std::fs::write(&path, &index_bytes).unwrap();
    let index = Output::new(Arc::new(File::open(&path).unwrap()), path);
    let layouts = closed.finish(with_index.then_some(&index)).unwrap();
    assert_eq!((spans.len(), layouts.len()), (count, count));

    let bytes: Vec<_> = files
        .iter()
        .map(|f| std::fs::read(f.path()).unwrap())
        .collect();
    for (number, bytes) in bytes.iter().enumerate() {
        let identity = Identity {
            uuid: UUID,
            number: number as u32,
            count: count as u32,
        };
        let length = bytes.len();
        assert_eq!(decode_header(page(bytes, 0)).unwrap(), identity);
        let trailer = decode_trailer(page(bytes, length - PAGE_SIZE), length as u64).unwrap();
        assert_eq!(trailer, (identity, layouts[number]));
        let layout = layouts[number];
        let start = number.checked_sub(1).map_or(0, |before| spans[before].end);
        assert_eq!(spans[number].start, start);
        assert_eq!(spans[number].end - start, layout.extents_end);
        let copy = layout.index_offset as usize;
        if with_index && number == 0 {
            assert_eq!(&bytes[copy..copy + index_bytes.len()], index_bytes);
        } else {
            assert_eq!((copy, layout.index_length), (0, 0));
        }
        let end = layout.extents_end as usize;
        let padding = &bytes[end..end.next_multiple_of(PAGE_SIZE)];
        assert!(padding.iter().all(|&byte| byte == 0));
    }
    // Every extent is where the one before ends, or first in its volume.
    let mut next = PAGE_BYTES;
    let mut volume = 0;
    for (placed, contents) in placed.iter().zip(&contents) {
        let Some(placed) = placed else { continue };
        assert_eq!(placed.size, contents.len() as u64);
        if contents.is_empty() {
            assert_eq!(placed.stored, 0);
            continue;
        }
        assert_eq!(
            placed.stored + placed.saved,
            default_stored_length(placed.size, SHIFT)
        );
        let number = spans.partition_point(|span| span.end <= placed.position);
        assert!(number >= volume);
        if number > volume {
            volume = number;
            next = spans[volume].start + PAGE_BYTES;
        }
        assert_eq!(placed.position, next);
        next += placed.stored;
        let at = (placed.position - spans[volume].start) as usize;
        let extent = &bytes[volume][at..at + placed.stored as usize];
        assert!(read(extent, placed) == *contents);
    }
    assert_eq!(next, spans[volume].end);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_went_in_comes_out(plans in plans(), count in 1..5usize, with_index: bool) {
        check(&plans, count, with_index);
    }
}

fn begin(directory: &Path, count: usize, expected: u64) -> VolumeSet {
    VolumeSet::begin(outputs(directory, count), UUID, SHIFT, expected).unwrap()
}

/// The sizes that the volumes end up with, header pages not counted.
fn sizes(files: &[u64], count: usize) -> Vec<u64> {
    let directory = tempfile::tempdir().unwrap();
    let expected = files.iter().map(|&f| default_stored_length(f, SHIFT)).sum();
    let mut volumes = begin(directory.path(), count, expected);
    for &size in files {
        let contents = vec![1; size as usize];
        volumes
            .append_small(&StoredChunk::raw(&contents, crc(&contents)))
            .unwrap();
    }
    let spans = volumes.close_extents().unwrap().spans();
    spans
        .iter()
        .map(|span| span.end - span.start - PAGE_BYTES)
        .collect()
}

#[test]
fn volumes_are_balanced() {
    assert_eq!(sizes(&[96; 12], 4), [300; 4]);
    assert_eq!(sizes(&[96; 5], 4), [100, 100, 100, 200]);
    // One huge file leaves the rest to the others in equal parts.
    assert_eq!(
        sizes(&[3996, 96, 96, 96, 96, 96, 96], 4),
        [4000, 200, 200, 200]
    );
    // A file goes where its middle lies.
    assert_eq!(sizes(&[46, 46, 8], 2), [50, 62]);
    assert_eq!(sizes(&[96], 3), [100, 0, 0]);
    assert_eq!(sizes(&[], 2), [0, 0]);
}

#[test]
fn a_dropped_file_is_overwritten_across_buffers() {
    let directory = tempfile::tempdir().unwrap();
    let outputs = outputs(directory.path(), 1);
    let mut volumes = VolumeSet::begin(outputs.clone(), UUID, SHIFT, 0).unwrap();
    volumes
        .append_small(&StoredChunk::raw(b"before", crc(b"before")))
        .unwrap();
    let chunk = [0xee; CHUNK];
    let mut file = volumes.begin_file(0).unwrap();
    for _ in 0..3 * BUFFER / CHUNK {
        file.chunk(&StoredChunk::raw(&chunk, crc(&chunk))).unwrap();
    }
    drop(file);
    let placed = volumes
        .append_small(&StoredChunk::raw(b"behind", crc(b"behind")))
        .unwrap();
    assert_eq!(placed.position, PAGE_BYTES + 10);
    let layout = volumes.close_extents().unwrap().finish(None).unwrap()[0];
    assert_eq!(
        (layout.extents_end, layout.file_length),
        (PAGE_BYTES + 20, 3 * PAGE_BYTES)
    );
    let bytes = std::fs::read(outputs[0].path()).unwrap();
    assert_eq!(bytes.len(), 3 * PAGE_SIZE);
    assert_eq!(&bytes[PAGE_SIZE + 10..PAGE_SIZE + 16], b"behind");
    assert!(!bytes.contains(&0xee));
}

#[test]
fn reserved_space_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = begin(directory.path(), 2, 64 << 20);
    let blocks = |name| {
        let path = directory.path().join(name);
        std::fs::metadata(path).unwrap().blocks() * 512
    };
    if blocks("0") < 32 << 20 {
        println!("SKIPPED reserved_space_is_given_back: this file system reserves nothing");
        return;
    }
    assert!(blocks("1") >= 32 << 20);
    volumes.close_extents().unwrap().finish(None).unwrap();
    for name in ["0", "1"] {
        assert!(blocks(name) <= 4 * PAGE_BYTES, "{}", blocks(name));
    }
}

#[test]
fn a_device_that_is_too_small_is_noticed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let outputs = outputs(directory.path(), 2);
    let error = VolumeSet::begin(outputs, UUID, SHIFT, 1 << 50).unwrap_err();
    assert!(
        error.is_out_of_space() || error.kind() == ErrorKind::Limit,
        "{error}"
    );
    assert_eq!(error.path(), Some(directory.path().join("0").as_path()));
}

#[test]
fn a_full_device_is_named() {
    let full = match File::options().read(true).write(true).open("/dev/full") {
        Ok(file) => Output::new(Arc::new(file), "/dev/full".into()),
        Err(e) => return println!("SKIPPED a_full_device_is_named: /dev/full: {e}"),
    };
    let identity = Identity {
        uuid: UUID,
        number: 0,
        count: 1,
    };
    let mut volume = VolumeWriter::begin(full, identity, 0);
    let error = volume.append(&vec![1; BUFFER]).unwrap_err();
    assert!(error.is_out_of_space());
    assert_eq!(error.path(), Some(Path::new("/dev/full")));
}

#[test]
fn refuses_what_does_not_fit_the_format() {
    let directory = tempfile::tempdir().unwrap();
    let mut volumes = begin(directory.path(), 1, 0);
    let long = vec![1; CHUNK + 1];
    assert!(
        volumes
            .append_small(&StoredChunk::raw(&long, crc(&long)))
            .is_err()
    );
    let mut file = volumes.begin_file(9000).unwrap();
    assert!(file.chunk(&StoredChunk::raw(&long, crc(&long))).is_err());
    assert!(file.chunk(&StoredChunk::raw(&[], 0)).is_err());
    assert!(file.chunk(&StoredChunk::zeros(CHUNK + 1)).is_err());
    file.chunk(&StoredChunk::raw(&[1; 5], crc(&[1; 5])))
        .unwrap();
    let behind_a_short_one = file.chunk(&StoredChunk::raw(&[1; 5], crc(&[1; 5])));
    assert_eq!(
        behind_a_short_one.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    drop(file);
    assert!(VolumeSet::begin(Vec::new(), UUID, SHIFT, 0).is_err());
    // An index that is no whole number of pages.
    let path = directory.path().join("index");
    std::fs::write(&path, [1; 100]).unwrap();
    let index = Output::new(Arc::new(File::open(&path).unwrap()), path.clone());
    let error = volumes
        .close_extents()
        .unwrap()
        .finish(Some(&index))
        .unwrap_err();
    assert_eq!(error.path(), Some(path.as_path()));
}
