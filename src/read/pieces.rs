//! Pieces of contents that somebody will probably ask for: which wait to be decoded, which are being decoded, and the
//! bytes of those that are.
//!
//! Whoever wants a piece that nobody has begun takes it back and reads it himself, so no read waits for a queue.

use super::room::Room;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a piece that nobody comes for keeps its room from others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most pieces: a search looks at all of them.
const MOST_PIECES: usize = 128;

/// The share of the room that is kept free of pieces, for memory that the next ones are put in, as its inverse. As much more
/// is kept of what readers had borrowed: to get memory from the system for each piece costs more than to read it.
const SPARE_SHARE: usize = 4;

/// A piece to decode: the bytes of `range` of file `N`.
#[derive(Debug)]
pub(super) struct Task<N> {
    pub(super) file: N,
    pub(super) range: Range<u64>,
}

/// Memory of pieces. What is in there before means nothing.
#[derive(Debug)]
pub(super) enum Memory {
    /// For what is decoded.
    Buffer(Vec<u8>),
    /// For what a device reads.
    Room(Room),
}

impl Memory {
    /// Bytes that it has room for.
    fn capacity(&self) -> usize {
        match self {
            Self::Buffer(buffer) => buffer.capacity(),
            Self::Room(room) => room.capacity(),
        }
    }
}

/// The bytes of a piece, somewhere in its memory.
#[derive(Debug)]
pub(super) struct Bytes {
    pub(super) memory: Memory,
    pub(super) place: Range<usize>,
}

impl Bytes {
    /// Where `length` bytes of the piece from `skip` on are in the memory; `None` if it has fewer.
    pub(super) fn part(&self, skip: usize, length: usize) -> Option<Range<usize>> {
        let start = self.place.start.checked_add(skip)?;
        let end = start.checked_add(length)?;
        (end <= self.place.end).then_some(start..end)
    }

    /// `length` bytes of the piece from `skip` on; `None` if it has fewer.
    pub(super) fn get(&self, skip: usize, length: usize) -> Option<&[u8]> {
        let part = self.part(skip, length)?;
        match &self.memory {
            Memory::Buffer(buffer) => buffer.get(part),
            Memory::Room(room) => room.bytes(part),
        }
    }
}

/// What there is of a part of a read.
#[derive(Debug)]
pub(super) enum Found {
    /// A piece that holds it, from this byte of the piece on.
    Ready(Arc<Bytes>, usize),
    /// It is worth waiting for.
    Decoding,
    /// Nobody has it and nobody will.
    Nothing,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Decoding,
    Ready(Arc<Bytes>),
    /// It could not be decoded; who wants it finds out why.
    Failed,
}

#[derive(Debug)]
struct Slot<N> {
    file: N,
    range: Range<u64>,
    stage: Stage,
    /// When it was planned or last used.
    used: Instant,
}

#[derive(Debug)]
struct State<N> {
    /// In the order in which they were planned; those of one file do not overlap.
    slots: Vec<Slot<N>>,
    spare: Vec<Memory>,
}

/// The pieces of all files.
#[derive(Debug)]
pub(super) struct Pieces<N> {
    state: Mutex<State<N>>,
    /// Most bytes of all slots together.
    most: u64,
    /// Most bytes of them and of what is kept for others.
    most_memory: usize,
    patience: Duration,
    /// A piece waits, or whoever decodes shall end.
    work: Condvar,
    /// A piece is no longer being decoded.
    progress: Condvar,
}

