//! Worker threads that fill and read batches, and the thread that stores them in order.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;

use super::batch::{Batch, ENTRY_MEMORY, Intake, Outcome, batch_bytes, files_ahead, not_read};
use super::compress::{Codecs, Compressor};
use super::cut_store::CutStore;
use super::cutting::Cutting;
use super::digest::{Digest, PieceDigests};
use super::exchange::{Exchange, Leaving, Stopping};
use super::grouping::Group;
use super::large::Large;
use super::lengths::Lengths;
use super::member_store::{MemberStore, Settled};
use super::reading::{Read, Sources, Storage};
use super::source::{Entries, OpenFile, Work};
use crate::build::duplicates::Duplicates;
use crate::build::placed::{Placed, StoredChunk};
use crate::build::volumes::VolumeSet;
use crate::{Error, ErrorKind, Result, descriptors};

/// Most batches for each worker. With more, contents have left the processor's cache before they are
/// written, which costs a tenth more time, and nothing is gained.
const BATCHES: usize = 8;

/// How contents are read.
#[derive(Debug, Clone)]
pub struct ContentOptions {
    /// What the paths of source files begin with in messages.
    pub root: PathBuf,
    /// The scratch file that [`Work::Spool`] refers to.
    pub spool: Option<Arc<File>>,
    /// Bytes of memory for entries and contents that are read ahead. Two batches are always had,
    /// and with little memory fewer threads than there are openers.
    pub memory: usize,
    /// Bytes of memory for dictionaries, of which each thread has its own: with little, fewer threads compress.
    pub table_memory: usize,
    /// Whether the first problem ends the build.
    pub strict: bool,
    /// What contents are compressed with, if they are.
    pub codecs: Option<Arc<Codecs>>,
    /// The lengths of all files, if they are known.
    pub lengths: Option<Arc<Lengths>>,
    /// How files larger than a chunk are cut by content, if they are.
    pub cutting: Option<Cutting>,
    /// Most bytes of small files that share a frame, if any do.
    pub small_frames: Option<usize>,
}

/// Takes what [`store_contents`] is done with.
pub trait Receiver<T> {
    /// The next entry in key order; `placed` says where its contents went, and how long they turned
    /// out to be. It is `None` if there was nothing to read.
    fn stored(&mut self, entry: &mut T, placed: Option<Placed>) -> Result<()>;

    /// A file could not be read, and is packed as an empty one; or it changed since it was listed,
    /// and is packed as it was read. Comes before the entry.
    fn problem(&mut self, error: &Error);

    /// So many further bytes of a large file were stored; its entry comes at the end.
    fn progress(&mut self, _bytes: u64) {}
}

/// Reads the contents of all `entries` and appends them to `volumes`, in their order.
///
/// Each of `openers` gives a thread. A file that has become longer since it was listed is read up to
/// the length it had then; one that has become shorter, up to its end. Both are problems, as is
/// another time of modification. A file that cannot be read to its end is packed as an empty one,
/// since its directory has counted it already. A scratch file that cannot be read ends the build, and
/// so does a lack of memory or of open files.
///
/// Contents that `duplicates` knows are not stored again, and new ones are made known to it.
pub fn store_contents<E, O>(
    entries: E,
    openers: Vec<O>,
    volumes: &mut VolumeSet,
    duplicates: Option<&mut Duplicates>,
    options: ContentOptions,
    receiver: &mut dyn Receiver<E::Entry>,
) -> Result<()>
where
    E: Entries,
    O: OpenFile,
{
    let chunk_shift = volumes.chunk_shift();
    // Frames take as much as contents at most.
    let buffers = 1 + usize::from(options.codecs.is_some());
    let mut memory = options.memory;
    let mut cut_memory = 0;
    if options.cutting.is_some() {
        cut_memory = memory / 4;
        memory -= cut_memory;
    }
    let batches = memory / (buffers * batch_bytes(chunk_shift) + ENTRY_MEMORY);
    let batches = batches.min(BATCHES * openers.len()).max(2);
    let tables = options.codecs.as_deref().map_or(0, Codecs::memory);
    let small_frames = options.small_frames.filter(|_| buffers > 1);
    let (workers, cutters) = compressors(
        options.table_memory.checked_div(tables),
        options.cutting.is_some(),
        duplicates.is_some(),
    );
    let workers = workers.min(batches - 1);
    let shared = Exchange::new(batches);
    let sources = Sources {
        spool: options.spool,
        chunk_shift,
        files_ahead: files_ahead(openers.len(), descriptors::limit()),
        codecs: options.codecs,
        claims: duplicates.as_deref().map(Duplicates::claims),
        lengths: options.lengths,
        cutting: options.cutting,
        small_frames,
    };
    let intake = Mutex::new(Intake::new(entries));
    let cutters = cutters.min(openers.len());
    thread::scope(|scope| {
        // Also if something panics here: else the scope would wait for workers that wait for it.
        let _stopping = Stopping(&shared);
        // The batch in the hands of this thread is not one that a worker could fill.
        for mut opener in openers.into_iter().take(workers) {
            let (shared, intake, sources) = (&shared, &intake, &sources);
            let mut compressor = Compressor::new(sources.codecs.as_deref())?;
            shared.join();
            scope.spawn(move || {
                let _leaving = Leaving(shared);
                work(shared, intake, sources, &mut opener, &mut compressor);
            });
        }
        let mut store = Store {
            cut: CutStore::new(scope, &sources, cutters, cut_memory)?,
            sources: &sources,
            shared: &shared,
            root: &options.root,
            volumes,
            duplicates,
            receiver,
            strict: options.strict,
            number: 0,
            members: MemberStore::new(sources.codecs.as_deref()),
            groups: Vec::new(),
        };
        store.run::<E>()
    })
}

