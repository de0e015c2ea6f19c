//! Puts segments together to pages.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts of a page fit into 16 bits"
)]

use super::{FIRST_SEGMENT_OFFSET, MAX_SEGMENTS};
use crate::format::{MAX_LEAF_ENTRIES, PAGE_SIZE};

/// A leaf page that is being filled.
#[derive(Debug)]
pub struct PageBuilder {
    first_ordinal: u64,
    /// Where the first implicit extent of the page and of its last segment begins.
    positions: Option<(u64, u64)>,
    segments: usize,
    entries: usize,
    bytes: Vec<u8>,
}

impl PageBuilder {
    /// A page whose first entry will be the one at `first_ordinal`.
    pub fn new(first_ordinal: u64) -> Self {
        Self {
            first_ordinal,
            positions: None,
            segments: 0,
            entries: 0,
            bytes: Vec::with_capacity(PAGE_SIZE),
        }
    }

    /// Whether it has no segment yet.
    pub fn is_empty(&self) -> bool {
        self.segments == 0
    }

    /// Bytes that a further segment may take; none if there are as many segments as there may be.
    pub fn room(&self) -> usize {
        if self.segments >= MAX_SEGMENTS {
            return 0;
        }
        PAGE_SIZE - FIRST_SEGMENT_OFFSET - self.bytes.len()
    }

    /// Entries that a further segment may have.
    pub fn entries_left(&self) -> usize {
        MAX_LEAF_ENTRIES - self.entries
    }

    /// Ordinal of the first entry, and where the first implicit extent of the page begins.
    pub fn start(&self) -> (u64, u64) {
        (
            self.first_ordinal,
            self.positions.map_or(0, |(first, _)| first),
        )
    }

    /// Ordinal that the first entry of the next segment has.
    pub fn next_ordinal(&self) -> u64 {
        self.first_ordinal + self.entries as u64
    }

    /// How far behind that of the segment before the first implicit extent of a segment begins, if it is at `position`.
    pub(super) fn step(&self, position: u64) -> u64 {
        self.positions
            .map_or(0, |(_, before)| position.saturating_sub(before))
    }

    /// Adds a segment of at most as many bytes and entries as there is room for, encoded for this page.
    pub fn add(&mut self, segment: &[u8], entries: usize, position: u64) {
        debug_assert!(segment.len() <= self.room() && entries <= self.entries_left());
        self.bytes.extend_from_slice(segment);
        self.segments += 1;
        self.entries += entries;
        let first = self.positions.map_or(position, |(first, _)| first);
        self.positions = Some((first, position));
    }

    /// The page, whose checksum is still missing.
    pub fn finish(&self) -> [u8; PAGE_SIZE] {
        let (first_ordinal, position) = self.start();
        let mut page = [0; PAGE_SIZE];
        let head = [
            &[0, 0, 0, 0, 0, self.segments as u8][..],
            &(self.entries as u16).to_le_bytes(),
            &first_ordinal.to_le_bytes(),
            &position.to_le_bytes(),
            &self.bytes,
        ];
        for (to, from) in page.iter_mut().zip(head.into_iter().flatten()) {
            *to = *from;
        }
        page
    }
}
