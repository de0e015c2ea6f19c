//! Volumes whose extents are complete: what lies behind these.

use super::output::Output;
use crate::format::volume::{Identity, Layout, Span, encode_header, encode_trailer};
use crate::format::{PAGE_BYTES, PAGE_SIZE, Uuid};
use crate::{Error, ErrorKind, Result};

/// Bytes of the index that are copied at once.
const COPY: u64 = 1 << 20;

/// A volume whose extents are complete.
#[derive(Debug)]
pub(super) struct ClosedVolume {
    pub(super) output: Output,
    pub(super) identity: Identity,
    pub(super) span: Span,
    /// Offset in its file of the end of the extents.
    pub(super) extents_end: u64,
}

/// Volumes whose extents are complete.
#[derive(Debug)]
pub struct ClosedVolumes {
    pub(super) volumes: Vec<ClosedVolume>,
    pub(super) digest: Option<[u8; 32]>,
}

impl ClosedVolumes {
    /// The positions of each volume, for the index.
    pub fn spans(&self) -> Vec<Span> {
        self.volumes.iter().map(|volume| volume.span).collect()
    }

    /// The digest of all extents, if [`VolumeSet::take_digest`](super::volumes::VolumeSet::take_digest) asked for it.
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }

    /// Makes the volumes those of image `uuid`.
    pub fn identify(&mut self, uuid: Uuid) -> Result<()> {
        for volume in &mut self.volumes {
            volume.identity.uuid = uuid;
            let header = encode_header(&volume.identity);
            volume.output.write_at(&header, 0)?;
        }
        Ok(())
    }

    /// Writes what lies behind the extents: in volume 0 a copy of `index` if it is given, which
    /// must be complete, and in each volume the trailer. Returns where everything lies.
    pub fn finish(self, index: Option<&Output>) -> Result<Vec<Layout>> {
        let mut buffer = Vec::new();
        let mut layouts = Vec::with_capacity(self.volumes.len());
        for volume in self.volumes {
            let index = index.filter(|_| volume.identity.number == 0);
            layouts.push(volume.finish(index, &mut buffer)?);
        }
        Ok(layouts)
    }
}

impl ClosedVolume {
    fn finish(self, index: Option<&Output>, buffer: &mut Vec<u8>) -> Result<Layout> {
        let padded = self.extents_end.next_multiple_of(PAGE_BYTES);
        let padding = usize::try_from(padded - self.extents_end).unwrap_or(0);
        let zeros = [0; PAGE_SIZE];
        self.output
            .write_at(zeros.get(..padding).unwrap_or(&[]), self.extents_end)?;
        let mut layout = Layout {
            extents_end: self.extents_end,
            ..Layout::default()
        };
        let mut end = padded;
        if let Some(index) = index {
            layout.index_offset = padded;
            layout.index_length = index.length()?;
            if !layout.index_length.is_multiple_of(PAGE_BYTES) || layout.index_length == 0 {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("an index of {} bytes is not complete", layout.index_length),
                )
                .at_path(index.path()));
            }
            self.copy(index, padded, layout.index_length, buffer)?;
            end += layout.index_length;
        }
        layout.file_length = end + PAGE_BYTES;
        self.output
            .write_at(&encode_trailer(&self.identity, &layout), end)?;
        self.output.truncate(layout.file_length)?;
        Ok(layout)
    }

    /// Copies `length` bytes of `index` to byte `to`. Through memory and not by sharing blocks, as
    /// file systems that can would do: a copy that fails with its original is worth nothing.
    fn copy(&self, index: &Output, to: u64, length: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let mut done = 0;
        while done < length {
            let part = (length - done).min(COPY);
            // At most COPY bytes.
            buffer.resize(usize::try_from(part).unwrap_or(usize::MAX), 0);
            index.read_at(buffer, done)?;
            self.output.write_at(buffer, to + done)?;
            done += part;
        }
        Ok(())
    }
}
