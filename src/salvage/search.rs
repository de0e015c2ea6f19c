//! Finds the copy of an index in a volume that does not say any more where it is: a page's checksum covers its
//! number, so the number can be computed from page and checksum.

#![expect(
    clippy::cast_possible_truncation,
    reason = "pages within a block are few"
)]

use std::collections::HashMap;

use super::part::{Part, decode_header};
use crate::format::checksum::page_crc;
use crate::format::leaf::MAX_SEGMENTS;
use crate::format::{MAX_LEVELS, PAGE_BYTES, PAGE_SIZE, Uuid};

/// Pages that must agree on where the index begins before the search ends early.
const ENOUGH: u32 = 8;

/// What a header or footer counts: nothing else looks like it by accident.
const HEADER_VOTES: u32 = ENOUGH;

/// Most beginnings that are considered at once.
const MOST_BEGINNINGS: usize = 1 << 16;

/// Pages read at once.
const BLOCK: u64 = 256;

/// Turns the difference between the checksum of a page and the one it would have as page 0 into its number.
struct Numbers {
    uuid: Uuid,
    /// Checksum bits in order of their leading bit, each with the number that makes them.
    basis: Vec<(u32, u32)>,
}

impl Numbers {
    /// The checksum is linear over GF(2): each bit of the number flips the same checksum bits in every page.
    fn new(uuid: &Uuid) -> Self {
        let blank = [0; PAGE_SIZE];
        let zero = page_crc(uuid, 0, &blank);
        let mut basis: Vec<(u32, u32)> = Vec::new();
        for bit in 0..32 {
            let mut row = (page_crc(uuid, 1 << bit, &blank) ^ zero, 1 << bit);
            reduce(&basis, &mut row);
            // 32 neighbouring bits are never dependent: the checksum has 32 bits itself.
            if row.0 != 0 {
                basis.push(row);
                basis.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
        Self { uuid: *uuid, basis }
    }

    /// The only number below 2^32 that `page` can have.
    fn number_of(&self, page: &[u8; PAGE_SIZE]) -> Option<u64> {
        let stored = page.first_chunk().map(|sum| u32::from_le_bytes(*sum))?;
        let mut row = (stored ^ page_crc(&self.uuid, 0, page), 0);
        reduce(&self.basis, &mut row);
        (row.0 == 0).then_some(u64::from(row.1))
    }
}

/// Removes from `row` what the rows of `basis`, in descending order, can make.
fn reduce(basis: &[(u32, u32)], row: &mut (u32, u32)) {
    for (bits, number) in basis {
        if row.0 ^ bits < row.0 {
            row.0 ^= bits;
            row.1 ^= number;
        }
    }
}

/// Whether the bytes behind the checksum can be those of an index page.
fn looks_like_a_page(page: &[u8; PAGE_SIZE]) -> bool {
    let [_, _, _, _, level, segments, low, high, ..] = *page;
    let most = if level == 0 { MAX_SEGMENTS } else { 0 };
    u32::from(level) <= MAX_LEVELS && usize::from(segments) <= most && (low, high) != (0, 0)
}

/// Page `place` of the file, out of a block that is read when its last page is asked for.
fn page_of_block(volume: &Part, place: u64, block: &mut Vec<u8>) -> Option<Box<[u8; PAGE_SIZE]>> {
    let (first, within) = (place / BLOCK * BLOCK, place % BLOCK);
    if within == BLOCK - 1 {
        block.resize(BLOCK as usize * PAGE_SIZE, 0);
        let read = volume.bytes.read_exact_at(block, first * PAGE_BYTES);
        if read.is_err() {
            block.clear();
        }
    }
    let start = within as usize * PAGE_SIZE;
    match block.get(start..).and_then(|rest| rest.first_chunk()) {
        Some(page) => Some(Box::new(*page)),
        None => volume.page_at(place * PAGE_BYTES),
    }
}

/// Where in the volume the index of image `uuid` begins. The copy ends a volume, so the search goes backwards.
pub(super) fn find_index(volume: &Part, uuid: &Uuid) -> Option<u64> {
    let numbers = Numbers::new(uuid);
    let mut votes: HashMap<u64, u32> = HashMap::new();
    let mut block = Vec::new();
    for place in (1..volume.length() / PAGE_BYTES).rev() {
        let offset = place * PAGE_BYTES;
        let Some(page) = page_of_block(volume, place, &mut block) else {
            continue;
        };
        let header = decode_header(&page).ok().flatten();
        let (beginnings, weight) = match header.filter(|header| header.uuid == *uuid) {
            Some(header) => {
                // It may be the footer or the header.
                let first = (offset + PAGE_BYTES).checked_sub(header.index_length);
                ([first, Some(offset)], HEADER_VOTES - 1)
            }
            None if looks_like_a_page(&page) => {
                let number = numbers.number_of(&page).filter(|&number| number > 0);
                let beginning = number.and_then(|number| offset.checked_sub(number * PAGE_BYTES));
                ([beginning, None], 1)
            }
            None => continue,
        };
        for beginning in beginnings.into_iter().flatten().filter(|&b| b > 0) {
            if votes.len() < MOST_BEGINNINGS || votes.contains_key(&beginning) {
                let votes = votes.entry(beginning).or_default();
                *votes += weight;
                if *votes >= ENOUGH {
                    return Some(beginning);
                }
            }
        }
    }
    let best = votes
        .into_iter()
        .max_by_key(|&(beginning, votes)| (votes, beginning));
    best.map(|(beginning, _)| beginning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::checksum::seal_page;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_tells_its_number(uuid: Uuid, number: u32, bytes in proptest::collection::vec(any::<u8>(), PAGE_SIZE)) {
            let mut page: [u8; PAGE_SIZE] = bytes.try_into().unwrap();
            seal_page(&uuid, number.into(), &mut page);
            prop_assert_eq!(Numbers::new(&uuid).number_of(&page), Some(number.into()));
        }
    }
}
