//! The sorter of records: runs in the background, then a merge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::merge::Merge;
use super::run::{Run, RunCursor, RunWriter};
use super::run_buffer::RunBuffer;
use super::scratch::{Scratch, ScratchWriter};
use super::{Content, Record, key, payload};
use crate::entry::Kind;
use crate::{Error, ErrorKind, Result};

/// Smallest and largest buffer that a merge reads a run through. Below the lower bound, seeking
/// between runs costs more than merging in several passes; above the upper one nothing is gained.
const READ_BUFFER: std::ops::RangeInclusive<usize> = 32 << 10..=512 << 10;

/// Runs that one merge reads at most: their keys and buffers stay in the processor's caches.
const FAN_IN_LIMIT: usize = 512;

/// Takes records in any order and puts them into key order.
///
/// Half of the budget is filled while the other half is sorted and written by a thread.
#[derive(Debug)]
pub struct Sorter {
    directory: PathBuf,
    memory: usize,
    filling: RunBuffer,
    /// Emptied by the last spill, to be filled next.
    spare: RunBuffer,
    spilling: Option<JoinHandle<Result<Spilled>>>,
    scratch: Option<ScratchWriter>,
    runs: Vec<Run>,
    /// Parent of the last record: neighbours mostly share it, so it is checked and encoded once.
    last_parent: Vec<u8>,
    /// Key of the last record.
    key: Vec<u8>,
    /// Length of the parent's part in `key`.
    parent_key_len: usize,
    payload: Vec<u8>,
}

/// What a spilling thread hands back.
#[derive(Debug)]
struct Spilled {
    buffer: RunBuffer,
    scratch: ScratchWriter,
    run: Run,
}

impl Sorter {
    /// A sorter that holds at most `memory` bytes and spills to nameless files in `scratch_dir`.
    ///
    /// A single record larger than the budget is held nevertheless.
    pub fn new(scratch_dir: &Path, memory: usize) -> Self {
        let mut key = Vec::new();
        key::encode_parent(b"", &mut key);
        Self {
            directory: scratch_dir.to_path_buf(),
            memory,
            filling: RunBuffer::default(),
            spare: RunBuffer::default(),
            spilling: None,
            scratch: None,
            runs: Vec::new(),
            last_parent: Vec::new(),
            parent_key_len: key.len(),
            key,
            payload: Vec::new(),
        }
    }

    /// Adds one record.
    ///
    /// Fails with [`ErrorKind::InvalidInput`] or [`ErrorKind::Limit`] if the path cannot be one, and
    /// with [`ErrorKind::Io`] if scratch data cannot be written.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        if record.parent != self.last_parent {
            key::check_parent(&record.parent)?;
            self.last_parent.clone_from(&record.parent);
            self.key.clear();
            key::encode_parent(&record.parent, &mut self.key);
            self.parent_key_len = self.key.len();
        }
        if !record.is_root() {
            key::check_name(&record.parent, &record.name)?;
        }
        self.key.truncate(self.parent_key_len);
        key::encode_name(&record.name, &mut self.key);
        self.payload.clear();
        payload::encode(record, &mut self.payload);
        if !self.filling.push(&self.key, &self.payload) {
            self.spill()?;
            self.filling.push(&self.key, &self.payload);
        }
        if self.filling.size() >= self.memory / 2 {
            self.spill()?;
        }
        Ok(())
    }

    /// Hands the filled buffer to a thread, once the one before has been written.
    fn spill(&mut self) -> Result<()> {
        self.join()?;
        let mut buffer = std::mem::replace(&mut self.filling, std::mem::take(&mut self.spare));
        let mut scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => ScratchWriter::create(&self.directory)?,
        };
        let work = move || {
            buffer.sort();
            let run = write_run(&buffer, &mut scratch)?;
            buffer.clear();
            Ok(Spilled {
                buffer,
                scratch,
                run,
            })
        };
        let thread = thread::Builder::new()
            .name("dgfs-sort".to_owned())
            .spawn(work)
            .map_err(|e| {
                Error::new(ErrorKind::Io, "cannot start a thread to sort entries").caused_by(e)
            })?;
        self.spilling = Some(thread);
        Ok(())
    }

    /// Waits for the spilling thread and takes back what it was given.
    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.spilling.take() else {
            return Ok(());
        };
        let spilled = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        self.spare = spilled.buffer;
        self.scratch = Some(spilled.scratch);
        self.runs.push(spilled.run);
        Ok(())
    }

    /// Ends adding.
    pub fn finish(mut self) -> Result<Sorted> {
        self.join()?;
        let Some(mut scratch) = self.scratch.take() else {
            self.filling.sort();
            return Ok(Sorted(Arc::new(Stored::Memory(Arc::new(self.filling)))));
        };
        self.spare = RunBuffer::default();
        if self.filling.len() > 0 {
            self.filling.sort();
            self.runs.push(write_run(&self.filling, &mut scratch)?);
        }
        self.filling = RunBuffer::default();
        let mut files = Files {
            scratch: scratch.finish()?,
            runs: self.runs,
            memory: self.memory,
        };
        let fan_in = (self.memory / 4 / READ_BUFFER.start()).clamp(2, FAN_IN_LIMIT);
        while files.runs.len() > fan_in {
            files = files.merge_groups(&self.directory, fan_in)?;
        }
        Ok(Sorted(Arc::new(Stored::Files(files))))
    }
}

