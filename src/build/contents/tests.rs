//! The pipeline against what its entries were made from.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use rustix::fs::fstat;

use super::*;
use crate::build::output::Output;
use crate::entry::Timestamp;
use crate::format::extent::Shape;
use crate::format::{PAGE_SIZE, volume};
use fixture::*;

#[path = "fixture.rs"]
mod fixture;

/// Packs `cases` with so many threads, checks all of it, and returns the volume.
fn check(fixture: &Fixture, cases: &[Case], threads: usize, memory: usize) -> Vec<u8> {
    check_with(fixture, cases, threads, memory, None)
}

/// The same; contents may be shared if there are `duplicates`.
fn check_with(
    fixture: &Fixture,
    cases: &[Case],
    threads: usize,
    memory: usize,
    mut duplicates: Option<Duplicates>,
) -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("volume{number}.data");
    let mut volumes = fixture.volumes(&name);
    let mut collected = Collected::default();
    let (list, options) = fixture.reading(memory, false, None);
    store_contents(
        list,
        fixture.openers(threads),
        &mut volumes,
        duplicates.as_mut(),
        options,
        &mut collected,
    )
    .unwrap();
    volumes.close_extents().unwrap().finish(None).unwrap();
    let volume = fs::read(fixture.directory.path().join(&name)).unwrap();
    let trailer = volume.last_chunk::<PAGE_SIZE>().unwrap();
    volume::decode_trailer(trailer, volume.len() as u64).unwrap();

    assert_eq!(collected.entries.len(), cases.len());
    let mut position = 4096;
    let mut known = HashMap::new();
    for ((case, entry), (name, placed)) in
        cases.iter().zip(&fixture.entries).zip(&collected.entries)
    {
        assert_eq!(entry.name, *name);
        let Some(expected) = case.expected() else {
            assert_eq!(*placed, None);
            continue;
        };
        let placed = placed.as_ref().unwrap();
        assert_eq!(placed.size, expected.len() as u64);
        let shared = known.get(expected).filter(|_| duplicates.is_some());
        assert_eq!(placed.shared, shared.is_some());
        assert_eq!(placed.position, shared.copied().unwrap_or(position));
        if !placed.shared {
            position += placed.stored;
        }
        if placed.size > 0 {
            known.entry(expected).or_insert(placed.position);
        }
        let start = usize::try_from(placed.position).unwrap();
        // Chunks of zeros are only those that the test makes: all of a file or none.
        if placed.saved == 0 {
            assert!(volume[start..start + expected.len()] == *expected);
        } else {
            assert!(expected.iter().all(|&byte| byte == 0));
            assert_eq!(placed.saved, placed.size);
        }
        if placed.size > 0 {
            let shape = Shape::new(placed.size, SHIFT);
            assert_eq!(placed.stored + placed.saved, shape.default_stored_length());
        }
    }
    let problems: Vec<_> = cases
        .iter()
        .zip(0..)
        .filter(|(case, _)| case.is_problem())
        .map(|(_, number)| format!("{number:06}: "))
        .collect();
    assert_eq!(collected.problems.len(), problems.len());
    for (found, expected) in collected.problems.iter().zip(problems) {
        assert!(found.contains(&expected), "{found}: {expected}");
    }
    volume
}

#[test]
fn contents_arrive_in_order_whatever_the_threads() {
    let cases = all_cases();
    let fixture = Fixture::new(&cases);
    let expected = check(&fixture, &cases, 1, 0);
    for (threads, memory) in [
        (1, 64 << 20),
        (2, 0),
        (2, 4 << 20),
        (3, 3 << 20),
        (7, 64 << 20),
    ] {
        let volume = check(&fixture, &cases, threads, memory);
        assert!(volume == expected, "{threads} threads, {memory} bytes");
    }
}

