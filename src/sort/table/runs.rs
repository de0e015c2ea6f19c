//! The runs of a table: looking for a key in them, and making one of several.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::filter::Filter;
use super::run::{self, SortedRun};
use super::{Key, Record, Value};
use crate::Result;

/// Runs of one size that are merged into one of the next. Of 100 million keys in 96 MiB, each is written some five
/// times so, and looked for in the filters of some ten runs.
const FAN_IN: usize = 4;

/// Most bits of a filter for a key; more gain nothing that could be noticed.
const MOST_BITS: u64 = 16;

/// Runs whose records are this small a part of all (as a power of 2) or smaller get more bits for each key than the
/// others. As many keys that are not there seem to be in them, but their bits are few.
const SMALL: u32 = 2;

/// All runs of a table.
#[derive(Debug)]
pub(super) struct Runs {
    /// Runs by how often their records were merged.
    levels: Vec<Vec<SortedRun>>,
    filter_bytes: usize,
    fence_bytes: usize,
    expected: u64,
}

impl Runs {
    /// No runs. Their filters will have about `filter_bytes`, and their fences `fence_bytes`; `expected` records are
    /// to come in all.
    pub(super) fn new(filter_bytes: usize, fence_bytes: usize, expected: u64) -> Self {
        Self {
            levels: Vec::new(),
            filter_bytes,
            fence_bytes,
            expected,
        }
    }

    fn all(&self) -> impl Iterator<Item = &SortedRun> {
        // The largest ones, which most keys are in, come last in `levels`.
        self.levels.iter().rev().flatten()
    }

    /// How many records each run has, the oldest first.
    pub(super) fn lengths(&self) -> Vec<u64> {
        self.all().map(SortedRun::records).collect()
    }

    /// The value of `key`; counts what is read for it.
    pub(super) fn get(&self, key: &Key, reads: &AtomicU64) -> Result<Option<Value>> {
        for run in self.all() {
            if let Some(value) = run.get(key, reads)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Adds a run of `records`, which are sorted.
    pub(super) fn add(&mut self, scratch_dir: &Path, records: &[Record]) -> Result<()> {
        let count = records.len() as u64;
        let (filter, spacing) = (self.filter(count), self.spacing(count));
        let run = SortedRun::write(scratch_dir, records, filter, spacing)?;
        // The first one had all memory, and so is as large as FAN_IN later ones.
        self.put(usize::from(self.levels.is_empty()), run);
        Ok(())
    }

    fn put(&mut self, level: usize, run: SortedRun) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        if let Some(runs) = self.levels.get_mut(level) {
            runs.push(run);
        }
    }

    /// Makes one run of those of a level wherever there are enough of them.
    pub(super) fn merge(&mut self, scratch_dir: &Path) -> Result<()> {
        let mut level = 0;
        while let Some(runs) = self.levels.get_mut(level) {
            level += 1;
            if runs.len() < FAN_IN {
                continue;
            }
            // Their filters and fences go before those of the new one come.
            let runs: Vec<_> = runs.drain(..).map(SortedRun::into_records).collect();
            let count = runs.iter().map(run::Records::count).sum();
            let (filter, spacing) = (self.filter(count), self.spacing(count));
            let run = SortedRun::merge(scratch_dir, &runs, filter, spacing)?;
            self.put(level, run);
        }
        Ok(())
    }

    fn spacing(&self, new: u64) -> usize {
        let records = self.all().map(SortedRun::records).sum::<u64>();
        let records = records.saturating_add(new).max(self.expected);
        run::spacing(records, self.fence_bytes)
    }

    /// A filter for a new run of `records`: its share of what the others leave.
    fn filter(&self, records: u64) -> Filter {
        let others = self.all().map(SortedRun::records).sum::<u64>();
        let taken = self.all().map(SortedRun::filter_bytes).sum::<usize>();
        let left = (self.filter_bytes.saturating_sub(taken) as u64).saturating_mul(8);
        let all = self.expected.max(others.saturating_add(records));
        // Where more come than were expected, an eighth more are from then on.
        let ahead = self.expected.saturating_sub(others);
        let ahead = ahead.max(others / 8 + records).max(1);
        // Sixteenths of bits, so that few of them are shared out evenly; an eighth is kept for small runs.
        let share = u128::from(left) * 14 / u128::from(ahead);
        let share = u64::try_from(share).unwrap_or(u64::MAX);
        let part = all.checked_div(records).and_then(u64::checked_ilog2);
        let more = u64::from(part.unwrap_or(0).saturating_sub(SMALL));
        let sixteenths = share.saturating_add(16 * more).min(16 * MOST_BITS);
        let bits = (records.saturating_mul(sixteenths) / 16).min(left);
        Filter::new(bits, records)
    }
}