/// How many workers, and how many threads for the chunks of large files, may compress, if memory has room for the
/// dictionaries of so many threads. If files are cut by content, or equal ones are stored once, the thread that stores
/// may have to compress as well.
fn compressors(room: Option<usize>, are_cut: bool, are_shared: bool) -> (usize, usize) {
    let storing = usize::from(are_cut) + usize::from(are_shared);
    let room = room.unwrap_or(usize::MAX).saturating_sub(storing);
    let (workers, cutters) = if are_cut {
        (room.div_ceil(2), room / 2)
    } else {
        (room, 0)
    };
    (workers.max(1), cutters.max(1))
}

/// What a worker thread does.
fn work<'c, E: Entries>(
    shared: &Exchange<E::Entry>,
    intake: &Mutex<Intake<E>>,
    sources: &'c Sources,
    opener: &mut impl OpenFile,
    compressor: &mut Compressor<'c>,
) {
    // Who fills batch n has it in hand already; so the batches before it are in hand, too, and the
    // one that everybody waits for always comes.
    while let Some(mut batch) = shared.empty_batch(sources) {
        let number = {
            let mut intake = intake.lock().unwrap_or_else(PoisonError::into_inner);
            if intake.ended {
                return;
            }
            batch.fill(&mut intake, opener, sources);
            intake.number += 1;
            intake.number - 1
        };
        batch.read::<E>(opener, sources, compressor);
        shared.deliver(number, batch);
    }
}

/// The storing thread.
struct Store<'a, 'scope, 'env, T> {
    cut: CutStore<'scope, 'env>,
    sources: &'a Sources,
    shared: &'a Exchange<T>,
    root: &'a Path,
    volumes: &'a mut VolumeSet,
    duplicates: Option<&'a mut Duplicates>,
    receiver: &'a mut dyn Receiver<T>,
    strict: bool,
    number: u64,
    members: MemberStore<'env>,
    /// The groups of the batch that is being stored.
    groups: Vec<(Group, Option<Settled>)>,
}

