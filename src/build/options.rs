//! What a builder is told, and what it tells.

use super::order::Order;
use super::overrides::Overrides;
use crate::entry::KeptTimes;
use crate::format::Uuid;
use crate::source::Selection;
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Memory budget unless said otherwise, in bytes.
pub const DEFAULT_MEMORY: usize = 256 << 20;

/// Smallest memory budget, in bytes. Below it the sorter would write runs of a few thousand entries.
pub const MIN_MEMORY: usize = 16 << 20;

/// Chunks of 128 KiB: what the kernel reads ahead of a sequential reader by default, so that each of its
/// requests is one whole chunk.
pub const DEFAULT_CHUNK_SHIFT: u32 = 17;

/// Largest chunks and smallest, as powers of 2 of bytes.
pub use crate::format::header::CHUNK_SHIFTS;

/// Zstd level of index pages: measured as the point where higher ones gain less than one per cent of the index
/// (see docs/benchmarks.md).
pub const DEFAULT_INDEX_LEVEL: i32 = 12;

/// Zstd level of contents: with it, two cores pack about as fast as a disk is read (see docs/design.md).
pub const DEFAULT_LEVEL: i32 = 3;

/// Bytes of small files that share a frame (see docs/design.md).
pub const DEFAULT_SMALL_FRAMES: usize = 32 << 10;

/// Fewest and most bytes of small files that can be made to share a frame.
pub const SMALL_FRAMES: std::ops::RangeInclusive<usize> =
    4 << 10..=crate::format::member::MAX_SHARED_DATA;

/// How contents are stored: by default as zstd frames at [`DEFAULT_LEVEL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// As zstd frames at this level, 1 to 22, where that makes them shorter.
    Zstd(i32),
}

impl Default for Compression {
    fn default() -> Self {
        Self::Zstd(DEFAULT_LEVEL)
    }
}

/// What is stored once although several files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dedup {
    /// Nothing, but for hard links.
    None,
    /// Contents that are equal as a whole; bytes in holes do not count.
    #[default]
    Files,
    /// These, and equal chunks of files that are larger than one, which are cut by content for that.
    Chunks,
}

/// Which dictionaries compressed contents get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DictionarySize {
    /// One for each class of files that it pays for, of a size that fits the class.
    #[default]
    Auto,
    /// None.
    None,
    /// As `Auto`, but of at most so many bytes each, [`SMALLEST_DICTIONARY`] to
    /// [`LARGEST_DICTIONARY`].
    Most(usize),
}

/// Smallest dictionary that is worth its place, in bytes.
pub const SMALLEST_DICTIONARY: usize = 1 << 10;

/// Largest dictionary of the format, in bytes.
pub const LARGEST_DICTIONARY: usize = crate::format::codec::MAX_DICTIONARY as usize;

/// How to build an image.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices, each with a name"
)]
pub struct BuildOptions {
    /// Files of the volumes; one beside the index if empty.
    pub volumes: Vec<PathBuf>,
    /// Budget of memory in bytes; the process stays within it plus 64 MiB.
    pub memory: usize,
    /// Threads that read the source.
    pub threads: usize,
    /// Whether an image that is there already is replaced.
    pub force: bool,
    /// Whether the first problem of the source ends the build.
    pub strict: bool,
    /// Whether a tree of which nothing but its root is packed is taken for a mistake.
    pub refuse_empty: bool,
    /// The image's identity; random if `None`.
    pub uuid: Option<Uuid>,
    /// Whether the identity follows from what the image holds, so that the same tree gives the same
    /// bytes wherever it is packed. Takes the place of `uuid`. Holes are not mapped then, since file
    /// systems differ in what they have of them; chunks of zeros are left out all the same.
    pub reproducible: bool,
    /// Which contents are stored once although several files have them.
    pub dedup: Dedup,
    /// The order of contents in the volumes.
    pub order: Order,
    /// Whether volume 0 ends with a copy of the index.
    pub index_copy: bool,
    /// Whether extended attributes are packed.
    pub xattrs: bool,
    /// Whether mount points below the source are left empty.
    pub one_file_system: bool,
    /// Which times are kept.
    pub times: KeptTimes,
    /// Which entries of a tree are packed.
    pub selection: Selection,
    /// Metadata that entries get instead of their own.
    pub overrides: Overrides,
    /// Zstd level of index pages, 1 to 22.
    pub index_level: i32,
    /// How contents are stored.
    pub compression: Compression,
    /// Which dictionaries compressed contents get.
    pub dictionaries: DictionarySize,
    /// Most bytes of small files that are compressed in one frame, one of [`SMALL_FRAMES`], each file of up to half of
    /// it; `None` if each file is compressed alone. A frame takes at most 4 KiB, so that a file in it is read by one
    /// read of no more bytes; all of it is decompressed for any.
    pub small_frames: Option<usize>,
    /// Contents are cut in chunks of 2 to the power of this many bytes, each of which is read and
    /// decompressed alone: one of [`CHUNK_SHIFTS`].
    pub chunk_shift: u32,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            volumes: Vec::new(),
            memory: DEFAULT_MEMORY,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            force: false,
            strict: false,
            refuse_empty: false,
            uuid: None,
            reproducible: false,
            dedup: Dedup::default(),
            order: Order::default(),
            index_copy: true,
            xattrs: true,
            one_file_system: false,
            times: KeptTimes::default(),
            selection: Selection::default(),
            overrides: Overrides::default(),
            index_level: DEFAULT_INDEX_LEVEL,
            compression: Compression::default(),
            dictionaries: DictionarySize::default(),
            small_frames: Some(DEFAULT_SMALL_FRAMES),
            chunk_shift: DEFAULT_CHUNK_SHIFT,
        }
    }
}

