//! Writes one volume, through a buffer and front to back.

use super::closed_volumes::ClosedVolume;
use super::output::Output;
use super::placed::{Placed, SharedChunks};
use crate::Result;
use crate::format::volume::{Identity, Span, encode_header};
use blake3::Hasher;
use std::path::Path;

/// Bytes collected before a write, and the alignment of all writes but the last: hard disks and
/// file systems get requests that they need not split or merge.
pub(super) const BUFFER: usize = 1 << 20;

/// Bytes after which writing to the device is begun, so that the device works while contents are
/// read, and the sync at the end has little left to wait for.
const WRITEBACK: u64 = 8 << 20;

/// One volume while it is filled.
#[derive(Debug)]
pub(super) struct VolumeWriter {
    output: Output,
    pub(super) identity: Identity,
    /// Position of the file's first byte.
    base: u64,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    buffer_at: u64,
    /// Digest of the extents of this volume and those before, if it is wanted.
    pub(super) digest: Option<Box<Hasher>>,
}

impl VolumeWriter {
    pub(super) fn begin(output: Output, identity: Identity, base: u64) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER);
        buffer.extend_from_slice(&encode_header(&identity));
        Self {
            output,
            identity,
            base,
            buffer,
            buffer_at: 0,
            digest: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.output.path()
    }

    /// The digest of the extents so far, if it is taken.
    pub(super) fn digest(&self) -> Option<Box<Hasher>> {
        self.digest.clone()
    }

    pub(super) fn offset(&self) -> u64 {
        self.buffer_at + self.buffer.len() as u64
    }

    pub(super) fn position(&self, offset: u64) -> u64 {
        self.base + offset
    }

    pub(super) fn placed(&self, start: u64, size: u64, saved: u64) -> Placed {
        Placed {
            position: self.position(start),
            size,
            holes: None,
            stored: self.offset() - start,
            saved,
            codec: None,
            cut: None,
            member: None,
            shared_chunks: SharedChunks::default(),
            shared: false,
        }
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        loop {
            // Up to the next multiple of BUFFER in the file, also after a rewind.
            let room = BUFFER - in_memory(self.offset() % BUFFER as u64);
            let Some((now, later)) = bytes.split_at_checked(room) else {
                self.buffer.extend_from_slice(bytes);
                return Ok(());
            };
            bytes = later;
            if self.buffer.is_empty() {
                self.write(now)?;
            } else {
                self.buffer.extend_from_slice(now);
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Writes `bytes` behind what was written before.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_at(bytes, self.buffer_at)?;
        self.buffer_at += bytes.len() as u64;
        if self.buffer_at.is_multiple_of(WRITEBACK) {
            let window = self.buffer_at - WRITEBACK;
            self.output.begin_writeback(window, WRITEBACK);
        }
        Ok(())
    }

    /// Forgets everything behind byte `offset` of the file; `digest` is that of the extents before.
    pub(super) fn rewind(&mut self, offset: u64, digest: Option<Box<Hasher>>) {
        self.digest = digest;
        if let Some(keep) = offset.checked_sub(self.buffer_at) {
            self.buffer.truncate(in_memory(keep));
        } else {
            self.buffer.clear();
            self.buffer_at = offset;
        }
    }

    /// Writes out what is buffered.
    pub(super) fn close(mut self) -> Result<ClosedVolume> {
        self.flush()?;
        let extents_end = self.offset();
        Ok(ClosedVolume {
            span: Span {
                start: self.base,
                end: self.position(extents_end),
            },
            output: self.output,
            identity: self.identity,
            extents_end,
        })
    }
}

/// A length that a buffer bounds.
pub(super) fn in_memory(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
