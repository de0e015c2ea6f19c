//! Writes the contents of files into data volumes, strictly front to back.
//!
//! # Overview
//! - [`VolumeSet`] fills the volumes in order and returns where each file went, as [`Placed`];
//! - [`FileWriter`] takes a file that is more than one chunk, chunk by chunk;
//! - [`ClosedVolumes`] knows the [`Span`]s that the index needs, and writes what lies behind the
//!   extents once the index exists.

use blake3::Hasher;

use crate::format::checksum::crc_append;
use crate::format::cut::Cut;
use crate::format::extent::{Chunk, Shape};
use crate::format::holes::HoleMap;
use crate::format::member::Member;
use crate::format::volume::{Identity, Layout, Span, encode_header, encode_trailer};
use crate::format::{MAX_VOLUMES, PAGE_BYTES, PAGE_SIZE, Uuid};
use crate::{Error, ErrorKind, Result, image};

use super::chunk_table::ChunkTable;
use super::cut_file::{CutFileWriter, SharedChunks};
use super::output::Output;
use super::preallocate::preallocate;
use std::path::Path;
use std::sync::Arc;

/// Bytes collected before a write, and the alignment of all writes but the last: hard disks and
/// file systems get requests that they need not split or merge.
const BUFFER: usize = 1 << 20;

/// Bytes after which writing to the device is begun, so that the device works while contents are
/// read, and the sync at the end has little left to wait for.
const WRITEBACK: u64 = 8 << 20;

/// Where the contents of a file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Position of the extent's first byte among all volumes.
    pub position: u64,
    /// Bytes of contents, those in holes not counted.
    pub size: u64,
    /// Where in the file they lie, if it has holes.
    pub holes: Option<Arc<HoleMap>>,
    /// Bytes the extent takes; 0 if the file turned out empty, which has no extent.
    pub stored: u64,
    /// How much shorter that is than the default stored length: what compression saved, and chunks of zeros.
    pub saved: u64,
    /// The codec of the frames among its chunks, if there are any.
    pub codec: Option<u32>,
    /// How its chunks are found if it is cut by content.
    pub cut: Option<Cut>,
    /// Where in it the contents are if the extent is a frame that several files share.
    pub member: Option<Member>,
    /// Those of its chunks that were stored before.
    pub shared_chunks: SharedChunks,
    /// Whether the extent was stored for a file before.
    pub shared: bool,
}

impl Placed {
    /// Bytes of the volumes that were taken for these contents: of a shared frame all for the first file in it.
    pub fn taken(&self) -> u64 {
        match self.member {
            Some(Member { offset: 1.., .. }) => 0,
            _ => self.stored,
        }
    }
}

/// A chunk as it goes into a volume.
#[derive(Debug, Clone, Copy)]
pub struct StoredChunk<'a> {
    /// Bytes of data, at least 1 and at most a chunk.
    pub length: usize,
    /// What is stored: these bytes, a shorter frame of them, or nothing for zeros that need not be stored.
    pub bytes: &'a [u8],
    /// CRC-32C of what is stored.
    pub crc: u32,
}

impl<'a> StoredChunk<'a> {
    /// A chunk that is stored as it is.
    pub fn raw(bytes: &'a [u8], crc: u32) -> Self {
        Self {
            length: bytes.len(),
            bytes,
            crc,
        }
    }

    /// A chunk of zeros that is not stored.
    pub fn zeros(length: usize) -> Self {
        Self {
            length,
            bytes: &[],
            crc: 0,
        }
    }

    /// Whether what is stored is a frame.
    pub fn is_frame(&self) -> bool {
        (1..self.length).contains(&self.bytes.len())
    }
}

/// The volumes of an image while contents are appended.
#[derive(Debug)]
pub struct VolumeSet {
    uuid: Uuid,
    chunk_shift: u32,
    /// Volumes behind the current one.
    waiting: std::vec::IntoIter<Output>,
    current: VolumeWriter,
    closed: Vec<ClosedVolume>,
    count: u32,
    /// Bytes of extents that make the current volume full.
    share: u64,
    /// Stored length, so far as it is known in advance, of all files that are still to come.
    remaining: u64,
    /// Default stored lengths of the files in the current volume, if contents are compressed.
    taken: Option<u64>,
}

