//! The places where the bytes of one index lie: the index file, and its copy at the end of volume 0.

use std::sync::Arc;

use crate::format::{PAGE_BYTES, PAGE_SIZE};
use crate::read::ReadAt;

/// Most pages in which two places may differ for all mixtures of them to be tried.
const MOST_MIXED: usize = 12;

/// One place.
pub(super) struct Copy {
    pub(super) bytes: Arc<dyn ReadAt>,
    /// Where in the file the index begins.
    pub(super) base: u64,
    /// How many bytes of the index can be there.
    pub(super) length: u64,
}

impl Copy {
    fn read(&self, buffer: &mut [u8], offset: u64) -> bool {
        let end = offset.checked_add(buffer.len() as u64);
        end.is_some_and(|end| end <= self.length)
            && self
                .bytes
                .read_exact_at(buffer, self.base.saturating_add(offset))
                .is_ok()
    }
}

/// All places, the one to be preferred first.
pub(super) struct Copies(pub(super) Vec<Copy>);

impl Copies {
    /// How many pages the longest of them has.
    pub(super) fn pages(&self) -> u64 {
        let longest = self.0.iter().map(|copy| copy.length).max();
        longest.unwrap_or(0) / PAGE_BYTES
    }

    /// The first version of page `number` that `accept` takes, as it made it, and its place.
    pub(super) fn page<T>(
        &self,
        number: u64,
        mut accept: impl FnMut(&[u8; PAGE_SIZE]) -> Option<T>,
    ) -> Option<(usize, T)> {
        let offset = number.checked_mul(PAGE_BYTES)?;
        let mut page = Box::new([0; PAGE_SIZE]);
        self.0.iter().enumerate().find_map(|(place, copy)| {
            let readable = copy.read(page.as_mut_slice(), offset);
            readable
                .then(|| accept(&page))
                .flatten()
                .map(|t| (place, t))
        })
    }

    /// The versions of `length` bytes from `offset` on, with zeros for pages that cannot be read.
    pub(super) fn versions(&self, offset: u64, length: usize) -> Vec<Vec<u8>> {
        let version = |copy: &Copy| {
            let mut bytes = vec![0; length];
            if copy.read(&mut bytes, offset) {
                return Some(bytes);
            }
            bytes.fill(0);
            let mut any = false;
            for (at, piece) in pieces(offset, length) {
                let start = at.saturating_sub(offset);
                let piece = usize::try_from(start)
                    .ok()
                    .and_then(|start| bytes.get_mut(start..start + piece));
                any |= piece.is_some_and(|piece| copy.read(piece, at));
            }
            any.then_some(bytes)
        };
        self.0.iter().filter_map(version).collect()
    }

    /// The bytes at `offset` that `is_right` finds right: one of the versions, or a mixture of their pages.
    pub(super) fn right(
        &self,
        offset: u64,
        length: usize,
        is_right: &dyn Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let mut versions = self.versions(offset, length);
        if let Some(right) = versions.iter().position(|bytes| is_right(bytes)) {
            return Some(versions.swap_remove(right));
        }
        let [first, second, ..] = versions.as_slice() else {
            return None;
        };
        let differing: Vec<_> = pieces(offset, length)
            .filter_map(|(at, piece)| {
                let start = usize::try_from(at - offset).ok()?;
                let range = start..start + piece;
                (first.get(range.clone()) != second.get(range.clone())).then_some(range)
            })
            .collect();
        if differing.len() > MOST_MIXED {
            return None;
        }
        (1..1u32 << differing.len()).find_map(|choice| {
            let mut mixed = first.clone();
            for (bit, range) in differing.iter().enumerate() {
                if choice >> bit & 1 == 1 {
                    let (into, from) = (mixed.get_mut(range.clone()), second.get(range.clone()));
                    if let (Some(into), Some(from)) = (into, from) {
                        into.copy_from_slice(from);
                    }
                }
            }
            is_right(&mixed).then_some(mixed)
        })
    }
}

/// The parts of `length` bytes from `offset` on that lie in one page each: offset and length.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize)> {
    let end = offset.saturating_add(length as u64);
    let mut at = offset;
    std::iter::from_fn(move || {
        let next = (at / PAGE_BYTES + 1).saturating_mul(PAGE_BYTES).min(end);
        let piece = usize::try_from(next.checked_sub(at)?).ok()?;
        let start = std::mem::replace(&mut at, next);
        (piece > 0).then_some((start, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checksum::crc;

    fn copies(versions: &[&[u8]]) -> Copies {
        let copy = |bytes: &&[u8]| Copy {
            bytes: Arc::new(bytes.to_vec()),
            base: 0,
            length: bytes.len() as u64,
        };
        Copies(versions.iter().map(copy).collect())
    }

    #[test]
    fn damage_in_different_pages_is_mended() {
        let whole: Vec<u8> = (0..=250).cycle().take(5 * PAGE_SIZE).collect();
        let (start, length) = (100, 4 * PAGE_SIZE);
        let sum = crc(&whole[start..start + length]);
        let (mut a, mut b) = (whole.clone(), whole.clone());
        a[200] ^= 1;
        a[2 * PAGE_SIZE] ^= 1;
        b[PAGE_SIZE + 5] ^= 1;
        let right = |a: &[u8], b: &[u8]| {
            copies(&[a, b]).right(start as u64, length, &|bytes| crc(bytes) == sum)
        };
        assert!(right(&a, &b).unwrap() == whole[start..start + length]);
        // A place that ends early has what it has.
        assert!(right(&a[..3 * PAGE_SIZE], &b).is_some());
        b[2 * PAGE_SIZE] ^= 2;
        assert!(right(&a, &b).is_none());
    }
}
