//! A run of entries that travels from the sorter through a worker thread to the volumes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::compress::Compressor;
use super::large::Large;
use super::reading::{Read, Small, Sources, Storage, read_spool};
use super::source::{Entries, OpenFile, Work};
use crate::{Error, ErrorKind, Result};

/// Bytes of contents in a batch, unless a chunk is larger. Large enough that handing it over costs
/// nothing beside reading it, small enough that it is still in the processor's cache when it is
/// written.
const BATCH: usize = 512 << 10;

/// Most entries of a batch: what the smallest files need to make a hand-over cheap.
const ENTRIES: usize = 256;

/// Bytes that the entries of a batch may take together, not counting the last.
pub(super) const ENTRY_MEMORY: usize = 256 << 10;

/// Files that a worker has the device read at the same time, where they are not in memory. Packing
/// 200,000 files of 8 KiB from a virtual disk with two workers took 6 s so, and 16 s with one file
/// at a time.
const AHEAD: usize = 16;

/// The same, for all workers together, but never more than a quarter of the open files that the process may have.
const AHEAD_OF_ALL: usize = 512;

/// Files that each of so many workers has the device read at the same time, in a process that may have `limit` of
/// them open.
pub(super) fn files_ahead(workers: usize, limit: usize) -> usize {
    let all = AHEAD_OF_ALL.min(limit / 4);
    (all / workers.max(1)).clamp(1, AHEAD)
}

/// Bytes of contents in a batch of an image whose chunks have `1 << chunk_shift` bytes.
pub(super) fn batch_bytes(chunk_shift: u32) -> usize {
    BATCH.max(1 << chunk_shift)
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
    /// The file that the next batches are pieces of, and where the next piece begins.
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

    /// Puts the next entry into `into`; false at the end.
    fn next(&mut self, into: &mut E::Entry) -> Result<bool> {
        if std::mem::take(&mut self.is_waiting) {
            std::mem::swap(into, &mut self.waiting);
            return Ok(true);
        }
        let found = self.entries.next(into);
        self.ended = !matches!(found, Ok(true));
        found
    }
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
        let read = self.read.as_ref();
        read.is_ok_and(|read| read.length < self.length)
    }
}

/// A run of entries, or a piece of a large file, and their contents.
#[derive(Debug)]
pub(super) struct Batch<T> {
    /// As many as there are outcomes are valid; the others wait to be used again.
    pub(super) entries: Vec<T>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) piece: Option<Piece>,
    pub(super) storage: Storage,
    /// Why no entry follows.
    pub(super) error: Option<Error>,
    /// Whether no batch follows.
    pub(super) last: bool,
}

