//! Decompressing ahead of those who read large files in order, by threads of its own, and reading past the page cache what
//! is not compressed.
//!
//! A piece is what the next read will probably want, whatever chunks it lies in, so that nothing here depends on how a
//! file is cut. A failure leaves the piece to the read that wants it, which then fails for a reason of its own.

use super::contents::{Contents, copy, too_short};
use super::files::LARGE;
use super::handed::Handed;
use super::pieces::{Bytes, Found, Memory, Pieces, Task};
use super::room::HUGE_PAGE;
use super::streams::{Advice, Streams};
use super::{Image, Node};
use crate::Result;
use crate::format::extent::Shape;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

/// Longest piece that is decoded: the largest request of a mount.
const LONGEST_PIECE: u64 = 1 << 20;

/// Shortest piece, unless there is no room for it: the usual chunk.
const SHORTEST_PIECE: u64 = 128 << 10;

/// Most of the longest pieces that are decoded ahead of one reader.
const PIECES_AHEAD: u64 = 4;

/// Longest read that is served in pieces; the kernel's are much shorter.
const LONGEST_READ: u64 = 64 << 20;

/// Most threads that decompress ahead of readers, who cannot take more than these give.
const MOST_THREADS: usize = 4;

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
    /// Bytes of the longest piece, a multiple of the chunk; 0 if there is no room for four. What is only read comes best by as
    /// many as a huge page has.
    longest: u64,
    /// Threads that decode.
    threads: AtomicUsize,
}

impl Ahead {
    /// Up to `bytes` are decoded ahead, of contents in chunks of `1 << chunk_shift` bytes.
    pub(super) fn new(bytes: usize, chunk_shift: u32) -> Self {
        let chunk = 1 << chunk_shift;
        let most = (bytes as u64 / 4).min((HUGE_PAGE as u64).max(chunk));
        Self {
            pieces: Pieces::new(bytes),
            streams: Streams::default(),
            chunk_shift,
            longest: most - most % chunk,
            threads: AtomicUsize::new(0),
        }
    }

    /// The bytes of a piece from `skip` on: in the piece itself, or in `scratch`, if that can have the memory of the piece.
    fn hand_out(
        &self,
        bytes: Arc<Bytes>,
        skip: usize,
        length: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Handed> {
        let place = bytes.part(skip, length).ok_or_else(too_short)?;
        // Memory of the other kind goes back to where it came from.
        match Arc::try_unwrap(bytes) {
            Ok(Bytes {
                memory: Memory::Buffer(buffer),
                ..
            }) => {
                let old = std::mem::replace(scratch, buffer);
                self.pieces.give_back(Memory::Buffer(old));
                Ok(Handed::InScratch(place))
            }
            Ok(bytes) => Ok(Handed::InPiece(Arc::new(bytes), skip, length)),
            Err(bytes) => Ok(Handed::InPiece(bytes, skip, length)),
        }
    }

    /// Fills `target` with the bytes of a piece from `skip` on.
    pub(super) fn copy_out(&self, bytes: Arc<Bytes>, skip: usize, target: &mut [u8]) -> Result<()> {
        target.copy_from_slice(bytes.get(skip, target.len()).ok_or_else(too_short)?);
        self.give_back(bytes);
        Ok(())
    }

    /// Takes the memory of a piece that nobody else needs.
    pub(super) fn give_back(&self, bytes: Arc<Bytes>) {
        if let Ok(bytes) = Arc::try_unwrap(bytes) {
            self.pieces.give_back(bytes.memory);
        }
    }

    /// Whether there are threads that decode ahead.
    pub(super) fn is_served(&self) -> bool {
        self.threads.load(Ordering::Relaxed) > 0
    }

    /// Notes that `range` of `node` is read.
    fn note(&self, node: &Node, range: &Range<u64>) -> Advice {
        // Each file has a place of its own among all numbers; should two come close, too much is decoded once.
        let base = node.extent.position.wrapping_mul(SCATTER) >> 1;
        let place = base.saturating_add(range.start)..base.saturating_add(range.end);
        let advice = self.streams.note(&place);
        Advice {
            next: advice.next.saturating_sub(base),
            ..advice
        }
    }

    /// What will be wanted next after a read of `range` of `node`, no more than was read so far, and the length of the
    /// pieces to decode it in.
    fn next(
        &self,
        node: &Node,
        range: &Range<u64>,
        advice: &Advice,
        is_coded: bool,
    ) -> Option<(Range<u64>, u64)> {
        // Whole chunks, of which the next read wants as many as this one.
        let chunk = 1 << self.chunk_shift;
        let most = if is_coded {
            self.longest.min(LONGEST_PIECE.max(chunk))
        } else {
            self.longest
        };
        let step = (range.end - range.start).max(SHORTEST_PIECE);
        let step = step.next_multiple_of(chunk).min(most);
        if !advice.follows || advice.length < 2 * step {
            return None;
        }
        let next = advice.next;
        let step = (range.end - range.start).min(most);
        let step = (step - step % chunk).max(chunk);
        if is_coded {
            let end = next.saturating_add(advice.length.min(PIECES_AHEAD * LONGEST_PIECE));
            let end = (end - end % chunk).min(node.data_length());
            return Some((next.next_multiple_of(chunk)..end, step));
        }
        // For several reads each, if as much was read before. They end at the same places whichever read this is.
        let several = (most / step).min(advice.length / (2 * step)).max(1);
        let length = several * step;
        let origin = range.start % step;
        let origin = origin - origin % chunk;
        let end_of_whole = |at: u64| at.saturating_sub(origin) / length * length + origin;
        let end = match next.saturating_add(advice.length.min(PIECES_AHEAD * length)) {
            end if end < node.data_length() => end_of_whole(end),
            _ => node.data_length(),
        };
        Some((end_of_whole(next.saturating_add(length - 1))..end, length))
    }
}

fn in_memory(range: &Range<u64>) -> usize {
    usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX)
}

