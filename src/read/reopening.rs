//! A file that is opened again when it fails: the disk was pulled out and is back, or a whole file took the place of
//! one that was cut off.

use super::files::{Purpose, ReadAt};
use super::handle::Handle;
use crate::format::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long after a look for another file the next one waits, so that a flood of failures causes none of opens.
const PATIENCE: Duration = Duration::from_secs(1);

/// A file, and what another one under the same name must have in common with it.
#[derive(Debug)]
pub(super) struct Reopening {
    path: PathBuf,
    file: RwLock<Arc<Handle>>,
    /// Length and first page: identity, size and the checksums of the rest. `None` if they could not be read.
    likeness: Option<(u64, Box<[u8; PAGE_SIZE]>)>,
    looked: Mutex<Option<Instant>>,
}

impl Reopening {
    /// Takes care of `file`, which was opened at `path`.
    pub(super) fn new(file: File, path: &Path) -> Self {
        // Before anything is read: what the system had begun to read ahead, it would go on with.
        let handle = Handle::new(file, path);
        Self {
            path: path.to_path_buf(),
            likeness: likeness(handle.file()).ok(),
            file: RwLock::new(Arc::new(handle)),
            looked: Mutex::new(None),
        }
    }

    fn current(&self) -> Arc<Handle> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&file)
    }

    /// The file that stands in for `failed`, if there is one.
    #[cold]
    fn successor(&self, failed: &Arc<Handle>) -> Option<Arc<Handle>> {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            let current = self.current();
            if !Arc::ptr_eq(&current, failed) {
                // Another thread found it meanwhile.
                return Some(current);
            }
            let now = Instant::now();
            if looked.is_some_and(|last| now.saturating_duration_since(last) < PATIENCE) {
                return None;
            }
            *looked = Some(now);
        }
        let found = self.look(failed.file())?;
        log::warn!("{}: opened again", self.path.display());
        let found = Arc::new(found);
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        *file = Arc::clone(&found);
        Some(found)
    }

    /// Another file under the same name that is the same image's part.
    fn look(&self, failed: &File) -> Option<Handle> {
        let likeness_wanted = self.likeness.as_ref()?;
        // A fifo of that name must not hold us up.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let found = File::options()
            .read(true)
            .custom_flags(nonblocking)
            .open(&self.path)
            .ok()?;
        let metadata = found.metadata().ok()?;
        let kind = metadata.file_type();
        if !(kind.is_file() || kind.is_block_device()) {
            return None;
        }
        let is_same = failed
            .metadata()
            .is_ok_and(|old| (old.dev(), old.ino()) == (metadata.dev(), metadata.ino()));
        if is_same && !kind.is_block_device() {
            return None;
        }
        let found = Handle::new(found, &self.path);
        let is_alike = likeness(found.file()).is_ok_and(|likeness| likeness == *likeness_wanted);
        is_alike.then_some(found)
    }
}

fn likeness(file: &File) -> io::Result<(u64, Box<[u8; PAGE_SIZE]>)> {
    let mut page = Box::new([0; PAGE_SIZE]);
    ReadAt::read_exact_at(file, page.as_mut_slice(), 0)?;
    Ok((file.length()?, page))
}

impl ReadAt for Reopening {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_for_at(buffer, offset, Purpose::default())
    }

    fn read_for_at(&self, buffer: &mut [u8], offset: u64, purpose: Purpose) -> io::Result<()> {
        let file = self.current();
        let Err(error) = file.read_for(buffer, offset, purpose) else {
            return Ok(());
        };
        match self.successor(&file) {
            Some(file) => file.read_for(buffer, offset, purpose),
            None => Err(error),
        }
    }

    fn read_direct(&self, target: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        let file = self.current();
        file.read_direct(target, offset).or_else(|error| {
            // What stands in for it is read the usual way.
            self.successor(&file).map_or(Err(error), |_| Ok(None))
        })
    }

    fn is_cold(&self, offset: u64, length: u64) -> bool {
        self.current().is_cold(offset, length)
    }

    fn length(&self) -> io::Result<u64> {
        self.current().file().length()
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.current().file().will_need(offset, length);
    }

    fn dont_need(&self, offset: u64, length: u64) {
        self.current().file().dont_need(offset, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(first: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
        bytes[0] = first;
        bytes
    }

    /// A file that was cut off after it was opened, and a byte of what it lost.
    fn cut_off(directory: &Path) -> (Reopening, impl Fn(&Reopening) -> io::Result<u8>) {
        let path = directory.join("file");
        std::fs::write(&path, contents(1)).unwrap();
        let file = Reopening::new(File::open(&path).unwrap(), &path);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(5000)
            .unwrap();
        let read = |file: &Reopening| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, 15_000).map(|()| byte[0])
        };
        assert!(read(&file).is_err());
        *file.looked.lock().unwrap() = None;
        (file, read)
    }

    #[test]
    fn a_whole_file_in_its_place_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (file, read) = cut_off(directory.path());
        let whole = directory.path().join("whole");
        std::fs::write(&whole, contents(1)).unwrap();
        std::fs::rename(&whole, &file.path).unwrap();
        assert_eq!(read(&file).unwrap(), contents(1)[15_000]);
        assert_eq!(file.length().unwrap(), 20_000);
    }

    #[test]
    fn another_file_in_its_place_is_not() {
        let longer: Vec<u8> = [contents(1), vec![0]].concat();
        for other in [contents(2), longer, contents(1)[..4000].to_vec()] {
            let directory = tempfile::tempdir().unwrap();
            let (file, read) = cut_off(directory.path());
            let path = directory.path().join("other");
            std::fs::write(&path, other).unwrap();
            std::fs::rename(&path, &file.path).unwrap();
            assert!(read(&file).is_err());
        }
    }

    #[test]
    fn a_flood_of_failures_looks_once_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let (file, read) = cut_off(directory.path());
        assert!(read(&file).is_err());
        let looked = *file.looked.lock().unwrap();
        assert!(looked.is_some() && read(&file).is_err());
        assert_eq!(*file.looked.lock().unwrap(), looked);
        // The same file at its old length needs no opening.
        std::fs::write(&file.path, contents(1)).unwrap();
        assert!(read(&file).is_ok());
    }
}
