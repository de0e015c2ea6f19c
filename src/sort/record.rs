//! The unit that travels from a source through the sorter into the builder.

use crate::entry::{Kind, Metadata};

/// Where the contents of an entry are read from when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing to read: not a regular file, or an empty one.
    None,
    /// The source tree holds a file at the entry's own path.
    Tree,
    /// The contents arrived with the entry and wait at this byte offset of the scratch file.
    Spool {
        /// Byte offset in the scratch file; the length is the record's size.
        offset: u64,
    },
    /// A directory that no source named but an entry below it needs; any other record of the same
    /// key replaces it.
    ImpliedDirectory,
}

/// One entry on its way from a source to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Path of the parent directory: components joined by `/`, relative, `""` for the root.
    pub parent: Vec<u8>,
    /// Last component; empty for the root itself, whose parent is `""` too.
    pub name: Vec<u8>,
    /// Mode, owner, times, device number, extended attributes.
    pub metadata: Metadata,
    /// Length in bytes of a regular file as the source reported it, else 0.
    pub size: u64,
    /// How many of these bytes seem to lie in holes, by the space the source takes: 0 for most files. Whether it
    /// has holes, and where, is found out when it is read.
    pub holes_hint: u64,
    /// Target of a symbolic link, else empty.
    pub target: Vec<u8>,
    /// Device and inode of the source file if it has further names there, so that hard links
    /// find each other again.
    pub identity: Option<(u64, u64)>,
    /// Where the contents are.
    pub content: Content,
}

impl Record {
    /// A record to read others into: that of an empty root directory.
    pub fn empty() -> Self {
        Self {
            parent: Vec::new(),
            name: Vec::new(),
            metadata: Metadata::new(Kind::Directory, 0o755),
            size: 0,
            holes_hint: 0,
            target: Vec::new(),
            identity: None,
            content: Content::None,
        }
    }

    /// The entry's path: parent and name joined by `/`, `""` for the root.
    pub fn path(&self) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.parent.len() + 1 + self.name.len());
        path.extend_from_slice(&self.parent);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&self.name);
        path
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.parent.is_empty() && self.name.is_empty()
    }
}
