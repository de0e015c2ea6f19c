//! Cuts contents by content, and has chunks compressed unless they are known.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};

use super::compress::Compressor;
use super::cutter::Cutter;
use super::digest::Digest;
use super::reading::{Sources, is_zero};
use crate::build::cut_file::CutFileWriter;
use crate::build::known_chunks::KnownChunks;
use crate::build::placed::StoredChunk;
use crate::format::checksum::crc;
use crate::{Error, ErrorKind, Result};

/// How contents are cut by content.
#[derive(Debug, Clone)]
pub struct Cutting {
    pub(in crate::build) cutter: Cutter,
    pub(in crate::build) known: Arc<KnownChunks>,
}

/// How a chunk is to be stored, and the checksum of that.
#[derive(Debug, Clone)]
enum Packed {
    Zeros,
    /// It was stored before, and so need not be compressed.
    Known,
    Raw(u32),
    /// These bytes of the frames.
    Frame(Range<usize>, u32),
}

/// A chunk of a file that is cut by content.
#[derive(Debug, Clone)]
pub(super) struct CutPiece {
    length: usize,
    digest: Digest,
    packed: Packed,
}

impl CutPiece {
    /// Prepares `bytes`, a chunk, to be stored; a frame goes to the end of `frames`.
    fn new(
        bytes: &[u8],
        codec: u32,
        known: &KnownChunks,
        compressor: &mut Compressor<'_>,
        frames: &mut Vec<u8>,
    ) -> Self {
        let digest = Digest::of(bytes);
        let packed = if is_zero(bytes) {
            Packed::Zeros
        } else if is_known(known, &digest, bytes) {
            Packed::Known
        } else {
            compress(bytes, codec, compressor, frames)
        };
        Self {
            length: bytes.len(),
            digest,
            packed,
        }
    }

    /// Stores the chunk, whose data is `bytes`, unless it is known. That decides here, in the order of contents; what a
    /// thread saw ahead of that spares work and changes nothing.
    pub(super) fn store(
        &self,
        (bytes, frames, codec): (&[u8], &[u8], u32),
        file: &mut CutFileWriter<'_>,
        known: &KnownChunks,
        compressor: &mut Compressor<'_>,
    ) -> Result<()> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Packed::Zeros = self.packed {
            return file.zeros(length);
        }
        if let Some(chunk) = known.find(&self.digest, length)? {
            return file.share(&chunk);
        }
        let mut own_frames = Vec::new();
        let (packed, frames) = match &self.packed {
            // It was known, but of a file that was taken back since.
            Packed::Known => {
                let packed = compress(bytes, codec, compressor, &mut own_frames);
                (packed, own_frames.as_slice())
            }
            packed => (packed.clone(), frames),
        };
        let chunk = match packed {
            Packed::Frame(range, crc) => StoredChunk {
                length: bytes.len(),
                bytes: frames.get(range).unwrap_or(&[]),
                crc,
            },
            Packed::Raw(crc) => StoredChunk::raw(bytes, crc),
            Packed::Zeros | Packed::Known => StoredChunk::raw(bytes, crc(bytes)),
        };
        let placed = file.append(&chunk, codec)?;
        known.add(&self.digest, &placed)
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Whether the chunk was stored before. If that cannot be told, who stores it will hear why.
fn is_known(known: &KnownChunks, digest: &Digest, bytes: &[u8]) -> bool {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    matches!(known.find(digest, length), Ok(Some(_)))
}

fn compress(
    bytes: &[u8],
    codec: u32,
    compressor: &mut Compressor<'_>,
    frames: &mut Vec<u8>,
) -> Packed {
    match compressor.frame(bytes, codec) {
        Some(frame) => {
            let at = frames.len();
            frames.extend_from_slice(frame);
            Packed::Frame(at..frames.len(), crc(frame))
        }
        None => Packed::Raw(crc(bytes)),
    }
}

impl Cutting {
    /// A file is taken back: chunks that were stored for it are no longer there.
    pub(super) fn take_back(&self, file: &CutFileWriter<'_>) {
        if file.has_own() {
            self.known.take_back(file.position());
        }
    }