impl<N: Clone + PartialEq> Pieces<N> {
    /// Room for `bytes`, most of them for pieces that wait or are there.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                slots: Vec::new(),
                spare: Vec::new(),
            }),
            most: (bytes - bytes / SPARE_SHARE) as u64,
            most_memory: bytes + bytes / SPARE_SHARE,
            patience: PATIENCE,
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what is not there yet of `wanted` decoded, as far as there is room: in pieces that end `step` bytes or a multiple
    /// of that from its beginning.
    pub(super) fn plan(&self, file: &N, wanted: Range<u64>, step: u64) {
        let mut state = self.lock();
        let now = Instant::now();
        let mut at = wanted.start;
        while at < wanted.end {
            if let Some(slot) = state.at(file, at) {
                at = slot.range.end;
                continue;
            }
            let passed = (at - wanted.start) / step.max(1) * step;
            let end = (wanted.start + passed).saturating_add(step);
            let end = end.min(wanted.end).min(state.next_after(file, at));
            if !state.has_room(end - at, self.most) {
                // Pieces that lie ahead of the same reader are no less wanted than these.
                let is_ahead =
                    |slot: &Slot<N>| slot.range.start >= wanted.start && slot.file == *file;
                let is_new = |slot: &Slot<N>| now.duration_since(slot.used) < self.patience;
                let is_begun = |slot: &Slot<N>| matches!(slot.stage, Stage::Decoding);
                state
                    .slots
                    .retain(|slot| is_begun(slot) || is_new(slot) || is_ahead(slot));
                if !state.has_room(end - at, self.most) {
                    break;
                }
            }
            state.slots.push(Slot {
                file: file.clone(),
                range: at..end,
                stage: Stage::Waiting,
                used: now,
            });
            self.work.notify_one();
            at = end;
        }
    }

    /// What there is of `range`, part by part. Pieces that wait are taken back, and those that `range` reaches the end of
    /// are not kept for others.
    pub(super) fn take(&self, file: &N, range: Range<u64>) -> Vec<(Range<u64>, Found)> {
        let mut state = self.lock();
        let mut parts: Vec<(Range<u64>, Found)> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let (end, found) = state.take(file, at, range.end);
            match parts.last_mut() {
                Some((part, Found::Nothing)) if matches!(found, Found::Nothing) => part.end = end,
                _ => parts.push((at..end, found)),
            }
            at = end;
        }
        parts
    }

    /// A part that was being decoded, when it no longer is.
    pub(super) fn wait_for(&self, file: &N, part: &Range<u64>) -> Found {
        let mut state = self.lock();
        loop {
            match state.take(file, part.start, part.end) {
                (_, Found::Decoding) => {
                    let woken = self.progress.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
                (end, found) if end == part.end => return found,
                _ => return Found::Nothing,
            }
        }
    }

    /// Takes memory for the next pieces.
    pub(super) fn give_back(&self, memory: Memory) {
        let mut state = self.lock();
        let has_memory = |slot: &&Slot<N>| matches!(slot.stage, Stage::Decoding | Stage::Ready(_));
        let slots = state.slots.iter().filter(has_memory);
        let used: u64 = slots.map(|slot| slot.range.end - slot.range.start).sum();
        let kept: usize = state.spare.iter().map(Memory::capacity).sum();
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let capacity = memory.capacity();
        let all = used.saturating_add(kept).saturating_add(capacity);
        let is_few = state.spare.len() < MOST_PIECES;
        if capacity > 0 && is_few && all <= self.most_memory {
            state.spare.push(memory);
        }
    }

    /// A buffer, perhaps one that was given back: the last, which the processor may still have in its cache.
    pub(super) fn buffer(&self) -> Vec<u8> {
        let mut state = self.lock();
        let is_buffer = |memory: &Memory| matches!(memory, Memory::Buffer(_));
        let index = state.spare.iter().rposition(is_buffer);
        match index.map(|index| state.spare.remove(index)) {
            Some(Memory::Buffer(buffer)) => buffer,
            _ => Vec::new(),
        }
    }

    /// Room for `bytes`, perhaps some that was given back. `None` if the system has none.
    pub(super) fn room(&self, bytes: usize) -> Option<Room> {
        let mut state = self.lock();
        let is_room =
            |memory: &Memory| matches!(memory, Memory::Room(room) if room.capacity() >= bytes);
        let index = state.spare.iter().rposition(is_room);
        match index.map(|index| state.spare.remove(index)) {
            Some(Memory::Room(room)) => Some(room),
            _ => Room::new(bytes).ok(),
        }
    }

    /// Waits for a piece to decode; `None` when `is_over` says so. Whoever takes it must call [`Self::finish`].
    pub(super) fn next(&self, is_over: impl Fn() -> bool) -> Option<Task<N>> {
        let mut state = self.lock();
        loop {
            if is_over() {
                return None;
            }
            if let Some(task) = state.next() {
                return Some(task);
            }
            let woken = self.work.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says how decoding a piece ended.
    pub(super) fn finish(&self, file: &N, range: &Range<u64>, bytes: Option<Bytes>) {
        let mut state = self.lock();
        let is_this = |slot: &&mut Slot<N>| slot.range == *range && slot.file == *file;
        if let Some(slot) = state.slots.iter_mut().find(is_this) {
            slot.stage = bytes.map_or(Stage::Failed, |bytes| Stage::Ready(Arc::new(bytes)));
        }
        drop(state);
        self.progress.notify_all();
    }

    /// Wakes all who wait for a piece to decode, so that they look whether it is over.
    pub(super) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        let _state = self.lock();
        self.work.notify_all();
    }

    /// Forgets all pieces but those that are being decoded.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.spare = Vec::new();
        state
            .slots
            .retain(|slot| matches!(slot.stage, Stage::Decoding));
    }
}

