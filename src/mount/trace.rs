//! The order in which files are first read, as a list for `dgfs pack --order list:FILE`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::entry::Ino;
use crate::escape::Escaped;
use crate::fs::PackFs;
use crate::{Error, Result};

/// Numbers of a block of [`Seen`]: bits for 32768 inodes, in 4 KiB.
const BLOCK: usize = 512;

/// Bits of a block.
const BLOCK_BITS: u64 = 64 * BLOCK as u64;

/// Inodes that have been seen. Blocks of inodes of which none was take no memory: at most 1 bit for each inode of
/// the image and 4 KiB for each one that was seen.
#[derive(Debug, Default)]
struct Seen(HashMap<u64, Box<[u64; BLOCK]>>);

impl Seen {
    /// Notes `ino`; says whether that is new.
    fn insert(&mut self, ino: Ino) -> bool {
        let block = self.0.entry(ino.0 / BLOCK_BITS);
        let words = block.or_insert_with(|| Box::new([0; BLOCK]));
        let word = usize::try_from(ino.0 % BLOCK_BITS / 64).unwrap_or(0);
        let bit = 1 << (ino.0 % 64);
        let Some(word) = words.get_mut(word) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// The file of the list, open from the beginning: a process in its sandbox can open none for writing.
#[derive(Debug)]
pub(super) struct Trace {
    path: PathBuf,
    file: File,
    seen: Mutex<Seen>,
    /// Set when the file cannot be written any more.
    has_failed: AtomicBool,
}

impl Trace {
    /// Begins a new list in the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            file: File::create(path).map_err(|error| Error::io(path, "create", error))?,
            seen: Mutex::default(),
            has_failed: AtomicBool::new(false),
        })
    }

    /// The file `ino` is read; the first time, its path becomes a line. A failure is logged and ends the list: the
    /// mount goes on.
    pub(super) fn read(&self, fs: &PackFs, ino: Ino) {
        if self.has_failed.load(Ordering::Relaxed) {
            return;
        }
        let is_new = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(ino)
        };
        if !is_new {
            return;
        }
        // What cannot be found cannot be read either; that is reported there.
        let Ok(path) = fs.path(ino) else { return };
        // In one call, so that lines of several threads do not mix, and without a buffer, so that none are lost
        // whatever becomes of this process.
        let line = format!("{}\n", Escaped(&path));
        if let Err(error) = (&self.file).write_all(line.as_bytes()) {
            if !self.has_failed.swap(true, Ordering::Relaxed) {
                let path = self.path.display();
                log::warn!("{path}: cannot write the trace, which ends here: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inode_is_new_once() {
        let mut seen = Seen::default();
        let inodes = [
            1,
            2,
            63,
            64,
            65,
            32_767,
            32_768,
            32_769,
            1 << 40,
            (1 << 40) + 64,
        ];
        for round in [true, false] {
            for ino in inodes {
                assert_eq!(seen.insert(Ino(ino)), round, "{ino}");
            }
        }
        assert_eq!(seen.0.len(), 3);
    }
}
