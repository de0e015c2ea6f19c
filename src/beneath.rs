//! Opens directories and files below a root; never outside of it, unless links are to be followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;

use crate::{Error, Result};

/// Bytes of a path given to one system call: `PATH_MAX` is 4096 with the NUL at the end.
const PATH_STEP: usize = 4095;

/// No link is followed, of whatever kind, and `..` leads nowhere.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// A root directory, and the directory below it that was opened last.
#[derive(Debug)]
pub(crate) struct Beneath {
    root: Arc<OwnedFd>,
    /// How directories are opened; `O_PATH` asks for no permission to list them.
    directory_flags: OFlags,
    /// Whether symbolic links are followed, wherever they lead.
    follow: bool,
    /// Path of `last`, relative to the root.
    last_path: Vec<u8>,
    last: Option<OwnedFd>,
}

impl Beneath {
    /// Opens `root`, which may itself be reached through symbolic links.
    pub(crate) fn root(root: &Path) -> Result<Arc<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(root, flags, Mode::empty())
            .map(Arc::new)
            .map_err(|e| Error::io(root, "open this directory", e))
    }

    /// For directories that are to be listed.
    pub(crate) fn to_list(root: Arc<OwnedFd>) -> Self {
        Self::with_flags(root, OFlags::RDONLY | OFlags::NOATIME)
    }

    /// For directories that only lead to files.
    pub(crate) fn to_pass(root: Arc<OwnedFd>) -> Self {
        Self::with_flags(root, OFlags::PATH)
    }

    fn with_flags(root: Arc<OwnedFd>, directory_flags: OFlags) -> Self {
        Self {
            root,
            directory_flags,
            follow: false,
            last_path: Vec::new(),
            last: None,
        }
    }

    /// The same with `follow`: symbolic links are followed, out of the root too.
    pub(crate) fn following(self, follow: bool) -> Self {
        Self { follow, ..self }
    }

    /// Opens `name` in the directory at `path`.
    pub(crate) fn open(
        &mut self,
        path: &[u8],
        name: &[u8],
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let follow = self.follow;
        open_step(self.directory(path)?, name, flags, follow)
    }

    pub(crate) fn root_descriptor(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    /// The directory at `path`; the same one as last time is not opened again.
    pub(crate) fn directory(&mut self, path: &[u8]) -> rustix::io::Result<BorrowedFd<'_>> {
        if self.last.is_none() || self.last_path != path {
            let opened = self.open_directory(path);
            self.last = None;
            self.last_path.clear();
            self.last_path.extend_from_slice(path);
            self.last = Some(opened?);
        }
        Ok(self.last.as_ref().unwrap_or(&self.root).as_fd())
    }

    /// Opens `path` from the last directory, if it lies below that, else from the root.
    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let below_last = path
            .strip_prefix(self.last_path.as_slice())
            .and_then(|rest| rest.strip_prefix(b"/"));
        let (start, mut rest) = match (&self.last, below_last) {
            (Some(last), Some(rest)) => (last.as_fd(), rest),
            _ => (self.root.as_fd(), path),
        };
        let mut passed: Option<OwnedFd> = None;
        while rest.len() > PATH_STEP {
            let cut = rest
                .get(..PATH_STEP)
                .and_then(|step| step.iter().rposition(|byte| *byte == b'/'))
                .ok_or(Errno::NAMETOOLONG)?;
            let (step, beyond) = rest.split_at_checked(cut).ok_or(Errno::NAMETOOLONG)?;
            let from = passed.as_ref().map_or(start, AsFd::as_fd);
            passed = Some(self.open_directory_in(from, step, OFlags::PATH)?);
            rest = beyond.get(1..).unwrap_or_default();
        }
        let from = passed.as_ref().map_or(start, AsFd::as_fd);
        let step = if rest.is_empty() { b"." } else { rest };
        self.open_directory_in(from, step, self.directory_flags)
    }

    fn open_directory_in(
        &self,
        from: BorrowedFd<'_>,
        path: &[u8],
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        open_step(from, path, flags | OFlags::DIRECTORY, self.follow)
    }
}

fn open_step(
    from: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    follow: bool,
) -> rustix::io::Result<OwnedFd> {
    if follow {
        open_following(from, path, flags)
    } else {
        open_in(from, path, flags)
    }
}

/// Opens `path` from `from` through whatever links. `O_NOATIME` is a wish here, too.
fn open_following(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = |flags| match openat(from, path, flags | OFlags::CLOEXEC, Mode::empty()) {
        // One call passes 40 links at most, a path may hold more of them.
        Err(Errno::LOOP) => open_by_component(from, path, flags | OFlags::CLOEXEC),
        result => result,
    };
    match open(flags) {
        Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
            open(flags.difference(OFlags::NOATIME))
        }
        result => result,
    }
}

/// Opens `path`, of at most [`PATH_STEP`] bytes, below `from`. `O_NOATIME` in `flags` is a wish:
/// only the owner and root may have it.
pub(crate) fn open_in(
    from: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open_strictly(from, path, flags) {
        Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
            open_strictly(from, path, flags.difference(OFlags::NOATIME))
        }
        result => result,
    }
}

fn open_strictly(from: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match openat2(from, path, flags, Mode::empty(), RESOLVE) {
        // Kernels before 5.6 do not know the call, and older sandboxes forbid what they do not know.
        Err(Errno::NOSYS | Errno::PERM) => open_by_component(from, path, flags),
        result => result,
    }
}

fn open_by_component(
    from: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let mut passed: Option<OwnedFd> = None;
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = components.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        let from = passed.as_ref().map_or(from, AsFd::as_fd);
        if components.peek().is_none() {
            return openat(from, name, flags, Mode::empty());
        }
        let follow = flags & OFlags::NOFOLLOW;
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        passed = Some(openat(from, name, step, Mode::empty())?);
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_never_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("x")).unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(inside.path().join("a/b")).unwrap();
        symlink(outside.path(), inside.path().join("a/out")).unwrap();
        let root = Beneath::root(inside.path()).unwrap();
        let list = OFlags::RDONLY | OFlags::DIRECTORY;
        let pass = |open: fn(BorrowedFd<'_>, &[u8], OFlags) -> rustix::io::Result<OwnedFd>| {
            assert!(open(root.as_fd(), b"a/b", list).is_ok());
            for path in [
                b"a/out".as_slice(),
                b"a/out/x",
                b"..",
                b"a/../../x",
                b"/tmp",
            ] {
                assert!(open(root.as_fd(), path, list).is_err(), "{path:?}");
            }
        };
        pass(open_in);
        pass(|from, path, flags| open_by_component(from, path, flags | OFlags::NOFOLLOW));
    }
}
