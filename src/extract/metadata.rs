//! Owner, mode, times and extended attributes of what was extracted.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmod, chownat,
    fchmod, fchown, fsetxattr, futimens, lsetxattr, openat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{geteuid, umask};

use super::options::ExtractOptions;
use crate::entry::{Kind, Timestamp};
use crate::read::Node;

/// Set-user-id and set-group-id.
const SPECIAL_BITS: u32 = 0o6000;

type Xattrs = [(Vec<u8>, Vec<u8>)];

/// An entry of the file system, by one of the two ways that reach it without following links.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Anything, by its name in a directory.
    Named(BorrowedFd<'a>, &'a [u8]),
}

/// What could not be set: what was tried, and the system's answer.
pub(super) type Refused = (&'static str, Errno);

/// Sets metadata; remembers which attributes the file system refuses. Threads share it.
#[derive(Debug)]
pub(super) struct Restorer {
    owner: bool,
    special_bits: bool,
    /// Permission bits that nothing gets.
    masked: u32,
    is_root: bool,
    /// Namespaces and answers that were logged.
    refused: Mutex<BTreeSet<(Vec<u8>, i32)>>,
    refused_xattrs: AtomicU64,
    missing_xattrs: AtomicU64,
}

impl Restorer {
    pub(super) fn new(options: &ExtractOptions) -> Self {
        let masked = if options.permissions {
            0
        } else {
            // There is no other way to read it than to set it.
            let own = umask(Mode::RWXG.union(Mode::RWXO));
            umask(own);
            own.as_raw_mode() & 0o777
        };
        Self {
            owner: options.owner,
            special_bits: options.special_bits,
            masked,
            is_root: geteuid().is_root(),
            refused: Mutex::default(),
            refused_xattrs: AtomicU64::new(0),
            missing_xattrs: AtomicU64::new(0),
        }
    }

    /// Extended attributes that the system refused, and how many of them it should not have.
    pub(super) fn refused_xattrs(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.refused_xattrs), count(&self.missing_xattrs))
    }

    /// Makes `target` what `node` was.
    ///
    /// The order matters: a change of owner takes away special bits and capabilities, an ACL changes the mode, and
    /// everything changes times.
    pub(super) fn restore(
        &self,
        target: Target<'_>,
        node: &Node,
        xattrs: &Xattrs,
    ) -> Result<(), Refused> {
        let mut result = Ok(());
        let mut mode = node.mode & 0o7777 & !self.masked;
        if self.owner {
            let owned = set_owner(target, node.uid, node.gid);
            if owned.is_err() {
                // Never the special rights of another owner.
                mode &= !SPECIAL_BITS;
            }
            result = result.and(owned.map_err(|errno| ("set the owner", errno)));
        }
        if !self.special_bits {
            mode &= !SPECIAL_BITS;
        }
        for (name, value) in xattrs {
            if let Err(errno) = set_xattr(target, name, value) {
                self.note_refused(name, errno);
            }
        }
        if node.kind() != Kind::Symlink {
            let set = set_mode(target, Mode::from_raw_mode(mode));
            result = result.and(set.map_err(|errno| ("set the mode", errno)));
        }
        let set = set_times(target, node);
        result.and(set.map_err(|errno| ("set the times", errno)))
    }

    /// Logs the first refusal of a kind: what a file system or user may not have is the same for all files.
    fn note_refused(&self, name: &[u8], errno: Errno) {
        self.refused_xattrs.fetch_add(1, Ordering::Relaxed);
        let namespace = name.split(|&byte| byte == b'.').next().unwrap_or_default();
        // These are root's alone on every file system.
        let is_roots = [&b"trusted"[..], b"security"].contains(&namespace);
        if !is_roots || self.is_root || errno != Errno::PERM {
            self.missing_xattrs.fetch_add(1, Ordering::Relaxed);
        }
        let kind = (namespace.to_vec(), errno.raw_os_error());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(kind) {
            log::warn!(
                "cannot set extended attribute {}: {errno}; more of this kind go unsaid",
                String::from_utf8_lossy(name)
            );
        }
    }
}

fn set_owner(target: Target<'_>, uid: u32, gid: u32) -> rustix::io::Result<()> {
    // The largest number is nobody's: for the system it means that the owner stays.
    let known = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (known(uid).map(Uid::from_raw), known(gid).map(Gid::from_raw));
    match target {
        Target::Open(file) => fchown(file, uid, gid),
        Target::Named(directory, name) => {
            chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

fn set_mode(target: Target<'_>, mode: Mode) -> rustix::io::Result<()> {
    match target {
        Target::Open(file) => fchmod(file, mode),
        Target::Named(directory, name) => {
            // There is no call that changes the mode of a name and follows no link, on Linux before 6.6.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = openat(directory, name, flags, Mode::empty())?;
            chmod(descriptor_path(entry.as_fd()), mode)
        }
    }
}

fn set_xattr(target: Target<'_>, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
    match target {
        Target::Open(file) => fsetxattr(file, name, value, XattrFlags::empty()),
        Target::Named(directory, entry) => {
            let mut path = descriptor_path(directory);
            path.push(b'/');
            path.extend_from_slice(entry);
            lsetxattr(path, name, value, XattrFlags::empty())
        }
    }
}

fn set_times(target: Target<'_>, node: &Node) -> rustix::io::Result<()> {
    let timespec = |time: Timestamp| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    let omitted = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let times = Timestamps {
        last_access: node
            .other_times
            .map_or(omitted, |times| timespec(times.atime)),
        last_modification: timespec(node.mtime),
    };
    match target {
        Target::Open(file) => futimens(file, &times),
        Target::Named(directory, name) => {
            utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// A path to what a descriptor stands for.
fn descriptor_path(descriptor: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into_bytes()
}
