//! The answers, whatever carries them: a request is counted, and a failure becomes an error number, a count and a line
//! in the log.
//!
//! Nothing is decided here but what the protocol needs: which answers make the kernel ask less. `open`, `opendir` and
//! `flush` are refused for good (`ENOSYS`), so that the kernel opens files by itself and keeps what it read; entries,
//! attributes and misses are valid for ever, as an image never changes; listings come with attributes. A file then
//! costs one lookup and one read, and nothing after that.

use super::counters::{Counters, Operation};
use super::faults::{Faults, Subject};
use super::replies::Listing;
use super::trace::Trace;
use crate::Result;
use crate::entry::Ino;
use crate::fs::{Attributes, PackFs, Totals};
use crate::read::{FileBytes, Image};
use fuser::{Errno, FopenFlags, InitFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// Longest name in bytes, as everywhere on Linux.
const NAME_MAX: usize = 255;

/// The kinds of `lseek` that a kernel asks about.
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// An answer, or the number of the error that is the answer.
pub(super) type Answer<T> = std::result::Result<T, Errno>;

/// What all threads that serve a mount answer from.
#[derive(Debug)]
pub(super) struct Answers {
    fs: PackFs,
    counters: Arc<Counters>,
    faults: Arc<Faults>,
    trace: Option<Trace>,
    has_xattrs: bool,
    agreed: OnceLock<InitFlags>,
}

impl Answers {
    pub(super) fn new(
        fs: PackFs,
        counters: Arc<Counters>,
        faults: Arc<Faults>,
        trace: Option<Trace>,
    ) -> Self {
        let has_xattrs = fs.image().has_xattrs();
        Self {
            fs,
            counters,
            faults,
            trace,
            has_xattrs,
            agreed: OnceLock::new(),
        }
    }

    /// The image that the answers come from.
    pub(super) fn image(&self) -> &Image {
        self.fs.image()
    }

    /// Notes what the kernel and this process agreed on. The first time counts.
    pub(super) fn agree(&self, flags: InitFlags) {
        let _ = self.agreed.set(flags);
    }

    /// Whether that has been agreed on.
    pub(super) fn agreed(&self, flag: InitFlags) -> bool {
        self.agreed.get().is_some_and(|flags| flags.contains(flag))
    }

    /// The entry `name` of `parent`; `None` if there is none.
    pub(super) fn lookup(&self, parent: Ino, name: &[u8]) -> Answer<Option<Attributes>> {
        if name.len() > NAME_MAX {
            self.count(Operation::Lookup);
            return Err(Errno::ENAMETOOLONG);
        }
        let work = || self.fs.lookup(parent, name);
        self.answer_about(Operation::Lookup, parent, Some(name), work)
    }

    pub(super) fn attributes(&self, ino: Ino) -> Answer<Attributes> {
        self.answer(Operation::Getattr, ino, || self.fs.attributes(ino))
    }

    pub(super) fn read_link(&self, ino: Ino) -> Answer<Vec<u8>> {
        self.answer(Operation::Readlink, ino, || self.fs.read_link(ino))
    }

    /// Refuses to open a file if the kernel then does so by itself, else says what it may keep.
    pub(super) fn open(&self) -> Answer<FopenFlags> {
        self.count(Operation::Open);
        if self.agreed(InitFlags::FUSE_NO_OPEN_SUPPORT) {
            Err(Errno::ENOSYS)
        } else {
            Ok(FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH)
        }
    }

    /// As [`Answers::open`], for a directory.
    pub(super) fn open_directory(&self) -> Answer<FopenFlags> {
        self.count(Operation::Opendir);
        if self.agreed(InitFlags::FUSE_NO_OPENDIR_SUPPORT) {
            Err(Errno::ENOSYS)
        } else {
            Ok(FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR)
        }
    }

    /// Up to `size` bytes of a file from `offset` on, which may lie in `scratch`.
    pub(super) fn read<'a>(
        &'a self,
        ino: Ino,
        offset: u64,
        size: u32,
        scratch: &'a mut Vec<u8>,
    ) -> Answer<FileBytes<'a>> {
        self.answer(Operation::Read, ino, move || {
            if let Some(trace) = &self.trace {
                trace.read(&self.fs, ino);
            }
            self.fs.read(ino, offset, size as usize, scratch)
        })
    }

    /// Collects a listing of `ino` from `cookie` on in `sink`.
    ///
    /// A failure behind the first entry is none yet: it comes up again when the kernel asks for the rest.
    pub(super) fn list(
        &self,
        operation: Operation,
        ino: Ino,
        cookie: u64,
        sink: &mut dyn Listing,
    ) -> Answer<()> {
        self.answer(operation, ino, || {
            let listed = self.fs.list(ino, cookie, sink);
            if sink.is_empty() { listed } else { Ok(()) }
        })
    }

    pub(super) fn totals(&self) -> Totals {
        self.count(Operation::Statfs);
        self.fs.totals()
    }

    /// The value of an extended attribute.
    pub(super) fn xattr(&self, ino: Ino, name: &[u8]) -> Answer<Vec<u8>> {
        if !self.has_xattrs {
            return Err(self.decline(Operation::Getxattr));
        }
        self.answer(Operation::Getxattr, ino, || self.fs.xattr(ino, name))?
            .ok_or(Errno::ENODATA)
    }

    /// The names of all extended attributes, each followed by a NUL.
    pub(super) fn xattr_names(&self, ino: Ino) -> Answer<Vec<u8>> {
        if !self.has_xattrs {
            return Err(self.decline(Operation::Listxattr));
        }
        self.answer(Operation::Listxattr, ino, || self.fs.xattr_names(ino))
    }

    /// Where data or a hole begins, at or behind `offset`.
    pub(super) fn seek(&self, ino: Ino, offset: i64, whence: u32) -> Answer<i64> {
        if !self.fs.has_holes() {
            // Refused once, the kernel takes every file for all data without asking, where an answer
            // would cost `cp` one request for each file.
            return Err(self.decline(Operation::Lseek));
        }
        let found = self.answer(Operation::Lseek, ino, || {
            match (whence, u64::try_from(offset)) {
                (SEEK_DATA, Ok(offset)) => self.fs.next_data(ino, offset),
                (SEEK_HOLE, Ok(offset)) => self.fs.next_hole(ino, offset),
                _ => Ok(None),
            }
        });
        found?.map(u64::cast_signed).ok_or(Errno::ENXIO)
    }

    /// Counts a request.
    pub(super) fn count(&self, operation: Operation) {
        self.counters.count(operation);
    }

    /// The answer to every request that would change something.
    pub(super) fn refuse(&self, operation: Operation) -> Errno {
        self.count(operation);
        Errno::EROFS
    }

    /// The answer to a request that the kernel shall not repeat.
    pub(super) fn decline(&self, operation: Operation) -> Errno {
        self.count(operation);
        Errno::ENOSYS
    }

    /// Counts a request for `ino` and does its `work`. A failure is counted and logged, and comes back as its error
    /// number.
    ///
    /// A panic is a failure like others, `EIO`: the thread that serves one request serves the next. What `work`
    /// shares with other requests are caches, whose entries are there as a whole or not at all.
    fn answer<T>(
        &self,
        operation: Operation,
        ino: Ino,
        work: impl FnOnce() -> Result<T>,
    ) -> Answer<T> {
        self.answer_about(operation, ino, None, work)
    }

    /// As [`Answers::answer`], about the entry `name` of `ino`.
    fn answer_about<T>(
        &self,
        operation: Operation,
        ino: Ino,
        name: Option<&[u8]>,
        work: impl FnOnce() -> Result<T>,
    ) -> Answer<T> {
        self.count(operation);
        let subject = || Subject {
            operation,
            ino,
            name: name.map(<[u8]>::to_vec),
        };
        // Finding the path for the log reads the image too, so it must not be outside.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            work().map_err(|error| {
                self.faults.report(&self.fs, &subject(), &error);
                Errno::from_i32(error.errno())
            })
        }));
        outcome.unwrap_or_else(|payload| {
            self.faults.report_panic(&subject(), payload.as_ref());
            Err(Errno::EIO)
        })
    }
}
