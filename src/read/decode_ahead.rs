//! Decompressing ahead of those who read large files in order, by threads of its own.
//!
//! A piece is what the next read will probably want, whatever chunks it lies in, so that nothing here depends on how a
//! file is cut. A failure leaves the piece to the read that wants it, which then fails for a reason of its own.

use super::contents::Contents;
use super::pieces::{Found, Pieces, Task};
use super::streams::Streams;
use super::{Image, Node};
use crate::format::extent::Shape;
use crate::{Error, Result};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Longest piece: the largest request of a mount.
const LONGEST_PIECE: u64 = 1 << 20;

/// Shortest piece, unless there is no room for it: the usual chunk.
const SHORTEST_PIECE: u64 = 128 << 10;

/// Most bytes that are decoded ahead of one reader.
const WINDOW: u64 = 4 * LONGEST_PIECE;

/// Longest read that is served in pieces; the kernel's are much shorter.
const LONGEST_READ: u64 = 64 << 20;

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const SCATTER: u64 = 0x9E37_79B9_7F4A_7C15;

thread_local! {
    /// Where a read collects what was not decoded ahead.
    static REST: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What is decoded ahead of reads.
#[derive(Debug)]
pub(super) struct Ahead {
    pieces: Pieces<Node>,
    streams: Streams,
    chunk_shift: u32,
    /// Bytes of the longest piece, a multiple of the chunk; 0 if there is no room for four.
    longest: u64,
    /// Threads that decode.
    threads: AtomicUsize,
}

impl Ahead {
    /// Up to `bytes` are decoded ahead, of contents in chunks of `1 << chunk_shift` bytes.
    pub(super) fn new(bytes: usize, chunk_shift: u32) -> Self {
        let chunk = 1 << chunk_shift;
        let most = (bytes as u64 / 4).min(LONGEST_PIECE.max(chunk));
        Self {
            pieces: Pieces::new(bytes),
            streams: Streams::default(),
            chunk_shift,
            longest: most - most % chunk,
            threads: AtomicUsize::new(0),
        }
    }

    /// The bytes of a piece from `skip` on: the piece itself if it is these, else copied to `scratch`.
    fn hand_out<'s>(
        &self,
        bytes: Arc<Vec<u8>>,
        skip: usize,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        match Arc::try_unwrap(bytes) {
            Ok(bytes) if skip == 0 && bytes.len() == length => {
                self.pieces.give_back(std::mem::replace(scratch, bytes));
            }
            bytes => {
                scratch.resize(length, 0);
                self.copy_out(bytes.map_or_else(|shared| shared, Arc::new), skip, scratch)?;
            }
        }
        Ok(scratch)
    }

    /// Fills `target` with the bytes of a piece from `skip` on.
    fn copy_out(&self, bytes: Arc<Vec<u8>>, skip: usize, target: &mut [u8]) -> Result<()> {
        copy(&bytes, skip, target)?;
        if let Ok(bytes) = Arc::try_unwrap(bytes) {
            self.pieces.give_back(bytes);
        }
        Ok(())
    }

    /// Whether a read of so many bytes of `node` is looked at: there are threads to decode, perhaps something to be
    /// decoded, and it is no attempt to get all at once.
    pub(super) fn is_for(&self, node: &Node, bytes: u64) -> bool {
        let length = node.data_length();
        self.threads.load(Ordering::Relaxed) > 0
            && bytes <= LONGEST_READ
            && length > 1 << self.chunk_shift
            && (node.extent.cut.is_some()
                || node.extent.stored
                    != Shape::new(length, self.chunk_shift).default_stored_length())
    }

    /// Notes that `range` of `node` is read, and has decoded what will be wanted next, no more than was read so far.
    fn plan(&self, node: &Node, range: &Range<u64>) {
        // Each file has a place of its own among all numbers; should two come close, too much is decoded once.
        let base = node.extent.position.wrapping_mul(SCATTER) >> 1;
        let place = base.saturating_add(range.start)..base.saturating_add(range.end);
        let advice = self.streams.note(&place);
        // Whole chunks, of which the next read wants as many as this one.
        let chunk = 1 << self.chunk_shift;
        let step = (range.end - range.start).max(SHORTEST_PIECE);
        let step = step.next_multiple_of(chunk).min(self.longest);
        if !advice.follows || advice.length < 2 * step {
            return;
        }
        let next = advice.next.saturating_sub(base);
        let end = next.saturating_add(advice.length.min(WINDOW));
        let end = (end - end % chunk).min(node.data_length());
        let step = (range.end - range.start).min(self.longest);
        let step = (step - step % chunk).max(chunk);
        self.pieces
            .plan(node, next.next_multiple_of(chunk)..end, step);
    }
}

