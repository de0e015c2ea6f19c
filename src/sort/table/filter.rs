//! A filter that tells most keys which are not there from those which are (a blocked Bloom filter).

use super::Key;

/// Numbers of a block, which is one line of the processor's cache.
const BLOCK: usize = 8;

/// Most bits that a key sets: as many as its third number has places for, 9 bits each.
const MOST_PROBES: u64 = 7;

#[derive(Debug)]
pub(super) struct Filter {
    blocks: Vec<[u64; BLOCK]>,
    /// Bits of a key. 0.7 for each bit of memory that a key has are best: of keys that are not there, some 40 % seem to
    /// be there at 2 bits, 15 % at 4, 3 % at 8, and less than 0.5 % at 16.
    probes: u32,
}

impl Filter {
    /// A filter of about `bits` bits for `keys` keys. Less than one bit for a key makes one that knows nothing.
    pub(super) fn new(bits: u64, keys: u64) -> Self {
        let probes = (bits.saturating_mul(7) / (keys.max(1) * 10)).clamp(1, MOST_PROBES);
        let blocks = if bits < keys {
            0
        } else {
            (bits / (8 * size_of::<[u64; BLOCK]>() as u64)).max(1)
        };
        Self {
            blocks: vec![[0; BLOCK]; usize::try_from(blocks).unwrap_or(0)],
            probes: u32::try_from(probes).unwrap_or(1),
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.blocks.as_slice())
    }

    /// Number of the block of `key`.
    fn block(&self, key: &Key) -> usize {
        let scaled = u128::from(key[1]) * self.blocks.len() as u128;
        usize::try_from(scaled >> 64).unwrap_or(0)
    }

    /// Word and bit of each probe.
    fn probes(&self, key: &Key) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = key[2];
        (0..self.probes).map(move |number| {
            let probe = bits >> (9 * number);
            let word = usize::try_from(probe >> 6 & 7).unwrap_or(0);
            (word, 1 << (probe & 63))
        })
    }

    pub(super) fn add(&mut self, key: &Key) {
        let (at, probes) = (self.block(key), self.probes(key));
        if let Some(block) = self.blocks.get_mut(at) {
            for (word, bit) in probes {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// Whether `key` may be there; true if it is.
    pub(super) fn has(&self, key: &Key) -> bool {
        let Some(block) = self.blocks.get(self.block(key)) else {
            return true;
        };
        let mut probes = self.probes(key);
        probes.all(|(word, bit)| block.get(word).is_some_and(|word| word & bit != 0))
    }
}
