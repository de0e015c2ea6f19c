//! Threads that make files, while the tree is walked by another.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use super::file::{Job, Made, Shared};

/// Most files handed to a thread at once, and bytes of them: few enough that the last batches end about together.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: u64 = 4 << 20;

/// Most files under way. Each may hold a descriptor of another directory, and a process mostly has 1024.
const MOST_UNDER_WAY: usize = 512;

/// Files for one thread, with the number of their batch.
type Batch = (u64, Vec<Job>);

/// What came of them.
type Finished = (u64, Vec<Made>);

/// The threads, and what they are working on.
pub(super) struct Pool {
    jobs: SyncSender<Batch>,
    finished: Receiver<Finished>,
    batch: Vec<Job>,
    batch_files: usize,
    bytes: u64,
    next: u64,
    outstanding: BTreeSet<u64>,
}

impl Pool {
    /// Starts `threads` threads, which end when the pool is dropped.
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        shared: &'env Shared<'env>,
        threads: usize,
    ) -> Self {
        let (jobs, waiting) = sync_channel::<Batch>(threads);
        let (done, finished) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let (waiting, done) = (Arc::clone(&waiting), done.clone());
            scope.spawn(move || work(shared, &waiting, &done));
        }
        Self {
            jobs,
            finished,
            batch: Vec::new(),
            // Each thread has a batch in hand and one waiting; one more is being filled.
            batch_files: (MOST_UNDER_WAY / (2 * threads + 1)).clamp(1, BATCH_FILES),
            bytes: 0,
            next: 0,
            outstanding: BTreeSet::new(),
        }
    }

    /// Gives a file to the threads. `take` gets what they have finished meanwhile.
    pub(super) fn submit(&mut self, job: Job, take: &mut dyn FnMut(Made)) {
        self.bytes += job.node.data_length();
        self.batch.push(job);
        if self.batch.len() >= self.batch_files || self.bytes >= BATCH_BYTES {
            self.send(take);
        }
    }

    fn send(&mut self, take: &mut dyn FnMut(Made)) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.outstanding.insert(self.next);
        let mut waiting = Some((self.next, batch));
        self.next += 1;
        while let Some(batch) = waiting.take() {
            match self.jobs.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => {
                    waiting = Some(batch);
                    if !self.receive(take) {
                        return;
                    }
                }
                // The threads are gone only if one has panicked, which ends the scope as well.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        while let Ok(finished) = self.finished.try_recv() {
            self.note(finished, take);
        }
    }

    fn note(&mut self, (number, made): Finished, take: &mut dyn FnMut(Made)) {
        self.outstanding.remove(&number);
        made.into_iter().for_each(take);
    }

    fn receive(&mut self, take: &mut dyn FnMut(Made)) -> bool {
        let finished = self.finished.recv();
        finished.map(|finished| self.note(finished, take)).is_ok()
    }

    /// The number behind all files that were submitted so far.
    pub(super) fn submitted(&self) -> u64 {
        self.next + u64::from(!self.batch.is_empty())
    }

    /// Whether all files before `number` are made.
    pub(super) fn is_done(&self, number: u64) -> bool {
        let first = self.outstanding.first().copied();
        first.unwrap_or(self.next) >= number
    }

    /// Waits for all files before `number`.
    pub(super) fn wait(&mut self, number: u64, take: &mut dyn FnMut(Made)) {
        if self.next < number {
            self.send(take);
        }
        while !self.is_done(number) && self.receive(take) {}
    }
}

fn work(shared: &Shared<'_>, waiting: &Mutex<Receiver<Batch>>, done: &Sender<Finished>) {
    let mut scratch = Vec::new();
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok((number, jobs)) = next else {
            return;
        };
        let made = jobs.into_iter().map(|job| shared.make(job, &mut scratch));
        if done.send((number, made.collect())).is_err() {
            return;
        }
    }
}
