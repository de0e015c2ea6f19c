//! Scratch files: data that does not fit in memory, gone with the process that wrote it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};

/// Bytes collected before a write: enough that a hard disk streams.
const WRITE_BUFFER: usize = 256 << 10;

/// A file without a name, written once from front to back.
#[derive(Debug)]
pub(super) struct ScratchWriter {
    file: File,
    directory: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl ScratchWriter {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|e| failed(directory, "create a scratch file here", e))?;
        Ok(Self {
            file,
            directory: directory.to_path_buf(),
            buffer: Vec::new(),
            written: 0,
        })
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The buffer to append to; call [`Self::flush_if_full`] afterwards.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    pub(super) fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() < WRITE_BUFFER {
            return Ok(());
        }
        self.flush()
    }

    /// Writes out what the buffer holds, so that readers see it.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file
            .write_all(&self.buffer)
            .map_err(|e| failed(&self.directory, "write scratch data here", e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends writing.
    pub(super) fn finish(mut self) -> Result<Scratch> {
        self.flush()?;
        Ok(Scratch {
            file: Arc::new(self.file),
            directory: Arc::from(self.directory),
        })
    }
}

/// Names the directory and, for a full device, the way out.
#[cold]
fn failed(directory: &Path, doing: &str, cause: std::io::Error) -> Error {
    if cause.kind() == std::io::ErrorKind::StorageFull {
        let what = format!("cannot {doing}; free space in this directory or allow more memory");
        return Error::new(ErrorKind::Io, what)
            .at_path(directory)
            .caused_by(cause);
    }
    Error::io(directory, doing, cause)
}

/// A finished scratch file.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    file: Arc<File>,
    directory: Arc<Path>,
}

impl Scratch {
    /// A reader of the bytes `start..end` through a buffer of `buffer` bytes.
    pub(super) fn range(&self, start: u64, end: u64, buffer: usize) -> RangeReader {
        RangeReader {
            scratch: self.clone(),
            next: start,
            end,
            buffer: Vec::new(),
            size: buffer,
            taken: 0,
        }
    }

    /// Fills `buffer` from byte `offset` on.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|e| failed(&self.directory, "read scratch data from here", e))
    }

    #[cold]
    pub(super) fn damaged(&self) -> Error {
        Error::new(
            ErrorKind::Io,
            "scratch data does not read back as written; the device may be failing",
        )
        .at_path(&self.directory)
    }
}

/// Reads part of a scratch file from front to back.
#[derive(Debug)]
pub(super) struct RangeReader {
    scratch: Scratch,
    /// Next byte of the file that the buffer does not hold.
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    size: usize,
    /// Bytes at the front of the buffer that are used up.
    taken: usize,
}

impl RangeReader {
    /// The next bytes, at least `wanted` unless the range ends before.
    pub(super) fn peek(&mut self, wanted: usize) -> Result<&[u8]> {
        if self.buffer.len() - self.taken < wanted && self.next < self.end {
            self.fill(wanted)?;
        }
        Ok(self.buffer.get(self.taken..).unwrap_or_default())
    }

    /// What the last [`Self::peek`] returned, as far as not consumed.
    pub(super) fn peeked(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Marks `bytes` of what [`Self::peek`] returned as used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.taken = self.buffer.len().min(self.taken + bytes);
    }

    pub(super) fn damaged(&self) -> Error {
        self.scratch.damaged()
    }

    fn fill(&mut self, wanted: usize) -> Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        let kept = self.buffer.len();
        let size = self.size.max(wanted).min(kept.saturating_add(left));
        self.buffer.resize(size, 0);
        let target = self.buffer.get_mut(kept..).unwrap_or_default();
        let read = target.len() as u64;
        self.scratch
            .file
            .read_exact_at(target, self.next)
            .map_err(|e| failed(&self.scratch.directory, "read scratch data from here", e))?;
        self.next += read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_back_through_any_buffer() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = ScratchWriter::create(directory.path()).unwrap();
        let bytes: Vec<u8> = (0..=255u8).cycle().take(WRITE_BUFFER * 2 + 77).collect();
        for piece in bytes.chunks(1000) {
            writer.buffer().extend_from_slice(piece);
            writer.flush_if_full().unwrap();
        }
        assert_eq!(writer.position(), bytes.len() as u64);
        let scratch = writer.finish().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        for buffer in [1, 7, 4096, 1 << 20] {
            let mut reader = scratch.range(5, 60_000, buffer);
            let mut seen = Vec::new();
            loop {
                let got = reader.peek(13).unwrap();
                if got.is_empty() {
                    break;
                }
                let step = got.len().min(13);
                seen.extend_from_slice(&got[..step]);
                reader.consume(step);
            }
            assert_eq!(seen, &bytes[5..60_000]);
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = ScratchWriter::create(Path::new("/nonexistent/x")).unwrap_err();
        assert_eq!(error.path(), Some(Path::new("/nonexistent/x")));
    }
}
