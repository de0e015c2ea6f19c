//! A table from keys that look random to values, within a memory budget.
//!
//! # Overview
//! - new keys collect in memory ([`recent`]); when there are too many they are written as a sorted
//!   run, and every [`FAN_IN`] runs of one size become one of the next ([`run`]);
//! - a filter in memory ([`filter`]) knows all written keys, so that a key which is not there is
//!   mostly found out without a read; one that is there costs one read for each run at most.
//!
//! Only the storing thread of a build uses it, so nothing here is shared.

mod filter;
mod recent;
mod run;

use std::path::{Path, PathBuf};

use crate::Result;
use filter::Filter;
use recent::Recent;
use run::SortedRun;

/// A key; its first three numbers have to look random, as those of a hash do.
pub type Key = [u64; 4];

/// What a key leads to.
pub type Value = [u64; 2];

/// A key and its value.
type Record = [u64; 6];

/// Runs of one size that are merged into one of the next. With 8, a key is written some four times
/// in a table of 10^8, and looked for in some fifteen runs at worst.
const FAN_IN: usize = 8;

/// A table of keys and values; what does not fit into memory waits in nameless files.
#[derive(Debug)]
pub struct SpillingTable {
    scratch_dir: PathBuf,
    recent: Recent,
    most_recent: usize,
    filter: Option<Filter>,
    filter_bytes: usize,
    fence_bytes: usize,
    /// Runs by how often their records were merged.
    levels: Vec<Vec<SortedRun>>,
    written: u64,
    reads: u64,
}

impl SpillingTable {
    /// An empty table that holds about `memory` bytes and spills into `scratch_dir`.
    pub fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self {
            scratch_dir: scratch_dir.to_path_buf(),
            recent: Recent::default(),
            most_recent: (memory / 8 * 3 / recent::RECORD_MEMORY).max(2),
            filter: None,
            filter_bytes: memory / 2,
            fence_bytes: memory / 16,
            levels: Vec::new(),
            written: 0,
            reads: 0,
        }
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &Key) -> Result<Option<Value>> {
        if let Some(value) = self.recent.get(key) {
            return Ok(Some(value));
        }
        if !self.filter.as_ref().is_some_and(|filter| filter.has(key)) {
            return Ok(None);
        }
        // The largest run, which most keys are in, comes last in `levels`.
        for run in self.levels.iter().rev().flatten() {
            if let Some(value) = run.get(key, &mut self.reads)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Adds a key that is not there yet.
    pub fn insert(&mut self, key: Key, value: Value) -> Result<()> {
        if self.recent.len() >= self.most_recent {
            self.spill()?;
        }
        self.recent.insert(key, value);
        Ok(())
    }

    /// Reads of scratch files that looking for keys has cost.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    fn spill(&mut self) -> Result<()> {
        let filter = self
            .filter
            .get_or_insert_with(|| Filter::new(self.filter_bytes));
        let records = self.recent.sort();
        for record in records {
            filter.add(&record::key(record));
        }
        self.written += records.len() as u64;
        let spacing = run::spacing(self.written, self.fence_bytes);
        let run = SortedRun::write(&self.scratch_dir, records, spacing)?;
        self.recent.clear();
        self.add_run(0, run)
    }

    /// Adds a run to `level`, and makes one of the next from those there if that fills it.
    fn add_run(&mut self, mut level: usize, mut run: SortedRun) -> Result<()> {
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(runs) = self.levels.get_mut(level) else {
                return Ok(());
            };
            runs.push(run);
            if runs.len() < FAN_IN {
                return Ok(());
            }
            let runs = std::mem::take(runs);
            let spacing = run::spacing(self.written, self.fence_bytes);
            run = SortedRun::merge(&self.scratch_dir, &runs, spacing)?;
            level += 1;
        }
    }
}

/// The parts of a record.
mod record {
    use super::{Key, Record, Value};

    pub(super) fn new(key: &Key, value: Value) -> Record {
        let mut record = [0; 6];
        let numbers = key.iter().chain(&value);
        for (place, number) in record.iter_mut().zip(numbers) {
            *place = *number;
        }
        record
    }

