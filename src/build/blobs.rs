//! Collects blobs in a scratch file until the index has room for them.

use crate::format::blob::{self, BLOB_HEADER};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::SpooledTempFile;

/// Blobs up to this many bytes wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// Bytes of distinct attribute sets that are remembered in order to store equal ones once.
const REMEMBERED: usize = 4 << 20;

/// The blob section while it grows.
#[derive(Debug)]
pub(super) struct BlobWriter {
    scratch: SpooledTempFile,
    scratch_dir: PathBuf,
    length: u64,
    count: u64,
    known: HashMap<Vec<u8>, u64>,
    known_bytes: usize,
    buffer: Vec<u8>,
}

impl BlobWriter {
    pub(super) fn new(scratch_dir: &Path) -> Self {
        Self {
            scratch: tempfile::spooled_tempfile_in(IN_MEMORY, scratch_dir),
            scratch_dir: scratch_dir.to_path_buf(),
            length: 0,
            count: 0,
            known: HashMap::new(),
            known_bytes: 0,
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

    /// Adds a set of extended attributes, unless an equal one is remembered, and returns its offset.
    pub(super) fn add_xattrs(&mut self, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<u64> {
        let contents = blob::encode_xattrs(xattrs).ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                "extended attributes of one entry exceed 16 MiB",
            )
        })?;
        if let Some(&offset) = self.known.get(&contents) {
            return Ok(offset);
        }
        let offset = self.add(&contents)?;
        if self.known_bytes + contents.len() <= REMEMBERED {
            self.known_bytes += contents.len();
            self.known.insert(contents, offset);
        }
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
