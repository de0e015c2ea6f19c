//! Reads contents, in batches, by threads of its own or by the calling one.

use super::{Fault, Report};
use crate::Result;
use crate::read::ahead::ReadAhead;
use crate::read::cut::KnownChunks;
use crate::read::{Image, Node};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// Bytes of a batch: enough that handing it over costs nothing, few enough that all threads have one.
const BATCH_BYTES: u64 = 4 << 20;

/// Files of a batch.
const BATCH_FILES: usize = 512;

/// Bytes of a large file that are checked by one thread.
const PIECE_BYTES: u64 = 32 << 20;

/// Faults that may wait until contents before them are read.
const MOST_WAITING: usize = 1 << 12;

/// Part of a file's data, on chunk boundaries.
struct Piece {
    node: Node,
    parent: Arc<[u8]>,
    name: Box<[u8]>,
    data: Range<u64>,
}

/// What became of a batch.
struct Done {
    number: u64,
    bytes: u64,
    /// Each with the file's ordinal.
    faults: Vec<(u64, Fault)>,
}

/// What was found of all contents.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Contents {
    /// Bytes found right.
    pub(super) bytes: u64,
    /// Files not all of whose contents are.
    pub(super) damaged_files: u64,
}

/// Ways to the threads, once there are any.
struct Threads {
    batches: SyncSender<(u64, Vec<Piece>)>,
    done: Receiver<Done>,
}

/// Contents on their way to be read.
pub(super) struct Reading<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    image: &'env Image,
    wanted: usize,
    threads: Option<Threads>,
    batch: Vec<Piece>,
    batch_bytes: u64,
    /// Batches handed over, and of these settled.
    handed: u64,
    settled: u64,
    /// Batches that are done before one that was handed over earlier.
    early: Vec<Done>,
    ahead: ReadAhead,
    scratch: Vec<u8>,
    contents: Contents,
    last_damaged: Option<u64>,
    known: Arc<KnownChunks>,
}

impl<'scope, 'env> Reading<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        image: &'env Image,
        threads: usize,
    ) -> Self {
        Self {
            scope,
            image,
            wanted: threads,
            threads: None,
            batch: Vec::new(),
            batch_bytes: 0,
            handed: 0,
            settled: 0,
            early: Vec::new(),
            ahead: ReadAhead::default(),
            scratch: Vec::new(),
            contents: Contents::default(),
            last_damaged: None,
            known: Arc::default(),
        }
    }

    /// Reads the data of `node`, now or soon.
    pub(super) fn add(
        &mut self,
        node: &Node,
        parent: &Arc<[u8]>,
        name: &[u8],
        report: &mut Report<'_>,
    ) {
        self.ahead.advance(self.image, node);
        let chunk = 1u64 << self.image.header().chunk_shift;
        let length = node.data_length();
        let step = PIECE_BYTES.max(chunk);
        for start in (0..length).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let data = start..length.min(start.saturating_add(step));
            self.batch_bytes += data.end - data.start;
            self.batch.push(Piece {
                node: node.clone(),
                parent: Arc::clone(parent),
                name: name.into(),
                data,
            });
            if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
                self.hand_over(report);
            }
        }
    }

    fn hand_over(&mut self, report: &mut Report<'_>) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let number = self.handed;
        self.handed += 1;
        report.expect(number);
        if self.wanted <= 1 {
            let done = check((self.image, &self.known), number, &batch, &mut self.scratch);
            self.settle(done, report);
            return;
        }
        while self.handed - self.settled > 2 * self.wanted as u64 + 1 {
            if !self.wait(report) {
                break;
            }
        }
        let threads = self
            .threads
            .get_or_insert_with(|| start(self.scope, self.image, &self.known, self.wanted));
        // Threads end only when this end of the channel does.
        let _ = threads.batches.send((number, batch));
    }

    /// Waits for a batch. False if none will come.
    fn wait(&mut self, report: &mut Report<'_>) -> bool {
        let done = self
            .threads
            .as_ref()
            .and_then(|threads| threads.done.recv().ok());
        let Some(done) = done else { return false };
        self.early.push(done);
        while let Some(at) = self
            .early
            .iter()
            .position(|done| done.number == self.settled)
        {
            let done = self.early.swap_remove(at);
            self.settle(done, report);
        }
        true
    }

    /// Waits for batches while many faults wait behind them.
    pub(super) fn keep_up(&mut self, report: &mut Report<'_>) {
        while report.waiting.len() > MOST_WAITING && self.settled < self.handed {
            if !self.wait(report) {
                break;
            }
        }
    }

    fn settle(&mut self, done: Done, report: &mut Report<'_>) {
        self.settled += 1;
        self.contents.bytes += done.bytes;
        for (ordinal, _) in &done.faults {
            if self.last_damaged != Some(*ordinal) {
                self.last_damaged = Some(*ordinal);
                self.contents.damaged_files += 1;
            }
        }
        let faults = done.faults.into_iter().map(|(_, fault)| fault);
        report.settle(done.number, faults.collect());
    }

    /// Waits for everything.
    pub(super) fn finish(mut self, report: &mut Report<'_>) -> Contents {
        if !self.batch.is_empty() {
            self.hand_over(report);
        }
        while self.settled < self.handed && self.wait(report) {}
        self.contents
    }
}

fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    image: &'env Image,
    known: &Arc<KnownChunks>,
    count: usize,
) -> Threads {
    let (batches, to_do) = sync_channel::<(u64, Vec<Piece>)>(count);
    let (from_threads, done) = channel();
    let to_do = Arc::new(Mutex::new(to_do));
    for _ in 0..count {
        let (to_do, from_threads) = (Arc::clone(&to_do), from_threads.clone());
        let known = Arc::clone(known);
        scope.spawn(move || {
            let mut scratch = Vec::new();
            let next = || {
                let to_do = to_do.lock().unwrap_or_else(PoisonError::into_inner);
                to_do.recv().ok()
            };
            while let Some((number, batch)) = next() {
                let done = check((image, &known), number, &batch, &mut scratch);
                if from_threads.send(done).is_err() {
                    break;
                }
            }
        });
    }
    Threads { batches, done }
}

/// Reads the pieces of a batch.
fn check(
    image: (&Image, &KnownChunks),
    number: u64,
    batch: &[Piece],
    scratch: &mut Vec<u8>,
) -> Done {
    let mut done = Done {
        number,
        bytes: 0,
        faults: Vec::new(),
    };
    for piece in batch {
        match check_range(image, &piece.node, piece.data.clone(), scratch) {
            Ok(()) => done.bytes += piece.data.end - piece.data.start,
            Err(_) => check_chunks(image, piece, scratch, &mut done),
        }
    }
    done
}

/// Checks the chunks in which the bytes of `range` lie, but for shared ones that were found right before.
fn check_range(
    (image, known): (&Image, &KnownChunks),
    node: &Node,
    range: Range<u64>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let contents = &image.contents;
    match node.extent.cut {
        Some(cut) => contents.check_cut(node, cut, range, known, scratch),
        None => contents.check(node, range, scratch),
    }
}

/// Once more chunk by chunk, to tell the damaged ones from the others.
fn check_chunks(
    image: (&Image, &KnownChunks),
    piece: &Piece,
    scratch: &mut Vec<u8>,
    done: &mut Done,
) {
    let mut at = piece.data.start;
    let first = done.faults.len();
    while at < piece.data.end {
        let data = at..piece
            .data
            .end
            .min(image.0.contents.chunk_end(&piece.node, at));
        at = data.end;
        let error = match check_range(image, &piece.node, data.clone(), scratch) {
            Ok(()) => {
                done.bytes += data.end - data.start;
                continue;
            }
            Err(error) => error,
        };
        let range = in_file(image.0, &piece.node, &data);
        // A damaged block of a chunk table is one fault of all its chunks.
        let faults = done.faults.get_mut(first..).unwrap_or(&mut []);
        match faults.last_mut() {
            Some((_, before))
                if error.offset().is_some() && before.error.offset() == error.offset() =>
            {
                before.range = before.range.take().map(|before| before.start..range.end);
            }
            _ => {
                let fault = Fault {
                    entry: Some(super::join(&piece.parent, &piece.name)),
                    range: Some(range),
                    error,
                };
                done.faults.push((piece.node.ordinal, fault));
            }
        }
    }
}

/// Where bytes of the data lie in the file, holes between them included.
fn in_file(image: &Image, node: &Node, data: &Range<u64>) -> Range<u64> {
    if node.hole_bytes == 0 {
        return data.clone();
    }
    // The map has been reported if it cannot be read.
    let Ok(map) = image.holes(node) else {
        return 0..node.size;
    };
    let place = |at: u64| {
        let after = map
            .segments()
            .partition_point(|segment| segment.stored_at <= at);
        let segment = after
            .checked_sub(1)
            .and_then(|index| map.segments().get(index));
        segment.map_or(at, |segment| {
            segment.offset.saturating_add(at - segment.stored_at)
        })
    };
    place(data.start)..place(data.end.saturating_sub(1)).saturating_add(1)
}
