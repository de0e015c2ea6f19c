//! Opens the files of a source tree for reading.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use crate::beneath::Beneath;
use crate::{Error, ErrorKind, Result};

/// Opens regular files below a root. Keeps the directory of the last one open, since files are
/// asked for in the order of their directories. Each thread needs one of its own.
#[derive(Debug)]
pub struct TreeOpener {
    root_path: PathBuf,
    beneath: Beneath,
    follow: bool,
}

impl TreeOpener {
    /// An opener for the tree at `root`.
    pub fn new(root: &Path) -> Result<Self> {
        let descriptor = Beneath::root(root)?;
        Ok(Self::of(root.to_path_buf(), descriptor, false))
    }

    /// The same with `follow`: it opens what symbolic links lead to.
    #[must_use]
    pub fn following(self, follow: bool) -> Self {
        Self {
            beneath: self.beneath.following(follow),
            follow,
            ..self
        }
    }

    /// A further opener for the same tree, even if another one stands at its path by now.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(
            self.root_path.clone(),
            self.beneath.root_descriptor().clone(),
            self.follow,
        )
    }

    fn of(root_path: PathBuf, descriptor: Arc<OwnedFd>, follow: bool) -> Self {
        Self {
            root_path,
            beneath: Beneath::to_pass(descriptor).following(follow),
            follow,
        }
    }

    /// Opens the regular file `name` in the directory `parent`, a path relative to the root.
    ///
    /// Follows no symbolic link unless told to, and leaves access times alone where that is permitted. Fails with
    /// [`ErrorKind::Source`] if there is no such file or it is no regular file any more.
    pub fn open(&mut self, parent: &[u8], name: &[u8]) -> Result<File> {
        // A pipe that took the file's place must not block the open.
        let flags = OFlags::RDONLY | OFlags::NOATIME | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = self
            .beneath
            .open(parent, name, flags)
            .and_then(|file| Ok((fstat(&file)?.st_mode, file)));
        match opened {
            Ok((mode, file)) if FileType::from_raw_mode(mode) == FileType::RegularFile => {
                Ok(File::from(file))
            }
            // ELOOP: a symbolic link; ENXIO: a socket.
            Ok(_) | Err(Errno::LOOP | Errno::NXIO) => Err(self.failed(
                parent,
                name,
                "is no regular file any more; it changed since it was listed",
            )),
            Err(errno) => Err(self.failed(parent, name, "cannot open").caused_by(errno)),
        }
    }

    #[cold]
    fn failed(&self, parent: &[u8], name: &[u8], what: &str) -> Error {
        let path = self
            .root_path
            .join(OsStr::from_bytes(parent))
            .join(OsStr::from_bytes(name));
        Error::new(ErrorKind::Source, what).at_path(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn read(opener: &mut TreeOpener, parent: &str, name: &str) -> Result<String> {
        let mut text = String::new();
        opener
            .open(parent.as_bytes(), name.as_bytes())?
            .read_to_string(&mut text)
            .unwrap();
        Ok(text)
    }

    #[test]
    fn files_open_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("a/b/c")).unwrap();
        std::fs::create_dir(at("ab")).unwrap();
        for path in ["top", "a/one", "a/b/two", "a/b/c/four", "ab/three"] {
            std::fs::write(at(path), path).unwrap();
        }
        symlink("one", at("a/link")).unwrap();
        symlink("b", at("a/dirlink")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("a/pipe"),
            FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("a/socket")).unwrap();
        let mut first = TreeOpener::new(root.path()).unwrap();
        let second = first.another();
        for opener in [&mut first, &mut { second }] {
            // Up, down and across, so that the directory kept open is used in every way.
            for (parent, name) in [
                ("", "top"),
                ("a", "one"),
                ("a/b", "two"),
                ("a/b/c", "four"),
                ("ab", "three"),
                ("a", "one"),
                ("a", "one"),
                ("", "top"),
            ] {
                let path = format!("{parent}/{name}");
                assert_eq!(
                    read(opener, parent, name).unwrap(),
                    path.trim_start_matches('/')
                );
            }
            for (parent, name) in [
                ("a", "link"),
                ("a", "pipe"),
                ("a", "socket"),
                ("a", "b"),
                ("a", "none"),
                ("a/dirlink", "two"),
                ("a/dirlink/c", "four"),
                ("a/../..", "tmp"),
                ("", ".."),
            ] {
                let error = read(opener, parent, name).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Source, "{parent}/{name}");
                assert_eq!(error.path().unwrap(), at(parent).join(name));
            }
            assert_eq!(read(opener, "a", "one").unwrap(), "a/one");
        }
    }
}
