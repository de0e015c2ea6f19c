//! Collects blobs in a scratch file until the index has room for them.

use super::contents::Digest;
use crate::format::blob::{self, BLOB_HEADER};
use crate::sort::SpillingTable;
use crate::{Error, ErrorKind, Result};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::SpooledTempFile;

/// Blobs up to this many bytes wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// Bytes of memory for what is known of the attribute sets that were stored: some 25,000 of them; the rest waits on disk.
const KNOWN: usize = 4 << 20;

/// The blob section while it grows.
#[derive(Debug)]
pub(super) struct BlobWriter {
    scratch: SpooledTempFile,
    scratch_dir: PathBuf,
    length: u64,
    count: u64,
    /// Offsets of attribute sets by digest and length.
    known: SpillingTable,
    buffer: Vec<u8>,
}

impl BlobWriter {
    pub(super) fn new(scratch_dir: &Path) -> Self {
        Self {
            scratch: tempfile::spooled_tempfile_in(IN_MEMORY, scratch_dir),
            scratch_dir: scratch_dir.to_path_buf(),
            length: 0,
            count: 0,
            known: SpillingTable::new(scratch_dir, KNOWN, 0),
            buffer: Vec::new(),
        }
    }

    /// Number of blobs.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a blob and returns its offset in the section.
    pub(super) fn add(&mut self, contents: &[u8]) -> Result<u64> {
        let offset = self.length;
        self.buffer.clear();
        blob::encode_into(offset, contents, &mut self.buffer);
        self.scratch
            .write_all(&self.buffer)
            .map_err(|error| Error::io(&self.scratch_dir, "write scratch data in", error))?;
        self.length += (BLOB_HEADER + contents.len()) as u64;
        self.count += 1;
        Ok(offset)
    }

    /// Adds a set of extended attributes, unless an equal one is there, and returns its offset.
    pub(super) fn add_xattrs(&mut self, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<u64> {
        let contents = blob::encode_xattrs(xattrs).ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                "extended attributes of one entry exceed 16 MiB",
            )
        })?;
        let [a, b, c] = Digest::of(&contents).numbers();
        let key = [a, b, c, contents.len() as u64];
        if let Some([offset, _]) = self.known.get(&key)? {
            return Ok(offset);
        }
        let offset = self.add(&contents)?;
        self.known.insert(key, [offset, 0])?;
        Ok(offset)
    }

    /// Appends the section to `out`, which is at `path`, and returns its length.
    pub(super) fn copy_into(&mut self, out: &mut impl Write, path: &Path) -> Result<u64> {
        self.scratch
            .seek(SeekFrom::Start(0))
            .map_err(|error| Error::io(&self.scratch_dir, "read scratch data in", error))?;
        io::copy(&mut self.scratch, out).map_err(|error| Error::io(path, "write", error))?;
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More sets than are known in memory.
    #[test]
    fn equal_attributes_are_stored_once() {
        let scratch = tempfile::tempdir().unwrap();
        let mut blobs = BlobWriter::new(scratch.path());
        let set = |number: u32| vec![(b"user.n".to_vec(), number.to_le_bytes().to_vec())];
        let mut add = |number| blobs.add_xattrs(&set(number)).unwrap();
        let first: Vec<u64> = (0..60_000).map(&mut add).collect();
        let again: Vec<u64> = (0..60_000).map(&mut add).collect();
        assert!(first.windows(2).all(|pair| matches!(pair, [a, b] if a < b)));
        assert_eq!(first, again);
        assert_eq!(blobs.count(), 60_000);
    }
}
