//! What the kernel takes for an answer, byte by byte: the structures of `linux/fuse.h` in a payload.

#![expect(
    clippy::host_endian_bytes,
    reason = "kernel and process are on the same machine"
)]

use super::super::replies::{FOR_EVER, Listing, validity};
use crate::fs::{Attributes, DirEntry, DirSink, Totals};
use fuser::FopenFlags;
use std::time::Duration;

/// Bytes of an entry of a listing without its name, and of the attributes that may stand before it.
const LISTED: usize = 24;
const ENTRY: usize = 128;

/// What listings are aligned to.
const LISTED_ALIGNMENT: usize = 8;

/// A payload that is being filled.
///
/// What does not fit is left out, and what follows it; the largest structure fits into any payload that the kernel
/// accepts.
#[derive(Debug)]
pub(super) struct Output<'p> {
    room: &'p mut [u8],
    length: usize,
}

impl<'p> Output<'p> {
    /// Fills at most `limit` bytes of `payload`.
    pub(super) fn new(payload: &'p mut [u8], limit: usize) -> Self {
        let end = limit.min(payload.len());
        let room = payload.get_mut(..end).unwrap_or_default();
        Self { room, length: 0 }
    }

    /// Bytes that have been filled.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Bytes that have not.
    fn left(&self) -> usize {
        self.room.len().saturating_sub(self.length)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(place) = self.room.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }

    /// An entry that was looked up, and for how many whole seconds it is valid; without attributes, one that the kernel
    /// shall know not to exist.
    pub(super) fn entry(&mut self, attributes: Option<&Attributes>, valid: Duration) {
        self.u64(attributes.map_or(0, |attributes| attributes.ino.0));
        self.u64(0);
        self.u64(valid.as_secs());
        self.u64(valid.as_secs());
        self.u64(0);
        match attributes {
            Some(attributes) => self.inode(attributes),
            None => self.bytes(&[0; ENTRY - 40]),
        }
    }

    /// Attributes that were asked for, valid for ever.
    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        self.u64(FOR_EVER.as_secs());
        self.u64(0);
        self.inode(attributes);
    }

    fn inode(&mut self, attributes: &Attributes) {
        let times = [attributes.atime, attributes.mtime, attributes.ctime];
        self.u64(attributes.ino.0);
        self.u64(attributes.size);
        self.u64(attributes.blocks);
        for time in times {
            self.u64(time.seconds.cast_unsigned());
        }
        for time in times {
            self.u32(time.nanoseconds);
        }
        self.u32(attributes.kind.mode_bits() | u32::from(attributes.permissions));
        self.u32(attributes.links);
        self.u32(attributes.uid);
        self.u32(attributes.gid);
        self.u32(attributes.rdev);
        self.u32(attributes.block_size);
        self.u32(0);
    }

    /// A file that was opened; no number is needed to know it by.
    pub(super) fn opened(&mut self, flags: FopenFlags) {
        self.u64(0);
        self.u32(flags.bits());
        self.u32(0);
    }

    /// Sizes and counts of the file system, of which nothing is free.
    pub(super) fn totals(&mut self, totals: &Totals) {
        for value in [totals.blocks, 0, 0, totals.entries, 0] {
            self.u64(value);
        }
        for value in [totals.block_size, totals.name_length, totals.block_size] {
            self.u32(value);
        }
        self.bytes(&[0; 28]);
    }

    /// The length of a value.
    pub(super) fn size(&mut self, length: u32) {
        self.u32(length);
        self.u32(0);
    }

    /// A place in a file.
    pub(super) fn offset(&mut self, offset: i64) {
        self.u64(offset.cast_unsigned());
    }

    /// An entry of a listing, with attributes before it if they are wanted; or nothing if there is no room.
    fn listed(&mut self, entry: &DirEntry<'_>, with_attributes: bool) -> bool {
        let before = if with_attributes { ENTRY } else { 0 };
        let length = before + LISTED + entry.name.len();
        let padded = length.next_multiple_of(LISTED_ALIGNMENT);
        let Ok(name_length) = u32::try_from(entry.name.len()) else {
            return false;
        };
        if padded > self.left() {
            return false;
        }
        if with_attributes {
            self.entry(Some(&entry.attributes), validity(entry));
        }
        self.u64(entry.attributes.ino.0);
        self.u64(entry.cookie);
        self.u32(name_length);
        self.u32(entry.attributes.kind.mode_bits() >> 12);
        self.bytes(entry.name);
        for _ in length..padded {
            self.bytes(&[0]);
        }
        true
    }
}

/// A listing that is written where the kernel reads it.
#[derive(Debug)]
pub(super) struct List<'o, 'p> {
    pub(super) output: &'o mut Output<'p>,
    pub(super) with_attributes: bool,
}

impl DirSink for List<'_, '_> {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        self.output.listed(entry, self.with_attributes)
    }
}

impl Listing for List<'_, '_> {
    fn is_empty(&self) -> bool {
        self.output.length == 0
    }
}
