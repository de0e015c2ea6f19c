//! Where contents are cut by content.

use fastcdc::v2020::{Normalization, cut, select_masks};

/// Largest average length that the cutter knows, as a power of 2 of bytes.
const MOST_AVERAGE_SHIFT: u32 = 22;

/// Finds the ends of chunks (`FastCDC`): where a hash of the last 64 bytes has zeros in certain places, more of them before
/// the average length than behind it. So a change of the contents moves few of them.
#[derive(Debug, Clone, Copy)]
pub(in crate::build) struct Cutter {
    least: usize,
    average: usize,
    most: usize,
    /// Bits that are zero at the end of a chunk shorter than the average, and of a longer one.
    masks: (u64, u64),
}

impl Cutter {
    /// A cutter for chunks of `1 << chunk_shift` bytes (at most 4 MiB) on the average, a quarter of that at least and four
    /// times that at most.
    pub(in crate::build) fn new(chunk_shift: u32) -> Self {
        let average = 1 << chunk_shift.min(MOST_AVERAGE_SHIFT);
        Self {
            least: average / 4,
            average,
            most: average * 4,
            masks: select_masks(average, Normalization::Level1),
        }
    }

    /// The average length as a power of 2.
    pub(in crate::build) fn average_shift(self) -> u32 {
        self.average.ilog2()
    }

    /// Bytes of the largest chunk.
    pub(super) fn most(self) -> usize {
        self.most
    }

    /// Length of the first chunk of `bytes`, which are not empty: at least as many as the largest chunk has, or all that
    /// are left.
    pub(super) fn cut(self, bytes: &[u8]) -> usize {
        let (short, long) = self.masks;
        let (_, length) = cut(
            bytes,
            self.least,
            self.average,
            self.most,
            short,
            long,
            short << 1,
            long << 1,
        );
        length.clamp(1, bytes.len().max(1))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::cut::largest_chunk;

    pub(in crate::build::contents) fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn chunks(cutter: Cutter, mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(cutter.cut(bytes));
            chunks.push(chunk);
            bytes = rest;
        }
        chunks
    }

    #[test]
    fn lengths_are_those_of_the_format_and_the_average_is_what_was_asked_for() {
        let cutter = Cutter::new(12);
        let bytes = noise(8 << 20, 1);
        let chunks = chunks(cutter, &bytes);
        let (_, all_but_last) = chunks.split_last().unwrap();
        assert!(
            all_but_last
                .iter()
                .all(|chunk| (1024..=16384).contains(&chunk.len()))
        );
        let average = bytes.len() / chunks.len();
        assert!((3500..5500).contains(&average), "{average}");
        for shift in 12..=24 {
            let cutter = Cutter::new(shift);
            assert!(cutter.most() as u64 <= largest_chunk(shift));
            assert!(cutter.average_shift() <= shift);
            // What every cutter must cope with.
            for length in [1, 2, 3, 1000, 1025] {
                assert_eq!(
                    cutter.cut(&noise(length, 2)[..length.min(1024)]),
                    length.min(1024)
                );
            }
        }
    }

    #[test]
    fn cuts_depend_on_what_is_near_alone() {
        let cutter = Cutter::new(12);
        let bytes = noise(1 << 20, 3);
        let before = chunks(cutter, &bytes);
        let moved = [&noise(777, 4)[..], &bytes].concat();
        let after = chunks(cutter, &moved);
        let same = before.iter().filter(|chunk| after.contains(chunk)).count();
        assert!(same + 4 >= before.len(), "{same} of {}", before.len());
        // More bytes than the largest chunk has change nothing.
        for start in [0, 5000, 100_000] {
            let rest = &bytes[start..];
            assert_eq!(cutter.cut(rest), cutter.cut(&rest[..cutter.most()]));
        }
    }
}
