//! Writes the contents of files into data volumes, strictly front to back.
//!
//! # Overview
//! - [`VolumeSet`] fills the volumes in order and returns where each file went, as [`Placed`];
//! - [`FileWriter`] takes a file that is more than one chunk, chunk by chunk;
//! - [`ClosedVolumes`] knows the spans that the index needs, and writes what lies behind the
//!   extents once the index exists.

use blake3::Hasher;

use crate::format::checksum::crc_append;
use crate::format::extent::{Chunk, Shape};
use crate::format::volume::Identity;
use crate::format::{MAX_VOLUMES, PAGE_BYTES, PAGE_SIZE, Uuid};
use crate::{Error, ErrorKind, Result, image};

use super::chunk_table::ChunkTable;
use super::closed_volumes::{ClosedVolume, ClosedVolumes};
use super::cut_file::CutFileWriter;
use super::output::Output;
use super::placed::{Placed, StoredChunk};
use super::preallocate::preallocate;
use super::volume_writer::{VolumeWriter, in_memory};

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
        let scratch = image::directory_of(self.current.path());
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
                let scratch = image::directory_of(volume.path());
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

/// The stored length of a file of `size` bytes if no chunk is left out; what
/// [`VolumeSet::begin`] expects the sum of.
pub fn default_stored_length(size: u64, chunk_shift: u32) -> u64 {
    if size == 0 {
        0
    } else {
        Shape::new(size, chunk_shift).default_stored_length()
    }
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
