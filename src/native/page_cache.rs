//! What the page cache holds of a file: `cachestat` of Linux 6.5, which rustix does not offer and libc not everywhere.

#![expect(
    unsafe_code,
    reason = "the call has no safe wrapper; it reads and writes memory that the caller names"
)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// The number of the call on all architectures but the following.
pub(crate) const CACHESTAT: libc::c_long = 451;

/// Whether it is that here.
const IS_KNOWN: bool = !cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));

/// `struct cachestat_range` of `linux/mman.h`.
#[repr(C)]
struct Asked {
    offset: u64,
    length: u64,
}

/// `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Counted {
    cached: u64,
    dirty: u64,
    written_back: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many pages of `length` bytes of `file` from `offset` on are in the page cache. `None` if the system does not tell,
/// as one before Linux 6.5, or for a file that the caller neither owns nor may write.
pub(crate) fn cached_pages(file: &File, offset: u64, length: u64) -> Option<u64> {
    // A length of 0 would mean all up to the end.
    if !IS_KNOWN || length == 0 {
        return None;
    }
    let asked = Asked { offset, length };
    let mut counted = Counted::default();
    // SAFETY: the kernel reads `asked` and writes `counted`, both of its own layout and alive during the call; the
    // descriptor is open as long as `file` is borrowed.
    let outcome = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const asked,
            &raw mut counted,
            0 as libc::c_uint,
        )
    };
    (outcome == 0).then_some(counted.cached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_written_is_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 5 * 4096]).unwrap();
        match cached_pages(&file, 4096, 2 * 4096) {
            Some(pages) => assert_eq!(pages, 2),
            None => assert_eq!(
                std::io::Error::last_os_error().kind(),
                std::io::ErrorKind::Unsupported
            ),
        }
        assert_eq!(cached_pages(&file, 0, 0), None);
    }
}
