//! Tells threads which contents another has taken on already, so that equal ones are compressed once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::digest::Digest;

/// Fewest digests that there is room for.
const FEWEST: usize = 1024;

/// Digests that were seen lately. A new one may push out another, and what is here may never get stored: this spares
/// work, and decides nothing.
#[derive(Debug)]
pub struct Claims(Box<[AtomicU64]>);

impl Claims {
    /// None yet, and about `expected` are to come; takes at most about `memory` bytes.
    pub fn new(memory: usize, expected: u64) -> Self {
        let wanted = usize::try_from(expected.saturating_mul(4)).unwrap_or(usize::MAX);
        let count = (memory / size_of::<AtomicU64>()).min(wanted).max(FEWEST);
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// Claims contents with this digest; false if they seem to be somebody's already. Of several threads, one is told true.
    pub(super) fn claim(&self, digest: &Digest) -> bool {
        let [place, mark, _] = digest.numbers();
        // Zero is an empty slot.
        let mark = mark | 1;
        let slot = usize::try_from(place % self.0.len() as u64).unwrap_or(0);
        self.0
            .get(slot)
            .is_none_or(|slot| slot.swap(mark, Ordering::Relaxed) != mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_claimed_is_known_until_others_push_it_out() {
        let claims = Claims::new(0, 1 << 20);
        let digest = |number: u64| Digest::of(&number.to_le_bytes());
        assert!(claims.claim(&digest(0)));
        assert!(!claims.claim(&digest(0)));
        let new = (1..100).filter(|&number| claims.claim(&digest(number)));
        assert_eq!(new.count(), 99);
        let again = (1..100).filter(|&number| claims.claim(&digest(number)));
        assert!(again.count() < 30);
        for number in 100..20_000 {
            claims.claim(&digest(number));
        }
        assert!(claims.claim(&digest(0)));
    }
}
