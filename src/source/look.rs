//! Looks at one entry: its attributes, or those of what a link leads to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Statx, StatxFlags, StatxTimestamp, makedev, statx};

use crate::beneath::Beneath;
use crate::entry::{Kind, OtherTimes, Timestamp};

/// The attributes of `name` in `directory`; with `follow`, of what it leads to if it is a link.
pub(super) fn look_at(
    directory: BorrowedFd<'_>,
    name: &[u8],
    follow: bool,
) -> rustix::io::Result<Statx> {
    let no_follow = if follow {
        AtFlags::empty()
    } else {
        AtFlags::SYMLINK_NOFOLLOW
    };
    let flags = no_follow | AtFlags::NO_AUTOMOUNT;
    let fields = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    statx(directory, name, flags, fields)
}

pub(super) fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

pub(super) fn other_times(attributes: &Statx) -> OtherTimes {
    let knows_birth = StatxFlags::from_bits_retain(attributes.stx_mask).contains(StatxFlags::BTIME);
    OtherTimes {
        atime: timestamp(&attributes.stx_atime),
        ctime: timestamp(&attributes.stx_ctime),
        btime: knows_birth.then(|| timestamp(&attributes.stx_btime)),
    }
}

/// Bytes of a file that its blocks are too few for. Some file systems pack several files into a block, so they
/// need not lie in holes.
pub(super) fn holes_hint(attributes: &Statx) -> u64 {
    attributes
        .stx_size
        .saturating_sub(attributes.stx_blocks.saturating_mul(512))
}

/// Device of the file system that the entry lies on.
pub(super) fn device(attributes: &Statx) -> u64 {
    makedev(attributes.stx_dev_major, attributes.stx_dev_minor)
}

/// The kind of an entry; `None` for one that no system has.
pub(super) fn kind(attributes: &Statx) -> Option<Kind> {
    Kind::from_mode(u32::from(attributes.stx_mode))
}

/// What a symbolic link turned out to be.
#[derive(Debug)]
pub(super) enum Followed {
    /// An entry with these attributes.
    To(Box<Statx>),
    /// A directory that the link lies in itself.
    Loop,
    /// Nothing that can be reached.
    Nowhere(rustix::io::Errno),
}

/// Follows symbolic links.
#[derive(Debug)]
pub(super) struct LinkFollower {
    ancestors: Beneath,
}

impl LinkFollower {
    pub(super) fn new(root: Arc<OwnedFd>) -> Self {
        Self {
            ancestors: Beneath::to_pass(root).following(true),
        }
    }

    /// Follows the link `name` in `directory`, which is at the path `parent`.
    ///
    /// A path can only be endless if some directory comes twice on it. So it is enough to compare
    /// the target with the directories on the way to the link.
    pub(super) fn follow(
        &mut self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
    ) -> Followed {
        let target = match look_at(directory, name, true) {
            Ok(target) => target,
            Err(errno) => return Followed::Nowhere(errno),
        };
        if kind(&target) == Some(Kind::Directory) && self.is_above(&target, parent) {
            return Followed::Loop;
        }
        Followed::To(Box::new(target))
    }

    /// Whether `target` is a directory on the way to `parent`, that one included.
    fn is_above(&mut self, target: &Statx, parent: &[u8]) -> bool {
        let slashes = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = std::iter::once(0)
            .chain(slashes.map(|(at, _)| at))
            .chain(std::iter::once(parent.len()));
        for end in ends {
            let path = parent.get(..end).unwrap_or_default();
            let ancestor = match self.ancestors.directory(path) {
                Ok(directory) => look_at(directory.as_fd(), b".", false),
                Err(errno) => Err(errno),
            };
            // One that cannot be reached any more has nothing below it, either.
            if ancestor.is_ok_and(|ancestor| is_same(&ancestor, target)) {
                return true;
            }
        }
        false
    }
}

fn is_same(a: &Statx, b: &Statx) -> bool {
    (device(a), a.stx_ino) == (device(b), b.stx_ino)
}
