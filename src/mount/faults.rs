//! Failed requests: each is counted, and gets one line in the log unless that would be a flood.

use super::counters::Operation;
use crate::entry::Ino;
use crate::fs::PackFs;
use crate::{Error, ErrorKind};
use serde::Serialize;
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in one interval before the rest is only counted.
const LINES: u32 = 20;

/// The interval: with [`LINES`], a day of nothing but failures logs less than 200,000 lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts failed requests, and says which one failed, on what, and why.
#[derive(Debug)]
pub(super) struct Faults {
    corrupt: AtomicU64,
    io: AtomicU64,
    panics: AtomicU64,
    state: Mutex<State>,
}

/// The number of requests that failed by the image's fault, its device's or ours, at one moment.
///
/// The kernel repeats some requests that failed, so one bad place may count more than once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounts {
    /// Bytes that contradict their checksum or the format, or that are missing from a file that was cut off.
    pub corrupt: u64,
    /// Reads that the device or its file system refused.
    pub io: u64,
    /// Faults of dgfs itself.
    pub panics: u64,
}

#[derive(Debug)]
struct State {
    since: Instant,
    lines: u32,
    unsaid: u64,
    last: Option<(Operation, Ino)>,
}

/// What becomes of one failure.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Said, after so many that were not.
    Say { unsaid: u64 },
    /// Counted only.
    Count,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            corrupt: AtomicU64::new(0),
            io: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            state: Mutex::new(State {
                since: Instant::now(),
                lines: 0,
                unsaid: 0,
                last: None,
            }),
        }
    }

    /// The counts as they are now.
    pub(super) fn counts(&self) -> FaultCounts {
        FaultCounts {
            corrupt: self.corrupt.load(Ordering::Relaxed),
            io: self.io.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }

    /// Counts and logs that `operation` on `ino` failed with `error`, unless that is the asker's fault: only a
    /// stale handle asks for an inode that does not exist, or for what another kind of inode has.
    #[cold]
    pub(super) fn report(&self, fs: &PackFs, operation: Operation, ino: Ino, error: &Error) {
        let count = match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput => {
                log::debug!("{} of inode {}: {error}", operation.name(), ino.0);
                return;
            }
            ErrorKind::Io => &self.io,
            _ => &self.corrupt,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let Verdict::Say { unsaid } = self.judge(Instant::now(), operation, ino) else {
            return;
        };
        if unsaid > 0 {
            log::error!("{unsaid} further failures were not logged");
        }
        let place = match fs.path(ino) {
            Ok(path) => format!("\"{}\", inode {}", String::from_utf8_lossy(&path), ino.0),
            Err(_) => format!("inode {}", ino.0),
        };
        log::error!("{} of {place} failed: {error}", operation.name());
    }

    /// Counts and logs that `operation` on `ino` ended in a panic with this payload.
    #[cold]
    pub(super) fn report_panic(&self, operation: Operation, ino: Ino, payload: &(dyn Any + Send)) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if self.judge(Instant::now(), operation, ino) == Verdict::Count {
            return;
        }
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        log::error!(
            "{} of inode {} failed by a fault of dgfs, please report it: {message}",
            operation.name(),
            ino.0
        );
    }

    /// The kernel repeats a failed read page by page, so the same request on the same inode is said
    /// once an interval.
    fn judge(&self, now: Instant, operation: Operation, ino: Ino) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.since) >= INTERVAL {
            state.since = now;
            state.lines = 0;
            state.last = None;
        }
        if state.lines >= LINES || state.last == Some((operation, ino)) {
            state.unsaid = state.unsaid.saturating_add(1);
            return Verdict::Count;
        }
        state.lines += 1;
        state.last = Some((operation, ino));
        Verdict::Say {
            unsaid: std::mem::take(&mut state.unsaid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_failure_is_said_once_an_interval() {
        let log = Faults::new();
        let start = Instant::now();
        let judge = |at, ino| log.judge(start + Duration::from_secs(at), Operation::Read, Ino(ino));
        assert_eq!(judge(0, 5), Verdict::Say { unsaid: 0 });
        assert_eq!(judge(0, 5), Verdict::Count);
        assert_eq!(judge(1, 5), Verdict::Count);
        assert_eq!(judge(1, 6), Verdict::Say { unsaid: 2 });
        assert_eq!(judge(11, 6), Verdict::Say { unsaid: 0 });
    }

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let log = Faults::new();
        let start = Instant::now();
        let said = (0..1000)
            .filter(|ino| log.judge(start, Operation::Read, Ino(*ino)) != Verdict::Count)
            .count();
        assert_eq!(said, 20);
        let later = log.judge(start + INTERVAL, Operation::Read, Ino(1));
        assert_eq!(later, Verdict::Say { unsaid: 980 });
    }
}