fn write_run(buffer: &RunBuffer, scratch: &mut ScratchWriter) -> Result<Run> {
    let mut writer = RunWriter::new(scratch);
    for (key, payload) in (0..buffer.len()).filter_map(|index| buffer.get(index)) {
        writer.push(key, payload)?;
    }
    Ok(writer.finish())
}

/// Records in key order, in memory or on disk.
#[derive(Debug, Clone)]
pub struct Sorted(Arc<Stored>);

#[derive(Debug)]
enum Stored {
    Memory(Arc<RunBuffer>),
    Files(Files),
}

/// Runs in a scratch file.
#[derive(Debug)]
struct Files {
    scratch: Scratch,
    runs: Vec<Run>,
    memory: usize,
}

impl Files {
    /// A merge of the runs `from..to`. It takes at most a quarter of the budget, or the smallest
    /// buffers there are: two of them may be open while their caller uses the other half.
    fn merge(&self, runs: &[Run]) -> Result<Merge<RunCursor>> {
        let share = self.memory / 4 / runs.len().max(1);
        let buffer = share.clamp(*READ_BUFFER.start(), *READ_BUFFER.end());
        let cursors = runs
            .iter()
            .map(|run| RunCursor::in_file(&self.scratch, *run, buffer))
            .collect();
        Merge::new(cursors)
    }

    /// Merges every `fan_in` neighbouring runs into one, in a new scratch file.
    fn merge_groups(&self, directory: &Path, fan_in: usize) -> Result<Self> {
        let mut scratch = ScratchWriter::create(directory)?;
        let mut runs = Vec::new();
        for group in self.runs.chunks(fan_in) {
            let mut merge = self.merge(group)?;
            let mut writer = RunWriter::new(&mut scratch);
            while let Some(cursor) = merge.lowest() {
                let (key, payload) = cursor.current();
                writer.push(key, payload)?;
                merge.advance()?;
            }
            runs.push(writer.finish());
        }
        Ok(Self {
            scratch: scratch.finish()?,
            runs,
            memory: self.memory,
        })
    }
}

impl Sorted {
    /// A reader from the first record on. Several may be open at a time, in any thread.
    pub fn reader(&self) -> Result<SortedReader> {
        let merge = match &*self.0 {
            Stored::Memory(run) => Merge::new(vec![RunCursor::in_memory(run.clone())])?,
            Stored::Files(files) => files.merge(&files.runs)?,
        };
        Ok(SortedReader {
            merge,
            key: Vec::new(),
            repeated: 0,
            rival: None,
        })
    }

    /// Bytes of memory that it takes while two readers are open.
    pub fn memory(&self) -> usize {
        match &*self.0 {
            Stored::Memory(run) => run.size(),
            Stored::Files(files) => files.memory / 2,
        }
    }

    /// Whether everything stayed in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(*self.0, Stored::Memory(_))
    }
}

/// Reads records in key order, each key once.
#[derive(Debug)]
pub struct SortedReader {
    merge: Merge<RunCursor>,
    /// Key of the record handed out last.
    key: Vec<u8>,
    /// See [`Self::repeated`].
    repeated: u64,
    /// A second record of the same key, while the two are weighed.
    rival: Option<Box<Record>>,
}

impl SortedReader {
    /// Puts the next record into `into`, whose buffers it reuses; false at the end.
    ///
    /// Of several records with one key, an implied directory gives way to a named one, a later record
    /// to an earlier one, and everything to a directory, which may have others below it. What is
    /// implied to be a directory but is none fails with [`ErrorKind::OutOfOrder`].
    pub fn next(&mut self, into: &mut Record) -> Result<bool> {
        let Some(cursor) = self.merge.lowest() else {
            return Ok(false);
        };
        decode(cursor, into)?;
        self.key.clear();
        self.key.extend_from_slice(cursor.key());
        self.repeated = 0;
        self.merge.advance()?;
        while self
            .merge
            .lowest()
            .is_some_and(|cursor| cursor.key() == self.key)
        {
            self.weigh(into)?;
        }
        Ok(true)
    }

