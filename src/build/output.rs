//! A file that is being written, together with the name that messages give it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Result};

/// An open output file. Clones share the file.
#[derive(Debug, Clone)]
pub struct Output {
    file: Arc<File>,
    path: PathBuf,
}

impl Output {
    /// `file`, which must be open for writing, under the name `path`.
    pub fn new(file: Arc<File>, path: PathBuf) -> Self {
        Self { file, path }
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The name it has, or will have when it is published.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` from byte `offset` on.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|e| Error::io(&self.path, "write", e).at_offset(offset))
    }

    /// Fills `bytes` from byte `offset` on.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|e| Error::io(&self.path, "read back", e).at_offset(offset))
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata
            .map_err(|e| Error::io(&self.path, "find the length of", e))?
            .len())
    }

    /// Ends the file at byte `length`, and gives back space that was reserved beyond.
    pub fn truncate(&self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .map_err(|e| Error::io(&self.path, "set the length of", e))
    }

    /// Has the system begin to write `length` bytes from `offset` on to the device, and let go of them
    /// where it has done so. A hint; where it is refused, [`Self::sync`] has more to do.
    pub fn begin_writeback(&self, offset: u64, length: u64) {
        let length = std::num::NonZeroU64::new(length);
        let _ = rustix::fs::fadvise(&*self.file, offset, length, rustix::fs::Advice::DontNeed);
    }

    /// Returns when contents and length are on the device.
    pub fn sync(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|e| Error::io(&self.path, "bring to the device", e))
    }
}