impl VolumeSet {
    /// Begins the volumes of image `uuid`, one for each of `outputs`, which must be empty files.
    ///
    /// `expected` is the sum of the default stored lengths of all files: that much space is
    /// reserved, and the volumes are balanced by it. Contents are cut in chunks of
    /// `1 << chunk_shift` bytes. Fails before anything is written if the space is not there.
    pub fn begin(
        outputs: Vec<Output>,
        uuid: Uuid,
        chunk_shift: u32,
        expected: u64,
    ) -> Result<Self> {
        Self::start(outputs, uuid, chunk_shift, expected, false)
    }

    /// The same for contents that are compressed. What they will take is not known, so no space is reserved, and the
    /// volumes are balanced by what files would take as they are.
    pub fn begin_compressed(
        outputs: Vec<Output>,
        uuid: Uuid,
        chunk_shift: u32,
        expected: u64,
    ) -> Result<Self> {
        Self::start(outputs, uuid, chunk_shift, expected, true)
    }

    fn start(
        outputs: Vec<Output>,
        uuid: Uuid,
        chunk_shift: u32,
        expected: u64,
        compressed: bool,
    ) -> Result<Self> {
        let count = outputs.len();
        if count > MAX_VOLUMES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{count} volumes are more than the {MAX_VOLUMES} an image can have"),
            ));
        }
        let share = expected.div_ceil((count as u64).max(1));
        // Header and trailer, and the padding before the trailer.
        let frame = 3 * PAGE_BYTES;
        let reserved = if compressed { 0 } else { share };
        let wanted: Vec<_> = outputs
            .iter()
            .map(|output| (output, reserved.saturating_add(frame)))
            .collect();
        preallocate(&wanted)?;
        let mut waiting = outputs.into_iter();
        let first = waiting
            .next()
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "an image needs a volume"))?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked against MAX_VOLUMES"
        )]
        let count = count as u32;
        let identity = Identity {
            uuid,
            number: 0,
            count,
        };
        Ok(Self {
            uuid,
            chunk_shift,
            waiting,
            current: VolumeWriter::begin(first, identity, 0),
            closed: Vec::new(),
            count,
            share,
            remaining: expected,
            taken: compressed.then_some(0),
        })
    }

    /// Has a digest of all extents taken, as [`ClosedVolumes::digest`] gives it. Called before the
    /// first file.
    pub fn take_digest(&mut self) {
        self.current.digest = Some(Box::default());
    }

    /// Contents are cut in chunks of 2 to the power of this many bytes.
    pub fn chunk_shift(&self) -> u32 {
        self.chunk_shift
    }

    /// Where the next extent begins, unless that is in the next volume.
    pub fn position(&self) -> u64 {
        self.current.position(self.current.offset())
    }

    /// Appends a file of one chunk. Zeros are stored here.
    pub fn append_small(&mut self, chunk: &StoredChunk<'_>) -> Result<Placed> {
        let size = chunk.length as u64;
        if size > 1 << self.chunk_shift {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{size} bytes are more than one chunk"),
            ));
        }
        if size == 0 {
            return Ok(self.current.placed(self.current.offset(), 0, 0));
        }
        if chunk.bytes.is_empty() || chunk.bytes.len() > chunk.length {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} bytes cannot stand for {size}", chunk.bytes.len()),
            ));
        }
        self.choose_volume(size)?;
        let start = self.current.offset();
        self.current.append(chunk.bytes)?;
        self.current.append(&chunk.crc.to_le_bytes())?;
        let saved = chunk.length - chunk.bytes.len();
        Ok(self.current.placed(start, size, saved as u64))
    }

    /// Appends a frame that files share whose default stored lengths are `default` together. Returns its position and its
    /// stored length.
    pub fn append_frame(&mut self, default: u64, frame: &[u8], crc: u32) -> Result<(u64, u64)> {
        self.choose_volume_for(default)?;
        let start = self.current.offset();
        self.current.append(frame)?;
        self.current.append(&crc.to_le_bytes())?;
        Ok((self.current.position(start), self.current.offset() - start))
    }

    /// Begins a file of about `size` bytes that comes in chunks. Dropped before
    /// [`FileWriter::finish`], it leaves no trace.
    pub fn begin_file(&mut self, size: u64) -> Result<FileWriter<'_>> {
        self.choose_volume(size)?;
        let chunk_size = 1u64 << self.chunk_shift;
        let scratch = image::directory_of(self.current.output.path());
        Ok(FileWriter {
            start: self.current.offset(),
            table: ChunkTable::new(scratch),
            size: 0,
            saved: 0,
            only: Chunk { stored: 0, crc: 0 },
            chunk_size,
            finished: false,
            digest_before: self.current.digest.clone(),
            volume: &mut self.current,
        })
    }

    /// Begins a file of about `size` bytes that is cut by content, in chunks of `1 << average_shift` bytes on the
    /// average. Dropped before [`CutFileWriter::finish`], it leaves no trace.
    pub fn begin_cut_file(&mut self, size: u64, average_shift: u32) -> Result<CutFileWriter<'_>> {
        self.choose_volume(size)?;
        Ok(CutFileWriter::new(&mut self.current, average_shift))
    }

    /// A file of `size` bytes is not stored, or one that was begun has been dropped or took less than it might: what
    /// is left is spread anew.
    pub fn leave_out(&mut self, size: u64) {
        let length = default_stored_length(size, self.chunk_shift);
        self.remaining = self.remaining.saturating_sub(length);
        let used = self.current.offset() - PAGE_BYTES;
        let left = self.waiting.len() as u64 + 1;
        self.share = used.saturating_add(self.remaining).div_ceil(left);
    }

    /// Ends the extents. Volumes that nothing was left for stay empty.
    pub fn close_extents(mut self) -> Result<ClosedVolumes> {
        while self.next_volume()? {}
        let digest = self.current.digest.take();
        self.closed.push(self.current.close()?);
        Ok(ClosedVolumes {
            volumes: self.closed,
            digest: digest.map(|digest| *digest.finalize().as_bytes()),
        })
    }

    /// Moves on to the next volume if the middle of a file of `size` bytes would lie beyond the
    /// share of the current one.
    fn choose_volume(&mut self, size: u64) -> Result<()> {
        self.choose_volume_for(Shape::new(size, self.chunk_shift).default_stored_length())
    }

    /// The same for what would take `length` bytes as it is.
    fn choose_volume_for(&mut self, length: u64) -> Result<()> {
        let used = self.taken.unwrap_or(self.current.offset() - PAGE_BYTES);
        if used > 0 && used.saturating_add(length / 2) >= self.share {
            self.next_volume()?;
        }
        self.taken = self.taken.map(|taken| taken.saturating_add(length));
        self.remaining = self.remaining.saturating_sub(length);
        Ok(())
    }

    /// Begins the next volume, if there is one.
    fn next_volume(&mut self) -> Result<bool> {
        let Some(output) = self.waiting.next() else {
            return Ok(false);
        };
        let identity = Identity {
            uuid: self.uuid,
            number: self.current.identity.number + 1,
            count: self.count,
        };
        let start = self.current.position(self.current.offset());
        let mut next = VolumeWriter::begin(output, identity, start);
        next.digest = self.current.digest.take();
        let full = std::mem::replace(&mut self.current, next);
        self.closed.push(full.close()?);
        self.taken = self.taken.map(|_| 0);
        // What is left is spread anew, so that one huge file does not starve the last volumes.
        let left = self.waiting.len() as u64 + 1;
        self.share = self.remaining.div_ceil(left);
        Ok(true)
    }
}

