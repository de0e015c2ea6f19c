//! Hands the work of a walk to its threads.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::pending::PendingDirectories;
use crate::{Error, Result};

/// Memory for directories found and not yet read: some 100,000 of them.
const PENDING_MEMORY: usize = 8 << 20;

/// Batches of names that wait at most, when they come from a list.
const FED_BATCHES: usize = 64;

/// What a thread does next.
#[derive(Debug)]
pub(super) enum Task {
    /// List the directory at this path, and describe what is in it.
    List(Vec<u8>),
    /// Describe entries that are known by name.
    Describe(Names),
}

/// Names of entries in one directory.
#[derive(Debug)]
pub(super) struct Names {
    /// Path of the directory.
    pub(super) directory: Vec<u8>,
    /// The names, a NUL behind each.
    pub(super) bytes: Vec<u8>,
    /// Whether directories among them are to be listed, too.
    pub(super) recurse: bool,
}

impl Names {
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        // Each piece but the empty one behind the last NUL is a name.
        let names = self.bytes.strip_suffix(b"\0");
        let pieces = names.map(|names| names.split(|byte| *byte == 0));
        pieces.into_iter().flatten()
    }
}

/// The work that is still to be done, shared by all threads.
#[derive(Debug)]
pub(super) struct WorkQueue {
    state: Mutex<State>,
    /// Signals that there is more to do, or that there never will be.
    changed: Condvar,
    /// Signals that there is room for more from a list.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    names: VecDeque<Names>,
    pending: PendingDirectories,
    /// Tasks in the hands of threads, which may find further ones there. A list that is being read
    /// is one.
    in_hand: usize,
    /// Threads that wait for work.
    idle: usize,
    stopped: bool,
}

impl WorkQueue {
    /// A queue without work.
    pub(super) fn new(scratch_dir: &Path) -> Result<Self> {
        // Threads change their working directory.
        let scratch_dir = std::path::absolute(scratch_dir)
            .map_err(|error| Error::io(scratch_dir, "find the place of", error))?;
        Ok(Self {
            state: Mutex::new(State {
                names: VecDeque::new(),
                pending: PendingDirectories::new(&scratch_dir, PENDING_MEMORY),
                in_hand: 0,
                idle: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
            room: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something to do; call [`Self::done`] for it afterwards. `None` when there is nothing and
    /// there will be nothing.
    pub(super) fn take(&self) -> Result<Option<Task>> {
        let mut state = self.lock();
        while !state.stopped {
            if let Some(names) = state.names.pop_front() {
                state.in_hand += 1;
                self.room.notify_one();
                return Ok(Some(Task::Describe(names)));
            }
            if let Some(path) = state.pending.pop()? {
                state.in_hand += 1;
                return Ok(Some(Task::List(path)));
            }
            if state.in_hand == 0 {
                return Ok(None);
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        Ok(None)
    }

    /// Adds directories, and empties `paths`.
    pub(super) fn add(&self, paths: &mut Vec<Vec<u8>>) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        // What goes in last comes out first: keep the order of the listing.
        for path in paths.drain(..).rev() {
            state.pending.push(&path)?;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Gives `names` to a thread that has nothing else to do; gives them back if there is none.
    pub(super) fn offer(&self, names: Names) -> Option<Names> {
        let mut state = self.lock();
        if state.names.len() >= state.idle {
            return Some(names);
        }
        state.names.push_back(names);
        self.changed.notify_one();
        None
    }

    /// Says that tasks will come by [`Self::feed`]; [`Self::done`] ends that.
    pub(super) fn begin_feeding(&self) {
        self.lock().in_hand += 1;
    }

    /// Adds `names` as soon as there is room; false if nobody wants any more.
    pub(super) fn feed(&self, names: Names) -> bool {
        let mut state = self.lock();
        while state.names.len() >= FED_BATCHES && !state.stopped {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.names.push_back(names);
        self.changed.notify_one();
        !state.stopped
    }

    /// Whether nobody wants any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Ends what [`Self::take`] or [`Self::begin_feeding`] began.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(1);
        if state.in_hand == 0 {
            self.changed.notify_all();
        }
    }

    /// Makes every thread stop after its task, when the result goes out of scope. A thread that
    /// fails or panics would otherwise leave the others waiting for it.
    pub(super) fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }
}

/// See [`WorkQueue::stop_on_drop`].
#[derive(Debug)]
pub(super) struct StopOnDrop<'a>(&'a WorkQueue);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
        self.0.room.notify_all();
    }
}