impl Contents {
    /// Whether a read of so many bytes of `node` is looked at: there are threads to decode, perhaps something to be
    /// decoded or much to be read past the page cache, and it is no attempt to get all at once.
    pub(super) fn is_read_ahead(&self, node: &Node, bytes: u64) -> bool {
        self.ahead().is_served()
            && bytes <= LONGEST_READ
            && node.data_length() > 1 << self.chunk_shift()
            && (self.is_coded(node) || bytes >= LARGE && node.extent.cut.is_none())
    }

    /// Whether contents of `node` may be frames.
    fn is_coded(&self, node: &Node) -> bool {
        let shape = Shape::new(node.data_length(), self.chunk_shift());
        self.codecs().is_compressed()
            && (node.extent.cut.is_some() || node.extent.stored != shape.default_stored_length())
    }

    /// Whether the system leaves what is read in order to its readers, so that reading past the page cache may pay.
    fn is_kept_by_readers(&self) -> bool {
        let mut volumes = self.volumes().iter();
        volumes.any(|volume| volume.part.is_kept_by_readers())
    }

    /// Notes a read of `range`, and has decoded what will be wanted next. Says whether it goes on where another one ended.
    fn plan(&self, node: &Node, range: &Range<u64>) -> bool {
        let ahead = self.ahead();
        let is_coded = self.is_coded(node);
        let advice = ahead.note(node, range);
        if let Some((next, step)) = ahead.next(node, range, &advice, is_coded) {
            // What is in the page cache already is not decoded, only copied, and to hand it over costs as much.
            if is_coded || self.is_cold(node, &next) {
                ahead.pieces.plan(node, next, step);
            }
        }
        advice.follows
    }

