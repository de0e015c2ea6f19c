//! Reading past the page cache, for which a device asks that offsets and memory are aligned.

use crate::format::{PAGE_BYTES, PAGE_SIZE};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;

/// Offsets, lengths and memory are multiples of this: no usual device asks for more.
const UNIT: u64 = PAGE_BYTES;

/// Bytes that a buffer is longer than what is read, so that it has a place that is aligned.
const ROOM: usize = PAGE_SIZE;

/// Most bytes by which a buffer is longer than what was asked for, which need not be aligned.
pub(super) const EXCESS: usize = ROOM + 2 * PAGE_SIZE;

/// Whether less than half of what stands for a range of `file` is in the page cache. False where the system does not tell.
#[cfg(feature = "mount")]
pub(super) fn is_cold(file: &File, offset: u64, length: u64) -> bool {
    /// Bytes at the end of a range that stand for all of it: the system counts page by page, and to count whole ranges
    /// made large reads from memory a quarter dearer.
    const SAMPLE: u64 = 8 * PAGE_BYTES;
    let sample = length.min(SAMPLE);
    let start = offset.saturating_add(length - sample);
    let pages = crate::native::page_cache::cached_pages(file, start, sample);
    pages.is_some_and(|pages| pages < sample.div_ceil(PAGE_BYTES).div_ceil(2))
}

/// Only a mount reads so.
#[cfg(not(feature = "mount"))]
pub(super) fn is_cold(_file: &File, _offset: u64, _length: u64) -> bool {
    false
}

/// Reads `length` bytes from `offset` on of `file`, which was opened with `O_DIRECT`, to somewhere in `buffer`, and says
/// where. `None` if it ends before, or gives less for another reason.
pub(super) fn read(
    file: &File,
    buffer: &mut Vec<u8>,
    offset: u64,
    length: usize,
) -> io::Result<Option<Range<usize>>> {
    let start = offset - offset % UNIT;
    let skip = usize::try_from(offset - start).unwrap_or(0);
    let Some(wanted) = length.checked_add(skip) else {
        return Ok(None);
    };
    let aligned = wanted.next_multiple_of(PAGE_SIZE);
    if buffer.len() < aligned + ROOM {
        // What an earlier read has left is overwritten or not looked at.
        buffer.resize(aligned + ROOM, 0);
    }
    let place = buffer.as_ptr().align_offset(PAGE_SIZE);
    let target = place.checked_add(aligned);
    let Some(target) = target.and_then(|end| buffer.get_mut(place..end)) else {
        return Ok(None);
    };
    let count = loop {
        match rustix::io::pread(file, &mut *target, start) {
            Ok(count) => break count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let at = place + skip;
    Ok((count >= wanted).then_some(at..at + length))
}
