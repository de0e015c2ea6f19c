//! The file system without a kernel: operations on plain types.
//!
//! # Overview
//! - [`PackFs`] answers lookups, listings, reads and the rest by inode number;
//! - [`Attributes`] is what it says of an inode;
//! - [`DirSink`] takes a listing, entry by entry, until it is full.
//!
//! There is no state to keep: an inode number is a place in the index, so nothing is opened, nothing
//! is counted and nothing has to be forgotten. What was found lately is remembered in a fixed number
//! of slots, only to save work.

mod attributes;
mod listing;
mod recent;

pub use attributes::Attributes;
pub use listing::{DirEntry, DirSink};

use crate::entry::Ino;
use crate::read::{FileBytes, Image, Node};
use crate::{Error, ErrorKind, Result};
use recent::Recent;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Directories remembered: what a program that walks a tree or works in a few places comes back to.
const RECENT_DIRECTORIES: usize = 1024;

/// Other nodes remembered: enough for every request in flight to find what its lookup found.
const RECENT_OTHERS: usize = 1024;

/// What of the image is shown, and as whose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Show this directory of the image, a path relative to its root, as the root.
    pub subdir: Option<Vec<u8>>,
    /// Show every entry as owned by this user.
    pub uid: Option<u32>,
    /// Show every entry as owned by this group.
    pub gid: Option<u32>,
}

/// Totals of the image for `statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Bytes that one block stands for.
    pub block_size: u32,
    /// Blocks that the stored contents fill; none is free.
    pub blocks: u64,
    /// Entries of the image; none is free.
    pub entries: u64,
    /// Longest name, in bytes.
    pub name_length: u32,
}

/// An image as a tree of inodes.
///
/// Inode numbers here are those the mount shows: the image's own, except that the root of the mount
/// is always 1. With a sub-directory as the root, that directory's own number does not exist here,
/// nor does the image's root.
#[derive(Debug)]
pub struct PackFs {
    image: Arc<Image>,
    root: Node,
    options: Options,
    directories: Recent,
    others: Recent,
}