    /// As [`Contents::read_somewhere`], with what was decoded ahead, and decoding more if reads follow each other.
    pub(super) fn read_pieces(
        &self,
        node: &Node,
        range: Range<u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<Handed> {
        let ahead = self.ahead();
        let mut parts = ahead.pieces.take(node, range.clone());
        let is_in_order = self.plan(node, &range);
        let length = in_memory(&range);
        if parts.len() > 1 {
            // All of it is filled, so what is in there now does not matter.
            scratch.resize(length, 0);
            self.join_parts(node, parts, scratch)?;
            return Ok(Handed::InScratch(0..length));
        }
        let found = match parts.pop() {
            Some((part, Found::Decoding)) => ahead.pieces.wait_for(node, &part),
            Some((_, found)) => found,
            None => Found::Nothing,
        };
        if let Found::Ready(bytes, skip) = found {
            return ahead.hand_out(bytes, skip, length, scratch);
        }
        match self.read_to_room(node, &range, is_in_order)? {
            Some(bytes) => Ok(Handed::InPiece(Arc::new(bytes), 0, length)),
            None => Ok(Handed::InScratch(
                self.read_somewhere(node, range, scratch)?,
            )),
        }
    }

    /// Reads chunks that are stored as they are in a way that a device likes. `None` if they are not so, or few.
    fn read_to_room(
        &self,
        node: &Node,
        range: &Range<u64>,
        is_in_order: bool,
    ) -> Result<Option<Bytes>> {
        let ahead = self.ahead();
        // Where the system keeps what was read, nothing is read past it, and the reader's own memory saves a copy.
        let is_wanted = range.end - range.start >= LARGE && self.is_kept_by_readers();
        if !is_wanted || self.is_coded(node) || ahead.longest == 0 {
            return Ok(None);
        }
        // As many chunks as the range touches; of one size, if they are not more than usual, so that they are used again.
        let chunk = 1 << self.chunk_shift();
        let start = range.start - range.start % chunk;
        let around = in_memory(&(start..range.end.next_multiple_of(chunk)));
        let longest = usize::try_from(ahead.longest).unwrap_or(usize::MAX);
        let Some(mut room) = ahead.pieces.room(around.max(longest)) else {
            return Ok(None);
        };
        let place = self.read_plain(node, range, &mut room, is_in_order)?;
        let memory = Memory::Room(room);
        let Some(place) = place else {
            ahead.pieces.give_back(memory);
            return Ok(None);
        };
        Ok(Some(Bytes { memory, place }))
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
        REST.with_borrow_mut(|rest| copy(target, self.read_range(node, range.clone(), rest)?))
    }

    /// Decodes a piece; `None` if it does not decode.
    fn decode_piece(&self, file: &Node, range: &Range<u64>) -> Option<Bytes> {
        if let Some(bytes) = self.read_to_room(file, range, true).ok()? {
            return Some(bytes);
        }
        let mut buffer = self.ahead().pieces.buffer();
        let place = self.read_somewhere(file, range.clone(), &mut buffer).ok()?;
        let memory = Memory::Buffer(buffer);
        (place.len() == in_memory(range)).then_some(Bytes { memory, place })
    }

    /// Decodes what is planned until it is over.
    fn decode_ahead(&self, is_over: &AtomicBool) {
        let pieces = &self.ahead().pieces;
        while let Some(task) = pieces.next(|| is_over.load(Ordering::Relaxed)) {
            let Task { file, range } = task;
            let mut begun = Begun {
                pieces,
                file: &file,
                range: &range,
                bytes: None,
            };
            begun.bytes = self.decode_piece(&file, &range);
        }
    }
}

/// A piece that is being decoded; if that is broken off, those who wait for it are told.
struct Begun<'a> {
    pieces: &'a Pieces<Node>,
    file: &'a Node,
    range: &'a Range<u64>,
    bytes: Option<Bytes>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.pieces.finish(self.file, self.range, self.bytes.take());
    }
}

/// Threads that read and decompress ahead of whoever reads large files of an image in order, wherever he does it. They end when
/// this is dropped.
#[derive(Debug)]
pub struct Decoders {
    image: Arc<Image>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Decoders {
    /// Starts `threads` threads for `image`; each has called `enter` when this returns. None are started if there is nothing
    /// to decompress and nothing to be read past the page cache, or if the memory for decompressed chunks has no room for what is ahead.
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
        let is_wanted = contents.codecs().is_compressed() || contents.is_kept_by_readers();
        if !is_wanted || contents.ahead().longest == 0 {
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

    /// How many threads pay: `wanted`, or one for each processor, but not more than a reader needs. None if there is only one
    /// processor, which has no time for them beside the reader.
    pub fn suitable_threads(wanted: Option<usize>) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if processors == 1 {
            return 0;
        }
        wanted.unwrap_or(processors).min(MOST_THREADS)
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