    /// How many records with the key of the last one were passed over, implied directories apart.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Decides between `into` and the lowest record, which has the same key.
    #[cold]
    fn weigh(&mut self, into: &mut Record) -> Result<()> {
        let rival = self.rival.get_or_insert_with(|| Box::new(into.clone()));
        if let Some(cursor) = self.merge.lowest() {
            decode(cursor, rival)?;
        }
        let implied = |record: &Record| record.content == Content::ImpliedDirectory;
        match (implied(into), implied(rival)) {
            (false, false) => {
                self.repeated += 1;
                let directory = |record: &Record| record.metadata.kind() == Some(Kind::Directory);
                if directory(rival) && !directory(into) {
                    std::mem::swap(into, rival);
                }
                return self.merge.advance();
            }
            (true, false) => std::mem::swap(into, rival),
            (_, true) => {}
        }
        if into.metadata.kind() != Some(Kind::Directory) {
            let what = "named as something else than a directory, but other paths lie below it";
            let path = key::join(&into.parent, &into.name);
            return Err(Error::new(ErrorKind::OutOfOrder, what).at_path(path));
        }
        self.merge.advance()
    }
}

fn decode(cursor: &RunCursor, into: &mut Record) -> Result<()> {
    let (bytes, payload) = cursor.current();
    let parts =
        key::parent_len(bytes).and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)));
    let decoded = parts.and_then(|(parent, name)| {
        key::decode(parent, &mut into.parent);
        key::decode(name, &mut into.name);
        payload::decode(payload, into)
    });
    decoded.ok_or_else(|| {
        Error::new(
            ErrorKind::Io,
            "scratch data does not read back as written; the device may be failing",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Metadata, compare_keys};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn record(parent: &str, name: &str, kind: Kind, content: Content) -> Record {
        Record {
            parent: parent.into(),
            name: name.into(),
            metadata: Metadata::new(kind, 0o644),
            content,
            ..Record::empty()
        }
    }

    fn sort(records: &[Record], memory: usize) -> Result<(Vec<Record>, bool)> {
        let (sorted, in_memory, repeated) = sort_all(records, memory)?;
        assert_eq!(repeated, 0);
        Ok((sorted, in_memory))
    }

    /// What comes out, whether it stayed in memory, and how many records were passed over.
    fn sort_all(records: &[Record], memory: usize) -> Result<(Vec<Record>, bool, u64)> {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), memory);
        for record in records {
            sorter.add(record)?;
        }
        let done = sorter.finish()?;
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let mut passes = Vec::new();
        for _ in 0..2 {
            let mut reader = done.reader()?;
            let mut out = Vec::new();
            let mut record = Record::empty();
            let mut repeated = 0;
            while reader.next(&mut record)? {
                out.push(record.clone());
                repeated += reader.repeated();
            }
            assert!(!reader.next(&mut record)?);
            passes.push((out, repeated));
        }
        let second = passes.pop().unwrap();
        assert_eq!(passes.pop().unwrap(), second);
        Ok((second.0, done.is_in_memory(), second.1))
    }

    proptest! {
        #[test]
        fn any_budget_gives_key_order(
            paths in prop::collection::vec((
                prop::collection::vec("[a-c-]{1,3}", 0..4), "[a-c-]{1,9}", any::<u32>(),
            ), 0..400),
            memory in prop_oneof![Just(0usize), 0usize..20_000, Just(1 << 20)],
        ) {
            let mut model = BTreeMap::new();
            for (parents, name, size) in &paths {
                let mut made = record(&parents.join("/"), name, Kind::File, Content::Tree);
                made.size = u64::from(*size);
                model.insert(made.path(), made);
            }
            // Hash order is as good as any that a source may have.
            let shuffled: std::collections::HashMap<_, _> = model.into_iter().collect();
            let records: Vec<Record> = shuffled.into_values().collect();
            let (sorted, in_memory) = sort(&records, memory).unwrap();
            // A record takes between 16 and 100 bytes here.
            if memory > records.len() * 200 {
                prop_assert!(in_memory);
            } else if memory < records.len() * 16 {
                prop_assert!(!in_memory);
            }
            let mut expected = records;
            expected.sort_by(|a, b| compare_keys((&a.parent, &a.name), (&b.parent, &b.name)));
            prop_assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn many_tiny_runs_merge_in_several_passes() {
        let records: Vec<Record> = (0..1000u32)
            .map(|i| i * 617 % 1000)
            .map(|i| record("d", &format!("{i:04}"), Kind::File, Content::None))
            .collect();
        let unique: std::collections::BTreeSet<_> = records.iter().map(Record::path).collect();
        assert_eq!(unique.len(), 1000);
        // One run a record and a fan-in of two: ten passes.
        let (sorted, in_memory) = sort(&records, 0).unwrap();
        assert!(!in_memory);
        assert!(sorted.iter().map(Record::path).eq(unique));
    }

    #[test]
    fn large_records_pass_through_small_budgets() {
        let mut records: Vec<Record> = (0..20)
            .map(|i| record(&"p/".repeat(5000 + i)[1..], "n", Kind::File, Content::None))
            .map(|mut r| {
                r.parent.insert(0, b'p');
                r.parent.pop();
                r.metadata.xattrs = vec![(b"user.x".to_vec(), vec![7; 65_536])];
                r
            })
            .collect();
        let (sorted, _) = sort(&records, 100).unwrap();
        records.sort_by(|a, b| compare_keys((&a.parent, &a.name), (&b.parent, &b.name)));
        assert_eq!(sorted, records);
    }

    #[test]
    fn records_of_one_key_are_weighed() {
        let implied = || record("p", "x", Kind::Directory, Content::ImpliedDirectory);
        let directory = || record("p", "x", Kind::Directory, Content::None);
        let file = |size| Record {
            size,
            ..record("p", "x", Kind::File, Content::None)
        };
        let cases = [
            (vec![implied(), implied(), implied()], Some((implied(), 0))),
            (
                vec![implied(), directory(), implied()],
                Some((directory(), 0)),
            ),
            (vec![directory(), implied()], Some((directory(), 0))),
            (
                vec![directory(), implied(), directory()],
                Some((directory(), 1)),
            ),
            (vec![file(1), file(2), file(3)], Some((file(1), 2))),
            (vec![implied(), file(1)], None),
            (vec![file(1), implied()], None),
            (vec![file(1), directory()], Some((directory(), 1))),
            (vec![directory(), file(1)], Some((directory(), 1))),
        ];
        for (records, expected) in cases {
            for memory in [0, 1 << 20] {
                match (sort_all(&records, memory), &expected) {
                    (Ok((sorted, _, repeated)), Some((chosen, passed_over))) => {
                        assert_eq!(&sorted, std::slice::from_ref(chosen), "{records:?}");
                        assert_eq!(repeated, *passed_over, "{records:?}");
                    }
                    (Err(error), None) => {
                        assert_eq!(error.kind(), ErrorKind::OutOfOrder);
                        assert_eq!(error.path(), Some(Path::new("p/x")));
                    }
                    (got, _) => panic!("{records:?} gave {got:?}"),
                }
            }
        }
    }

    #[test]
    fn a_full_scratch_device_is_named_with_the_way_out() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        struct Mounted(tempfile::TempDir);
        impl Drop for Mounted {
            fn drop(&mut self) {
                let _ = unmount(self.0.path(), UnmountFlags::DETACH);
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let size = c"size=64k";
        if mount("none", directory.path(), "tmpfs", MountFlags::empty(), size).is_err() {
            eprintln!("SKIPPED a_full_scratch_device_is_named_with_the_way_out: cannot mount");
            return;
        }
        let small = Mounted(directory);
        let mut sorter = Sorter::new(small.0.path(), 20_000);
        let added = (0..100_000u32).try_for_each(|i| {
            let name = i.wrapping_mul(2_654_435_761).to_string();
            sorter.add(&record("d", &name, Kind::File, Content::None))
        });
        let error = added.and_then(|()| sorter.finish().map(drop)).unwrap_err();
        assert!(error.is_out_of_space(), "{error}");
        assert_eq!(error.path(), Some(small.0.path()));
        assert!(error.to_string().contains("free space"), "{error}");
    }

    #[test]
    fn impossible_paths_are_refused_and_leave_the_sorter_usable() {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), 1 << 20);
        for (parent, name) in [
            ("", ".."),
            ("a//b", "c"),
            ("a", ""),
            ("../a", "c"),
            ("", "a/b"),
        ] {
            let record = record(parent, name, Kind::File, Content::None);
            assert!(sorter.add(&record).is_err(), "{parent:?} {name:?}");
        }
        sorter
            .add(&record("a", "c", Kind::File, Content::None))
            .unwrap();
        let mut reader = sorter.finish().unwrap().reader().unwrap();
        let mut found = Record::empty();
        assert!(reader.next(&mut found).unwrap());
        assert_eq!(found.path(), b"a/c");
        assert!(!reader.next(&mut found).unwrap());
    }
}
