//! Where the contents of a file went in the volumes.

use crate::format::cut::Cut;
use crate::format::holes::HoleMap;
use crate::format::member::Member;
use std::sync::Arc;

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

/// Chunks of a file that were stored before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SharedChunks {
    /// How many there are.
    pub chunks: u64,
    /// Bytes of data in them.
    pub data_bytes: u64,
    /// What they would have taken.
    pub stored_bytes: u64,
}
