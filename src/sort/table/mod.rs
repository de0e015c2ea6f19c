//! A table from keys that look random to values, within a memory budget.
//!
//! # Overview
//! - new keys collect in memory ([`recent`]); when there are too many they are written as a sorted
//!   run ([`run`]);
//! - [`runs`] merges every so many runs of one size into one of the next, and gives each a filter in
//!   memory ([`filter`]), so that a key which is not in a run is mostly found out without a read.
//!
//! One thread adds keys, others may look for some meanwhile.

mod filter;
mod recent;
mod run;
mod runs;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::Result;
use recent::Recent;
use runs::Runs;

/// A key; its first three numbers have to look random, as those of a hash do.
pub type Key = [u64; 4];

/// What a key leads to.
pub type Value = [u64; 2];

/// A key and its value.
type Record = [u64; 6];

/// A table of keys and values; what does not fit into memory waits in nameless files.
#[derive(Debug)]
pub struct SpillingTable {
    scratch_dir: PathBuf,
    /// Bytes that keys in memory may take once there are runs; before that, all of the budget.
    recent_bytes: usize,
    // Who moves keys from one to the other holds both, who looks for one takes the first and lets go of it before the
    // second: so each key is in one of the two for him.
    recent: RwLock<Recent>,
    runs: RwLock<Runs>,
    reads: AtomicU64,
}

impl SpillingTable {
    /// An empty table that holds about `memory` bytes and spills into `scratch_dir`.
    ///
    /// Filters are made for about `expected` keys. There may be more, and then looking for them costs more reads.
    pub fn new(scratch_dir: &Path, memory: usize, expected: u64) -> Self {
        Self {
            scratch_dir: scratch_dir.to_path_buf(),
            recent_bytes: memory / 4,
            recent: RwLock::new(Recent::new(memory)),
            runs: RwLock::new(Runs::new(memory / 8 * 5, memory / 16, expected)),
            reads: AtomicU64::new(0),
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &Key) -> Result<Option<Value>> {
        if let Some(value) = read(&self.recent).get(key) {
            return Ok(Some(value));
        }
        read(&self.runs).get(key, &self.reads)
    }

    /// Adds a key that is not there yet. Only one thread may do so at a time.
    pub fn insert(&self, key: Key, value: Value) -> Result<()> {
        if read(&self.recent).is_full() {
            self.spill()?;
        }
        write(&self.recent).insert(key, value);
        Ok(())
    }

    /// Reads of scratch files that looking for keys has cost.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many keys each run on disk has, the oldest first.
    pub fn runs(&self) -> Vec<u64> {
        read(&self.runs).lengths()
    }

    /// Moves all keys in memory to a run. Whoever looks for a key that is not in memory waits meanwhile.
    fn spill(&self) -> Result<()> {
        let mut runs = write(&self.runs);
        {
            let mut recent = write(&self.recent);
            runs.add(&self.scratch_dir, recent.sort())?;
            if runs.lengths().len() == 1 {
                // What it took before is for the filters from now on.
                *recent = Recent::new(self.recent_bytes);
            } else {
                recent.clear();
            }
        }
        runs.merge(&self.scratch_dir)
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
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
            expected in prop_oneof![Just(0u64), 1u64..5000, Just(u64::MAX)],
        ) {
            let scratch = tempfile::tempdir().unwrap();
            let table = SpillingTable::new(scratch.path(), memory, expected);
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

    /// Reads for `count` keys that are not there and, after that, for the same when they are, in `memory` bytes.
    fn reads(count: u64, memory: usize, expected: u64) -> (u64, u64) {
        let scratch = tempfile::tempdir().unwrap();
        let table = SpillingTable::new(scratch.path(), memory, expected);
        for number in 0..count {
            assert_eq!(table.get(&random_key(number)).unwrap(), None);
            table.insert(random_key(number), [number, 1]).unwrap();
        }
        let of_absent = table.reads();
        for number in 0..count {
            let found = table.get(&random_key(number)).unwrap();
            assert_eq!(found, Some([number, 1]));
        }
        assert!(!table.runs().is_empty());
        (of_absent, table.reads() - of_absent)
    }

    #[test]
    fn what_is_there_costs_a_read_and_what_is_not_hardly_any() {
        // Ten bits of filter for each key.
        let (absent, present) = reads(80_000, 160_000, 80_000);
        assert!(absent < 80_000 / 10, "{absent} for keys that are not there");
        assert!(
            present < 80_000 * 6 / 5,
            "{present} for keys that are there"
        );
    }

    #[test]
    fn little_memory_and_more_keys_than_expected_cost_few_reads() {
        // Five bits of filter for each key, which is what 100 million have in the memory of the default.
        let (absent, present) = reads(80_000, 80_000, 80_000);
        assert!(absent < 80_000 / 2, "{absent} for keys that are not there");
        assert!(present < 80_000 * 2, "{present} for keys that are there");
        let (absent, present) = reads(80_000, 160_000, 1000);
        assert!(absent < 80_000 / 2, "{absent} for keys that are not there");
        assert!(present < 80_000 * 2, "{present} for keys that are there");
    }

    #[test]
    fn keys_that_are_there_are_found_while_others_are_added() {
        let scratch = tempfile::tempdir().unwrap();
        let table = SpillingTable::new(scratch.path(), 40_000, 30_000);
        let added = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for seed in 0..2 {
                let (table, added) = (&table, &added);
                scope.spawn(move || {
                    let mut turn: u64 = seed;
                    loop {
                        let before = added.load(Ordering::Acquire);
                        turn = turn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                        // One of the last, which may be on its way from memory to a run.
                        if let Some(back) = (turn >> 20).checked_rem(before.min(200)) {
                            let number = before - 1 - back;
                            let found = table.get(&random_key(number)).unwrap();
                            assert_eq!(found, Some([number, 1]), "of {before}");
                        }
                        if before == 30_000 {
                            break;
                        }
                    }
                });
            }
            for number in 0..30_000 {
                table.insert(random_key(number), [number, 1]).unwrap();
                added.store(number + 1, Ordering::Release);
            }
        });
        assert!(table.runs().len() > 1);
    }
}
