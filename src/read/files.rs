//! The files of an image as positions to read from, and the counters of what was read.

use super::direct;
use super::open::Keeping;
use super::reopening::Reopening;
use super::room::Room;
use super::streams::Streams;
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purpose {
    /// It goes on where another one ended.
    pub in_order: bool,
    /// Whoever gets the bytes keeps them: nothing of them needs to stay in memory here.
    pub once: bool,
}

/// Bytes that can be read at any offset. Files are; tests bring their own, which fail or lie.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset`, or fails; an end of file before that is
    /// [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// As [`Self::read_exact_at`]; `purpose` may help to read better.
    fn read_for_at(&self, buffer: &mut [u8], offset: u64, _purpose: Purpose) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    /// Whether `length` bytes from `offset` on are known to lie on the device rather than in memory.
    fn is_cold(&self, _offset: u64, _length: u64) -> bool {
        false
    }

    /// Reads past the page cache to `target`, and says how many bytes came, less only at the end. Offset, memory and its
    /// length are multiples of 4096. `None` if that is not possible: then they are still to be read.
    fn read_direct(&self, _target: &mut [u8], _offset: u64) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Says that `length` bytes from `offset` on will be read soon.
    fn will_need(&self, _offset: u64, _length: u64) {}

    /// Says that `length` bytes from `offset` on will not be read soon.
    fn dont_need(&self, _offset: u64, _length: u64) {}
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        use std::io::Seek;
        // A block device has a length too, but its metadata do not tell it.
        match self.metadata()?.len() {
            0 => (&*self).seek(io::SeekFrom::End(0)),
            length => Ok(length),
        }
    }

    fn will_need(&self, offset: u64, length: u64) {
        let length = std::num::NonZeroU64::new(length);
        // A hint: where it is refused, reading is merely slower.
        let _ = rustix::fs::fadvise(self, offset, length, rustix::fs::Advice::WillNeed);
    }

    fn dont_need(&self, offset: u64, length: u64) {
        if let Some(length) = std::num::NonZeroU64::new(length) {
            let _ = rustix::fs::fadvise(self, offset, Some(length), rustix::fs::Advice::DontNeed);
        }
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_for_at(&self, buffer: &mut [u8], offset: u64, purpose: Purpose) -> io::Result<()> {
        (**self).read_for_at(buffer, offset, purpose)
    }

    fn read_direct(&self, target: &mut [u8], offset: u64) -> io::Result<Option<usize>> {
        (**self).read_direct(target, offset)
    }

    fn is_cold(&self, offset: u64, length: u64) -> bool {
        (**self).is_cold(offset, length)
    }

    fn will_need(&self, offset: u64, length: u64) {
        (**self).will_need(offset, length);
    }

    fn dont_need(&self, offset: u64, length: u64) {
        (**self).dont_need(offset, length);
    }
}

/// Stands for a file that could not be opened.
#[derive(Debug)]
pub(super) struct Absent;

impl ReadAt for Absent {
    fn read_exact_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn length(&self) -> io::Result<u64> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Number and bytes of reads of one kind of device.
#[derive(Debug, Default)]
pub(super) struct ReadCount {
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl ReadCount {
    pub(super) fn get(&self) -> (u64, u64) {
        (
            self.reads.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// A part of an image: its bytes, its name for errors, and where in the file it begins.
pub(super) struct Part {
    bytes: Box<dyn ReadAt>,
    path: PathBuf,
    base: u64,
    count: ReadCount,
    /// Where readers in order are looked for, and where what they read stays.
    streams: Option<(Streams, Keeping)>,
}

/// From this many bytes on, a read in order that is kept by its reader leaves nothing behind. After a smaller one, what
/// the system has read ahead together with it would have to be read again.
pub(super) const LARGE: u64 = 512 << 10;

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("path", &self.path)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Part {
    pub(super) fn new(bytes: Box<dyn ReadAt>, path: &Path, base: u64) -> Self {
        Self {
            bytes,
            path: path.to_path_buf(),
            base,
            count: ReadCount::default(),
            streams: None,
        }
    }

    /// The same file for many readers: from now on those who read in order are served in a way of their own.
    pub(super) fn for_many(mut self, keeping: Keeping) -> Self {
        self.streams = Some((Streams::default(), keeping));
        self
    }

    /// Opens the file at `path`, whose reads will not follow each other. Should it fail and another, equal file be
    /// found there, that one is read instead.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::new(
                crate::ErrorKind::NotAnImage,
                "not a dgfs image: it is a directory",
            )
            .at_path(path));
        }
        Ok(Self::new(Box::new(Reopening::new(file, path)), path, 0))
    }

