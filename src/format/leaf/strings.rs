//! Strings that end with a NUL, one after the other, and the way to any of them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers and offsets of strings are below 65,536"
)]

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that share an entry of the directory of strings.
const BLOCK: usize = 64;

/// At most 65,535 bytes of strings, the last of which ends with the last byte.
#[derive(Debug)]
pub(super) struct Strings {
    bytes: Box<[u8]>,
    /// How many strings end before each block. To note where every string ends would take longer than most pages are
    /// looked at.
    before: Box<[u16]>,
    count: usize,
    /// The string behind the one looked at last and where it begins, as one number: the next to be looked at is mostly
    /// that or close behind.
    next: AtomicU64,
}

/// The top bit of each byte of `word` that is 0, and no other bit.
fn zeros(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((word & LOW) + LOW) | word | LOW)
}

/// How many bytes [`zeros`] found.
fn count(zeros: u64) -> usize {
    ((zeros >> 7).wrapping_mul(0x0101_0101_0101_0101) >> 56) as usize
}

impl Strings {
    /// The strings of `bytes`; `None` if the last does not end.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.last() != Some(&0) || bytes.len() > usize::from(u16::MAX) {
            return None;
        }
        let mut before = Vec::with_capacity(bytes.len().div_ceil(BLOCK));
        let mut count = 0;
        for block in bytes.chunks(BLOCK) {
            before.push(count);
            // A sum of bytes, so that the compiler can count many at once.
            count += u16::from(block.iter().map(|&byte| u8::from(byte == 0)).sum::<u8>());
        }
        Some(Self {
            bytes: bytes.into(),
            before: before.into(),
            count: count.into(),
            next: AtomicU64::new(0),
        })
    }

    /// How many strings there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory that they take.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + self.before.len() * 2
    }

    /// String number `index` without its NUL; empty if there is none.
    #[inline]
    pub(super) fn get(&self, index: usize) -> &[u8] {
        if index >= self.count {
            return &[];
        }
        let next = self.next.load(Ordering::Relaxed);
        let (known, at) = ((next >> 32) as usize, (next & u64::from(u32::MAX)) as usize);
        let start = match index.checked_sub(known) {
            Some(steps @ 0..16) => self.behind(at, steps),
            _ if index == 0 => 0,
            _ => self.find(index),
        };
        let behind = self.behind(start, 1);
        self.next
            .store((index as u64 + 1) << 32 | behind as u64, Ordering::Relaxed);
        let end = behind.saturating_sub(1);
        self.bytes.get(start..end).unwrap_or(&[])
    }

    /// A walk that begins at string number `index`.
    pub(super) fn walk(&self, index: usize) -> Walk<'_> {
        let at = if index == 0 { 0 } else { self.find(index) };
        Walk {
            strings: self,
            index,
            at,
        }
    }

    /// The eight bytes from `at` on; what is behind the last counts as no end of a string.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        let tail = self.bytes.get(at..).unwrap_or(&[]);
        if let Some(word) = tail.first_chunk() {
            return u64::from_le_bytes(*word);
        }
        let mut word = [1; 8];
        for (to, from) in word.iter_mut().zip(tail) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    }

    /// The byte behind NUL number `count`, counted from 1, of those from `at` on; behind all bytes if there are fewer.
    #[inline]
    fn behind(&self, mut at: usize, count: usize) -> usize {
        let mut left = count;
        while left > 0 && at < self.bytes.len() {
            let mut found = zeros(self.word(at));
            let here = self::count(found);
            if here < left {
                left -= here;
                at += 8;
                continue;
            }
            for _ in 1..left {
                found &= found - 1;
            }
            return at + found.trailing_zeros() as usize / 8 + 1;
        }
        at
    }

    /// Where string number `index` > 0 begins.
    fn find(&self, index: usize) -> usize {
        let block = self
            .before
            .partition_point(|&before| usize::from(before) < index)
            .saturating_sub(1);
        let before = self.before.get(block).map_or(0, |&before| before.into());
        self.behind(block * BLOCK, index - before)
    }
}

/// A place among strings, for those who look at some of them in ascending order and at few up to their end.
pub(super) struct Walk<'a> {
    strings: &'a Strings,
    index: usize,
    at: usize,
}

impl<'a> Walk<'a> {
    /// All bytes from the beginning of string number `index` on, its NUL and what follows included. Walks do not go back:
    /// what is before the string looked at last is taken for that.
    #[inline]
    pub(super) fn tail(&mut self, index: usize) -> &'a [u8] {
        self.at = match index.saturating_sub(self.index) {
            steps @ 0..16 => self.strings.behind(self.at, steps),
            _ => self.strings.find(index),
        };
        self.index = index.max(self.index);
        self.strings.bytes.get(self.at..).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_are_found_in_any_order(
            strings in proptest::collection::vec(proptest::collection::vec(1u8.., 0..40), 1..300),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..50),
        ) {
            let bytes: Vec<u8> = strings.iter().flat_map(|s| s.iter().copied().chain([0])).collect();
            let found = Strings::new(bytes).unwrap();
            prop_assert_eq!(found.len(), strings.len());
            for index in order {
                let first = index.index(strings.len());
                for (index, string) in strings.iter().enumerate().skip(first).take(20) {
                    prop_assert_eq!(found.get(index), string);
                }
                let mut walk = found.walk(first);
                for (index, string) in strings.iter().enumerate().skip(first).step_by(1 + first % 20) {
                    let expected = [string.as_slice(), &[0]].concat();
                    prop_assert!(walk.tail(index).starts_with(&expected));
                }
                prop_assert!(walk.tail(strings.len()).is_empty());
            }
            prop_assert_eq!(found.get(strings.len()), b"");
        }
    }

    #[test]
    fn the_last_string_must_end() {
        assert!(Strings::new(b"a\0b".to_vec()).is_none());
        assert!(Strings::new(Vec::new()).is_none());
        assert!(Strings::new(vec![0; 65_536]).is_none());
        let empty = Strings::new(vec![0; 65_535]).unwrap();
        assert_eq!((empty.len(), empty.get(65_534)), (65_535, &b""[..]));
    }
}
