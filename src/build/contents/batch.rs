//! A run of entries that travels from the sorter through a worker thread to the volumes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, SeekFrom, fadvise, fstat, seek};
use rustix::io::Errno;

use super::source::{Entries, OpenFile, Work};
use crate::entry::Timestamp;
use crate::format::checksum::crc;
use crate::{Error, ErrorKind, Result};

/// Bytes of contents in a batch, unless a chunk is larger. Large enough that handing it over costs
/// nothing beside reading it, small enough that it is still in the processor's cache when it is
/// written.
const BATCH: usize = 512 << 10;

/// Most entries of a batch: what the smallest files need to make a hand-over cheap.
const ENTRIES: usize = 256;

/// Bytes that the entries of a batch may take together, not counting the last.
pub(super) const ENTRY_MEMORY: usize = 256 << 10;

/// Bytes of contents in a batch of an image whose chunks have `1 << chunk_shift` bytes.
pub(super) fn batch_bytes(chunk_shift: u32) -> usize {
    BATCH.max(1 << chunk_shift)
}

/// What all workers know.
#[derive(Debug)]
pub(super) struct Sources {
    /// What paths in messages begin with.
    pub(super) root: PathBuf,
    /// The scratch file.
    pub(super) spool: Option<Arc<File>>,
    pub(super) chunk_shift: u32,
}

/// The end of the pipeline that entries go in at. Only one worker at a time has it.
pub(super) struct Intake<E: Entries> {
    entries: E,
    /// Number of the next batch.
    pub(super) number: u64,
    /// Whether no batch is to be filled any more.
    pub(super) ended: bool,
    /// An entry that did not fit into the last batch.
    waiting: E::Entry,
    is_waiting: bool,
    /// The file that the next batches are pieces of.
    large: Option<(Large, u64)>,
}

impl<E: Entries> Intake<E> {
    pub(super) fn new(entries: E) -> Self {
        Self {
            entries,
            number: 0,
            ended: false,
            waiting: E::blank(),
            is_waiting: false,
            large: None,
        }
    }
}

/// A file that is larger than a batch.
#[derive(Debug, Clone)]
pub(super) struct Large {
    pub(super) file: Arc<File>,
    /// Where in `file` its contents begin.
    base: u64,
    /// Its length when it was listed.
    pub(super) size: u64,
    /// What it was when it was listed; `None` for a part of the scratch file.
    mtime: Option<Timestamp>,
    /// Set when nobody wants the pieces that are still to come.
    pub(super) abandoned: Arc<AtomicBool>,
}

impl Large {
    /// Whether the file is another than the one that was listed.
    pub(super) fn changed(&self) -> bool {
        self.mtime
            .is_some_and(|mtime| changed(&self.file, self.size, mtime))
    }
}

/// Contents of one file in a batch: where in the batch's bytes they are, and the checksums of their
/// chunks, `None` for one of zeros.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) chunks: std::ops::Range<usize>,
}

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// There is nothing to read.
    Nothing,
    /// It is still to be read: so many bytes to this place.
    Wanted { start: usize, length: usize },
    /// All of it was read.
    Read { read: Read, changed: bool },
    /// Its contents follow in pieces.
    Large(Large),
    /// It cannot be read.
    Failed(Error),
}

/// A part of a large file.
#[derive(Debug)]
pub(super) struct Piece {
    large: Large,
    offset: u64,
    length: usize,
    /// Whether it is the last one.
    pub(super) last: bool,
    /// Its contents; shorter than asked for if the file ends.
    pub(super) read: Result<Read>,
}

impl Piece {
    /// Whether the file ended early.
    pub(super) fn is_short(&self) -> bool {
        self.read
            .as_ref()
            .is_ok_and(|read| read.length < self.length)
    }
}

/// A run of entries, or a piece of a large file, and their contents.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// The first [`Self::count`] are valid; the others wait to be used again.
    entries: Vec<T>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) piece: Option<Piece>,
    chunks: Vec<Option<u32>>,
    bytes: Vec<u8>,
    /// Why no entry follows.
    pub(super) error: Option<Error>,
    /// Whether no batch follows.
    pub(super) last: bool,
}

impl<T> Batch<T> {
    pub(super) fn new(chunk_shift: u32) -> Self {
        Self {
            entries: Vec::new(),
            outcomes: Vec::new(),
            piece: None,
            chunks: Vec::new(),
            bytes: vec![0; batch_bytes(chunk_shift)],
            error: None,
            last: false,
        }
    }

    /// The entries and what became of them.
    pub(super) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    pub(super) fn entry(&mut self, number: usize) -> Option<&mut T> {
        self.entries.get_mut(number)
    }

