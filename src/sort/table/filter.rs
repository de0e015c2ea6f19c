//! A filter that tells most keys which are not there from those which are (a blocked Bloom filter).

use super::Key;

/// Numbers of a block, which is one line of the processor's cache.
const BLOCK: usize = 8;

/// Bits of a key. Three are best for 4 to 5 bits of memory a key, and lose little at 2 and at 16: of keys
/// that are not there, 47 %, 15 % and 0.6 % seem to be there at 2, 4 and 16.
const PROBES: u32 = 3;

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<[u64; BLOCK]>,
}

impl Filter {
    /// A filter of about `memory` bytes.
    pub(super) fn new(memory: usize) -> Self {
        let blocks = (memory / size_of::<[u64; BLOCK]>()).max(1);
        Self {
            blocks: vec![[0; BLOCK]; blocks],
        }
    }

    /// Number of the block of `key`.
    fn block(&self, key: &Key) -> usize {
        let scaled = u128::from(key[1]) * self.blocks.len() as u128;
        usize::try_from(scaled >> 64).unwrap_or(0)
    }

    /// Word and bit of each probe.
    fn probes(key: &Key) -> impl Iterator<Item = (usize, u64)> {
        let bits = key[2];
        (0..PROBES).map(move |number| {
            let probe = bits >> (9 * number);
            let word = usize::try_from(probe >> 6 & 7).unwrap_or(0);
            (word, 1 << (probe & 63))
        })
    }

    pub(super) fn add(&mut self, key: &Key) {
        let at = self.block(key);
        if let Some(block) = self.blocks.get_mut(at) {
            for (word, bit) in Self::probes(key) {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// Whether `key` may be there; true if it is.
    pub(super) fn has(&self, key: &Key) -> bool {
        let block = self.blocks.get(self.block(key));
        block.is_some_and(|block| {
            Self::probes(key).all(|(word, bit)| block.get(word).is_some_and(|word| word & bit != 0))
        })
    }
}