impl<T> Store<'_, '_, '_, T> {
    fn run<E: Entries<Entry = T>>(&mut self) -> Result<()> {
        loop {
            let mut batch = self.next()?;
            let mut outcomes = std::mem::take(&mut batch.outcomes);
            let groups = batch.storage.take_groups().into_iter();
            self.groups = groups.map(|group| (group, None)).collect();
            for (number, outcome) in outcomes.drain(..).enumerate() {
                let placed = self.place::<E>(&mut batch, number, outcome)?;
                if let Some(entry) = batch.entries.get_mut(number) {
                    self.receiver.stored(entry, placed)?;
                }
            }
            if let Some(error) = batch.error.take() {
                return Err(error);
            }
            if batch.last {
                return Ok(());
            }
            batch.outcomes = outcomes;
            batch.shrink::<E>();
            self.shared.give_back(batch);
        }
    }

    fn next(&mut self) -> Result<Batch<T>> {
        let batch = self.shared.full_batch(self.number);
        self.number += 1;
        batch.ok_or_else(died)
    }

    /// Stores the contents of entry `number` of `batch`.
    fn place<E: Entries<Entry = T>>(
        &mut self,
        batch: &mut Batch<T>,
        number: usize,
        outcome: Outcome,
    ) -> Result<Option<Placed>> {
        let (placed, changed) = match outcome {
            Outcome::Nothing => return Ok(None),
            Outcome::Read { mut read, changed } => {
                let shared = self.place_member(batch, number, &read)?;
                let known = match shared {
                    None => self.known(read.digest, read.length as u64)?,
                    Some(_) => None,
                };
                let placed = if let Some(placed) = shared {
                    placed
                } else if let Some(placed) = known {
                    self.volumes.leave_out(placed.size);
                    placed
                } else {
                    if read.is_left {
                        self.members.pack(&mut batch.storage, &mut read)?;
                    }
                    let placed = match self.sources.cutting.as_ref().filter(|_| read.is_cut()) {
                        Some(cutting) => {
                            self.cut
                                .store_whole(self.volumes, &batch.storage, &read, cutting)?
                        }
                        None => store_whole(self.volumes, batch, &read)?,
                    };
                    self.remember(read.digest, &placed)?;
                    placed
                };
                (Ok(placed), changed)
            }
            Outcome::Large(large) => {
                let placed = match self.sources.cuts(large.length()) {
                    Some(cutting) => self.store_large_cut(&large, cutting)?,
                    None => self.store_large(&large)?,
                };
                let changed = placed.as_ref().is_ok_and(|p| large.changed(p.size));
                (placed, changed)
            }
            Outcome::Failed(error) => (Err(error), false),
            Outcome::Wanted { .. } => (Err(not_read()), false),
        };
        let (placed, error) = match placed {
            Ok(placed) if !changed => return Ok(Some(placed)),
            Ok(placed) => {
                let what = "changed since it was listed; it is packed as it was read";
                (placed, Error::new(ErrorKind::Source, what))
            }
            Err(error) => (self.volumes.append_small(&StoredChunk::raw(&[], 0))?, error),
        };
        let Some(entry) = batch.entries.get_mut(number) else {
            return Err(error);
        };
        let mut path = PathBuf::from(OsString::from_vec(E::path(entry)));
        let in_tree = matches!(E::work(entry), Work::Tree { .. });
        if in_tree {
            path = self.root.join(path);
        }
        let error = error.at_path(path);
        // Where the process is at its limits, nothing is wrong with the file.
        if let Some(errno) = exhaustion(&error) {
            let what = "cannot read this file; raise the limit of open files (`ulimit -n`), or give \
                        fewer threads or less memory";
            let path = error.path().unwrap_or(self.root);
            return Err(Error::new(ErrorKind::Io, what)
                .at_path(path)
                .caused_by(errno));
        }
        // Of what waits in the scratch file there is no other copy.
        if self.strict || !in_tree {
            return Err(error);
        }
        self.receiver.problem(&error);
        Ok(Some(placed))
    }

    /// Stores the contents of entry `number` of `batch` with others, if they are in a group and stay in it.
    fn place_member(
        &mut self,
        batch: &Batch<T>,
        number: usize,
        read: &Read,
    ) -> Result<Option<Placed>> {
        let group = read.group.and_then(|group| self.groups.get_mut(group));
        let Some((group, settled)) = group else {
            return Ok(None);
        };
        let (volumes, duplicates) = (&mut *self.volumes, &mut self.duplicates);
        let members = (&*group, settled);
        self.members
            .place(volumes, duplicates, &batch.storage, members, number)
    }

    /// Where contents of `size` bytes with this digest are, if they have been stored.
    fn known(&mut self, digest: Option<Digest>, size: u64) -> Result<Option<Placed>> {
        match (&mut self.duplicates, digest) {
            (Some(duplicates), Some(digest)) => duplicates.find(&digest, size),
            _ => Ok(None),
        }
    }

    fn remember(&mut self, digest: Option<Digest>, placed: &Placed) -> Result<()> {
        match (&mut self.duplicates, digest) {
            (Some(duplicates), Some(digest)) => duplicates.add(&digest, placed),
            _ => Ok(()),
        }
    }

    /// Stores the pieces of `large`, which are the next batches. The outer error ends the build, the
    /// inner one is that of the file, of which nothing is stored then.
    ///
    /// Whether its contents are known already turns out at the end. Then they are taken back, which
    /// costs no more than to have written them; to read the file twice would cost as much for each
    /// large file that has its length in common with another.
    fn store_large(&mut self, large: &Large) -> Result<Result<Placed>> {
        let mut file = self.volumes.begin_file(large.length())?;
        let mut codec = None;
        let mut digests = PieceDigests::new();
        let from = (self.shared, &mut self.number);
        let read = pieces(from, large, self.receiver, &mut |storage, read| {
            // One that the file has not reached is no piece of it.
            if read.length > 0 {
                digests.push(read.digest);
            }
            let (chunks, of_frames) = storage.chunks(read);
            codec = codec.or(of_frames);
            for chunk in chunks {
                file.chunk(&chunk)?;
            }
            Ok(())
        })?;
        let size = match read {
            Ok(size) => size,
            Err(error) => return Ok(Err(error)),
        };
        let digest = digests.finish();
        let known = match (&mut self.duplicates, digest) {
            (Some(duplicates), Some(digest)) => duplicates.find(&digest, size)?,
            _ => None,
        };
        let mut placed = if let Some(placed) = known {
            drop(file);
            self.volumes.leave_out(0);
            placed
        } else {
            let mut placed = file.finish()?;
            placed.codec = codec;
            self.remember(digest, &placed)?;
            placed
        };
        placed.holes.clone_from(&large.holes);
        Ok(Ok(placed))
    }

    /// As [`Self::store_large`], of a file that is cut by content.
    fn store_large_cut(&mut self, large: &Large, cutting: &Cutting) -> Result<Result<Placed>> {
        let average = cutting.cutter.average_shift();
        let mut file = self.volumes.begin_cut_file(large.length(), average)?;
        let mut chunks = self.cut.begin(large.codec, cutting)?;
        let from = (self.shared, &mut self.number);
        let read = pieces(from, large, self.receiver, &mut |storage, read| {
            chunks.push(storage.contents(0, read.length), &mut file)
        })?;
        let size = match read {
            Ok(size) => size,
            Err(error) => {
                chunks.abandon()?;
                cutting.take_back(&file);
                return Ok(Err(error));
            }
        };
        let digest = chunks.finish(&mut file)?;
        let known = match &mut self.duplicates {
            Some(duplicates) => duplicates.find(&digest, size)?,
            None => None,
        };
        let mut placed = if let Some(placed) = known {
            cutting.take_back(&file);
            drop(file);
            placed
        } else {
            let placed = file.finish()?;
            self.remember(Some(digest), &placed)?;
            placed
        };
        self.volumes.leave_out(0);
        placed.holes.clone_from(&large.holes);
        Ok(Ok(placed))
    }
}