    pub(super) fn key(&[a, b, c, d, ..]: &Record) -> [u64; 4] {
        [a, b, c, d]
    }

    pub(super) fn value(&[.., e, f]: &Record) -> Value {
        [e, f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A key that looks random but collides with others in parts, as no hash does.
    fn key(number: u64) -> Key {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match number % 4 {
            // Equal first numbers, over many blocks of a run.
            0 => [7, mixed, mixed, number],
            // Equal in all but the length.
            1 => [u64::MAX, 1, 2, number],
            _ => [mixed, mixed.rotate_left(20), mixed.rotate_left(40), number],
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_is_a_map(
            numbers in prop::collection::vec(0u64..3000, 0..3000),
            memory in prop_oneof![0usize..4000, 4000usize..100_000, Just(1 << 22)],
        ) {
            let scratch = tempfile::tempdir().unwrap();
            let mut table = SpillingTable::new(scratch.path(), memory);
            let mut model = BTreeMap::new();
            for (at, number) in numbers.iter().enumerate() {
                let key = key(*number);
                let found = table.get(&key).unwrap();
                prop_assert_eq!(found, model.get(&key).copied());
                if found.is_none() {
                    let value = [at as u64, *number];
                    table.insert(key, value).unwrap();
                    model.insert(key, value);
                }
            }
            for number in 0..3010 {
                let key = key(number);
                prop_assert_eq!(table.get(&key).unwrap(), model.get(&key).copied());
            }
            prop_assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        }
    }

    /// Numbers of a fixed generator (the mixer of `SplitMix64`), as a hash gives them.
    fn random_key(number: u64) -> Key {
        let mut state = number;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        // Far apart, so that the streams of neighbours do not overlap.
        let _ = next();
        [next(), next(), next(), 4096].map(|n| n ^ number.rotate_right(7))
    }

    #[test]
    fn what_is_there_costs_few_reads_and_what_is_not_hardly_any() {
        let scratch = tempfile::tempdir().unwrap();
        // 16 bits of filter for each key that leaves memory.
        let mut table = SpillingTable::new(scratch.path(), 80_000 * 4);
        let count = 80_000;
        for number in 0..count {
            assert_eq!(table.get(&random_key(number)).unwrap(), None);
            table.insert(random_key(number), [number, 1]).unwrap();
        }
        let reads = table.reads();
        assert!(
            reads < count / 5,
            "{reads} reads for keys that are not there"
        );
        for number in 0..count {
            let found = table.get(&random_key(number)).unwrap();
            assert_eq!(found, Some([number, 1]));
        }
        let reads = table.reads() - reads;
        assert!(reads < 8 * count, "{reads} reads for keys that are there");
    }

    /// By hand: `KEYS=10000000 MEMORY=33554432 cargo test --release --lib millions_of_keys -- --ignored --nocapture`.
    #[test]
    #[ignore = "takes a minute and gigabytes of scratch space; prints what it costs"]
    fn millions_of_keys() {
        let number = |name: &str, default| {
            std::env::var(name).map_or(default, |value| value.parse().unwrap())
        };
        let count: u64 = number("KEYS", 10_000_000);
        let memory = usize::try_from(number("MEMORY", 32 << 20)).unwrap();
        let scratch = tempfile::tempdir_in(".").unwrap();
        let mut table = SpillingTable::new(scratch.path(), memory);
        let begun = std::time::Instant::now();
        for number in 0..count {
            // Every tenth file is like one before.
            let number = if number % 10 == 9 { number / 2 } else { number };
            let key = random_key(number);
            if table.get(&key).unwrap().is_none() {
                table.insert(key, [number, 1]).unwrap();
            }
        }
        let runs: Vec<usize> = table.levels.iter().map(Vec::len).collect();
        println!(
            "{count} keys, {memory} bytes: {:?}, {} reads, runs {runs:?}",
            begun.elapsed(),
            table.reads()
        );
    }
}
