//! Hands the directories of a walk to its threads.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::pending::PendingDirectories;
use crate::Result;

/// Memory for directories found and not yet read: some 100,000 of them.
const PENDING_MEMORY: usize = 8 << 20;

/// The directories still to be read, shared by all threads. Starts with the root.
#[derive(Debug)]
pub(super) struct DirectoryQueue {
    state: Mutex<State>,
    /// Signals that there is more to read, or that there never will be.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    pending: PendingDirectories,
    /// Directories in the hands of threads, which may find further ones there.
    being_read: usize,
    stopped: bool,
}

impl DirectoryQueue {
    pub(super) fn new(scratch_dir: &Path) -> Result<Self> {
        let mut pending = PendingDirectories::new(scratch_dir, PENDING_MEMORY);
        pending.push(b"")?;
        Ok(Self {
            state: Mutex::new(State {
                pending,
                being_read: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory to read; call [`Self::done`] for it afterwards. `None` when there are none and
    /// there will be none.
    pub(super) fn take(&self) -> Result<Option<Vec<u8>>> {
        let mut state = self.lock();
        while !state.stopped {
            if let Some(path) = state.pending.pop()? {
                state.being_read += 1;
                return Ok(Some(path));
            }
            if state.being_read == 0 {
                return Ok(None);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
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

    /// Ends what [`Self::take`] began.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.being_read = state.being_read.saturating_sub(1);
        if state.being_read == 0 {
            self.changed.notify_all();
        }
    }

    /// Makes every thread stop after its directory, when the result goes out of scope. A thread
    /// that fails or panics would otherwise leave the others waiting for it.
    pub(super) fn stop_on_drop(&self) -> StopOnDrop<'_> {
        StopOnDrop(self)
    }
}

/// See [`DirectoryQueue::stop_on_drop`].
#[derive(Debug)]
pub(super) struct StopOnDrop<'a>(&'a DirectoryQueue);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}
