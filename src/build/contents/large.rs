//! Files that do not fit into a batch, or have holes: they are read in pieces.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::Errno;

use super::reading::{Sources, cannot_read, changed, no_spool, read_up_to};
use super::source::{OpenFile, Work};
use crate::entry::Timestamp;
use crate::format::holes::HoleMap;
use crate::{Error, ErrorKind, Result};

/// Most segments of data that are kept apart in one file; where there are more, small holes become data.
/// A map then takes at most 24 MiB, and half of what its blob could hold.
const MOST_SEGMENTS: usize = 1 << 19;

/// A file that is read in pieces.
#[derive(Debug, Clone)]
pub(super) struct Large {
    file: Arc<File>,
    /// Where in `file` its contents begin.
    base: u64,
    /// Its length when it was listed.
    pub(super) size: u64,
    /// Where its data is, if it has holes.
    pub(super) holes: Option<Arc<HoleMap>>,
    /// What it was when it was listed; `None` for a part of the scratch file.
    mtime: Option<Timestamp>,
    /// The codec of its chunks.
    pub(super) codec: u32,
    /// Set when nobody wants the pieces that are still to come.
    pub(super) abandoned: Arc<AtomicBool>,
}

impl Large {
    /// Opens a large file.
    pub(super) fn open(
        work: Work<'_>,
        opener: &mut impl OpenFile,
        sources: &Sources,
    ) -> Result<Self> {
        let (file, base, size, mtime) = match work {
            Work::Tree {
                parent,
                name,
                size,
                mtime,
                ..
            } => {
                let file = opener.open(parent, name)?;
                // A hint: where it is refused, reading is merely slower.
                let _ = fadvise(&file, 0, None, Advice::Sequential);
                (Arc::new(file), 0, size, Some(mtime))
            }
            Work::Spool { offset, size, .. } => {
                let spool = sources.spool.clone().ok_or_else(no_spool)?;
                (spool, offset, size, None)
            }
            Work::Nothing => return Err(nothing_to_open()),
        };
        Ok(Self {
            file,
            base,
            size,
            holes: None,
            mtime,
            codec: sources.codec_of(work.name()),
            abandoned: Arc::default(),
        })
    }

    /// Opens a file of any size that may have holes; `None` if it has none.
    pub(super) fn open_with_holes(
        work: Work<'_>,
        opener: &mut impl OpenFile,
        sources: &Sources,
    ) -> Result<Option<Self>> {
        let Work::Tree {
            parent,
            name,
            size,
            mtime,
            ..
        } = work
        else {
            return Err(nothing_to_open());
        };
        let file = opener.open(parent, name)?;
        let holes = map_holes(&file, size)?;
        let has_holes = holes.data_length() < size;
        Ok(has_holes.then(|| Self {
            file: Arc::new(file),
            base: 0,
            size,
            holes: Some(Arc::new(holes)),
            mtime: Some(mtime),
            codec: sources.codec_of(name),
            abandoned: Arc::default(),
        }))
    }

    /// Bytes to be read.
    pub(super) fn length(&self) -> u64 {
        match &self.holes {
            Some(holes) => holes.data_length(),
            None => self.size,
        }
    }

    /// Fills `to` with what is to be read from byte `offset` on, as far as the file goes; returns how far.
    pub(super) fn read_piece(&self, to: &mut [u8], offset: u64) -> Result<usize> {
        match &self.holes {
            Some(holes) => {
                self.read_segments(holes, to, offset)?;
                Ok(to.len())
            }
            None => read_up_to(&self.file, to, self.base + offset).map_err(cannot_read),
        }
    }

    /// Fills `to` with data that begins `offset` bytes of data from the start of the file. What the file has lost
    /// since its holes were mapped reads as zeros.
    fn read_segments(&self, holes: &HoleMap, to: &mut [u8], offset: u64) -> Result<()> {
        let segments = holes.segments();
        let first = segments.partition_point(|s| s.stored_at + s.length <= offset);
        let mut filled = 0usize;
        for segment in segments.get(first..).unwrap_or(&[]) {
            if filled == to.len() {
                break;
            }
            // Not 0 for the first segment alone.
            let skipped = (offset + filled as u64) - segment.stored_at;
            let length = usize::try_from(segment.length - skipped).unwrap_or(usize::MAX);
            let end = to.len().min(filled.saturating_add(length));
            let part = to.get_mut(filled..end).unwrap_or_default();
            let read = read_up_to(&self.file, part, segment.offset + skipped);
            let read = read.map_err(cannot_read)?;
            part.iter_mut().skip(read).for_each(|byte| *byte = 0);
            filled = end;
        }
        Ok(())
    }

    /// Whether the file, of which `length` bytes were read, is not what was listed.
    pub(super) fn changed(&self, length: u64) -> bool {
        let changed = |mtime| changed(&self.file, self.size, mtime);
        length != self.length() || self.mtime.is_some_and(changed)
    }
}

/// Where the first `size` bytes of `file` are data. Where the file system does not say, all are.
fn map_holes(file: &File, size: u64) -> Result<HoleMap> {
    let mut map = HoleMap::empty(size);
    let mut least = 1;
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(HoleMap::dense(size)),
            Err(errno) => return Err(cannot_read(errno)),
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // It has been truncated in the meantime.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(cannot_read(errno)),
        };
        map.push(start, end.saturating_sub(start));
        while map.segments().len() > MOST_SEGMENTS {
            least *= 2;
            map.fill_holes_below(least);
        }
        at = end.max(at + 1);
    }
    Ok(map)
}

#[cold]
fn nothing_to_open() -> Error {
    Error::new(ErrorKind::InvalidInput, "nothing to open")
}
