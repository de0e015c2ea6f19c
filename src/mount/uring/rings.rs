//! Places for requests, and the threads that serve them, whatever the answers are.

use super::processors::{self, Processors};
use crate::native::fuse_ring::{HEADER, Place};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Threads for each processor, unless the options say how many there shall be in all.
const THREADS_PER_QUEUE: usize = 2;

/// Descriptors that are left free: a process in the background still opens five, and for a moment as many more, to start
/// the one that unmounts for it.
const DESCRIPTORS_LEFT: usize = 10;

/// Places that the kernel does not know of yet.
#[derive(Debug)]
pub(crate) struct Rings {
    places: Vec<Place>,
}

/// What to do if a thread cannot go on, given the reason.
pub(crate) type OnFailure = Arc<dyn Fn(&io::Error) + Send + Sync>;

impl Rings {
    /// Makes the places of all queues, for `threads` threads in all: more if there are more processors. The largest
    /// request takes `payload` bytes. Fails where the system allows no `io_uring`.
    pub(crate) fn prepare(threads: Option<usize>, payload: usize) -> io::Result<Self> {
        let processors = Processors::of_this_machine()?;
        let depth = threads.map_or(THREADS_PER_QUEUE, |threads| {
            threads.div_ceil(processors.running().max(1)).max(1)
        });
        let mut places = Vec::new();
        for queue in 0..processors.possible {
            // Of a processor that does not run come no requests, but the kernel waits for its place.
            let depth = if processors.is_online(queue) {
                depth
            } else {
                1
            };
            for _ in 0..depth {
                places.push(Place::new(queue, payload)?);
            }
        }
        Ok(Self { places })
    }

    /// Gives the places to the connection behind `device`, and starts a thread for each that serves until the mount
    /// is gone. The threads inherit the limits of the calling one.
    ///
    /// `answer` turns header and payload of a request into those of the answer, and returns the number to hand it over
    /// with. It may keep memory between requests in the vector.
    ///
    /// Returns when the kernel has all places. Fails if it does not take one; the threads have ended then, and
    /// nothing of ours keeps the connection.
    pub(crate) fn start<A>(
        self,
        device: OwnedFd,
        answer: A,
        on_failure: &OnFailure,
    ) -> io::Result<Vec<JoinHandle<()>>>
    where
        A: Fn(&mut [u8; HEADER], &mut [u8], &mut Vec<u8>) -> u64 + Send + Sync + 'static,
    {
        // If they are too few, better now than when the mount answers: the device takes less.
        let left: Vec<OwnedFd> = std::iter::repeat_with(|| device.try_clone())
            .take(DESCRIPTORS_LEFT)
            .collect::<io::Result<_>>()?;
        drop(left);
        let (device, answer) = (Arc::new(device), Arc::new(answer));
        let all_are_there = Arc::new(OnceLock::new());
        let (ready, outcomes) = channel();
        let mut threads = Vec::new();
        let mut started = Ok(());
        for place in self.places {
            let (device, answer) = (device.clone(), answer.clone());
            let start = Start {
                ready: ready.clone(),
                all_are_there: all_are_there.clone(),
                on_failure: on_failure.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("dgfs-ring-{}", place.queue()))
                .spawn(move || run(place, device, &*answer, start));
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    started = Err(error);
                    break;
                }
            }
        }
        drop(ready);
        let is_started = started.is_ok();
        let mut outcomes = std::iter::once(started).chain(outcomes.iter().take(threads.len()));
        let outcome = outcomes.try_for_each(|outcome| outcome);
        // Nobody else says it.
        let _ = all_are_there.set(is_started && outcome.is_ok());
        if let Err(error) = outcome {
            for thread in threads {
                // What it has to say is known.
                let _ = thread.join();
            }
            return Err(error);
        }
        Ok(threads)
    }
}

/// What a thread is told, and tells, when it starts.
struct Start {
    /// For the news whether the kernel took its place.
    ready: Sender<io::Result<()>>,
    /// Whether the kernel took all places; else none is needed.
    all_are_there: Arc<OnceLock<bool>>,
    on_failure: OnFailure,
}

/// One serving thread.
fn run(
    mut place: Place,
    device: Arc<OwnedFd>,
    answer: impl Fn(&mut [u8; HEADER], &mut [u8], &mut Vec<u8>) -> u64,
    start: Start,
) {
    if let Err(errno) = processors::bind(place.queue()) {
        log::debug!("thread of queue {} is not bound: {errno}", place.queue());
    }
    let registered = place.register(device.as_fd());
    drop(device);
    let is_registered = registered.is_ok();
    // Whoever waits for this is there until all have answered, or one has failed.
    let _ = start.ready.send(registered);
    drop(start.ready);
    if !is_registered || !*start.all_are_there.wait() {
        return;
    }
    // Whoever waits for an answer from here would wait for ever, so the mount ends with this thread.
    let watch = Watch(start.on_failure);
    if let Err(error) = serve(&mut place, answer) {
        (watch.0)(&error);
    }
}

/// Reports a thread that broke off.
struct Watch(OnFailure);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)(&io::Error::other(
                "a serving thread broke off; this is a fault of dgfs",
            ));
        }
    }
}

/// Answers requests until the mount is gone.
fn serve(
    place: &mut Place,
    answer: impl Fn(&mut [u8; HEADER], &mut [u8], &mut Vec<u8>) -> u64,
) -> io::Result<()> {
    let mut scratch = Vec::new();
    while place.wait()? {
        let Some((header, payload)) = place.contents() else {
            break;
        };
        let commit = answer(header, payload, &mut scratch);
        place.answer(commit)?;
    }
    Ok(())
}
