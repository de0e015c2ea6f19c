//! One entry as readers see it.

use super::path_digest::PathDigest;
use crate::entry::{Ino, Kind, OtherTimes, Timestamp};
use crate::format::cut::Cut;
use crate::format::leaf::{LeafRow, Target};
use crate::format::member::Member;

/// Where the children of a directory lie in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Children {
    /// Ordinal of the first child.
    pub first: u64,
    /// Number of children.
    pub count: u64,
    /// How many of them are directories.
    pub subdirs: u64,
    /// Number of all entries below.
    pub descendants: u64,
}

impl Children {
    /// Ordinal behind the last child.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// Where the contents of a regular file lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extent {
    /// Position in the address space of all volumes.
    pub position: u64,
    /// Bytes there, checksums and chunk table included; 0 for an empty file.
    pub stored: u64,
    /// The codec of what is stored as frames; where the file is cut by content, each chunk has its own.
    pub codec: u32,
    /// How its chunks are found if it is cut by content.
    pub cut: Option<Cut>,
    /// Where in it the file's data are if it is a frame that several files share.
    pub member: Option<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    None,
    Inline(Box<[u8]>),
    Blob(u64),
}

/// An entry: everything `stat` tells, and where its contents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Inode number, shared by all names of a hard-linked file.
    pub ino: Ino,
    /// Position of this name in key order.
    pub ordinal: u64,
    /// `st_mode`: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file, length of a link's target, number of children of a directory, else 0.
    pub size: u64,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The other times, if the image keeps them.
    pub other_times: Option<OtherTimes>,
    /// Number of names; for a directory 2 plus its sub-directories.
    pub links: u64,
    /// Device number of a character or block device.
    pub rdev: u64,
    /// Children of a directory.
    pub children: Children,
    /// How many of a regular file's bytes lie in holes; [`super::Image::holes`] says where.
    pub hole_bytes: u64,
    /// Contents of a regular file.
    pub extent: Extent,
    pub(super) kind: Kind,
    pub(super) is_complete: bool,
    /// Of a directory whose children name it by its path.
    pub(super) path: Option<PathDigest>,
    pub(super) xattrs: Option<u64>,
    pub(super) link: Link,
    pub(super) hole_map: Option<u64>,
}

impl Node {
    /// The entry of a row. The size of a link whose target is a blob is not known here, which makes it incomplete.
    pub(super) fn from_row(row: &LeafRow<'_>) -> Self {
        let link = match row.target {
            _ if row.kind != Kind::Symlink => Link::None,
            Target::Inline(target) => Link::Inline(target.into()),
            Target::Blob(offset) => Link::Blob(offset),
        };
        let size = match (row.kind, &link) {
            (Kind::File, _) => row.size,
            (Kind::Directory, _) => row.children,
            (_, Link::Inline(target)) => target.len() as u64,
            _ => 0,
        };
        let links = match row.kind {
            Kind::Directory => row.subdirectories.saturating_add(2),
            _ => row.links,
        };
        Self {
            ino: Ino::from_ordinal(row.ordinal.saturating_sub(row.primary)),
            ordinal: row.ordinal,
            mode: row.attributes.mode,
            uid: row.attributes.uid,
            gid: row.attributes.gid,
            size,
            mtime: row.mtime,
            other_times: None,
            hole_bytes: row.hole_bytes,
            hole_map: row.hole_map,
            links,
            rdev: row.device,
            children: Children {
                first: row.first_child,
                count: row.children,
                subdirs: row.subdirectories,
                descendants: row.children.saturating_add(row.deeper),
            },
            extent: Extent {
                position: row.position,
                stored: row.stored,
                codec: u32::try_from(row.codec).unwrap_or(u32::MAX),
                cut: row.cut,
                member: row.member,
            },
            kind: row.kind,
            is_complete: !matches!(link, Link::Blob(_)),
            path: None,
            xattrs: row.xattrs,
            link,
        }
    }

    /// What the entry is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether everything is known. Only passes over many entries hand out others: symbolic links whose target cannot
    /// be read, with a `size` of 0 that means nothing. [`super::Image::read_link`] says what is wrong.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the entry is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether the entry has extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.xattrs.is_some()
    }

    /// Bytes of a regular file that lie outside of holes.
    pub fn data_length(&self) -> u64 {
        match self.kind {
            Kind::File => self.size.saturating_sub(self.hole_bytes),
            _ => 0,
        }
    }

    /// `st_blocks`: units of 512 bytes that the data of a file takes on a disk with blocks of 4096 bytes, holes not
    /// counted.
    pub fn blocks(&self) -> u64 {
        self.data_length().div_ceil(4096) * 8
    }
}