/// One file on its way into a volume. See [`VolumeSet::begin_file`].
#[derive(Debug)]
pub struct FileWriter<'a> {
    volume: &'a mut VolumeWriter,
    start: u64,
    table: ChunkTable,
    size: u64,
    saved: u64,
    /// The first chunk.
    only: Chunk,
    chunk_size: u64,
    finished: bool,
    /// The volume's digest before this file.
    digest_before: Option<Box<Hasher>>,
}

impl FileWriter<'_> {
    /// Appends the next chunk. Only the last chunk of a file may have less data than a chunk.
    pub fn chunk(&mut self, chunk: &StoredChunk<'_>) -> Result<()> {
        let length = u64::from(self.check_length(chunk.length as u64)?);
        let stored = u32::try_from(chunk.bytes.len())
            .ok()
            .filter(|&stored| u64::from(stored) <= length);
        let stored = stored.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{} bytes cannot stand for {length}", chunk.bytes.len()),
            )
        })?;
        self.volume.append(chunk.bytes)?;
        self.saved += length - u64::from(stored);
        let crc = chunk.crc;
        self.push(length, Chunk { stored, crc })
    }

    /// Ends the file with what its contents need behind them.
    pub fn finish(mut self) -> Result<Placed> {
        self.finished = true;
        let (volume, start) = (&mut *self.volume, self.start);
        match self.table.chunks() {
            0 => {}
            1 => {
                let mut crc = self.only.crc;
                // A file of one chunk has no table that could say it is left out.
                if self.only.stored == 0 {
                    crc = 0;
                    let zeros = [0; PAGE_SIZE];
                    for at in (0..self.size).step_by(PAGE_SIZE) {
                        let length = in_memory((self.size - at).min(PAGE_BYTES));
                        let part = zeros.get(..length).unwrap_or(&zeros);
                        crc = crc_append(crc, part);
                        volume.append(part)?;
                    }
                    self.saved = 0;
                }
                volume.append(&crc.to_le_bytes())?;
            }
            _ => {
                let scratch = image::directory_of(volume.output.path());
                let table = std::mem::replace(&mut self.table, ChunkTable::new(scratch));
                table.finish(|bytes| volume.append(bytes))?;
            }
        }
        Ok(volume.placed(start, self.size, self.saved))
    }

    fn push(&mut self, length: u64, chunk: Chunk) -> Result<()> {
        if self.size == 0 {
            self.only = chunk;
        }
        self.size += length;
        self.table.push(chunk)
    }

    fn check_length(&self, length: u64) -> Result<u32> {
        let aligned = self.size.is_multiple_of(self.chunk_size);
        u32::try_from(length)
            .ok()
            .filter(|_| aligned && length > 0 && length <= self.chunk_size)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "a chunk of {length} bytes cannot follow {} bytes",
                        self.size
                    ),
                )
            })
    }
}

