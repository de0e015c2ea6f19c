//! Merges sorted sequences with a tournament tree: about log2(k) comparisons per item.

use std::cmp::Ordering;

use crate::Result;

/// A sorted sequence, read item by item.
pub(super) trait Cursor {
    /// Moves to the next item (the first one, when called first); false at the end.
    fn advance(&mut self) -> Result<bool>;
    /// Compares the current items of two cursors, neither of them at its end.
    fn compare(&self, other: &Self) -> Ordering;
}

/// Marks a place of the tree that no cursor has reached yet.
const VACANT: usize = usize::MAX;

/// Several cursors as one; equal items come in the order of their cursors.
#[derive(Debug)]
pub(super) struct Merge<C> {
    cursors: Vec<Slot<C>>,
    /// Place 0 holds the winner, place `n` the loser of the match between places `2n` and `2n+1`;
    /// cursor `i` enters at place `cursors.len() + i`.
    places: Vec<usize>,
}

#[derive(Debug)]
struct Slot<C> {
    cursor: C,
    live: bool,
}

impl<C: Cursor> Merge<C> {
    pub(super) fn new(cursors: Vec<C>) -> Result<Self> {
        let mut merge = Self {
            places: vec![VACANT; cursors.len()],
            cursors: Vec::with_capacity(cursors.len()),
        };
        for mut cursor in cursors {
            let live = cursor.advance()?;
            merge.cursors.push(Slot { cursor, live });
        }
        for index in 0..merge.cursors.len() {
            merge.play(index);
        }
        Ok(merge)
    }

    /// The cursor whose current item is the lowest, or `None` when all are at their end.
    pub(super) fn lowest(&self) -> Option<&C> {
        let slot = self.cursors.get(*self.places.first()?)?;
        slot.live.then_some(&slot.cursor)
    }

    /// Steps past the lowest item.
    pub(super) fn advance(&mut self) -> Result<()> {
        let Some(&winner) = self.places.first() else {
            return Ok(());
        };
        if let Some(slot) = self.cursors.get_mut(winner) {
            slot.live = slot.live && slot.cursor.advance()?;
            self.play(winner);
        }
        Ok(())
    }

    /// Lets cursor `index` play its way up from its entry.
    fn play(&mut self, index: usize) {
        let mut rising = index;
        let mut at = usize::midpoint(self.cursors.len(), index);
        while at > 0 {
            let Some(held) = self.places.get(at).copied() else {
                return;
            };
            if held == VACANT {
                if let Some(place) = self.places.get_mut(at) {
                    *place = rising;
                }
                return;
            }
            if self.wins(held, rising) {
                if let Some(place) = self.places.get_mut(at) {
                    *place = rising;
                }
                rising = held;
            }
            at /= 2;
        }
        if let Some(place) = self.places.first_mut() {
            *place = rising;
        }
    }

    fn wins(&self, a: usize, b: usize) -> bool {
        match (self.cursors.get(a), self.cursors.get(b)) {
            (Some(x), Some(y)) if x.live && y.live => match x.cursor.compare(&y.cursor) {
                Ordering::Less => true,
                Ordering::Greater => false,
                Ordering::Equal => a < b,
            },
            (Some(x), _) => x.live,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Items(Vec<(u8, usize)>, usize);

    impl Cursor for Items {
        fn advance(&mut self) -> Result<bool> {
            self.1 += 1;
            Ok(self.1 <= self.0.len())
        }
        fn compare(&self, other: &Self) -> Ordering {
            self.0[self.1 - 1].0.cmp(&other.0[other.1 - 1].0)
        }
    }

    proptest! {
        #[test]
        fn any_number_of_sequences_comes_out_sorted_and_stable(
            mut lists in prop::collection::vec(prop::collection::vec(0u8..20, 0..9), 0..20),
        ) {
            for list in &mut lists {
                list.sort_unstable();
            }
            let tagged: Vec<Vec<(u8, usize)>> = lists
                .iter()
                .enumerate()
                .map(|(i, list)| list.iter().map(|&v| (v, i)).collect())
                .collect();
            let mut expected: Vec<(u8, usize)> = tagged.concat();
            expected.sort_unstable();
            let cursors = tagged.into_iter().map(|list| Items(list, 0)).collect();
            let mut merge = Merge::new(cursors).unwrap();
            let mut merged = Vec::new();
            while let Some(cursor) = merge.lowest() {
                merged.push(cursor.0[cursor.1 - 1]);
                merge.advance().unwrap();
            }
            merge.advance().unwrap();
            prop_assert!(merge.lowest().is_none());
            prop_assert_eq!(merged, expected);
        }
    }
}