#[test]
fn equal_contents_are_stored_once_whatever_the_threads() {
    let cases = all_cases();
    let fixture = Fixture::new(&cases);
    let scratch = tempfile::tempdir().unwrap();
    let duplicates = |memory| Some(Duplicates::new(scratch.path(), memory, 100, SHIFT));
    let expected = check_with(&fixture, &cases, 1, 0, duplicates(1 << 20));
    // With no memory for what is known, nearly all of it is looked for on the disk.
    for (threads, memory, known) in [(1, 64 << 20, 0), (2, 0, 0), (7, 64 << 20, 1 << 20)] {
        let volume = check_with(&fixture, &cases, threads, memory, duplicates(known));
        assert!(volume == expected, "{threads} threads, {memory} bytes");
    }
    assert!(expected.len() < check(&fixture, &cases, 2, 4 << 20).len() / 2);
}

#[test]
fn contents_that_were_claimed_and_never_stored_are_compressed_all_the_same() {
    let text = |n: usize| format!("{n} of many lines\n").repeat(n * 700).into_bytes();
    let cases: Vec<_> = (0..40).map(|n| Case::File(text(n % 25))).collect();
    let fixture = Fixture::new(&cases);
    let scratch = tempfile::tempdir().unwrap();
    let volume = |name: &str, threads: usize, claimed: bool| {
        let mut duplicates = Duplicates::new(scratch.path(), 1 << 20, 100, SHIFT);
        let claims = duplicates.claims();
        if claimed {
            for n in 0..25 {
                assert!(claims.claim(&Digest::of(&text(n))));
            }
        }
        let mut volumes = fixture.volumes(name);
        let mut collected = Collected::default();
        let (list, mut options) = fixture.reading(8 << 20, true, None);
        options.codecs = Some(Arc::new(Codecs::plain(3).unwrap()));
        let openers = fixture.openers(threads);
        let known = Some(&mut duplicates);
        store_contents(list, openers, &mut volumes, known, options, &mut collected).unwrap();
        let shared = collected
            .entries
            .iter()
            .filter_map(|(_, placed)| placed.as_ref());
        assert_eq!(shared.filter(|placed| placed.shared).count(), 15 - 1);
        volumes.close_extents().unwrap().finish(None).unwrap();
        fs::read(fixture.directory.path().join(name)).unwrap()
    };
    let expected = volume("expected", 1, false);
    assert!(expected.len() < 200_000);
    assert!(volume("claimed", 1, true) == expected);
    assert!(volume("threads", 3, true) == expected);
}

#[test]
fn files_that_are_not_in_memory_arrive_in_order() {
    let cases: Vec<_> = (0..100)
        .map(|n| Case::File(bytes(n * 997 + 1, n)))
        .collect();
    let fixture = Fixture::new(&cases);
    for entry in &fixture.entries {
        let name = std::str::from_utf8(&entry.name).unwrap();
        let file = File::open(fixture.directory.path().join(name)).unwrap();
        file.sync_data().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    check(&fixture, &cases, 2, 4 << 20);
}

#[test]
fn no_entries_are_no_error() {
    let fixture = Fixture::new(&[]);
    check(&fixture, &[], 2, 0);
}

#[test]
fn strict_ends_at_the_first_problem() {
    let cases = [
        Case::File(bytes(10, 0)),
        Case::Gone(5),
        Case::File(bytes(10, 0)),
    ];
    let fixture = Fixture::new(&cases);
    let mut volumes = fixture.volumes("v.data");
    let mut collected = Collected::default();
    let error = fixture
        .run(&mut volumes, 2, 0, true, None, &mut collected)
        .unwrap_err();
    assert!(error.path().unwrap().ends_with("000001"));
    assert_eq!(collected.entries.len(), 1);
    assert_eq!(collected.problems, [""; 0]);
}

#[test]
fn an_error_of_the_entries_comes_behind_those_before_it() {
    let fixture = Fixture::new(&vec![Case::File(bytes(10, 0)); 1000]);
    let mut volumes = fixture.volumes("v.data");
    let mut collected = Collected::default();
    let end = Error::new(ErrorKind::Limit, "no more");
    let error = fixture
        .run(&mut volumes, 2, 0, false, Some(end), &mut collected)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(collected.entries.len(), 1000);
}

#[test]
fn an_error_of_the_receiver_ends_all_threads() {
    let cases = all_cases();
    let fixture = Fixture::new(&cases);
    for (fail_after, threads) in [(0, 1), (1, 4), (610, 4), (650, 2)] {
        let mut volumes = fixture.volumes(&format!("v{fail_after}.data"));
        let mut collected = Collected {
            fail_after: Some(fail_after),
            ..Collected::default()
        };
        let error = fixture
            .run(&mut volumes, threads, 8 << 20, false, None, &mut collected)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfOrder);
        assert_eq!(collected.entries.len(), fail_after);
    }
}