impl<N: Clone + PartialEq> State<N> {
    /// The piece that holds byte `at` of a file.
    fn at(&self, file: &N, at: u64) -> Option<&Slot<N>> {
        let mut slots = self.slots.iter();
        slots.find(|slot| slot.range.contains(&at) && slot.file == *file)
    }

    /// Where the first piece behind byte `at` of a file begins.
    fn next_after(&self, file: &N, at: u64) -> u64 {
        let behind = |slot: &&Slot<N>| slot.range.start > at && slot.file == *file;
        let starts = self
            .slots
            .iter()
            .filter(behind)
            .map(|slot| slot.range.start);
        starts.min().unwrap_or(u64::MAX)
    }

    fn has_room(&self, length: u64, most: u64) -> bool {
        let lengths = self.slots.iter().map(|s| s.range.end - s.range.start);
        self.slots.len() < MOST_PIECES && lengths.sum::<u64>().saturating_add(length) <= most
    }

    /// What there is from `at` on, and up to where, at most `end`.
    fn take(&mut self, file: &N, at: u64, end: u64) -> (u64, Found) {
        let is_here = |slot: &Slot<N>| slot.range.contains(&at) && slot.file == *file;
        let Some(index) = self.slots.iter().position(is_here) else {
            return (end.min(self.next_after(file, at)), Found::Nothing);
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return (end, Found::Nothing);
        };
        slot.used = Instant::now();
        let is_last = end >= slot.range.end;
        let end = end.min(slot.range.end);
        let skip = usize::try_from(at - slot.range.start).unwrap_or(usize::MAX);
        let (found, is_over) = match &slot.stage {
            Stage::Decoding => (Found::Decoding, false),
            Stage::Waiting => (Found::Nothing, true),
            Stage::Failed => (Found::Nothing, is_last),
            Stage::Ready(bytes) => (Found::Ready(bytes.clone(), skip), is_last),
        };
        if is_over {
            self.slots.remove(index);
        }
        (end, found)
    }

