//! An open file of an image, read in one of four ways: here and there, in order, with nothing kept, or past the page cache.

use super::direct;
use super::files::{Purpose, ReadAt};
use crate::format::PAGE_BYTES;
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// `RWF_DONTCACHE` of Linux 6.14, which rustix does not name yet.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// A file, and what is known of the system's ways to read it.
#[derive(Debug)]
pub(super) struct Handle {
    path: PathBuf,
    /// For reads here and there: the system reads nothing ahead.
    file: File,
    /// The same file for reads in order, opened when the first comes. `None` if that failed.
    ordered: OnceLock<Option<File>>,
    /// Whether the system refused to read and keep nothing.
    refuses: AtomicBool,
    /// The same file for reads past the page cache, opened when the first comes. `None` if that failed.
    direct: OnceLock<Option<File>>,
    /// Whether the system refused to read so.
    refuses_direct: AtomicBool,
}

impl Handle {
    /// Takes care of `file`, which was opened at `path`.
    pub(super) fn new(file: File, path: &Path) -> Self {
        // A hint, as all of them here: where it is refused, reading is merely slower.
        let _ = fadvise(&file, 0, None, Advice::Random);
        Self {
            path: path.to_path_buf(),
            file,
            ordered: OnceLock::new(),
            refuses: AtomicBool::new(false),
            direct: OnceLock::new(),
            refuses_direct: AtomicBool::new(false),
        }
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buffer` from `offset`.
    pub(super) fn read_for(
        &self,
        buffer: &mut [u8],
        offset: u64,
        purpose: Purpose,
    ) -> io::Result<()> {
        let ordered = || self.ordered.get_or_init(|| self.open_ordered()).as_ref();
        let file = purpose.in_order.then(ordered).flatten();
        let file = file.unwrap_or(&self.file);
        if !purpose.once {
            return ReadAt::read_exact_at(file, buffer, offset);
        }
        if !self.refuses.load(Ordering::Relaxed) {
            match read_uncached(file, buffer, offset) {
                Err(error) if is_refusal(&error) => self.refuses.store(true, Ordering::Relaxed),
                outcome => return outcome,
            }
        }
        ReadAt::read_exact_at(file, buffer, offset)?;
        if !purpose.in_order {
            // All pages that the range touches had to be read. In order, many are dropped at once behind the reader.
            let start = offset - offset % PAGE_BYTES;
            let end = offset.saturating_add(buffer.len() as u64);
            file.dont_need(start, end.next_multiple_of(PAGE_BYTES) - start);
        }
        Ok(())
    }

    /// Whether most of a range is not in the page cache, and can be read past it as far as is known.
    pub(super) fn is_cold(&self, offset: u64, length: u64) -> bool {
        !self.refuses_direct.load(Ordering::Relaxed) && direct::is_cold(&self.file, offset, length)
    }

    /// Reads past the page cache, all that is aligned; says how many bytes came. `None` if that is not possible.
    pub(super) fn read_direct(&self, target: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        if self.refuses_direct.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let open = || self.open_again(OFlags::DIRECT);
        let outcome = match self.direct.get_or_init(open) {
            Some(file) => direct::read(file, target, offset),
            None => Err(Errno::INVAL.into()),
        };
        match outcome {
            Err(error) if is_refusal(&error) => {
                self.refuses_direct.store(true, Ordering::Relaxed);
                Ok(None)
            }
            // For want of memory for it, or the like.
            Err(error) if error.raw_os_error() != Some(Errno::IO.raw_os_error()) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// The same file for reads in order, with a place of its own in the system's reading ahead.
    fn open_ordered(&self) -> Option<File> {
        let found = self.open_again(OFlags::empty())?;
        let _ = fadvise(&found, 0, None, Advice::Sequential);
        Some(found)
    }

    /// The same file once more.
    fn open_again(&self, flags: OFlags) -> Option<File> {
        // A fifo that took the name must not hold us up.
        let flags = (flags | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = File::options();
        let found = options.read(true).custom_flags(flags);
        let found = found.open(&self.path).ok()?;
        let (here, there) = (self.file.metadata().ok()?, found.metadata().ok()?);
        if (here.dev(), here.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        Some(found)
    }
}

/// Fills `buffer` from `offset`; pages that are read from the device for it are dropped at once.
fn read_uncached(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let mut into = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(file, &mut into, offset, DONT_CACHE) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = buffer.get_mut(count..).unwrap_or(&mut []);
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Whether the kernel or the file system cannot read so, or a sandbox forbids it.
fn is_refusal(error: &io::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::*;

    const PURPOSES: [Purpose; 4] = [
        Purpose {
            in_order: false,
            once: false,
        },
        Purpose {
            in_order: false,
            once: true,
        },
        Purpose {
            in_order: true,
            once: false,
        },
        Purpose {
            in_order: true,
            once: true,
        },
    ];

    fn contents() -> Vec<u8> {
        (0..50_000_u32).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn every_way_reads_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, contents()).unwrap();
        for refuses in [false, true] {
            let handle = Handle::new(File::open(&path).unwrap(), &path);
            handle.refuses.store(refuses, Ordering::Relaxed);
            for purpose in PURPOSES {
                let mut buffer = vec![0; 9000];
                handle.read_for(&mut buffer, 12_345, purpose).unwrap();
                assert_eq!(buffer, contents()[12_345..21_345], "{purpose:?}");
                let error = handle.read_for(&mut buffer, 45_000, purpose).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{purpose:?}");
            }
        }
    }

    #[test]
    fn what_is_cold_is_read_past_the_page_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, contents()).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let handle = Handle::new(file, &path);
        let mut room = Room::new(50_000).unwrap();
        let mut read = |offset: u64, length: usize| {
            let target = room.target(length).unwrap();
            let count = handle.read_direct(target, offset).unwrap();
            count.map(|count| target[..count].to_vec())
        };
        if read(0, 4096).is_none() {
            println!("SKIPPED what_is_cold_is_read_past_the_page_cache: needs O_DIRECT");
            return;
        }
        assert_eq!(read(8192, 8192).unwrap(), contents()[8192..16_384]);
        assert_eq!(read(40_960, 16_384).unwrap(), contents()[40_960..]);
        assert!(read(65_536, 4096).unwrap().is_empty());
        // It stays cold so, until it is read otherwise.
        let is_told = handle.is_cold(0, 50_000);
        let mut all = vec![0; 50_000];
        handle.read_for(&mut all, 0, Purpose::default()).unwrap();
        assert!(!handle.is_cold(0, 50_000));
        if !is_told {
            println!("SKIPPED a part: the system does not tell what is in the page cache");
        }
    }

    #[test]
    fn another_file_of_that_name_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, contents()).unwrap();
        let handle = Handle::new(File::open(&path).unwrap(), &path);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![0; 50_000]).unwrap();
        for purpose in PURPOSES {
            let mut byte = [0];
            handle.read_for(&mut byte, 7, purpose).unwrap();
            assert_eq!(byte, [7], "{purpose:?}");
        }
    }
}
