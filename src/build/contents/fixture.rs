//! Entries of the pipeline that were made for a test, what they are read from, and what came of them.

use super::*;

pub(super) const SHIFT: u32 = 12;
pub(super) const CHUNK: usize = 1 << SHIFT;

/// What the source holds under a name, and what was listed.
#[derive(Debug, Clone)]
pub(super) enum Case {
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
    pub(super) fn expected(&self) -> Option<&[u8]> {
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

    pub(super) fn is_problem(&self) -> bool {
        !matches!(self, Self::Nothing | Self::File(_) | Self::Spooled(_))
    }
}

/// An entry of the test: its name and what to read.
#[derive(Debug, Default, Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) tree: bool,
    pub(super) spool: Option<u64>,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
}

pub(super) struct List(
    pub(super) std::vec::IntoIter<Entry>,
    pub(super) Option<Error>,
);

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

pub(super) struct Opener(pub(super) PathBuf);

impl OpenFile for Opener {
    fn open(&mut self, _parent: &[u8], name: &[u8]) -> Result<File> {
        let path = self.0.join(std::str::from_utf8(name).unwrap());
        File::open(&path).map_err(|e| Error::io(path, "open", e))
    }
}

#[derive(Default)]
pub(super) struct Collected {
    pub(super) entries: Vec<(Vec<u8>, Option<Placed>)>,
    pub(super) problems: Vec<String>,
    pub(super) progress: u64,
    pub(super) fail_after: Option<usize>,
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

pub(super) struct Fixture {
    pub(super) directory: tempfile::TempDir,
    pub(super) entries: Vec<Entry>,
    pub(super) spool: Arc<File>,
}

impl Fixture {
    pub(super) fn new(cases: &[Case]) -> Self {
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

    pub(super) fn volumes(&self, name: &str) -> VolumeSet {
        let path = self.directory.path().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path);
        let output = Output::new(Arc::new(file.unwrap()), path);
        VolumeSet::begin(vec![output], [1; 16], SHIFT, 1 << 20).unwrap()
    }

    pub(super) fn run(
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

    pub(super) fn openers(&self, threads: usize) -> Vec<Opener> {
        (0..threads)
            .map(|_| Opener(self.directory.path().to_path_buf()))
            .collect()
    }

    pub(super) fn reading(
        &self,
        memory: usize,
        strict: bool,
        error: Option<Error>,
    ) -> (List, ContentOptions) {
        let list = List(self.entries.clone().into_iter(), error);
        let options = ContentOptions {
            root: self.directory.path().to_path_buf(),
            spool: Some(self.spool.clone()),
            memory,
            table_memory: 64 << 20,
            strict,
            codecs: None,
            cutting: None,
            lengths: None,
            small_frames: None,
        };
        (list, options)
    }
}

pub(super) fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ seed) % 256)
        .map(|byte| byte | 1)
        .map(|byte| u8::try_from(byte).unwrap())
        .collect()
}

/// Files of all sizes around the borders, and all that can go wrong with each.
pub(super) fn all_cases() -> Vec<Case> {
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
