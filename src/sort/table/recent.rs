//! Keys and values in memory: records in the order in which they came, and slots that lead to them.

use super::{Key, Record, Value, record};

/// Bytes of memory that a record takes at most: itself, and up to four slots.
const RECORD_MEMORY: usize = size_of::<Record>() + 4 * size_of::<u32>();

/// Slots of the smallest table.
const FEWEST_SLOTS: usize = 64;

/// A hash table with open addressing.
#[derive(Debug)]
pub(super) struct Recent {
    records: Vec<Record>,
    /// How many of them may be there.
    most: usize,
    /// For each record one slot with its index plus 1, at or behind the one that its key names; 0
    /// is a free one. A power of two of them, at least half of them free.
    slots: Vec<u32>,
}

impl Recent {
    /// No keys; `memory` bytes of them may come.
    pub(super) fn new(memory: usize) -> Self {
        Self {
            records: Vec::new(),
            most: (memory / RECORD_MEMORY).max(2),
            slots: Vec::new(),
        }
    }

    /// Whether as many keys are there as may be.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= self.most
    }

    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        let mut at = self.first_slot(key);
        while let Some(index) = self.slots.get(at)?.checked_sub(1) {
            let record = self.records.get(index as usize)?;
            if record::key(record) == *key {
                return Some(record::value(record));
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// Adds a key that is not there yet. There may be fewer than 2^31.
    pub(super) fn insert(&mut self, key: Key, value: Value) {
        if self.slots.len() < 2 * (self.records.len() + 1) {
            let slots = (2 * self.slots.len()).max(FEWEST_SLOTS);
            self.slots.clear();
            self.slots.resize(slots, 0);
            for index in 0..self.records.len() {
                self.occupy(index);
            }
        }
        self.records.push(record::new(&key, value));
        self.occupy(self.records.len() - 1);
    }

    /// Has a slot lead to the record at `index`.
    fn occupy(&mut self, index: usize) {
        let Some(record) = self.records.get(index) else {
            return;
        };
        let mut at = self.first_slot(&record::key(record));
        while let Some(slot) = self.slots.get_mut(at) {
            if *slot == 0 {
                *slot = u32::try_from(index + 1).unwrap_or(0);
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any part of a random number will do"
    )]
    fn first_slot(&self, key: &Key) -> usize {
        // Not the first number, by which runs are sorted: any will do.
        key[1] as usize & self.slots.len().saturating_sub(1)
    }

    /// Sorts the records and returns them. Until [`Self::clear`], no key is found any more.
    pub(super) fn sort(&mut self) -> &[Record] {
        self.records.sort_unstable();
        &self.records
    }

    /// Forgets everything but the memory it took.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.slots.fill(0);
    }
}
