//! What one client measures, operation by operation.

use crate::counts::{Counted, Counters};
use std::io;
use std::time::{Duration, Instant};

/// What one client measured.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) times: Vec<Duration>,
    pub(crate) counted: Vec<Counted>,
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    pub(crate) cpu: Duration,
}

/// Measures the operations of one client.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    counters: Option<Counters>,
    log: Log,
}

impl Stopwatch {
    pub(crate) fn new(counters: Option<Counters>) -> Self {
        Self {
            counters,
            log: Log::default(),
        }
    }

    /// What was measured; `cpu` is the processor time of the client.
    pub(crate) fn stop(mut self, cpu: Duration) -> Log {
        self.log.cpu = cpu;
        self.log
    }

    /// Runs one operation, which says how many bytes it read. A failure is counted and shown once.
    pub(crate) fn measure(
        &mut self,
        operation: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<()> {
        let before = self.counters.as_mut().map(Counters::read).transpose()?;
        let begun = Instant::now();
        let outcome = operation();
        self.log.times.push(begun.elapsed());
        if let (Some(counters), Some(before)) = (self.counters.as_mut(), before) {
            self.log.counted.push(counters.read()?.since(before));
        }
        match outcome {
            Ok(bytes) => self.log.bytes += bytes,
            Err(error) if self.log.errors == 0 => {
                self.log.errors = 1;
                show(&error);
            }
            Err(_) => self.log.errors += 1,
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "a program for measurements reports")]
fn show(error: &io::Error) {
    eprintln!("reader: {error}; further errors are only counted");
}
