//! Reading past the page cache, for which a device asks that offsets and memory are aligned.

use crate::format::{PAGE_BYTES, PAGE_SIZE};
use rustix::io::Errno;
use std::fs::File;
use std::io;

/// Offsets, lengths and memory are multiples of this: no usual device asks for more.
const UNIT: u64 = PAGE_BYTES;

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

/// The pages of a file in which `length` bytes from `offset` on lie: where they begin, how long they are, and how many bytes
/// of them come first.
pub(super) fn pages(offset: u64, length: usize) -> Option<(u64, usize, usize)> {
    let start = offset - offset % UNIT;
    let skip = usize::try_from(offset - start).ok()?;
    let all = length.checked_add(skip)?;
    Some((start, all.checked_next_multiple_of(PAGE_SIZE)?, skip))
}

/// Reads from `offset` on of `file`, which was opened with `O_DIRECT`, to `target`, and says how many bytes came: less than
/// there is room for at the end of the file. Offset, memory and its length are multiples of a page.
pub(super) fn read(file: &File, target: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pread(file, &mut *target, offset) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