impl PackFs {
    /// The tree of `image`, or the part of it that `options` ask for.
    ///
    /// Fails with [`ErrorKind::NotFound`] or [`ErrorKind::NotADirectory`] if the sub-directory is
    /// not there or not a directory.
    pub fn new(image: Arc<Image>, options: Options) -> Result<Self> {
        let root = match &options.subdir {
            None => image.root()?,
            Some(path) => {
                let path = tidy(path);
                let shown = || Path::new(std::ffi::OsStr::from_bytes(&path));
                let node = image.lookup(&path)?.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "the image holds no such directory")
                        .at_path(shown())
                })?;
                if !node.is_directory() {
                    let what = "only a directory of the image can be the root of a mount";
                    return Err(Error::new(ErrorKind::NotADirectory, what).at_path(shown()));
                }
                node
            }
        };
        Ok(Self {
            image,
            root,
            options,
            directories: Recent::new(RECENT_DIRECTORIES),
            others: Recent::new(RECENT_OTHERS),
        })
    }

    /// The image behind the tree.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// The entry `name` of the directory `parent`, or `None` if there is none of that name.
    ///
    /// The names `.` and `..` are the directory and the one above it; that of the root is the root. As `.` of any
    /// inode is how the kernel takes up a file handle, it fails for one outside of the part that is shown.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Option<Attributes>> {
        if name == b"." {
            self.check_shown(parent)?;
            return self.attributes(parent).map(Some);
        }
        if name == b".." {
            let above = self.parent(parent)?;
            return self.attributes(above).map(Some);
        }
        let directory = self.directory(parent)?;
        let Some(node) = self.image.lookup_in(&directory, name)? else {
            return Ok(None);
        };
        let attributes = self.show(&node);
        self.remember(node);
        Ok(Some(attributes))
    }

    /// What is known of an inode.
    pub fn attributes(&self, ino: Ino) -> Result<Attributes> {
        Ok(self.show(&self.node(ino)?))
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        self.image.read_link(&self.node(ino)?)
    }

    /// Up to `length` bytes of a regular file from byte `offset` on; fewer only at its end. The
    /// bytes lie in `scratch`, whatever it held before, or in memory of the image.
    pub fn read<'a>(
        &'a self,
        ino: Ino,
        offset: u64,
        length: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<FileBytes<'a>> {
        self.image
            .read_lent(&self.node(ino)?, offset, length, scratch)
    }

    /// Whether any file of the image may have holes.
    pub fn has_holes(&self) -> bool {
        self.image.header().has_holes()
    }

    /// The first byte of data at or behind `offset` of a regular file, as `SEEK_DATA` has it; `None` if there is
    /// none.
    pub fn next_data(&self, ino: Ino, offset: u64) -> Result<Option<u64>> {
        Ok(self.image.holes(&self.node(ino)?)?.next_data(offset))
    }

    /// The first byte in a hole at or behind `offset` of a regular file, as `SEEK_HOLE` has it: its end at the
    /// latest. `None` behind the end.
    pub fn next_hole(&self, ino: Ino, offset: u64) -> Result<Option<u64>> {
        Ok(self.image.holes(&self.node(ino)?)?.next_hole(offset))
    }

    /// The value of an extended attribute, or `None` if the inode has none of that name.
    pub fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let xattrs = self.image.xattrs(&self.node(ino)?)?;
        Ok(xattrs
            .into_iter()
            .find_map(|(known, value)| (known == name).then_some(value)))
    }

    /// The names of an inode's extended attributes, each followed by a NUL, as `listxattr` has them.
    pub fn xattr_names(&self, ino: Ino) -> Result<Vec<u8>> {
        let mut names = Vec::new();
        for (name, _) in self.image.xattrs(&self.node(ino)?)? {
            names.extend_from_slice(&name);
            names.push(0);
        }
        Ok(names)
    }

    /// The path of an inode below the root of the image, for messages.
    pub fn path(&self, ino: Ino) -> Result<Vec<u8>> {
        match self.image_ino(ino)? {
            // Known even if the image cannot be read.
            Ino::ROOT => Ok(Vec::new()),
            ino => self.image.path_of(ino),
        }
    }

    /// Sizes and counts of the image.
    pub fn totals(&self) -> Totals {
        const BLOCK: u32 = 4096;
        let header = self.image.header();
        Totals {
            block_size: BLOCK,
            blocks: header.stored_bytes.div_ceil(u64::from(BLOCK)),
            entries: header.entries,
            name_length: 255,
        }
    }

    /// The directory that holds `ino`; for the root, itself.
    fn parent(&self, ino: Ino) -> Result<Ino> {
        if ino == Ino::ROOT {
            return Ok(ino);
        }
        self.image
            .parent_of(self.image_ino(ino)?)
            .map(|above| self.shown_ino(above))
    }

    /// Fails with [`ErrorKind::NotFound`] if `ino` is outside of the sub-directory that is shown. Costs a page for
    /// each directory above it.
    fn check_shown(&self, ino: Ino) -> Result<()> {
        let node = self.node(ino)?;
        // A file's number leads to its first name only; another one may be inside.
        if !node.is_directory() && node.links > 1 {
            return Ok(());
        }
        let mut at = node.ino;
        while at != self.root.ino {
            // The root of the image lies in itself, and a directory is numbered before what is in it.
            let above = self.image.parent_of(at)?;
            if above >= at {
                return Err(not_shown(ino));
            }
            at = above;
        }
        Ok(())
    }

    fn directory(&self, ino: Ino) -> Result<Node> {
        let node = self.node(ino)?;
        if node.is_directory() {
            Ok(node)
        } else {
            Err(Error::new(
                ErrorKind::NotADirectory,
                format!("inode {} is not a directory", ino.0),
            ))
        }
    }

    fn node(&self, ino: Ino) -> Result<Node> {
        if ino == Ino::ROOT {
            return Ok(self.root.clone());
        }
        let ino = self.image_ino(ino)?;
        if let Some(node) = self.directories.get(ino).or_else(|| self.others.get(ino)) {
            return Ok(node);
        }
        let node = self.image.node(ino)?;
        self.remember(node.clone());
        Ok(node)
    }

    fn remember(&self, node: Node) {
        if node.is_directory() {
            self.directories.put(node);
        } else {
            self.others.put(node);
        }
    }

    /// A node as the mount shows it.
    fn show(&self, node: &Node) -> Attributes {
        let mut attributes = Attributes::of(node);
        attributes.ino = self.shown_ino(node.ino);
        attributes.uid = self.options.uid.unwrap_or(attributes.uid);
        attributes.gid = self.options.gid.unwrap_or(attributes.gid);
        attributes
    }

    fn image_ino(&self, ino: Ino) -> Result<Ino> {
        if ino == Ino::ROOT {
            Ok(self.root.ino)
        } else if ino == self.root.ino {
            Err(not_shown(ino))
        } else {
            Ok(ino)
        }
    }

    fn shown_ino(&self, ino: Ino) -> Ino {
        if ino == self.root.ino { Ino::ROOT } else { ino }
    }
}

fn not_shown(ino: Ino) -> Error {
    let what = format!("inode {} is not in the mounted part of the image", ino.0);
    Error::new(ErrorKind::NotFound, what)
}

/// A path as the image knows it: without empty components and `.`, however the user wrote it.
fn tidy(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    parts.join(&b'/')
}
