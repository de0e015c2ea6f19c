//! What the file system says of an inode.

use crate::entry::{Ino, Kind, Timestamp};
use crate::read::Node;

/// The fields of `stat`, with the inode number and the owner that the mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// The lower twelve bits of the mode.
    pub permissions: u16,
    /// Names of a file; of a directory, 2 and its sub-directories.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device, in the 32-bit encoding that the kernel takes, else 0.
    pub rdev: u32,
    /// Bytes of a file, bytes of a symbolic link's target, entries of a directory.
    pub size: u64,
    /// Space that the data takes, holes not counted, in units of 512 bytes.
    pub blocks: u64,
    /// Last modification.
    pub mtime: Timestamp,
    /// Last access; as `mtime` in an image that does not keep it.
    pub atime: Timestamp,
    /// Last change of the inode; as `mtime` in an image that does not keep it.
    pub ctime: Timestamp,
    /// The buffer, in bytes, that programs are told to read this with.
    pub block_size: u32,
}

/// The buffer for anything but a long directory: one page.
const BLOCK: u32 = 4096;

/// The buffer for the longest directories. The C library takes no larger one for a listing, and the
/// kernel passes no larger one on.
const LISTING_BUFFER_MAX: u32 = 1 << 20;

/// What an entry takes in a listing with attributes: 152 bytes and a name of typical length.
const LISTED_ENTRY: u64 = 192;

impl Attributes {
    /// The attributes of a node of the image, unchanged.
    pub(super) fn of(node: &Node) -> Self {
        let kind = node.kind();
        Self {
            ino: node.ino,
            kind,
            permissions: (node.mode & 0o7777) as u16,
            links: u32::try_from(node.links).unwrap_or(u32::MAX),
            uid: node.uid,
            gid: node.gid,
            // Device numbers of Linux have 12 bits of major and 20 of minor number, and in those
            // the C library's 64-bit encoding is the kernel's 32-bit one.
            rdev: if kind.is_device() {
                u32::try_from(node.rdev).unwrap_or(0)
            } else {
                0
            },
            size: node.size,
            blocks: node.blocks(),
            mtime: node.mtime,
            atime: node.other_times.map_or(node.mtime, |times| times.atime),
            ctime: node.other_times.map_or(node.mtime, |times| times.ctime),
            block_size: match kind {
                Kind::Directory => listing_buffer(node.children.count),
                _ => BLOCK,
            },
        }
    }
}

/// The buffer in which a directory of `entries` is listed best.
///
/// The C library sizes its buffer for `getdents` by `st_blksize`, and the kernel asks for a listing
/// by the size of that buffer. So a directory of 1,000 entries costs one request and one for its
/// end, instead of seven with the default of 32 KiB.
fn listing_buffer(entries: u64) -> u32 {
    let wanted = entries.saturating_mul(LISTED_ENTRY);
    if wanted <= 32 << 10 {
        return BLOCK;
    }
    u32::try_from(wanted)
        .ok()
        .and_then(u32::checked_next_power_of_two)
        .map_or(LISTING_BUFFER_MAX, |size| size.min(LISTING_BUFFER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_directories_ask_for_a_buffer_that_holds_them() {
        let cases = [
            (0, 4096),
            (170, 4096),
            (171, 65536),
            (1000, 262_144),
            (100_000, 1 << 20),
            (u64::MAX, 1 << 20),
        ];
        for (entries, expected) in cases {
            assert_eq!(listing_buffer(entries), expected, "{entries} entries");
        }
    }
}
