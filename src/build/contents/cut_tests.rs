//! Files that are cut by content, through the pipeline and back.

use super::*;
use crate::build::contents::cutter;
use crate::build::contents::{Claims, Cutter};
use crate::build::known_chunks::KnownChunks;
use crate::format::PAGE_BYTES;
use crate::format::checksum::crc;
use crate::format::cut::{CutBlock, CutFile, largest_chunk};
use std::collections::HashSet;

/// What a volume, the only one and without frames, has for `placed`.
fn read_back(volume: &[u8], placed: &Placed) -> Vec<u8> {
    let at = |position: u64| usize::try_from(position).unwrap();
    let start = at(placed.position);
    let Some(cut) = placed.cut else {
        if placed.saved > 0 {
            return vec![0; at(placed.size)];
        }
        return volume[start..start + at(placed.size)].to_vec();
    };
    let file = CutFile {
        cut,
        size: placed.size,
        position: placed.position,
        stored: placed.stored,
        largest: largest_chunk(SHIFT),
        compressed: false,
    };
    assert_eq!(
        placed.stored + placed.saved,
        cut.default_stored_length(placed.size)
    );
    let table = at(placed.position + file.own_bytes());
    let mut data = Vec::new();
    let mut before: Option<CutBlock> = None;
    for number in 0..cut.blocks(placed.size) {
        let start = table + at(number * PAGE_BYTES);
        let end = start + cut.block_length(placed.size, number);
        let block = CutBlock::decode(&volume[start..end], &file, number).unwrap();
        assert!(before.is_none_or(|before| block.follows(&before)));
        let filled = data.len() as u64;
        for chunk in block.chunks.iter().filter(|chunk| chunk.start >= filled) {
            let stored = at(chunk.chunk.position)..;
            let stored = &volume[stored][..chunk.chunk.stored as usize];
            assert_eq!(crc(stored), chunk.chunk.crc);
            data.extend_from_slice(stored);
            data.resize(at(chunk.end()), 0);
        }
        before = Some(block);
    }
    data
}

fn cutting(scratch: &Path, memory: usize) -> Cutting {
    Cutting {
        cutter: Cutter::new(SHIFT),
        known: Arc::new(KnownChunks::new(scratch, memory, 100)),
    }
}

/// Packs `cases`, reads all of it back, and returns the volume.
fn check(
    fixture: &Fixture,
    cases: &[Case],
    threads: usize,
    memory: usize,
    known: usize,
) -> Vec<u8> {
    let name = format!("cut{threads} {memory} {known}.data");
    let mut volumes = fixture.volumes(&name);
    let mut collected = Collected::default();
    let (list, mut options) = fixture.reading(memory, false, None);
    let scratch = fixture.directory.path();
    options.cutting = Some(cutting(scratch, known));
    let mut duplicates = Duplicates::new(scratch, known, 100, SHIFT);
    store_contents(
        list,
        fixture.openers(threads),
        &mut volumes,
        Some(&mut duplicates),
        options,
        &mut collected,
    )
    .unwrap();
    volumes.close_extents().unwrap().finish(None).unwrap();
    let volume = fs::read(scratch.join(&name)).unwrap();
    let mut position = PAGE_BYTES;
    let mut seen = HashSet::new();
    for (case, (_, placed)) in cases.iter().zip(&collected.entries) {
        let (Some(expected), Some(placed)) = (case.expected(), placed) else {
            assert!(placed.is_none());
            continue;
        };
        // One that has lost its end is cut although it has become a single chunk.
        let is_cut = placed.cut.is_some();
        assert!(is_cut || expected.len() <= CHUNK);
        assert!(read_back(&volume, placed) == expected);
        if !placed.shared {
            assert_eq!(placed.position, position);
            position += placed.stored;
        }
        if !expected.is_empty() {
            // Whole files are shared as ever, however they were read.
            assert_eq!(placed.shared, !seen.insert((is_cut, expected)));
        }
    }
    volume
}

#[test]
fn files_cut_by_content_come_back_whatever_the_threads() {
    let mut cases = all_cases();
    let base = cutter::tests::noise(5 * batch_bytes(SHIFT), 1);
    for skip in [0, 1, 70_000, 600_000] {
        cases.push(Case::File(base[skip..].to_vec()));
        cases.push(Case::File(base[skip..][..200_000].to_vec()));
        cases.push(Case::Resized(
            base[..900_000].to_vec(),
            2_000_000 + skip as u64,
        ));
    }
    let fixture = Fixture::new(&cases);
    let expected = check(&fixture, &cases, 1, 0, 1 << 20);
    for (threads, memory, known) in [(1, 64 << 20, 0), (3, 0, 0), (7, 64 << 20, 1 << 20)] {
        let volume = check(&fixture, &cases, threads, memory, known);
        assert!(volume == expected, "{threads} threads, {memory} bytes");
    }
}

#[test]
fn of_a_file_that_is_taken_back_nothing_is_shared() {
    let base = cutter::tests::noise(1 << 20, 2);
    let fixture = Fixture::new(&[]);
    let cutting = cutting(fixture.directory.path(), 1 << 20);
    let sources = Sources {
        spool: None,
        chunk_shift: SHIFT,
        files_ahead: 1,
        codecs: None,
        claims: Some(Arc::new(Claims::new(0, 0))),
        cutting: Some(cutting.clone()),
        lengths: None,
        small_frames: None,
    };
    let mut volumes = fixture.volumes("v.data");
    let placed = thread::scope(|scope| {
        let mut store = CutStore::new(scope, &sources, 2, 1 << 20).unwrap();
        let mut put = |from: usize, to: usize, fails: bool| {
            let mut file = volumes.begin_cut_file(1 << 20, SHIFT).unwrap();
            let mut chunks = store.begin(0, &cutting).unwrap();
            for piece in base[from..to].chunks(100_000) {
                chunks.push(piece, &mut file).unwrap();
            }
            if fails {
                chunks.abandon().unwrap();
                assert!(file.has_own());
                cutting.take_back(&file);
                return None;
            }
            chunks.finish(&mut file).unwrap();
            Some(file.finish().unwrap())
        };
        let first = put(0, 300_000, false);
        assert_eq!(put(200_000, 800_000, true), None);
        // Other bytes where the chunks of that file were.
        let second = put(700_000, 1 << 20, false);
        let third = put(0, 1 << 20, false);
        [
            (first, 0..300_000),
            (second, 700_000..1 << 20),
            (third, 0..1 << 20),
        ]
    });
    volumes.close_extents().unwrap().finish(None).unwrap();
    let volume = fs::read(fixture.directory.path().join("v.data")).unwrap();
    for (placed, range) in placed {
        assert!(read_back(&volume, &placed.unwrap()) == base[range]);
    }
}
