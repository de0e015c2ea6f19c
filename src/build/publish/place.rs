//! A name in an open directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock, fstat, fsync,
    linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::format::header::{self, Header};
use crate::format::{PAGE_BYTES, PAGE_SIZE, Uuid, volume};
use crate::{Error, ErrorKind, Result, image};

/// Where a part of an image is or will be.
#[derive(Debug)]
pub(super) struct Place {
    /// Held open, so that all that is done here is done in one directory even if it is moved.
    directory: OwnedFd,
    directory_path: PathBuf,
    name: OsString,
    path: PathBuf,
}

/// What there is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// The index of an image; its UUID, if its header is sound.
    Index { uuid: Option<Uuid> },
    /// A volume of an image.
    Volume {
        /// Its UUID, if its header is sound.
        uuid: Option<Uuid>,
        /// Whether it has a sound trailer.
        finished: bool,
    },
    /// Something else; the text continues "it …".
    Other(&'static str),
}

/// Locks `file` as one that a running build writes.
pub(super) fn lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

impl Place {
    /// The place `path`, whose directory must be there.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let directory_path = image::directory_of(path).to_path_buf();
        let name = path
            .file_name()
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "names no file").at_path(path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&directory_path, flags, Mode::empty())
            .map_err(|errno| Error::io(&directory_path, "open the directory", errno))?;
        Ok(Self {
            directory,
            name: name.to_owned(),
            path: path.to_path_buf(),
            directory_path,
        })
    }

    /// The path as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory_path(&self) -> &Path {
        &self.directory_path
    }

    /// Whether both are one name in one directory, whatever their paths.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let directories = (fstat(&self.directory), fstat(&other.directory));
        let same = matches!(directories, (Ok(a), Ok(b)) if is_same_file(&a, &b));
        same && self.name == other.name
    }

    /// Creates the file `name` in the same directory.
    pub(super) fn create(&self, name: &OsStr) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        openat(&self.directory, name, flags, mode)
            .map(File::from)
            .map_err(|errno| Error::io(self.directory_path.join(name), "create", errno))
    }

    /// Opens the regular file `name` in the same directory; `None` if there is nothing.
    pub(super) fn open(&self, name: &OsStr, flags: OFlags) -> rustix::io::Result<Option<File>> {
        // A pipe must not block, nor a symbolic link lead elsewhere.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What there is under the name.
    pub(super) fn examine(&self) -> Result<Found> {
        let failed = |errno| Error::io(&self.path, "look at", errno);
        let stat = match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(failed(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Ok(Found::Other("is a directory")),
            FileType::Symlink => return Ok(Found::Other("is a symbolic link")),
            _ => return Ok(Found::Other("is no regular file")),
        }
        match self.open(&self.name, OFlags::RDONLY).map_err(failed)? {
            Some(file) => examine(&file).map_err(|e| Error::io(&self.path, "read", e)),
            None => Ok(Found::Nothing),
        }
    }

    /// Whether `name` in the same directory stands for the open `file`.
    pub(super) fn holds(&self, name: &OsStr, file: &File) -> bool {
        let found = statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        matches!((found, fstat(file)), (Ok(a), Ok(b)) if is_same_file(&a, &b))
    }

    /// Gives `file`, which is called `pending` in the same directory, the name of this place. What is
    /// there already is replaced with `force`, and else fails with [`Errno::EXIST`].
    pub(super) fn publish(
        &self,
        pending: &OsStr,
        file: &File,
        force: bool,
    ) -> rustix::io::Result<()> {
        let renamed = if force {
            renameat(&self.directory, pending, &self.directory, &self.name)
        } else {
            self.rename(pending, &self.name)
        };
        // A network file system may lose the answer to a rename that was done.
        match renamed {
            Err(errno) if errno != Errno::EXIST && self.holds(&self.name, file) => Ok(()),
            renamed => renamed,
        }
    }

    /// Calls `pending` in the same directory `name`, if nothing is called so.
    pub(super) fn rename(&self, pending: &OsStr, name: &OsStr) -> rustix::io::Result<()> {
        let directory = &self.directory;
        match renameat_with(directory, pending, directory, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed,
        }
        // The file system cannot rename so; a hard link also fails if the name is taken.
        match linkat(directory, pending, directory, name, AtFlags::empty()) {
            Ok(()) => self.remove(pending),
            // Nor has it hard links: what appears between these two calls is lost.
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => renameat(directory, pending, directory, name),
                    Ok(_) => Err(Errno::EXIST),
                    Err(errno) => Err(errno),
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Removes `name` in the same directory.
    pub(super) fn remove(&self, name: &OsStr) -> rustix::io::Result<()> {
        unlinkat(&self.directory, name, AtFlags::empty())
    }

    /// Returns when the names in the directory are on the device.
    pub(super) fn sync_directory(&self) -> Result<()> {
        match fsync(&self.directory) {
            // What some network and FUSE file systems answer, which have no such thing.
            Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(Error::io(
                &self.directory_path,
                "bring to the device",
                errno,
            )),
        }
    }
}

fn is_same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// What a regular file is, from its first and last page.
pub(super) fn examine(file: &File) -> std::io::Result<Found> {
    let length = file.metadata()?.len();
    let mut page = [0; PAGE_SIZE];
    if length < PAGE_BYTES {
        return Ok(Found::Other("is not a dgfs image"));
    }
    file.read_exact_at(&mut page, 0)?;
    if page.starts_with(&header::MAGIC) {
        let header = Header::decode(&page, length);
        let uuid = header.ok().map(|header| header.uuid);
        return Ok(Found::Index { uuid });
    }
    if page.starts_with(&volume::HEADER_MAGIC) {
        let identity = volume::decode_header(&page).ok();
        file.read_exact_at(&mut page, length - PAGE_BYTES)?;
        let trailer = volume::decode_trailer(&page, length);
        return Ok(Found::Volume {
            uuid: identity.map(|identity| identity.uuid),
            finished: trailer.is_ok_and(|(trailer, _)| Some(trailer) == identity),
        });
    }
    Ok(Found::Other("is not a dgfs image"))
}