    fn next(&mut self) -> Option<Task<N>> {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| matches!(slot.stage, Stage::Waiting))?;
        slot.stage = Stage::Decoding;
        Some(Task {
            file: slot.file.clone(),
            range: slot.range.clone(),
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "what is compared are ranges"
)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Pieces of files that are numbers, with room for `most` bytes of them.
    fn pieces(most: usize) -> Pieces<u8> {
        let pieces = Pieces::new(most / (SPARE_SHARE - 1) * SPARE_SHARE);
        assert_eq!(pieces.most, most as u64);
        pieces
    }

    /// A piece with the same byte everywhere, behind another one.
    fn bytes(byte: u8, length: usize) -> Bytes {
        let buffer = [vec![!byte], vec![byte; length]].concat();
        Bytes {
            place: 1..buffer.len(),
            memory: Memory::Buffer(buffer),
        }
    }

    /// Decodes at most `most` of what waits, each to its length of the number of its first byte.
    fn decode(pieces: &Pieces<u8>, most: usize) -> Vec<Range<u64>> {
        let waits = |slot: &Slot<u8>| matches!(slot.stage, Stage::Waiting);
        let mut done = Vec::new();
        while done.len() < most && pieces.lock().slots.iter().any(waits) {
            let task = pieces.next(|| false).unwrap();
            let length = usize::try_from(task.range.end - task.range.start).unwrap();
            let bytes = bytes(u8::try_from(task.range.start).unwrap(), length);
            pieces.finish(&task.file, &task.range, Some(bytes));
            done.push(task.range);
        }
        done
    }

    /// What `take` finds: first byte of the piece and how many are skipped, `None` for what is not there.
    fn taken(pieces: &Pieces<u8>, file: u8, range: Range<u64>) -> Vec<Option<(u8, usize)>> {
        let parts = pieces.take(&file, range);
        let parts = parts.into_iter().map(|(_, found)| match found {
            Found::Ready(bytes, skip) => Some((bytes.get(0, 1).unwrap()[0], skip)),
            _ => None,
        });
        parts.collect()
    }

    #[test]
    fn pieces_are_decoded_in_order_and_taken_once() {
        let pieces = pieces(999);
        pieces.plan(&0, 30..60, 10);
        pieces.plan(&0, 40..75, 10);
        pieces.plan(&1, 30..40, 10);
        assert_eq!(
            decode(&pieces, 9),
            [30..40, 40..50, 50..60, 60..70, 70..75, 30..40]
        );
        assert_eq!(taken(&pieces, 0, 42..48), [Some((40, 2))]);
        assert_eq!(taken(&pieces, 0, 48..55), [Some((40, 8)), Some((50, 0))]);
        assert_eq!(taken(&pieces, 0, 40..60), [None, Some((50, 0))]);
        assert_eq!(taken(&pieces, 0, 10..31), [None, Some((30, 0))]);
        assert_eq!(taken(&pieces, 1, 30..40), [Some((30, 0))]);
        assert_eq!(pieces.lock().slots.len(), 3);
    }

    #[test]
    fn pieces_end_where_the_next_reads_will() {
        let pieces = pieces(999);
        pieces.plan(&0, 10..15, 8);
        pieces.plan(&0, 20..22, 8);
        // Reads of 8 bytes from 12 on end at 20, 28, 36.
        pieces.plan(&0, 12..40, 8);
        assert_eq!(
            decode(&pieces, 9),
            [10..15, 20..22, 15..20, 22..28, 28..36, 36..40]
        );
    }

    #[test]
    fn what_nobody_has_begun_is_taken_back() {
        let pieces = pieces(999);
        pieces.plan(&0, 0..30, 10);
        assert_eq!(taken(&pieces, 0, 10..13), [None]);
        assert_eq!(decode(&pieces, 9), [0..10, 20..30]);
        for _ in 0..1000 {
            pieces.plan(&0, 90..100, 10);
            assert_eq!(taken(&pieces, 0, 90..91), [None]);
        }
        assert_eq!(pieces.lock().slots.len(), 2);
    }

    #[test]
    fn there_is_never_more_than_there_is_room_for() {
        let pieces = pieces(57);
        pieces.plan(&0, 0..200, 10);
        assert_eq!(decode(&pieces, 100).len(), 5);
        pieces.plan(&1, 100..200, 10);
        assert_eq!(decode(&pieces, 100), []);
        assert_eq!(taken(&pieces, 0, 20..30), [Some((20, 0))]);
        pieces.plan(&1, 100..200, 10);
        assert_eq!(decode(&pieces, 100), [100..110]);
        let many = Pieces::<u8>::new(99_999);
        many.plan(&0, 0..1000, 1);
        assert_eq!(many.lock().slots.len(), MOST_PIECES);
    }

    #[test]
    fn what_nobody_comes_for_makes_room() {
        let mut pieces = pieces(51);
        pieces.plan(&0, 0..50, 10);
        decode(&pieces, 3);
        pieces.plan(&1, 50..60, 10);
        assert_eq!(decode(&pieces, 9), [30..40, 40..50]);
        pieces.patience = Duration::ZERO;
        // Not for more of the same, but for others, and for what lies before.
        pieces.plan(&0, 0..60, 10);
        assert_eq!(decode(&pieces, 9), []);
        pieces.plan(&0, 10..60, 10);
        assert_eq!(decode(&pieces, 9), [50..60]);
        pieces.plan(&1, 50..60, 10);
        let begun = pieces.next(|| false).unwrap();
        pieces.plan(&2, 10..60, 10);
        assert_eq!(decode(&pieces, 9).len(), 4);
        assert!(matches!(
            pieces.take(&1, begun.range)[..],
            [(_, Found::Decoding)]
        ));
    }

    #[test]
    fn a_failure_is_not_tried_again() {
        let pieces = pieces(51);
        pieces.plan(&0, 0..10, 10);
        let task = pieces.next(|| false).unwrap();
        assert!(matches!(pieces.take(&0, 0..10)[..], [(_, Found::Decoding)]));
        pieces.finish(&task.file, &task.range, None);
        pieces.plan(&0, 0..10, 10);
        assert_eq!(decode(&pieces, 9), []);
        assert!(matches!(pieces.wait_for(&0, &(0..10)), Found::Nothing));
        pieces.plan(&0, 0..10, 10);
        assert_eq!(decode(&pieces, 9), [0..10]);
    }

    #[test]
    fn who_waits_is_woken() {
        let pieces = pieces(51);
        pieces.plan(&0, 0..10, 10);
        let task = pieces.next(|| false).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pieces.wait_for(&0, &(3..10)));
            pieces.clear();
            pieces.finish(&task.file, &task.range, Some(bytes(7, 10)));
            assert!(matches!(waiting.join().unwrap(), Found::Ready(_, 3)));
            let idle = scope.spawn(|| pieces.next(|| is_over.load(Ordering::Relaxed)));
            is_over.store(true, Ordering::Relaxed);
            pieces.wake();
            assert!(idle.join().unwrap().is_none());
        });
    }

    #[test]
    fn memory_that_two_readers_had_is_kept_while_all_room_is_in_use() {
        let pieces = pieces(300);
        pieces.plan(&0, 0..300, 100);
        assert_eq!(decode(&pieces, 9).len(), 3);
        for kept in [1, 2, 2] {
            pieces.give_back(Memory::Room(Room::new(100).unwrap()));
            assert_eq!(pieces.lock().spare.len(), kept);
        }
    }

    #[test]
    fn memory_is_used_again() {
        let pieces = pieces(51);
        let heap = |bytes: usize| Memory::Buffer(vec![1; bytes]);
        let buffer = vec![1, 2, 3];
        let at = buffer.as_ptr();
        pieces.give_back(Memory::Buffer(buffer));
        pieces.give_back(heap(83));
        assert_eq!(pieces.lock().spare.len(), 1);
        assert_eq!(pieces.room(60).unwrap().capacity(), 60);
        pieces.plan(&0, 0..10, 10);
        pieces.next(|| false).unwrap();
        let buffer = pieces.buffer();
        assert_eq!(buffer.as_ptr(), at);
        assert_eq!(pieces.buffer().capacity(), 0);
        // What is being decoded has its memory already.
        pieces.give_back(heap(76));
        assert_eq!(pieces.lock().spare.len(), 0);
        pieces.give_back(heap(25));
        pieces.give_back(Memory::Room(Room::new(50).unwrap()));
        assert_eq!(pieces.lock().spare.len(), 2);
        assert_eq!(pieces.room(51).unwrap().capacity(), 51);
        assert_eq!(pieces.room(40).unwrap().capacity(), 50);
        assert_eq!(pieces.lock().spare.len(), 1);
    }
}
