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

const SHIFT: u32 = 12;
const CHUNK: usize = 1 << SHIFT;

/// What the source holds under a name, and what was listed.
#[derive(Debug, Clone)]
enum Case {
    Nothing,
    File(Vec<u8>),
    Spooled(Vec<u8>),
    /// Contents now, and the length they had.
    Resized(Vec<u8>, u64),
    Touched(Vec<u8>),
    /// It vanished, when it was so long.
    Gone(u64),
    /// A directory stands there, which opens but cannot be read.
    Unreadable(u64),
}

impl Case {
    /// What is to be packed; `None` if there is nothing to read.
    fn expected(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::File(bytes) | Self::Spooled(bytes) | Self::Touched(bytes) => Some(bytes),
            Self::Resized(bytes, listed) => {
                let listed = usize::try_from(*listed).unwrap();
                Some(&bytes[..bytes.len().min(listed)])
            }
            Self::Gone(_) | Self::Unreadable(_) => Some(&[]),
        }
    }

    fn is_problem(&self) -> bool {
        !matches!(self, Self::Nothing | Self::File(_) | Self::Spooled(_))
    }
}

/// An entry of the test: its name and what to read.
#[derive(Debug, Default, Clone)]
struct Entry {
    name: Vec<u8>,
    tree: bool,
    spool: Option<u64>,
    size: u64,
    mtime: Timestamp,
}

struct List(std::vec::IntoIter<Entry>, Option<Error>);

impl Entries for List {
    type Entry = Entry;

    fn blank() -> Entry {
        Entry::default()
    }

    fn next(&mut self, into: &mut Entry) -> Result<bool> {
        match (self.0.next(), self.1.take()) {
            (Some(entry), error) => {
                self.1 = error;
                *into = entry;
                Ok(true)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(false),
        }
    }

    fn path(entry: &Entry) -> Vec<u8> {
        entry.name.clone()
    }

    fn work(entry: &Entry) -> Work<'_> {
        match entry.spool {
            Some(offset) => Work::Spool {
                name: &entry.name,
                offset,
                size: entry.size,
            },
            None if entry.tree => Work::Tree {
                parent: b"",
                name: &entry.name,
                size: entry.size,
                holes_hint: 0,
                mtime: entry.mtime,
            },
            None => Work::Nothing,
        }
    }

    fn memory(entry: &Entry) -> usize {
        size_of::<Entry>() + entry.name.len()
    }

    fn room(entry: &Entry) -> usize {
        size_of::<Entry>() + entry.name.capacity()
    }
}

struct Opener(PathBuf);

impl OpenFile for Opener {
    fn open(&mut self, _parent: &[u8], name: &[u8]) -> Result<File> {
        let path = self.0.join(std::str::from_utf8(name).unwrap());
        File::open(&path).map_err(|e| Error::io(path, "open", e))
    }
}

#[derive(Default)]
struct Collected {
    entries: Vec<(Vec<u8>, Option<Placed>)>,
    problems: Vec<String>,
    progress: u64,
    fail_after: Option<usize>,
}

impl Receiver<Entry> for Collected {
    fn stored(&mut self, entry: &mut Entry, placed: Option<Placed>) -> Result<()> {
        if self.fail_after == Some(self.entries.len()) {
            return Err(Error::new(ErrorKind::OutOfOrder, "the receiver had enough"));
        }
        self.entries.push((entry.name.clone(), placed));
        Ok(())
    }

    fn problem(&mut self, error: &Error) {
        assert!(error.path().is_some_and(Path::is_absolute));
        self.problems.push(error.to_string());
    }