#[test]
fn progress_is_told_of_large_files() {
    let size = 2 * batch_bytes(SHIFT) + 7;
    let fixture = Fixture::new(&[Case::File(bytes(size, 3)), Case::File(bytes(9, 0))]);
    let mut volumes = fixture.volumes("v.data");
    let mut collected = Collected::default();
    fixture
        .run(&mut volumes, 2, 0, false, None, &mut collected)
        .unwrap();
    assert_eq!(collected.progress, size as u64);
}

#[test]
fn holes_are_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(8 << 30).unwrap();
    file.write_all_at(b"x", 3 << 30).unwrap();
    let stat = fstat(&file).unwrap();
    let entry = Entry {
        name: b"sparse".to_vec(),
        tree: true,
        size: 8 << 30,
        mtime: Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap(),
        },
        spool: None,
    };
    let fixture = Fixture {
        directory,
        entries: vec![entry],
        spool: Arc::new(tempfile::tempfile().unwrap()),
    };
    let mut volumes = fixture.volumes("v.data");
    let mut collected = Collected::default();
    fixture
        .run(&mut volumes, 2, 8 << 20, false, None, &mut collected)
        .unwrap();
    let placed = collected.entries[0].1.as_ref().unwrap();
    assert_eq!(placed.size, 8 << 30);
    assert_eq!(placed.saved, (8 << 30) - CHUNK as u64);
    assert_eq!(collected.problems, [""; 0]);
}

#[test]
fn memory_bounds_what_is_read_ahead() {
    /// Counts how far ahead of the receiver entries are taken.
    struct Counting<'a>(List, &'a AtomicUsize);
    impl Entries for Counting<'_> {
        type Entry = Entry;
        fn blank() -> Entry {
            Entry::default()
        }
        fn next(&mut self, into: &mut Entry) -> Result<bool> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.next(into)
        }
        fn path(entry: &Entry) -> Vec<u8> {
            List::path(entry)
        }
        fn work(entry: &Entry) -> Work<'_> {
            List::work(entry)
        }
        fn memory(entry: &Entry) -> usize {
            List::memory(entry)
        }
        fn room(entry: &Entry) -> usize {
            List::room(entry)
        }
    }
    struct Slow<'a>(&'a AtomicUsize, usize, usize);
    impl Receiver<Entry> for Slow<'_> {
        fn stored(&mut self, _: &mut Entry, _: Option<Placed>) -> Result<()> {
            thread::yield_now();
            self.1 += 1;
            self.2 = self.2.max(self.0.load(Ordering::SeqCst) - self.1);
            Ok(())
        }
        fn problem(&mut self, error: &Error) {
            panic!("{error}");
        }
    }
    let half = batch_bytes(SHIFT) / 2;
    let fixture = Fixture::new(&vec![Case::File(bytes(half, 0)); 64]);
    let taken = AtomicUsize::new(0);
    let mut receiver = Slow(&taken, 0, 0);
    let memory = 4 * (batch_bytes(SHIFT) + ENTRY_MEMORY);
    store_contents(
        Counting(List(fixture.entries.clone().into_iter(), None), &taken),
        (0..3)
            .map(|_| Opener(fixture.directory.path().to_path_buf()))
            .collect(),
        &mut fixture.volumes("v.data"),
        None,
        ContentOptions {
            root: PathBuf::new(),
            spool: None,
            memory,
            table_memory: 64 << 20,
            strict: true,
            codecs: None,
            cutting: None,
            lengths: None,
            small_frames: None,
        },
        &mut receiver,
    )
    .unwrap();
    // Two files in each of four batches, and one that did not fit.
    assert!(receiver.2 <= 4 * 2 + 1, "{}", receiver.2);
    assert_eq!(receiver.1, 64);
}

