//! The unit that travels from a source through the sorter into the builder.

use crate::entry::Metadata;

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
    /// Target of a symbolic link, else empty.
    pub target: Vec<u8>,
    /// Device and inode of the source file if it has further names there, so that hard links
    /// find each other again.
    pub identity: Option<(u64, u64)>,
    /// Where the contents are.
    pub content: Content,
}
