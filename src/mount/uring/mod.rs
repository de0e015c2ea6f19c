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
#[cfg(test)]
mod processors_tests;
mod request;
mod rings;

pub(super) use dispatch::Access;
pub(super) use rings::{OnFailure, Rings};

use super::adapter::REQUEST_MAX;
use super::answers::Answers;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Whether the kernel's FUSE takes rings, which whoever administrates the machine decides.
const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";

/// Whether the kernel might offer rings; if it does not, making them is not worth while.
pub(super) fn is_offered() -> bool {
    std::fs::read(SWITCH).is_ok_and(|value| value.first() == Some(&b'Y'))
}

/// Makes rings for the largest request, as [`Rings::prepare`] does.
pub(super) fn prepare(threads: Option<usize>) -> io::Result<Rings> {
    Rings::prepare(threads, REQUEST_MAX as usize)
}

/// Answers what `access` admits over `rings`, as [`Rings::start`] does.
pub(super) fn start(
    rings: Rings,
    device: OwnedFd,
    answers: &Arc<Answers>,
    access: Access,
    on_failure: &OnFailure,
) -> io::Result<Vec<JoinHandle<()>>> {
    let answers = answers.clone();
    rings.start(
        device,
        move |header, payload, scratch| {
            dispatch::answer(&answers, access, header, payload, scratch)
        },
        on_failure,
    )
}