    fn progress(&mut self, bytes: u64) {
        self.progress += bytes;
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    entries: Vec<Entry>,
    spool: Arc<File>,
}

impl Fixture {
    fn new(cases: &[Case]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = tempfile::tempfile().unwrap();
        let mut spooled = 5;
        let mut entries = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let name = format!("{number:06}");
            let path = directory.path().join(&name);
            let mut entry = Entry {
                name: name.into_bytes(),
                tree: true,
                ..Entry::default()
            };
            match case {
                Case::Nothing => entry.tree = false,
                Case::Spooled(bytes) => {
                    spool.write_all_at(bytes, spooled).unwrap();
                    entry.spool = Some(spooled);
                    entry.size = bytes.len() as u64;
                    spooled += bytes.len() as u64;
                }
                Case::File(bytes) | Case::Touched(bytes) | Case::Resized(bytes, _) => {
                    fs::write(&path, bytes).unwrap();
                    entry.size = bytes.len() as u64;
                }
                Case::Gone(size) => entry.size = *size,
                Case::Unreadable(size) => {
                    fs::create_dir(&path).unwrap();
                    entry.size = *size;
                }
            }
            if let Ok(file) = File::open(&path) {
                let stat = fstat(&file).unwrap();
                entry.mtime = Timestamp {
                    seconds: stat.st_mtime,
                    nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap(),
                };
            }
            match case {
                Case::Touched(_) => entry.mtime.nanoseconds ^= 1,
                Case::Resized(_, listed) => entry.size = *listed,
                _ => {}
            }
            entries.push(entry);
        }
        Self {
            directory,
            entries,
            spool: Arc::new(spool),
        }
    }

    fn volumes(&self, name: &str) -> VolumeSet {
        let path = self.directory.path().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let output = Output::new(Arc::new(file.unwrap()), path);
        VolumeSet::begin(vec![output], [1; 16], SHIFT, 1 << 20).unwrap()
    }

    fn run(
        &self,
        volumes: &mut VolumeSet,
        threads: usize,
        memory: usize,
        strict: bool,
        error: Option<Error>,
        collected: &mut Collected,
    ) -> Result<()> {
        let (list, options) = self.reading(memory, strict, error);
        let openers = self.openers(threads);
        store_contents(list, openers, volumes, None, options, collected)
    }

    fn openers(&self, threads: usize) -> Vec<Opener> {
        (0..threads)
            .map(|_| Opener(self.directory.path().to_path_buf()))
            .collect()
    }

    fn reading(&self, memory: usize, strict: bool, error: Option<Error>) -> (List, ContentOptions) {
        let list = List(self.entries.clone().into_iter(), error);
        let options = ContentOptions {
            root: self.directory.path().to_path_buf(),
            spool: Some(self.spool.clone()),
            memory,
            table_memory: 64 << 20,
            strict,
            codecs: None,
            cutting: None,
            small_frames: None,
        };
        (list, options)
    }
}

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

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ seed) % 256)
        .map(|byte| byte | 1)
        .map(|byte| u8::try_from(byte).unwrap())
        .collect()
}

/// Files of all sizes around the borders, and all that can go wrong with each.
fn all_cases() -> Vec<Case> {
    let batch = batch_bytes(SHIFT);
    let sizes = [
        1,
        2,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        3 * CHUNK,
        batch - 1,
        batch,
        batch + 1,
        3 * batch + 5,
    ];
    let mut cases = vec![Case::Nothing; 600];
    cases.push(Case::File(Vec::new()));
    for (seed, &size) in sizes.iter().enumerate() {
        let contents = bytes(size, seed);
        let listed = size as u64;
        cases.extend([
            Case::File(contents.clone()),
            Case::Spooled(contents.clone()),
            Case::Touched(contents.clone()),
            Case::Nothing,
            Case::Resized(contents.clone(), listed + 1),
            Case::Resized(contents.clone(), listed - 1),
            Case::Resized(contents.clone(), listed + 3 * batch as u64),
            Case::Resized(contents.clone(), listed / 2),
            Case::Resized(Vec::new(), listed),
            Case::Gone(listed),
            Case::Unreadable(listed),
            Case::File(vec![0; size]),
        ]);
    }
    // Small ones, so that several batches are full of entries or of bytes.
    cases.extend((0..700).map(|seed| Case::File(bytes(seed % 5 + 1, seed))));
    cases.extend((0..200).map(|seed| Case::File(bytes(CHUNK * (seed % 3) + 77, seed))));
    cases
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
