//! FUSE over `io_uring`: requests in memory shared with the kernel, answered on the processor where they were made.
//!
//! Mounting, the agreement on the protocol, and the few requests that never come by a ring (`forget`, and what
//! interrupts a request) stay with `/dev/fuse`, as does everything else where the kernel offers no rings. The kernel
//! has a queue for each processor that it reckons with and holds back all requests until each has a place to put one.
//!
//! A thread has one place. More than one thread of a queue let it go on when a device makes one of them wait; the
//! kernel takes the one that was idle last, so the others cost nothing as long as nobody waits.

mod dispatch;
mod output;
mod processors;
mod request;

pub(super) use dispatch::Access;

use super::adapter::REQUEST_MAX;
use super::answers::Answers;
use crate::native::fuse_ring::Place;
use processors::Processors;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Whether the kernel's FUSE takes rings, which whoever administrates the machine decides.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Threads for each processor, unless the options say how many there shall be in all.
const THREADS_PER_QUEUE: usize = 2;

/// Descriptors that are left free: a process in the background still opens five, and for a moment as many more, to start
/// the one that unmounts for it.
const DESCRIPTORS_LEFT: usize = 10;

/// Whether the kernel might offer rings; if it does not, making them is not worth while.
pub(super) fn is_offered() -> bool {
    std::fs::read(SWITCH).is_ok_and(|value| value.first() == Some(&b'Y'))
}

/// Places that the kernel does not know of yet.
#[derive(Debug)]
pub(super) struct Rings {
    places: Vec<Place>,
}

/// What to do if a thread cannot go on, given the reason.
pub(super) type OnFailure = Arc<dyn Fn(&io::Error) + Send + Sync>;

impl Rings {
    /// Makes the places of all queues, for `threads` threads in all: more if there are more processors. Fails where
    /// the system allows no `io_uring`.
    pub(super) fn prepare(threads: Option<usize>) -> io::Result<Self> {
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
                places.push(Place::new(queue, REQUEST_MAX as usize)?);
            }
        }
        Ok(Self { places })
    }

    /// Gives the places to the connection behind `device`, and starts a thread for each that serves until the mount
    /// is gone. The threads inherit the limits of the calling one.
    ///
    /// Returns when the kernel has all places. Fails if it does not take one; the threads have ended then, and
    /// nothing of ours keeps the connection.
    pub(super) fn start(
        self,
        device: OwnedFd,
        answers: &Arc<Answers>,
        access: Access,
        on_failure: &OnFailure,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        // If they are too few, better now than when the mount answers: the device takes less.
        let left: Vec<OwnedFd> = std::iter::repeat_with(|| device.try_clone())
            .take(DESCRIPTORS_LEFT)
            .collect::<io::Result<_>>()?;
        drop(left);
        let device = Arc::new(device);
        let all_are_there = Arc::new(OnceLock::new());
        let (ready, outcomes) = channel();
        let mut threads = Vec::new();
        let mut started = Ok(());
        for place in self.places {
            let (device, answers) = (device.clone(), answers.clone());
            let start = Start {
                ready: ready.clone(),
                all_are_there: all_are_there.clone(),
                on_failure: on_failure.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("dgfs-ring-{}", place.queue()))
                .spawn(move || run(place, device, &answers, access, start));
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
fn run(mut place: Place, device: Arc<OwnedFd>, answers: &Answers, access: Access, start: Start) {
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
    if let Err(error) = serve(&mut place, answers, access) {
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
fn serve(place: &mut Place, answers: &Answers, access: Access) -> io::Result<()> {
    let mut scratch = Vec::new();
    while place.wait()? {
        let Some((header, payload)) = place.contents() else {
            break;
        };
        let commit = dispatch::answer(answers, access, header, payload, &mut scratch);
        place.answer(commit)?;
    }
    Ok(())
}