impl<T> Batch<T> {
    pub(super) fn new(sources: &Sources) -> Self {
        Self {
            entries: Vec::new(),
            outcomes: Vec::new(),
            piece: None,
            storage: Storage::new(batch_bytes(sources.chunk_shift), sources),
            error: None,
            last: false,
        }
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
        self.storage.clear();
        self.piece = intake.large.take().map(|(large, offset)| {
            let length = (large.length() - offset).min(self.storage.capacity() as u64);
            let end = offset + length;
            let last = end >= large.length();
            if !last {
                intake.large = Some((large.clone(), end));
            }
            Piece {
                large,
                offset,
                length: usize::try_from(length).unwrap_or(usize::MAX),
                last,
                read: Err(not_read()),
            }
        });
        if self.piece.is_some() {
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
            match intake.next(entry) {
                Ok(true) => {}
                end => {
                    self.error = end.err();
                    self.last = true;
                    return;
                }
            }
            let work = E::work(entry);
            if let Work::Tree {
                holes_hint: 1.., ..
            } = work
            {
                match Large::open_with_holes(work, opener, sources) {
                    // Read like any other file, which reports what is wrong with it, too.
                    Ok(None) | Err(_) => {}
                    Ok(Some(large)) => {
                        if large.length() > 0 {
                            intake.large = Some((large.clone(), 0));
                        }
                        self.outcomes.push(Outcome::Large(large));
                        return;
                    }
                }
            }
            let length = match work {
                Work::Nothing => None,
                Work::Tree { size, .. } | Work::Spool { size, .. } => Some(size),
            };
            let length = length.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
            match length {
                None => self.outcomes.push(Outcome::Nothing),
                Some(length) if length > self.storage.capacity() => {
                    self.outcomes
                        .push(match Large::open(work, opener, sources) {
                            Ok(large) => {
                                intake.large = Some((large.clone(), 0));
                                Outcome::Large(large)
                            }
                            Err(error) => Outcome::Failed(error),
                        });
                    return;
                }
                Some(length) if length > self.storage.capacity() - used => {
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
            }
            memory += E::memory(entry);
        }
    }

    /// Reads what [`Self::fill`] found to be read, and compresses it.
    pub(super) fn read<'c, E>(
        &mut self,
        opener: &mut impl OpenFile,
        sources: &'c Sources,
        compressor: &mut Compressor<'c>,
    ) where
        E: Entries<Entry = T>,
    {
        if let Some(piece) = &mut self.piece {
            if !piece.large.abandoned.load(Ordering::Relaxed) {
                let to = self.storage.space(0, piece.length);
                let length = piece.large.read_piece(to, piece.offset);
                let (size, codec) = (piece.large.length(), piece.large.codec);
                // A chunk may begin in one piece and end in another.
                let is_cut = sources.cuts(piece.large.length()).is_some();
                piece.read = length.map(|length| {
                    if is_cut {
                        Read::plain(0, length)
                    } else {
                        self.storage
                            .read_piece((0, length), size, codec, compressor)
                    }
                });
            }
            return;
        }
        // Files that the device is reading, in the order in which they were asked for.
        let mut ahead: VecDeque<(usize, Small)> = VecDeque::new();
        for number in 0..self.outcomes.len() {
            let (Some(&Outcome::Wanted { start, length }), Some(entry)) =
                (self.outcomes.get(number), self.entries.get(number))
            else {
                continue;
            };
            let to = self.storage.space(start, length);
            match E::work(entry) {
                Work::Tree {
                    parent,
                    name,
                    mtime,
                    ..
                } => match Small::begin(opener, parent, name, mtime, to) {
                    Ok(small) if small.is_complete() => {
                        self.finish::<E>(number, small, compressor);
                    }
                    Ok(small) => ahead.push_back((number, small)),
                    Err(error) => self.end::<E>(number, Err(error), compressor),
                },
                Work::Spool { offset, .. } => {
                    let read = read_spool(sources, offset, to);
                    self.end::<E>(number, read.map(|()| (length, false)), compressor);
                }
                Work::Nothing => {}
            }
            if ahead.len() >= sources.files_ahead {
                if let Some((number, small)) = ahead.pop_front() {
                    self.finish::<E>(number, small, compressor);
                }
            }
        }
        for (number, small) in ahead {
            self.finish::<E>(number, small, compressor);
        }
        self.group(compressor);
    }

    /// Compresses the small files, those that share frames in groups.
    fn group(&mut self, compressor: &mut Compressor<'_>) {
        let outcomes = &mut self.outcomes;
        self.storage.group(compressor, |number, group| {
            if let Some(Outcome::Read { read, .. }) = outcomes.get_mut(number) {
                read.group = Some(group);
            }
        });
        for outcome in outcomes {
            if let Outcome::Read { read, .. } = outcome {
                if read.group.is_none() && read.is_candidate {
                    self.storage.pack_whole(read, compressor);
                }
            }
        }
    }

    /// Waits for the contents of entry `number`.
    fn finish<E>(&mut self, number: usize, small: Small, compressor: &mut Compressor<'_>)
    where
        E: Entries<Entry = T>,
    {
        if let Some(&Outcome::Wanted { start, length }) = self.outcomes.get(number) {
            let read = small.finish(self.storage.space(start, length));
            self.end::<E>(number, read, compressor);
        }
    }

    /// Notes what became of entry `number`: how much of it there is, and whether it changed.
    fn end<E>(
        &mut self,
        number: usize,
        read: Result<(usize, bool)>,
        compressor: &mut Compressor<'_>,
    ) where
        E: Entries<Entry = T>,
    {
        let Some(outcome) = self.outcomes.get_mut(number) else {
            return;
        };
        if let Outcome::Wanted { start, .. } = *outcome {
            *outcome = match read {
                Ok((length, changed)) => {
                    let name = self.entries.get(number).map(|entry| E::work(entry).name());
                    let name = name.unwrap_or(&[]);
                    let codec = compressor.codec_of(name, self.storage.contents(start, length));
                    let storage = &mut self.storage;
                    let cut = storage.read_cut(start, length, codec, compressor);
                    let later = || storage.read_later((number, name), start, length, codec);
                    let read = match cut.or_else(later) {
                        Some(read) => read,
                        None => storage.read_whole(start, length, codec, compressor),
                    };
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
        if self.entries.iter().map(E::room).sum::<usize>() > 2 * ENTRY_MEMORY {
            self.entries = Vec::new();
        }
    }
}

#[cold]
pub(super) fn not_read() -> Error {
    Error::new(ErrorKind::Source, "was not read")
}
