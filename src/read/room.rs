//! Memory that a device fills itself: aligned, and in huge pages where it is large enough.
//!
//! A device gets a list of the pieces of memory that it shall fill. Single pages make that list long: 1 MiB in 256 pieces was
//! read at 700 to 1,100 MB/s where the same in one huge page came at 1,400 to 1,700.

use crate::format::PAGE_SIZE;
use memmap2::MmapMut;
use std::io;
use std::ops::Range;

/// The size of a huge page on most machines, in bytes. Where another is usual, memory comes in single pages.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// Most bytes by which what is read exceeds what was asked for: a part of a page in front of it, and one behind.
const EXCESS: usize = 2 * PAGE_SIZE;

/// Memory for one read. What is never touched of it takes none.
#[derive(Debug)]
pub(super) struct Room {
    memory: MmapMut,
    /// Where it is aligned.
    start: usize,
    /// Bytes that may be asked for.
    capacity: usize,
}

impl Room {
    /// Room for a read of `bytes`, which need not be aligned.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let huge = bytes - bytes % HUGE_PAGE;
        let alignment = if huge > 0 { HUGE_PAGE } else { PAGE_SIZE };
        let too_long = || io::Error::from(io::ErrorKind::OutOfMemory);
        let length = bytes.checked_add(alignment + EXCESS).ok_or_else(too_long)?;
        let memory = MmapMut::map_anon(length)?;
        let start = memory.as_ptr().align_offset(alignment);
        // A hint; where huge pages are switched off, single ones do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise_range(memmap2::Advice::HugePage, start, huge);
        Ok(Self {
            memory,
            start,
            capacity: bytes,
        })
    }

    /// Most bytes that may be asked for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// `length` bytes from the aligned place on.
    pub(super) fn target(&mut self, length: usize) -> Option<&mut [u8]> {
        let end = self.start.checked_add(length)?;
        self.memory.get_mut(self.start..end)
    }

    /// The bytes of `place`, counted from the aligned place.
    pub(super) fn bytes(&self, place: Range<usize>) -> Option<&[u8]> {
        let end = self.start.checked_add(place.end)?;
        self.memory.get(self.start.checked_add(place.start)?..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_aligned_and_as_long_as_they_shall_be() {
        for bytes in [1, 5000, HUGE_PAGE - 1, HUGE_PAGE, 3 * HUGE_PAGE + 9] {
            let mut room = Room::new(bytes).unwrap();
            let alignment = if bytes < HUGE_PAGE {
                PAGE_SIZE
            } else {
                HUGE_PAGE
            };
            let longest = bytes + EXCESS;
            let target = room.target(longest).unwrap();
            assert_eq!(target.as_ptr().addr() % alignment, 0);
            target.fill(7);
            assert_eq!(room.bytes(longest - 3..longest), Some(&[7; 3][..]));
            assert_eq!(room.capacity(), bytes);
            assert!(room.target(bytes + alignment + 2 * EXCESS).is_none());
            assert!(room.target(usize::MAX).is_none());
            assert!(room.bytes(0..usize::MAX).is_none());
        }
        assert!(Room::new(usize::MAX).is_err());
    }
}