/// Hands the pieces of `large`, which are the next batches `from` the workers, to `take`. Returns how many bytes there
/// were, or why the file could not be read to its end; what is left of it is passed over then.
fn pieces<T>(
    (shared, number): (&Exchange<T>, &mut u64),
    large: &Large,
    receiver: &mut dyn Receiver<T>,
    take: &mut dyn FnMut(&Storage, &Read) -> Result<()>,
) -> Result<Result<u64>> {
    let mut failed = None;
    let mut size = 0;
    while large.length() > 0 {
        let batch = shared.full_batch(*number);
        *number += 1;
        let mut batch = batch.ok_or_else(died)?;
        let Some(mut piece) = batch.piece.take() else {
            return Err(died());
        };
        if !large.abandoned.load(Ordering::Relaxed) {
            if piece.is_short() {
                large.abandoned.store(true, Ordering::Relaxed);
            }
            match std::mem::replace(&mut piece.read, Err(not_read())) {
                Ok(read) => {
                    size += read.length as u64;
                    take(&batch.storage, &read)?;
                    receiver.progress(read.length as u64);
                }
                Err(error) => {
                    large.abandoned.store(true, Ordering::Relaxed);
                    failed = Some(error);
                }
            }
        }
        shared.give_back(batch);
        if piece.last {
            break;
        }
    }
    Ok(failed.map_or(Ok(size), Err))
}

/// What the system lacks to read any file, if that is the cause.
fn exhaustion(error: &Error) -> Option<Errno> {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
    let errno = cause.and_then(Errno::from_io_error)?;
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM).then_some(errno)
}

#[cold]
fn died() -> Error {
    Error::new(ErrorKind::Source, "a thread that reads files died")
}

/// Stores a file that lies in one batch.
fn store_whole<T>(volumes: &mut VolumeSet, batch: &Batch<T>, read: &Read) -> Result<Placed> {
    let (mut chunks, codec) = batch.storage.chunks(read);
    let mut placed = if read.length <= 1 << volumes.chunk_shift() {
        volumes.append_small(&chunks.next().unwrap_or(StoredChunk::raw(&[], 0)))?
    } else {
        let mut file = volumes.begin_file(read.length as u64)?;
        for chunk in chunks {
            file.chunk(&chunk)?;
        }
        file.finish()?
    };
    placed.codec = codec;
    Ok(placed)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