impl BuildOptions {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::InvalidInput, what));
        if self.memory < MIN_MEMORY {
            return wrong(format!(
                "a memory budget of {} bytes is too small; give at least {} MiB",
                self.memory,
                MIN_MEMORY >> 20
            ));
        }
        if self.reproducible && self.times == KeptTimes::All {
            return wrong(
                "times of access, change and birth differ from copy to copy; \
                 a reproducible image keeps those of modification alone"
                    .to_owned(),
            );
        }
        if !(1..=22).contains(&self.index_level) {
            return wrong(format!(
                "index level {} is not between 1 and 22",
                self.index_level
            ));
        }
        if let Compression::Zstd(level) = self.compression {
            if !(1..=22).contains(&level) {
                return wrong(format!("zstd level {level} is not between 1 and 22"));
            }
        }
        if let DictionarySize::Most(size) = self.dictionaries {
            if !(SMALLEST_DICTIONARY..=LARGEST_DICTIONARY).contains(&size) {
                return wrong(format!(
                    "dictionaries of {size} bytes are not between 1 KiB and 1 MiB"
                ));
            }
        }
        if let Some(size) = self.small_frames {
            if !SMALL_FRAMES.contains(&size) {
                return wrong(format!(
                    "{size} bytes of small files in a frame are not between 4 KiB and 64 KiB"
                ));
            }
        }
        if !CHUNK_SHIFTS.contains(&self.chunk_shift) {
            return wrong(format!(
                "chunks of 2^{} bytes are not between 4 KiB and 16 MiB",
                self.chunk_shift
            ));
        }
        for (number, path) in self.volumes.iter().enumerate() {
            if self.volumes.iter().take(number).any(|other| other == path) {
                return wrong(format!("{} is named twice as a volume", path.display()));
            }
        }
        Ok(())
    }
}

/// What a builder is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Finding the entries of the source.
    Walking,
    /// Bringing them into order and counting them.
    Sorting,
    /// Copying contents and writing the index.
    Packing,
    /// Waiting for the devices, giving the files their names.
    Publishing,
}

/// How far a builder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Entries done in this phase.
    pub entries: u64,
    /// Entries there are, once they are counted.
    pub total_entries: Option<u64>,
    /// Bytes of contents done in this phase.
    pub bytes: u64,
    /// Bytes there are, once they are counted.
    pub total_bytes: Option<u64>,
}

/// Is told what happens during a build, always in the thread that runs it.
pub trait Observer {
    /// An entry could not be packed as it was; the error names its path.
    fn problem(&mut self, error: &Error);

    /// An entry was left out on purpose.
    fn skipped(&mut self, _path: &Path, _why: &str) {}

    /// Called often while the build goes on. `false` ends it; what it has written is removed.
    fn progress(&mut self, _progress: Progress) -> bool {
        true
    }
}

/// Writes problems to the log.
#[derive(Debug, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn problem(&mut self, error: &Error) {
        log::warn!("{error}");
    }

    fn skipped(&mut self, path: &Path, why: &str) {
        log::info!("{}: left out: {why}", path.display());
    }
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Report {
    /// The header of the index: counts of entries, bytes and pages.
    pub header: crate::format::header::Header,
    /// Bytes of each volume file.
    pub volume_bytes: Vec<u64>,
    /// Entries that could not be packed as they were.
    pub problems: u64,
    /// Entries left out on purpose, each of them reported.
    pub skipped: u64,
    /// Entries that patterns exclude; what lies below them is not counted.
    pub excluded: u64,
    /// Time since the builder was made.
    pub elapsed: Duration,
}

impl Report {
    /// Bytes of the index for each entry, everything included.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn index_bytes_per_entry(&self) -> f64 {
        self.header.index_length as f64 / self.header.entries as f64
    }
}

/// Tells the observer how far a build is, and fails if it should not go on.
pub(super) fn report(observer: &mut dyn Observer, progress: Progress) -> Result<()> {
    if observer.progress(progress) {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Interrupted,
            "interrupted; what was written is removed",
        ))
    }
}