fn in_memory(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

impl Contents {
    /// As [`Contents::read_range`], with what was decoded ahead, and decoding more if reads follow each other.
    pub(super) fn read_pieces<'s>(
        &self,
        node: &Node,
        range: Range<u64>,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let ahead = self.ahead();
        let mut parts = ahead.pieces.take(node, range.clone());
        ahead.plan(node, &range);
        if parts.len() > 1 {
            // All of it is filled, so what is in there now does not matter.
            scratch.resize(in_memory(&range), 0);
            self.join_parts(node, parts, scratch)?;
            return Ok(scratch);
        }
        let found = match parts.pop() {
            Some((part, Found::Decoding)) => ahead.pieces.wait_for(node, &part),
            Some((_, found)) => found,
            None => Found::Nothing,
        };
        match found {
            Found::Ready(bytes, skip) => ahead.hand_out(bytes, skip, in_memory(&range), scratch),
            Found::Decoding | Found::Nothing => self.read_range(node, range, scratch),
        }
    }

    /// Fills `target` with parts that follow each other.
    fn join_parts(
        &self,
        node: &Node,
        parts: Vec<(Range<u64>, Found)>,
        mut target: &mut [u8],
    ) -> Result<()> {
        let ahead = self.ahead();
        let mut waiting = Vec::new();
        for (part, found) in parts {
            let length = target.len().min(in_memory(&part));
            let (here, behind) = target.split_at_mut(length);
            target = behind;
            match found {
                Found::Ready(bytes, skip) => ahead.copy_out(bytes, skip, here)?,
                Found::Nothing => self.read_rest(node, &part, here)?,
                Found::Decoding => waiting.push((part, here)),
            }
        }
        for (part, here) in waiting {
            match ahead.pieces.wait_for(node, &part) {
                Found::Ready(bytes, skip) => ahead.copy_out(bytes, skip, here)?,
                Found::Decoding | Found::Nothing => self.read_rest(node, &part, here)?,
            }
        }
        Ok(())
    }

    /// Fills `target` with `range`, which was not decoded ahead.
    fn read_rest(&self, node: &Node, range: &Range<u64>, target: &mut [u8]) -> Result<()> {
        REST.with_borrow_mut(|rest| copy(self.read_range(node, range.clone(), rest)?, 0, target))
    }

    /// Decodes a piece into its buffer; `None` if it does not decode.
    fn decode_piece(
        &self,
        file: &Node,
        range: &Range<u64>,
        mut buffer: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let bytes = self.read_range(file, range.clone(), &mut buffer);
        let length = bytes.map(<[u8]>::len).ok()?;
        // It begins with a chunk, so nothing stands before it.
        (length == in_memory(range)).then(|| {
            buffer.truncate(length);
            buffer
        })
    }

    /// Decodes what is planned until it is over.
    fn decode_ahead(&self, is_over: &AtomicBool) {
        let pieces = &self.ahead().pieces;
        while let Some(task) = pieces.next(|| is_over.load(Ordering::Relaxed)) {
            let Task {
                file,
                range,
                buffer,
            } = task;
            let mut begun = Begun {
                pieces,
                file: &file,
                range: &range,
                bytes: None,
            };
            begun.bytes = self.decode_piece(&file, &range, buffer);
        }
    }
}

/// A piece that is being decoded; if that is broken off, those who wait for it are told.
struct Begun<'a> {
    pieces: &'a Pieces<Node>,
    file: &'a Node,
    range: &'a Range<u64>,
    bytes: Option<Vec<u8>>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.pieces.finish(self.file, self.range, self.bytes.take());
    }
}

/// Fills `target` with the bytes of a piece from `skip` on.
fn copy(bytes: &[u8], skip: usize, target: &mut [u8]) -> Result<()> {
    let bytes = bytes
        .get(skip..)
        .and_then(|bytes| bytes.get(..target.len()));
    let bytes = bytes.ok_or_else(|| Error::corrupt("extent is shorter than its file"))?;
    target.copy_from_slice(bytes);
    Ok(())
}

/// Threads that decompress ahead of whoever reads large files of an image in order, wherever he does it. They end when
/// this is dropped.
#[derive(Debug)]
pub struct Decoders {
    image: Arc<Image>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Decoders {
    /// Starts `threads` threads for `image`; each has called `enter` when this returns. None are started if there is nothing
    /// to decompress, or if the memory for decompressed chunks has no room for what is ahead.
    pub fn start(
        image: &Arc<Image>,
        threads: usize,
        enter: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let mut decoders = Self {
            image: image.clone(),
            is_over: Arc::default(),
            threads: Vec::new(),
        };
        let contents = &image.contents;
        if !contents.codecs().is_compressed() || contents.ahead().longest == 0 {
            return decoders;
        }
        // Once this returns, whoever limits the process can rely on what `enter` has done.
        let (entering, entered) = channel::<()>();
        for _ in 0..threads {
            let entering = entering.clone();
            let (counted, enter) = (Counted::new(image), enter.clone());
            let is_over = decoders.is_over.clone();
            let thread = std::thread::Builder::new().name("dgfs-decoder".into());
            let started = thread.spawn(move || {
                enter();
                drop(entering);
                counted.0.contents.decode_ahead(&is_over);
            });
            match started {
                Ok(thread) => decoders.threads.push(thread),
                Err(error) => log::debug!("cannot start a thread: {error}"),
            }
        }
        drop(entering);
        // Nothing comes: it ends with the last of the senders.
        let _ = entered.recv();
        decoders
    }

    /// How many threads there are.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        let ahead = self.image.contents.ahead();
        self.is_over.store(true, Ordering::Relaxed);
        ahead.pieces.wake();
        for thread in self.threads.drain(..) {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// A thread that decodes, counted as long as it does.
struct Counted(Arc<Image>);

impl Counted {
    fn new(image: &Arc<Image>) -> Self {
        let threads = &image.contents.ahead().threads;
        threads.fetch_add(1, Ordering::Relaxed);
        Self(image.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let ahead = self.0.contents.ahead();
        if ahead.threads.fetch_sub(1, Ordering::Relaxed) == 1 {
            ahead.pieces.clear();
        }
    }
}
