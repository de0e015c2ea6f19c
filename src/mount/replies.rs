//! Answers in the form that the kernel takes: attributes, listings, values.

use crate::entry::{Kind, Timestamp};
use crate::fs::{Attributes, DirEntry, DirSink};
use fuser::{
    Errno, FileAttr, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyXattr,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may trust an answer: 34 years. Larger values overflow its clock on systems
/// with 32-bit time.
pub(super) const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// How long the kernel may trust an entry of a listing. What is not known must not be believed: the kernel then asks
/// again, and gets the error.
pub(super) fn validity(entry: &DirEntry<'_>) -> Duration {
    if entry.is_complete {
        FOR_EVER
    } else {
        Duration::ZERO
    }
}

/// Inode numbers are never given to anything else, so there is one generation.
pub(super) const GENERATION: Generation = Generation(0);

/// A name that does not exist, for the kernel to remember: an entry without an inode.
pub(super) const ABSENT: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

/// A listing that is being collected.
pub(super) trait Listing: DirSink {
    /// Whether it holds no entry yet.
    fn is_empty(&self) -> bool;
}

/// A listing of names and kinds.
pub(super) struct Names {
    pub(super) reply: ReplyDirectory,
    is_empty: bool,
}

impl Names {
    pub(super) fn new(reply: ReplyDirectory) -> Self {
        Self {
            reply,
            is_empty: true,
        }
    }
}

impl Listing for Names {
    fn is_empty(&self) -> bool {
        self.is_empty
    }
}

impl DirSink for Names {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let attributes = &entry.attributes;
        let is_full = self.reply.add(
            INodeNo(attributes.ino.0),
            entry.cookie,
            file_type(attributes.kind),
            OsStr::from_bytes(entry.name),
        );
        self.is_empty &= is_full;
        !is_full
    }
}

/// A listing of names and attributes, which saves the kernel a lookup of each.
pub(super) struct NamesAndAttributes {
    pub(super) reply: ReplyDirectoryPlus,
    is_empty: bool,
}

impl NamesAndAttributes {
    pub(super) fn new(reply: ReplyDirectoryPlus) -> Self {
        Self {
            reply,
            is_empty: true,
        }
    }
}

impl Listing for NamesAndAttributes {
    fn is_empty(&self) -> bool {
        self.is_empty
    }
}

impl DirSink for NamesAndAttributes {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let attributes = &entry.attributes;
        let is_full = self.reply.add(
            INodeNo(attributes.ino.0),
            entry.cookie,
            OsStr::from_bytes(entry.name),
            &validity(entry),
            &file_attr(attributes),
            GENERATION,
        );
        self.is_empty &= is_full;
        !is_full
    }
}

/// Answers with a value, or with its length if that was asked.
pub(super) fn reply_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

pub(super) fn file_attr(attributes: &Attributes) -> FileAttr {
    let mtime = system_time(attributes.mtime);
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: system_time(attributes.atime),
        mtime,
        ctime: system_time(attributes.ctime),
        crtime: mtime,
        kind: file_type(attributes.kind),
        perm: attributes.permissions,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: attributes.block_size,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_sign_and_fraction() {
        let cases = [
            (0, 0, UNIX_EPOCH),
            (5, 7, UNIX_EPOCH + Duration::new(5, 7)),
            (-2, 800_000_000, UNIX_EPOCH - Duration::new(1, 200_000_000)),
            (-1, 0, UNIX_EPOCH - Duration::from_secs(1)),
        ];
        for (seconds, nanoseconds, expected) in cases {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(system_time(time), expected, "{time:?}");
        }
    }
}
