//! Makes entries in one directory, in place of others only if that is wanted.

use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::options::Existing;
use crate::entry::Kind;
use crate::read::Node;
use crate::{Error, ErrorKind, Result};

/// Mode of what is not finished: its owner's alone.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const PRIVATE_DIRECTORY: Mode = Mode::RWXU;

/// A name in a directory where an entry is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    /// What becomes of an entry that is there.
    pub(super) existing: Existing,
}

impl Place<'_> {
    /// Makes an entry by `make`; one that is in the way is removed first if it may be.
    fn make<T>(&self, make: impl Fn() -> rustix::io::Result<T>) -> Result<T> {
        match make() {
            Err(Errno::EXIST) if self.existing == Existing::Replace => {
                self.remove().and_then(|()| make()).map_err(cannot_create)
            }
            Err(Errno::EXIST) => Err(Error::new(
                ErrorKind::Exists,
                "exists already; --overwrite replaces it",
            )),
            result => result.map_err(cannot_create),
        }
    }

    /// Removes what is there, which is no directory.
    pub(super) fn remove(&self) -> rustix::io::Result<()> {
        unlinkat(self.directory, self.name, AtFlags::empty())
    }

    pub(super) fn make_file(&self) -> Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.make(|| openat(self.directory, self.name, flags, PRIVATE_FILE))
            .map(File::from)
    }

    /// Makes a directory; one that is there already does as well.
    pub(super) fn make_directory(&self) -> Result<()> {
        self.make(
            || match mkdirat(self.directory, self.name, PRIVATE_DIRECTORY) {
                Err(Errno::EXIST) if self.is_directory() => Ok(()),
                result => result,
            },
        )
    }

    fn is_directory(&self) -> bool {
        statat(self.directory, self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Opens the directory that is there, to change its metadata.
    pub(super) fn open_directory(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.directory, self.name, flags, Mode::empty())
    }

    pub(super) fn make_symlink(&self, target: &[u8]) -> Result<()> {
        self.make(|| symlinkat(target, self.directory, self.name))
    }

    /// Makes a device, fifo or socket.
    pub(super) fn make_special(&self, node: &Node) -> Result<()> {
        let kind = match node.kind() {
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::File | Kind::Directory | Kind::Symlink => {
                return Err(Error::new(ErrorKind::InvalidInput, "is no special file"));
            }
        };
        self.make(|| mknodat(self.directory, self.name, kind, PRIVATE_FILE, node.rdev))
    }

    /// Makes another name of the entry `first` in the directory `from`.
    pub(super) fn make_link(&self, from: BorrowedFd<'_>, first: &[u8]) -> Result<()> {
        self.make(|| linkat(from, first, self.directory, self.name, AtFlags::empty()))
    }
}

fn cannot_create(errno: Errno) -> Error {
    Error::new(ErrorKind::Io, "cannot create").caused_by(errno)
}

/// Whether `name` in `directory` is what extracting `node` made: nothing else has its type, size and time.
pub(super) fn is_extracted(directory: BorrowedFd<'_>, name: &[u8], node: &Node) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let same_time = stat.st_mtime == node.mtime.seconds
            && stat.st_mtime_nsec == u64::from(node.mtime.nanoseconds);
        let same_size = node.kind() != Kind::File
            || u64::try_from(stat.st_size).is_ok_and(|size| size == node.size);
        Kind::from_mode(stat.st_mode) == Some(node.kind()) && same_size && same_time
    })
}

/// The error of a directory that cannot be opened to make something in it.
pub(super) fn open_failed(errno: rustix::io::Errno) -> Error {
    Error::new(ErrorKind::Io, "cannot open its directory").caused_by(errno)
}
