//! Places among the files of a page that readers came by, so that a file costs no more than those since the last of
//! them. Where contents lie is a running sum over the files of a page.

use super::open_frames::{OpenFrame, OpenFrames};
use std::sync::{Mutex, PoisonError};

/// Files from one mark to the next.
pub(super) const STEP: usize = 64;

/// Most open frames that a mark remembers. A page that has more, as only one with files of many classes can have, is summed
/// up from the mark before.
const MAX_OPEN: usize = 16;

/// What is known of the files before one.
#[derive(Debug, Clone, Default)]
pub(super) struct FilePlace {
    /// How many they are.
    pub(super) files: usize,
    /// Those of size > 0.
    pub(super) extents: usize,
    /// Those with a hole map.
    pub(super) maps: usize,
    /// Those with a frame described.
    pub(super) frames: usize,
    /// Where the next implicit extent begins; `None` if a column contradicts itself before.
    pub(super) position: Option<u64>,
    /// The frames that further members may be in.
    pub(super) open: OpenFrames,
}

/// The places before files number 64, 128 and so on, as far as somebody came.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<Vec<FilePlace>>);

impl Marks {
    /// The last place known that is not behind file number `file`; none if that is the first.
    pub(super) fn before(&self, file: usize) -> Option<FilePlace> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = (file / STEP).min(marks.len()).checked_sub(1)?;
        marks.get(last).cloned()
    }

    /// Remembers a place if it is the next.
    pub(super) fn add(&self, place: &FilePlace) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if place.files == (marks.len() + 1) * STEP && place.open.len() <= MAX_OPEN {
            marks.push(place.clone());
        }
    }

    /// Bytes of memory that marks of so many files take at most, if some share frames or if none does.
    pub(super) fn memory(files: usize, shares: bool) -> usize {
        let open = if shares {
            MAX_OPEN * std::mem::size_of::<OpenFrame>()
        } else {
            0
        };
        files / STEP * (std::mem::size_of::<FilePlace>() + open)
    }
}
