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
    last: Option<Subject>,
}

/// What failed: a kind of request, on an inode or an entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) operation: Operation,
    pub(super) ino: Ino,
    /// The name that was looked up.
    pub(super) name: Option<Vec<u8>>,
}

impl Subject {
    /// The subject for the log: the path if it can be found out.
    fn describe(&self, fs: &PackFs) -> String {
        let Self { ino: Ino(ino), .. } = self;
        let path = fs.path(self.ino).ok();
        let path = path.as_deref().map(String::from_utf8_lossy);
        let name = self.name.as_deref().map(String::from_utf8_lossy);
        match (path, name) {
            (None, None) => format!("inode {ino}"),
            (None, Some(name)) => format!("\"{name}\" in inode {ino}"),
            (Some(path), None) => format!("\"{path}\", inode {ino}"),
            (Some(path), Some(name)) if path.is_empty() => format!("\"{name}\""),
            (Some(path), Some(name)) => format!("\"{path}/{name}\""),
        }
    }
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

    /// Counts and logs that a request failed with `error`, unless that is the asker's fault: only a
    /// stale handle asks for an inode that does not exist, or for what another kind of inode has.
    #[cold]
    pub(super) fn report(&self, fs: &PackFs, subject: &Subject, error: &Error) {
        let operation = subject.operation.name();
        let count = match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput => {
                log::debug!("{operation} of inode {}: {error}", subject.ino.0);
                return;
            }
            ErrorKind::Io => &self.io,
            _ => &self.corrupt,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let Verdict::Say { unsaid } = self.judge(Instant::now(), subject) else {
            return;
        };
        if unsaid > 0 {
            log::error!("{unsaid} further failures were not logged");
        }
        log::error!("{operation} of {} failed: {error}", subject.describe(fs));
    }

    /// Counts and logs that a request ended in a panic with this payload.
    #[cold]
    pub(super) fn report_panic(&self, subject: &Subject, payload: &(dyn Any + Send)) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if self.judge(Instant::now(), subject) == Verdict::Count {
            return;
        }
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        log::error!(
            "{} of inode {} failed by a fault of dgfs, please report it: {message}",
            subject.operation.name(),
            subject.ino.0
        );
    }

    /// The kernel repeats a failed read page by page, so the same request is said
    /// once an interval.
    fn judge(&self, now: Instant, subject: &Subject) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.since) >= INTERVAL {
            state.since = now;
            state.lines = 0;
            state.last = None;
        }
        if state.lines >= LINES || state.last.as_ref() == Some(subject) {
            state.unsaid = state.unsaid.saturating_add(1);
            return Verdict::Count;
        }
        state.lines += 1;
        state.last = Some(subject.clone());
        Verdict::Say {
            unsaid: std::mem::take(&mut state.unsaid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(ino: u64) -> Subject {
        Subject {
            operation: Operation::Read,
            ino: Ino(ino),
            name: None,
        }
    }

    #[test]
    fn a_repeated_failure_is_said_once_an_interval() {
        let log = Faults::new();
        let start = Instant::now();
        let judge = |at, ino| log.judge(start + Duration::from_secs(at), &read_of(ino));
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
            .filter(|ino| log.judge(start, &read_of(*ino)) != Verdict::Count)
            .count();
        assert_eq!(said, 20);
        let later = log.judge(start + INTERVAL, &read_of(1));
        assert_eq!(later, Verdict::Say { unsaid: 980 });
    }
}