    /// The chunks of `read`: contents, and their checksum or `None` if they are zeros.
    pub(super) fn chunks(
        &self,
        read: &Read,
        chunk_shift: u32,
    ) -> impl Iterator<Item = (&[u8], Option<u32>)> {
        let bytes = self.bytes.get(read.start..read.start + read.length);
        let sums = self.chunks.get(read.chunks.clone()).unwrap_or(&[]);
        bytes
            .unwrap_or(&[])
            .chunks(1 << chunk_shift)
            .zip(sums.iter().copied())
    }

    /// Takes the next entries from `intake`, and opens the file if it comes to a large one.
    pub(super) fn fill<E>(
        &mut self,
        intake: &mut Intake<E>,
        opener: &mut impl OpenFile,
        sources: &Sources,
    ) where
        E: Entries<Entry = T>,
    {
        self.outcomes.clear();
        self.chunks.clear();
        self.piece = None;
        if let Some((large, offset)) = intake.large.take() {
            let length = (large.size - offset).min(self.bytes.len() as u64);
            let end = offset + length;
            self.piece = Some(Piece {
                offset,
                length: usize::try_from(length).unwrap_or(usize::MAX),
                last: end >= large.size,
                large: large.clone(),
                read: Err(Error::new(ErrorKind::Source, "was not read")),
            });
            if end < large.size {
                intake.large = Some((large, end));
            }
            return;
        }
        let mut used = 0;
        let mut memory = 0;
        while self.outcomes.len() < ENTRIES && memory < ENTRY_MEMORY {
            let number = self.outcomes.len();
            if self.entries.len() == number {
                self.entries.push(E::blank());
            }
            let Some(entry) = self.entries.get_mut(number) else {
                return;
            };
            if std::mem::take(&mut intake.is_waiting) {
                std::mem::swap(entry, &mut intake.waiting);
            } else {
                match intake.entries.next(entry) {
                    Ok(true) => {}
                    end => {
                        self.error = end.err();
                        self.last = true;
                        intake.ended = true;
                        return;
                    }
                }
            }
            let work = E::work(entry);
            let (Work::Tree { size, .. } | Work::Spool { size, .. }) = work else {
                self.outcomes.push(Outcome::Nothing);
                memory += E::memory(entry);
                continue;
            };
            match usize::try_from(size)
                .ok()
                .filter(|&s| s <= self.bytes.len())
            {
                Some(length) if length > self.bytes.len() - used => {
                    std::mem::swap(entry, &mut intake.waiting);
                    intake.is_waiting = true;
                    return;
                }
                Some(length) => {
                    self.outcomes.push(Outcome::Wanted {
                        start: used,
                        length,
                    });
                    used += length;
                }
                None => {
                    self.outcomes.push(match open(work, opener, sources) {
                        Ok(large) => {
                            intake.large = Some((large.clone(), 0));
                            Outcome::Large(large)
                        }
                        Err(error) => Outcome::Failed(error),
                    });
                    return;
                }
            }
            memory += E::memory(entry);
        }
    }

    /// Reads what [`Self::fill`] found to be read.
    pub(super) fn read<E>(&mut self, opener: &mut impl OpenFile, sources: &Sources)
    where
        E: Entries<Entry = T>,
    {
        let (bytes, chunks) = (&mut self.bytes, &mut self.chunks);
        if let Some(piece) = &mut self.piece {
            if piece.large.abandoned.load(Ordering::Relaxed) {
                return;
            }
            let to = bytes.get_mut(..piece.length).unwrap_or(&mut []);
            let from = &piece.large;
            let read = read_piece(&from.file, to, from.base, piece.offset);
            piece.read = read
                .map(|length| take_sums(bytes, 0, length, chunks, sources.chunk_shift, false))
                .map_err(|e| Error::new(ErrorKind::Source, "cannot read").caused_by(e));
            return;
        }
        for (outcome, entry) in self.outcomes.iter_mut().zip(&self.entries) {
            let Outcome::Wanted { start, length } = *outcome else {
                continue;
            };
            let to = bytes.get_mut(start..start + length).unwrap_or(&mut []);
            *outcome = match read_whole(E::work(entry), to, opener, sources) {
                Ok((length, changed)) => {
                    let shift = sources.chunk_shift;
                    let single = length <= 1 << shift;
                    let read = take_sums(bytes, start, length, chunks, shift, single);
                    Outcome::Read { read, changed }
                }
                Err(error) => Outcome::Failed(error),
            };
        }
    }

