//! What the pipeline asks of those that use it.

use std::fs::File;

use crate::Result;
use crate::entry::Timestamp;

/// What is to be read for an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'a> {
    /// Nothing.
    Nothing,
    /// A file of the source tree.
    Tree {
        /// Path of its directory, relative to the root.
        parent: &'a [u8],
        /// Its name.
        name: &'a [u8],
        /// Its size in bytes when it was listed.
        size: u64,
        /// How many of these seem to lie in holes.
        holes_hint: u64,
        /// Its time of last modification when it was listed; another one now means that it changed.
        mtime: Timestamp,
    },
    /// A part of the scratch file.
    Spool {
        /// The name of the entry.
        name: &'a [u8],
        /// Byte offset of its start.
        offset: u64,
        /// Its length in bytes.
        size: u64,
    },
}

impl<'a> Work<'a> {
    /// The name of a file that is read.
    pub fn name(&self) -> &'a [u8] {
        match *self {
            Self::Nothing => &[],
            Self::Tree { name, .. } | Self::Spool { name, .. } => name,
        }
    }
}

/// Entries in key order.
pub trait Entries: Send {
    /// An entry. They are used again and again, so that their buffers need not be made anew.
    type Entry: Send;

    /// An entry to put others into.
    fn blank() -> Self::Entry;

    /// Puts the next entry into `into`; false at the end.
    fn next(&mut self, into: &mut Self::Entry) -> Result<bool>;

    /// The path of `entry`, relative to the root; for messages.
    fn path(entry: &Self::Entry) -> Vec<u8>;

    /// What is to be read for `entry`.
    fn work(entry: &Self::Entry) -> Work<'_>;

    /// About how many bytes `entry` holds. Batches end by it, so it depends on what the entry is alone.
    fn memory(entry: &Self::Entry) -> usize;

    /// About how many bytes it has room for; more than it holds where the entry before it in its place held more.
    fn room(entry: &Self::Entry) -> usize;
}

/// Opens files of the source tree; each thread has one of its own.
pub trait OpenFile: Send {
    /// Opens the regular file `name` in the directory `parent`.
    fn open(&mut self, parent: &[u8], name: &[u8]) -> Result<File>;
}

impl OpenFile for crate::source::TreeOpener {
    fn open(&mut self, parent: &[u8], name: &[u8]) -> Result<File> {
        Self::open(self, parent, name)
    }
}

/// For trees without files: opens none.
impl<O: OpenFile> OpenFile for Option<O> {
    fn open(&mut self, parent: &[u8], name: &[u8]) -> Result<File> {
        match self {
            Some(opener) => opener.open(parent, name),
            None => Err(crate::Error::new(
                crate::ErrorKind::InvalidInput,
                "there is no source tree to read this from",
            )),
        }
    }
}