    /// The same file read from `base` on.
    pub(super) fn with_base(mut self, base: u64) -> Self {
        self.base = base;
        self
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn count(&self) -> (u64, u64) {
        self.count.get()
    }

    /// Length of the whole file.
    pub(super) fn file_length(&self) -> Result<u64> {
        self.bytes
            .length()
            .map_err(|error| Error::io(&self.path, "find the length of", error))
    }

    /// Fills `buffer` from `offset` of the part.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.fill(buffer, offset, false)
    }

    /// As [`Self::read`], of what a reader wants only once if he keeps it.
    pub(super) fn read_once(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.fill(buffer, offset, true)
    }

    fn fill(&self, buffer: &mut [u8], offset: u64, once: bool) -> Result<()> {
        let length = buffer.len() as u64;
        self.access(offset, length, once, |at, purpose| {
            self.bytes.read_for_at(buffer, at, purpose)
        })
    }

    /// Reads to somewhere in `room`, and says where, counted from where it is aligned: past the page cache if it is cold,
    /// read in order and kept by its reader. `is_in_order` says that it is in order, though other reads may have overtaken it.
    pub(super) fn read_large(
        &self,
        room: &mut Room,
        offset: u64,
        length: usize,
        is_in_order: bool,
    ) -> Result<Range<usize>> {
        self.access(offset, length as u64, is_in_order, |at, purpose| {
            let is_large = purpose.once && (is_in_order || purpose.in_order);
            if is_large && self.bytes.is_cold(at, length as u64) {
                if let Some(place) = self.read_pages(room, at, length)? {
                    return Ok(place);
                }
            }
            let target = room.target(length).ok_or(io::ErrorKind::OutOfMemory)?;
            self.bytes.read_for_at(target, at, purpose)?;
            Ok(0..length)
        })
    }

    /// Reads the pages that bytes lie in past the page cache. `None` if that is not possible, or they are not all there.
    fn read_pages(
        &self,
        room: &mut Room,
        at: u64,
        length: usize,
    ) -> io::Result<Option<Range<usize>>> {
        let pages = direct::pages(at, length);
        let Some((start, all, skip)) = pages else {
            return Ok(None);
        };
        let Some(target) = room.target(all) else {
            return Ok(None);
        };
        let end = skip + length;
        let count = self.bytes.read_direct(target, start)?;
        Ok(count.filter(|&count| count >= end).map(|_| skip..end))
    }

    /// Whether what is read shall not stay in memory here.
    pub(super) fn is_kept_by_readers(&self) -> bool {
        matches!(self.streams, Some((_, Keeping::WithReaders)))
    }

    /// Whether a range is known to lie on the device rather than in memory, and shall not stay there.
    pub(super) fn is_cold(&self, offset: u64, length: u64) -> bool {
        self.is_kept_by_readers() && self.bytes.is_cold(self.base.saturating_add(offset), length)
    }

    /// Counts a read, finds out what it is for, and does it.
    fn access<T>(
        &self,
        offset: u64,
        length: u64,
        once: bool,
        read: impl FnOnce(u64, Purpose) -> io::Result<T>,
    ) -> Result<T> {
        self.count.reads.fetch_add(1, Ordering::Relaxed);
        self.count.bytes.fetch_add(length, Ordering::Relaxed);
        let at = self.base.saturating_add(offset);
        let Some((streams, keeping)) = &self.streams else {
            let outcome = read(at, Purpose::default());
            return outcome.map_err(|error| self.failed(at, error));
        };
        let advice = streams.note(&(offset..offset.saturating_add(length)));
        let keeps = *keeping == Keeping::WithReaders;
        let alone = if advice.follows {
            length >= LARGE
        } else {
            once
        };
        let purpose = Purpose {
            in_order: advice.follows,
            once: keeps && alone,
        };
        let outcome = read(at, purpose);
        if keeps && !advice.behind.is_empty() {
            let start = self.base.saturating_add(advice.behind.start);
            let length = advice.behind.end - advice.behind.start;
            self.bytes.dont_need(start, length);
        }
        outcome.map_err(|error| self.failed(at, error))
    }

    #[cold]
    fn failed(&self, at: u64, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Error::corrupt("file ends before the bytes that should be here: it is truncated")
                .at_path(&self.path)
                .at_offset(at)
        } else {
            Error::io(&self.path, "read", error).at_offset(at)
        }
    }

    /// Fills a page from `offset` of the part.
    pub(super) fn read_page(&self, offset: u64) -> Result<Box<[u8; crate::format::PAGE_SIZE]>> {
        let mut page = Box::new([0; crate::format::PAGE_SIZE]);
        self.read(page.as_mut_slice(), offset)?;
        Ok(page)
    }

    pub(super) fn will_need(&self, offset: u64, length: u64) {
        self.bytes
            .will_need(self.base.saturating_add(offset), length);
    }
}