    /// Gives up buffers that a few unusual entries made large.
    pub(super) fn shrink<E>(&mut self)
    where
        E: Entries<Entry = T>,
    {
        if self.entries.iter().map(E::memory).sum::<usize>() > 2 * ENTRY_MEMORY {
            self.entries = Vec::new();
        }
    }
}

/// Opens a large file.
fn open(work: Work<'_>, opener: &mut impl OpenFile, sources: &Sources) -> Result<Large> {
    let abandoned = Arc::new(AtomicBool::new(false));
    match work {
        Work::Tree {
            parent,
            name,
            size,
            mtime,
        } => {
            let file = opener.open(parent, name)?;
            // A hint: where it is refused, reading is merely slower.
            let _ = fadvise(&file, 0, None, Advice::Sequential);
            Ok(Large {
                file: Arc::new(file),
                base: 0,
                size,
                mtime: Some(mtime),
                abandoned,
            })
        }
        Work::Spool { offset, size } => Ok(Large {
            file: sources.spool.clone().ok_or_else(no_spool)?,
            base: offset,
            size,
            mtime: None,
            abandoned,
        }),
        Work::Nothing => Err(Error::new(ErrorKind::InvalidInput, "nothing to open")),
    }
}

/// Reads a file of the size of `to`; returns how much of it there is, and whether it changed.
fn read_whole(
    work: Work<'_>,
    to: &mut [u8],
    opener: &mut impl OpenFile,
    sources: &Sources,
) -> Result<(usize, bool)> {
    match work {
        Work::Tree {
            parent,
            name,
            size,
            mtime,
        } => {
            let file = opener.open(parent, name)?;
            let length = read_up_to(&file, to, 0).map_err(|e| {
                Error::new(ErrorKind::Source, "cannot read")
                    .at_path(sources.path(parent, name))
                    .caused_by(e)
            })?;
            Ok((length, changed(&file, size, mtime)))
        }
        Work::Spool { offset, .. } => {
            let spool = sources.spool.as_ref().ok_or_else(no_spool)?;
            let length = read_up_to(spool, to, offset)
                .map_err(|e| Error::new(ErrorKind::Io, "cannot read scratch data").caused_by(e))?;
            Ok((length, false))
        }
        Work::Nothing => Ok((0, false)),
    }
}

#[cold]
fn no_spool() -> Error {
    Error::new(ErrorKind::InvalidInput, "there is no scratch file")
}

impl Sources {
    /// A path for messages.
    pub(super) fn path(&self, parent: &[u8], name: &[u8]) -> PathBuf {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        self.root
            .join(OsStr::from_bytes(parent))
            .join(OsStr::from_bytes(name))
    }
}

/// Whether `file` is not, or no longer, what it was when it was listed.
fn changed(file: &File, size: u64, mtime: Timestamp) -> bool {
    let Ok(now) = fstat(file) else { return true };
    u64::try_from(now.st_size) != Ok(size)
        || now.st_mtime != mtime.seconds
        || u32::try_from(now.st_mtime_nsec) != Ok(mtime.nanoseconds)
}

/// Reads until `to` is full or the file ends; returns how much.
fn read_up_to(file: &File, to: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = to.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

/// Like [`read_up_to`], but does not ask the file system for what is a hole.
fn read_piece(file: &File, to: &mut [u8], base: u64, offset: u64) -> std::io::Result<usize> {
    let from = base + offset;
    let end = from + to.len() as u64;
    let data = match seek(file, SeekFrom::Data(from)) {
        Ok(data) => data,
        // No data from here to the end of the file.
        Err(Errno::NXIO) => u64::MAX,
        Err(_) => from,
    };
    if data >= end && u64::try_from(fstat(file)?.st_size).is_ok_and(|size| size >= end) {
        to.fill(0);
        return Ok(to.len());
    }
    read_up_to(file, to, from)
}

/// Adds the checksums of what was read to `chunks`. The `single` chunk of a file is stored even if it
/// holds zeros, and so needs one.
fn take_sums(
    bytes: &[u8],
    start: usize,
    length: usize,
    chunks: &mut Vec<Option<u32>>,
    chunk_shift: u32,
    single: bool,
) -> Read {
    let first = chunks.len();
    let contents = bytes.get(start..start + length).unwrap_or(&[]);
    let sum = |chunk| (single || !is_zero(chunk)).then(|| crc(chunk));
    chunks.extend(contents.chunks(1 << chunk_shift).map(sum));
    Read {
        start,
        length,
        chunks: first..chunks.len(),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((0, rest)) => bytes.get(..rest.len()) == Some(rest),
        Some(_) => false,
        None => true,
    }
}