impl Drop for FileWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.volume.rewind(self.start, self.digest_before.take());
        }
    }
}

/// One volume while it is filled.
#[derive(Debug)]
pub(super) struct VolumeWriter {
    output: Output,
    identity: Identity,
    /// Position of the file's first byte.
    base: u64,
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    buffer_at: u64,
    /// Digest of the extents of this volume and those before, if it is wanted.
    digest: Option<Box<Hasher>>,
}

impl VolumeWriter {
    fn begin(output: Output, identity: Identity, base: u64) -> Self {
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
    fn close(mut self) -> Result<ClosedVolume> {
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

#[derive(Debug)]
struct ClosedVolume {
    output: Output,
    identity: Identity,
    span: Span,
    extents_end: u64,
}

/// Volumes whose extents are complete.
#[derive(Debug)]
pub struct ClosedVolumes {
    volumes: Vec<ClosedVolume>,
    digest: Option<[u8; 32]>,
}

impl ClosedVolumes {
    /// The positions of each volume, for the index.
    pub fn spans(&self) -> Vec<Span> {
        self.volumes.iter().map(|volume| volume.span).collect()
    }

    /// The digest of all extents, if [`VolumeSet::take_digest`] asked for it.
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
        let mut buffer = Vec::with_capacity(BUFFER);
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
        let padding = in_memory(padded - self.extents_end);
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
            let part = (length - done).min(BUFFER as u64);
            buffer.resize(in_memory(part), 0);
            index.read_at(buffer, done)?;
            self.output.write_at(buffer, to + done)?;
            done += part;
        }
        Ok(())
    }
}

/// The stored length of a file of `size` bytes if no chunk is left out; what
/// [`VolumeSet::begin`] expects the sum of.
pub fn default_stored_length(size: u64, chunk_shift: u32) -> u64 {
    if size == 0 {
        0
    } else {
        Shape::new(size, chunk_shift).default_stored_length()
    }
}

/// A length that a buffer bounds.
fn in_memory(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
