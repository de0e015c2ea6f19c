//! Chooses files to train dictionaries on while all entries pass by, in little memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::entry::Kind;
use crate::sort::{Content, Record};

/// Bytes of one file that are looked at: what lies further in profits from what stands before it in the file. With as
/// many bytes of samples, 8 KiB of each gave smaller images than 4 or 32 KiB.
pub(super) const MOST_OF_FILE: u64 = 8 << 10;

/// Bytes of all samples together.
const MOST_BYTES: u64 = 20 << 20;

/// Number of samples: each costs a read of a small file, and its path has to be remembered.
const MOST_FILES: usize = 8000;

/// A file that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) ordinal: u64,
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) content: Content,
    pub(super) size: u64,
    /// Bytes to read from its beginning.
    pub(super) length: usize,
}

/// By its rank, which is random but follows from the ordinal, and smaller for large files.
#[derive(Debug)]
struct Candidate {
    rank: u64,
    sample: Sample,
}

impl Candidate {
    fn key(&self) -> (u64, u64) {
        (self.rank, self.sample.ordinal)
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The files with the lowest ranks so far: each byte of all files has about the same chance to be among them.
#[derive(Debug, Default)]
pub(super) struct Reservoir {
    chosen: BinaryHeap<Candidate>,
    bytes: u64,
    /// Bytes that all files together would have as samples.
    total: u64,
}

impl Reservoir {
    /// Shows it an entry. The choice depends on the entries and their order alone.
    pub(super) fn offer(&mut self, record: &Record, ordinal: u64) {
        let is_read = matches!(record.content, Content::Tree | Content::Spool { .. });
        if !is_read || record.size == 0 || record.metadata.kind() != Some(Kind::File) {
            return;
        }
        let length = record.size.min(MOST_OF_FILE);
        self.total = self.total.saturating_add(length);
        let rank = scramble(ordinal) / length;
        let is_full = self.bytes + length > MOST_BYTES || self.chosen.len() >= MOST_FILES;
        let last = self.chosen.peek().map_or((u64::MAX, 0), Candidate::key);
        if is_full && (rank, ordinal) >= last {
            return;
        }
        self.bytes += length;
        self.chosen.push(Candidate {
            rank,
            sample: Sample {
                ordinal,
                parent: record.parent.clone(),
                name: record.name.clone(),
                content: record.content,
                size: record.size,
                length: usize::try_from(length).unwrap_or(usize::MAX),
            },
        });
        while self.bytes > MOST_BYTES || self.chosen.len() > MOST_FILES {
            let Some(candidate) = self.chosen.pop() else {
                return;
            };
            self.bytes -= candidate.sample.length as u64;
        }
    }

    /// The samples in key order, and the bytes that all files together would have as samples.
    pub(super) fn finish(self) -> (Vec<Sample>, u64) {
        let chosen = self.chosen.into_iter().map(|candidate| candidate.sample);
        let mut samples: Vec<Sample> = chosen.collect();
        samples.sort_unstable_by_key(|sample| sample.ordinal);
        (samples, self.total)
    }
}

/// A number that looks random (the finalizer of `SplitMix64`).
pub(super) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Metadata;

    fn file(size: u64) -> Record {
        Record {
            name: b"name".to_vec(),
            metadata: Metadata::new(Kind::File, 0o644),
            size,
            content: Content::Tree,
            ..Record::empty()
        }
    }

    #[test]
    fn few_files_are_all_chosen() {
        let mut reservoir = Reservoir::default();
        reservoir.offer(&Record::empty(), 0);
        for ordinal in 1..1000 {
            reservoir.offer(&file(ordinal % 7 * 10_000), ordinal);
        }
        let (samples, total) = reservoir.finish();
        let expected: Vec<u64> = (1..1000).filter(|n| n % 7 > 0).collect();
        let ordinals: Vec<u64> = samples.iter().map(|sample| sample.ordinal).collect();
        assert_eq!(ordinals, expected);
        let lengths = expected.iter().map(|n| (n % 7 * 10_000).min(MOST_OF_FILE));
        assert_eq!(total, lengths.sum::<u64>());
    }

    #[test]
    fn of_many_files_memory_has_room_for_some_from_everywhere() {
        for size in [100, 3000, 1 << 30] {
            let mut reservoir = Reservoir::default();
            for ordinal in 0..100_000 {
                reservoir.offer(&file(size), ordinal);
            }
            let (samples, _) = reservoir.finish();
            let bytes: usize = samples.iter().map(|sample| sample.length).sum();
            assert!(bytes as u64 <= MOST_BYTES && samples.len() <= MOST_FILES);
            assert!(samples.len() == MOST_FILES || bytes as u64 > MOST_BYTES * 9 / 10);
            for tenth in 0..10 {
                let part = samples.iter().filter(|s| s.ordinal / 10_000 == tenth);
                let share = part.count() * 100 / samples.len();
                assert!((5..=15).contains(&share), "{share} per cent");
            }
        }
    }

    #[test]
    fn large_files_are_chosen_more_often() {
        let mut reservoir = Reservoir::default();
        for ordinal in 0..200_000 {
            reservoir.offer(&file(if ordinal % 2 == 0 { 500 } else { 5000 }), ordinal);
        }
        let (samples, _) = reservoir.finish();
        let large = samples.iter().filter(|s| s.length == 5000).count();
        let share = large * 100 / samples.len();
        assert!((85..=95).contains(&share), "{share} per cent");
    }
}
