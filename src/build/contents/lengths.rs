//! Which lengths only one file has: no other can have its contents, so no digest of it is needed.

use crate::sort::{Content, Record};

/// Lengths that are told apart. Those of files up to 4 MiB are; of longer ones, which are few, some are taken for one
/// another, so that a digest is taken for nothing.
const SLOTS: usize = 4 << 20;

/// The lengths of all files that are to be stored, as they were listed; 1 MiB for any number of them.
#[derive(Debug)]
pub struct Lengths {
    once: Box<[u64]>,
    again: Box<[u64]>,
    /// Whether a file may have holes: how much data it has is not known before it is opened.
    are_vague: bool,
}

impl Default for Lengths {
    fn default() -> Self {
        let none = || vec![0; SLOTS / 64].into_boxed_slice();
        Self {
            once: none(),
            again: none(),
            are_vague: false,
        }
    }
}

/// The word of a length, and its bit there.
fn slot(length: u64) -> (usize, u64) {
    let number = length % SLOTS as u64;
    (
        usize::try_from(number / 64).unwrap_or(0),
        1 << (number % 64),
    )
}

impl Lengths {
    /// Notes the contents of an entry.
    pub fn note(&mut self, record: &Record) {
        if matches!(record.content, Content::Tree | Content::Spool { .. }) {
            self.are_vague |= record.holes_hint > 0;
            self.add(record.size);
        }
    }

    fn add(&mut self, length: u64) {
        let (word, bit) = slot(length);
        if let (Some(once), Some(again)) = (self.once.get_mut(word), self.again.get_mut(word)) {
            *again |= *once & bit;
            *once |= bit;
        }
    }

    /// Whether exactly one file was noted that may have so many bytes of data. Of files that change while they are packed,
    /// it knows nothing; two that become equal by that are stored twice.
    pub(super) fn is_single(&self, length: u64) -> bool {
        let (word, bit) = slot(length);
        let has = |words: &[u64]| words.get(word).is_none_or(|word| word & bit != 0);
        !self.are_vague && has(&self.once) && !has(&self.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64) -> Record {
        Record {
            size,
            content: Content::Tree,
            ..Record::empty()
        }
    }

    #[test]
    fn a_length_is_single_until_it_comes_again() {
        let mut lengths = Lengths::default();
        let long = (1 << 40) + 7;
        for size in [7, 64, 65, 1 << 20, 64] {
            lengths.note(&file(size));
        }
        lengths.note(&Record {
            size: 65,
            ..Record::empty()
        });
        for (length, expected) in [(7, true), (64, false), (65, true), (66, false)] {
            assert_eq!(lengths.is_single(length), expected, "{length}");
        }
        assert!(lengths.is_single(1 << 20));
        lengths.note(&file(long));
        assert!(!lengths.is_single(7) && !lengths.is_single(long));
    }

    #[test]
    fn holes_leave_no_length_certain() {
        let mut lengths = Lengths::default();
        lengths.note(&file(7));
        assert!(lengths.is_single(7));
        lengths.note(&Record {
            holes_hint: 4096,
            ..file(10_000)
        });
        assert!(!lengths.is_single(7) && !lengths.is_single(10_000));
    }
}
