//! Hands batches from the threads that fill them to the one that stores them, and back.

use super::batch::Batch;
use super::reading::Sources;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The batches that are in no thread's hands.
pub(super) struct Exchange<T> {
    state: Mutex<State<T>>,
    returned: Condvar,
    delivered: Condvar,
}

struct State<T> {
    empty: Vec<Batch<T>>,
    /// How many may still be made.
    unmade: usize,
    full: BTreeMap<u64, Batch<T>>,
    /// The one that the storing thread waits for.
    awaited: u64,
    workers: usize,
    stopped: bool,
}

impl<T> Exchange<T> {
    pub(super) fn new(batches: usize) -> Self {
        Self {
            state: Mutex::new(State {
                empty: Vec::new(),
                unmade: batches,
                full: BTreeMap::new(),
                awaited: 0,
                workers: 0,
                stopped: false,
            }),
            returned: Condvar::new(),
            delivered: Condvar::new(),
        }
    }

    /// One worker more, which holds a [`Leaving`] from now on.
    pub(super) fn join(&self) {
        self.lock().workers += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch to fill; `None` if no more are wanted.
    pub(super) fn empty_batch(&self, sources: &Sources) -> Option<Batch<T>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(batch) = state.empty.pop() {
                return Some(batch);
            }
            if let Some(rest) = state.unmade.checked_sub(1) {
                state.unmade = rest;
                drop(state);
                return Some(Batch::new(sources));
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn deliver(&self, number: u64, batch: Batch<T>) {
        let mut state = self.lock();
        state.full.insert(number, batch);
        if state.awaited == number {
            self.delivered.notify_one();
        }
    }

    /// Batch `number`, when it is there; `None` if it will never come.
    pub(super) fn full_batch(&self, number: u64) -> Option<Batch<T>> {
        let mut state = self.lock();
        state.awaited = number;
        loop {
            if let Some(batch) = state.full.remove(&number) {
                return Some(batch);
            }
            if state.stopped || state.workers == 0 {
                return None;
            }
            state = self
                .delivered
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn give_back(&self, batch: Batch<T>) {
        self.lock().empty.push(batch);
        self.returned.notify_one();
    }
}

/// Tells the storing thread when a worker is gone, even by a panic.
pub(super) struct Leaving<'a, T>(pub(super) &'a Exchange<T>);

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.workers -= 1;
        state.stopped |= thread::panicking();
        self.0.delivered.notify_all();
        self.0.returned.notify_all();
    }
}

/// Ends the workers.
pub(super) struct Stopping<'a, T>(pub(super) &'a Exchange<T>);

impl<T> Drop for Stopping<'_, T> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.returned.notify_all();
    }
}
