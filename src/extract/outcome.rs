//! What becomes of an entry that comes out of a damaged image.

use std::ops::Range;

use crate::{Error, ErrorKind};

/// How much of an entry there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// All of it.
    Whole,
    /// All but some of its metadata: extended attributes, or mode and owner.
    Incomplete,
    /// Its metadata and a part of its contents; these ranges are lost.
    Damaged(Vec<Range<u64>>),
    /// Its metadata, but nothing of its contents or target.
    MetadataOnly,
    /// Nothing: this many entries, whose names are lost with them.
    Lost(u64),
    /// What there is could not be brought out, for a reason that is not the image's.
    Failed,
}

impl Fate {
    /// What damaged ranges mean for a file with `data` bytes outside of its holes.
    pub(crate) fn of_ranges(ranges: Vec<Range<u64>>, data: u64) -> Self {
        if ranges.is_empty() {
            return Self::Whole;
        }
        let damaged: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if damaged >= data {
            return Self::MetadataOnly;
        }
        Self::Damaged(ranges)
    }
}

/// What became of one entry.
#[derive(Debug)]
pub struct Outcome {
    /// Its path in the image; of lost entries, that of the last one before them.
    pub path: Vec<u8>,
    /// How much of it there is.
    pub fate: Fate,
    /// Why it is not all; known unless it is.
    pub error: Option<Error>,
}

/// Whether going on after this error has no use.
pub(super) fn ends_all(error: &Error) -> bool {
    error.is_out_of_space() || error.kind() == ErrorKind::Interrupted
}
