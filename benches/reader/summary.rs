//! What is said of a run: counts, and the spread of times.

use crate::counts::Counted;
use crate::stopwatch::Log;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// All that the clients of a run measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    times: Vec<Duration>,
    counted: Vec<Counted>,
    bytes: u64,
    errors: u64,
    cpu: Duration,
    wall: Duration,
}

/// The answer to the caller.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    operations: usize,
    errors: u64,
    bytes: u64,
    seconds: f64,
    cpu_seconds: f64,
    per_second: f64,
    #[serde(flatten)]
    microseconds: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<CountSummary>,
}

/// Times in microseconds.
#[expect(clippy::struct_field_names, reason = "what is written says its unit")]
#[derive(Debug, Serialize)]
struct Spread {
    mean_us: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// Sums over the run, the most that one operation needed, and the spread of a simulated disk's times.
#[derive(Debug, Serialize)]
struct CountSummary {
    reads: u64,
    most_reads: u64,
    seeks: u64,
    most_seeks: u64,
    bytes: u64,
    #[serde(flatten)]
    microseconds: Spread,
}

impl Outcome {
    pub(crate) fn new(logs: Vec<Log>, wall: Duration) -> Self {
        let mut all = Self {
            times: Vec::new(),
            counted: Vec::new(),
            bytes: 0,
            errors: 0,
            cpu: Duration::ZERO,
            wall,
        };
        for log in logs {
            all.times.extend(log.times);
            all.counted.extend(log.counted);
            all.bytes += log.bytes;
            all.errors += log.errors;
            all.cpu += log.cpu;
        }
        all
    }

    pub(crate) fn summary(&self) -> Summary {
        let seconds = self.wall.as_secs_f64();
        let most = |number: fn(&Counted) -> u64| self.counted.iter().map(number).max();
        let counts = (!self.counted.is_empty()).then(|| {
            let mut sum = Counted::default();
            for one in &self.counted {
                sum += *one;
            }
            CountSummary {
                reads: sum.reads,
                most_reads: most(|one| one.reads).unwrap_or(0),
                seeks: sum.seeks,
                most_seeks: most(|one| one.seeks).unwrap_or(0),
                bytes: sum.bytes,
                microseconds: Spread::of(self.model_times()),
            }
        });
        Summary {
            operations: self.times.len(),
            errors: self.errors,
            bytes: self.bytes,
            seconds,
            cpu_seconds: self.cpu.as_secs_f64(),
            per_second: float(self.times.len()) / seconds.max(1e-9),
            microseconds: Spread::of(self.times.clone()),
            counts,
        }
    }

    /// Writes the time of each operation in microseconds.
    pub(crate) fn write_times(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let is_modelled = self.counted.iter().any(|one| one.nanoseconds > 0);
        let times = if is_modelled {
            self.model_times()
        } else {
            self.times.clone()
        };
        for time in times {
            writeln!(file, "{:.3}", time.as_secs_f64() * 1e6)?;
        }
        file.flush()
    }

    fn model_times(&self) -> Vec<Duration> {
        let one = |counted: &Counted| Duration::from_nanos(counted.nanoseconds);
        self.counted.iter().map(one).collect()
    }
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let micros = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
        let at = |percent: usize| micros(times.get(times.len().saturating_sub(1) * percent / 100));
        let sum: Duration = times.iter().sum();
        Self {
            mean_us: sum.as_secs_f64() * 1e6 / float(times.len()).max(1.0),
            p50_us: at(50),
            p99_us: at(99),
            max_us: micros(times.last()),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of operations are far below 2^52"
)]
fn float(count: usize) -> f64 {
    count as f64
}