#[test]
fn a_panic_of_a_worker_is_passed_on() {
    struct Panicking;
    impl OpenFile for Panicking {
        fn open(&mut self, _: &[u8], _: &[u8]) -> Result<File> {
            panic!("on purpose");
        }
    }
    let fixture = Fixture::new(&[Case::File(bytes(10, 0))]);
    let result = std::panic::catch_unwind(|| {
        store_contents(
            List(fixture.entries.clone().into_iter(), None),
            vec![Panicking, Panicking],
            &mut fixture.volumes("v.data"),
            None,
            ContentOptions {
                root: PathBuf::new(),
                spool: None,
                memory: 0,
                table_memory: 64 << 20,
                strict: false,
                codecs: None,
                cutting: None,
                lengths: None,
                small_frames: None,
            },
            &mut Collected::default(),
        )
    });
    assert!(result.is_err());
}

#[test]
fn a_short_scratch_file_ends_the_build() {
    for size in [10, 2 * batch_bytes(SHIFT)] {
        let mut fixture = Fixture::new(&[Case::Spooled(bytes(size, 0))]);
        fixture.spool = Arc::new(tempfile::tempfile().unwrap());
        let mut volumes = fixture.volumes("v.data");
        let mut collected = Collected::default();
        let error = fixture
            .run(&mut volumes, 1, 0, false, None, &mut collected)
            .unwrap_err();
        assert_eq!(error.path(), Some(Path::new("000000")));
        assert_eq!(collected.entries.len(), 0);
    }
}

#[test]
fn a_lack_of_open_files_ends_the_build() {
    struct Exhausted;
    impl OpenFile for Exhausted {
        fn open(&mut self, _: &[u8], _: &[u8]) -> Result<File> {
            Err(Error::new(ErrorKind::Source, "cannot open").caused_by(Errno::MFILE))
        }
    }
    for size in [10, 2 * batch_bytes(SHIFT)] {
        let fixture = Fixture::new(&[Case::File(bytes(size, 0))]);
        let result = store_contents(
            List(fixture.entries.clone().into_iter(), None),
            vec![Exhausted],
            &mut fixture.volumes("v.data"),
            None,
            ContentOptions {
                root: "/src".into(),
                spool: None,
                memory: 0,
                table_memory: 64 << 20,
                strict: false,
                codecs: None,
                cutting: None,
                lengths: None,
                small_frames: None,
            },
            &mut Collected::default(),
        );
        let error = result.unwrap_err();
        assert_eq!(error.path(), Some(Path::new("/src/000000")));
        assert!(error.to_string().contains("ulimit"), "{error}");
    }
}

#[test]
fn workers_share_the_open_files() {
    let ahead = |limit| [1, 2, 32, 64, 512, 1024].map(|workers| files_ahead(workers, limit));
    assert_eq!(ahead(usize::MAX), [16, 16, 16, 8, 1, 1]);
    assert_eq!(ahead(1024), [16, 16, 8, 4, 1, 1]);
    assert_eq!(ahead(20), [5, 2, 1, 1, 1, 1]);
}

#[path = "cut_tests.rs"]
mod cut;