    /// Cuts `bytes`, which are the whole data of a file, and prepares each chunk.
    pub(super) fn cut_all(
        &self,
        mut bytes: &[u8],
        codec: u32,
        compressor: &mut Compressor<'_>,
        (pieces, frames): (&mut Vec<CutPiece>, &mut Vec<u8>),
    ) {
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(self.cutter.cut(bytes));
            pieces.push(CutPiece::new(chunk, codec, &self.known, compressor, frames));
            bytes = rest;
        }
    }
}

/// A chunk on its way to a thread that prepares it.
struct Job {
    number: u64,
    bytes: Vec<u8>,
    codec: u32,
}

/// A chunk that was prepared.
pub(super) struct Prepared {
    number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<u8>,
    pub(super) codec: u32,
    pub(super) piece: CutPiece,
}

/// Threads that prepare the chunks of large files. These are cut by the thread that stores, since where a chunk begins
/// is known only when the one before has ended, and a chunk may begin in one piece of a file and end in another.
pub(super) struct Preparing {
    jobs: SyncSender<Job>,
    prepared: Receiver<Option<Prepared>>,
    early: BTreeMap<u64, Prepared>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    sent: u64,
    taken: u64,
    most: u64,
}

/// Tells the storing thread of a panic.
struct Leaving(Sender<Option<Prepared>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}

impl Preparing {
    /// Starts `threads` threads, which have at most `most` chunks in hand together. Fails if memory is lacking.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        sources: &'scope Sources,
        known: &Arc<KnownChunks>,
        threads: usize,
        most: usize,
    ) -> Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(most);
        let (done, prepared) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads.min(most) {
            let (waiting, known) = (Arc::clone(&waiting), Arc::clone(known));
            let leaving = Leaving(done.clone());
            let mut compressor = Compressor::new(sources.codecs.as_deref())?;
            scope.spawn(move || {
                loop {
                    let job = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok(job) = job else { break };
                    let mut frames = Vec::new();
                    let piece =
                        CutPiece::new(&job.bytes, job.codec, &known, &mut compressor, &mut frames);
                    let prepared = Prepared {
                        number: job.number,
                        bytes: job.bytes,
                        frames,
                        codec: job.codec,
                        piece,
                    };
                    if leaving.0.send(Some(prepared)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            jobs,
            prepared,
            early: BTreeMap::new(),
            spare: Vec::new(),
            sent: 0,
            taken: 0,
            most: most as u64,
        })
    }

    /// Whether another chunk may be sent before one is taken.
    pub(super) fn has_room(&self) -> bool {
        self.sent - self.taken < self.most
    }

    /// Whether all that were sent were taken.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.taken
    }

    /// Has a chunk prepared.
    pub(super) fn send(&mut self, chunk: &[u8], codec: u32) -> Result<()> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(chunk);
        let number = self.sent;
        self.sent += 1;
        let job = Job {
            number,
            bytes,
            codec,
        };
        self.jobs.send(job).map_err(|_| died())
    }

    /// The next chunk in the order in which they were sent.
    pub(super) fn take(&mut self) -> Result<Prepared> {
        loop {
            if let Some(prepared) = self.early.remove(&self.taken) {
                self.taken += 1;
                return Ok(prepared);
            }
            let prepared = self.prepared.recv().ok().flatten().ok_or_else(died)?;
            self.early.insert(prepared.number, prepared);
        }
    }

    /// Takes a buffer back.
    pub(super) fn give_back(&mut self, prepared: Prepared) {
        self.spare.push(prepared.bytes);
    }
}

#[cold]
fn died() -> Error {
    Error::new(ErrorKind::Source, "a thread that compresses chunks died")
}
