//! Writes a file that is cut by content: new chunks into its extent, and all of them into its table.

use blake3::Hasher;

use super::cut_table::CutTable;
use super::placed::{Placed, SharedChunks, StoredChunk};
use super::volume_writer::VolumeWriter;
use crate::format::cut::CutChunk;
use crate::{Error, ErrorKind, Result, image};

/// One file on its way into a volume. See [`super::volumes::VolumeSet::begin_cut_file`].
#[derive(Debug)]
pub struct CutFileWriter<'a> {
    volume: &'a mut VolumeWriter,
    start: u64,
    table: CutTable,
    size: u64,
    saved: u64,
    shared: SharedChunks,
    /// The codec of its own frames, if there are any.
    codec: Option<u32>,
    finished: bool,
    /// The volume's digest before this file.
    digest_before: Option<Box<Hasher>>,
}

impl<'a> CutFileWriter<'a> {
    /// Begins a file at the end of `volume`, whose chunks have `1 << average_shift` bytes on the average.
    pub(super) fn new(volume: &'a mut VolumeWriter, average_shift: u32) -> Self {
        let scratch = image::directory_of(volume.path()).to_path_buf();
        let start = volume.offset();
        Self {
            start,
            table: CutTable::new(&scratch, volume.position(start), average_shift),
            size: 0,
            saved: 0,
            shared: SharedChunks::default(),
            codec: None,
            finished: false,
            digest_before: volume.digest(),
            volume,
        }
    }

    /// Position of its extent.
    pub fn position(&self) -> u64 {
        self.volume.position(self.start)
    }

    /// Whether any chunk was stored for it.
    pub fn has_own(&self) -> bool {
        self.volume.offset() > self.start
    }

    /// Stores the next chunk, which is not left out; `codec` is that of a frame. Returns where it is for others to share.
    pub fn append(&mut self, chunk: &StoredChunk<'_>, codec: u32) -> Result<CutChunk> {
        let possible = !chunk.bytes.is_empty() && chunk.bytes.len() <= chunk.length;
        let lengths = u32::try_from(chunk.length).ok().filter(|_| possible);
        let lengths = lengths.zip(u32::try_from(chunk.bytes.len()).ok());
        let Some((length, stored)) = lengths else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} bytes cannot stand for {}",
                    chunk.bytes.len(),
                    chunk.length
                ),
            ));
        };
        if chunk.is_frame() {
            self.codec = Some(codec);
        }
        let placed = CutChunk {
            length,
            stored,
            crc: chunk.crc,
            codec: if chunk.is_frame() { codec } else { 0 },
            position: self.volume.position(self.volume.offset()),
        };
        self.volume.append(chunk.bytes)?;
        self.saved += u64::from(length - stored);
        self.push(&placed)?;
        Ok(placed)
    }

    /// The next chunk was stored before.
    pub fn share(&mut self, chunk: &CutChunk) -> Result<()> {
        self.saved += u64::from(chunk.length);
        self.shared.chunks += 1;
        self.shared.data_bytes += u64::from(chunk.length);
        self.shared.stored_bytes += u64::from(chunk.stored);
        self.push(chunk)
    }

    /// The next chunk is zeros.
    pub fn zeros(&mut self, length: u32) -> Result<()> {
        self.saved += u64::from(length);
        self.push(&CutChunk::zeros(length))
    }

    fn push(&mut self, chunk: &CutChunk) -> Result<()> {
        self.size += u64::from(chunk.length);
        self.table.push(chunk)
    }

    /// Ends the file with its table.
    pub fn finish(mut self) -> Result<Placed> {
        self.finished = true;
        if self.size == 0 {
            return Ok(self.volume.placed(self.start, 0, 0));
        }
        let empty = CutTable::new(image::directory_of(self.volume.path()), 0, 0);
        let table = std::mem::replace(&mut self.table, empty);
        let cut = table.finish(&mut |bytes| self.volume.append(bytes))?;
        let mut placed = self.volume.placed(self.start, self.size, self.saved);
        placed.codec = self.codec;
        placed.cut = Some(cut);
        placed.shared_chunks = self.shared;
        Ok(placed)
    }
}

impl Drop for CutFileWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.volume.rewind(self.start, self.digest_before.take());
        }
    }
}
