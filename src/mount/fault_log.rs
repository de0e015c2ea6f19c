//! One log line for a failed request, and no flood of them.

use super::counters::Operation;
use crate::entry::Ino;
use crate::fs::PackFs;
use crate::{Error, ErrorKind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in one interval before the rest is only counted.
const LINES: u32 = 20;

/// The interval: with [`LINES`], a day of nothing but failures logs less than 200,000 lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Says which request failed, on what, and why.
#[derive(Debug)]
pub(super) struct FaultLog {
    state: Mutex<State>,
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

impl FaultLog {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                since: Instant::now(),
                lines: 0,
                unsaid: 0,
                last: None,
            }),
        }
    }

    /// Logs that `operation` on `ino` failed with `error`. An inode that does not exist is no fault
    /// of the image: only a stale handle asks for one.
    #[cold]
    pub(super) fn report(&self, fs: &PackFs, operation: Operation, ino: Ino, error: &Error) {
        if matches!(error.kind(), ErrorKind::NotFound) {
            log::debug!("{} of inode {}: {error}", operation.name(), ino.0);
            return;
        }
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
        let log = FaultLog::new();
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
        let log = FaultLog::new();
        let start = Instant::now();
        let said = (0..1000)
            .filter(|ino| log.judge(start, Operation::Read, Ino(*ino)) != Verdict::Count)
            .count();
        assert_eq!(said, 20);
        let later = log.judge(start + INTERVAL, Operation::Read, Ino(1));
        assert_eq!(later, Verdict::Say { unsaid: 980 });
    }
}
