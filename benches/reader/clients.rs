//! Threads that read side by side, each bound to a processor.

use crate::counts::Counters;
use crate::stopwatch::{Log, Stopwatch};
use crate::summary::Outcome;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How clients are started and what is measured beside their time.
#[derive(Debug)]
pub(crate) struct Clients {
    cpus: Vec<usize>,
    counters: Vec<PathBuf>,
}

impl Clients {
    pub(crate) fn new(cpus: Vec<usize>, counters: Vec<PathBuf>) -> Self {
        Self { cpus, counters }
    }

    /// Lets `count` clients begin at the same moment; `work` gets the number of its client.
    pub(crate) fn run(
        &self,
        count: usize,
        work: impl Fn(usize, &mut Stopwatch) -> io::Result<()> + Sync,
    ) -> io::Result<Outcome> {
        let start = Barrier::new(count + 1);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..count)
                .map(|number| {
                    let (start, work) = (&start, &work);
                    scope.spawn(move || {
                        let ready = self.prepare(number);
                        start.wait();
                        let mut watch = ready?;
                        let before = clock_gettime(ClockId::ThreadCPUTime);
                        work(number, &mut watch)?;
                        let after = clock_gettime(ClockId::ThreadCPUTime);
                        Ok(watch.stop(duration(after).saturating_sub(duration(before))))
                    })
                })
                .collect();
            start.wait();
            let begun = Instant::now();
            let mut logs = Vec::new();
            for client in clients {
                let log: io::Result<Log> = client
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a client broke off")));
                logs.push(log?);
            }
            Ok(Outcome::new(logs, begun.elapsed()))
        })
    }

    fn prepare(&self, number: usize) -> io::Result<Stopwatch> {
        let place = number.checked_rem(self.cpus.len()).unwrap_or(0);
        if let Some(cpu) = self.cpus.get(place) {
            let mut set = CpuSet::new();
            set.set(*cpu);
            sched_setaffinity(None, &set)?;
        }
        let counters = match self.counters.as_slice() {
            [] => None,
            paths => Some(Counters::open(paths)?),
        };
        Ok(Stopwatch::new(counters))
    }
}

fn duration(time: rustix::time::Timespec) -> Duration {
    let whole = Duration::from_secs(time.tv_sec.unsigned_abs());
    whole + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}
