//! Reads an image: lookups, listings, contents, extended attributes.
//!
//! [`Image`] answers everything; [`Node`] is one entry. A lookup goes down from the root page by one of three
//! keys (path, ordinal, or directory and name) to one leaf page; inner pages stay in memory, so that costs one
//! read of the index device at most. Contents are one read of the data device for a file of one chunk.

mod ahead;
mod blobs;
mod codecs;
mod contents;
mod cut;
mod decode_ahead;
mod decoded;
mod direct;
mod files;
mod handed;
mod handle;
mod holes;
mod listing;
mod members;
mod node;
mod open;
mod pages;
mod parentage;
mod path_digest;
mod pieces;
mod remains;
mod reopening;
mod room;
mod streams;
mod tree;
mod upper;
mod verify;

pub use ahead::ReadAhead;
pub use codecs::CodecInfo;
pub use cut::ChunkCounts;
pub use decode_ahead::Decoders;
pub use files::{Purpose, ReadAt};
pub use handed::FileBytes;
pub use listing::{Listed, WalkVisit};
pub use node::{Children, Extent, Node};
pub(crate) use open::open_repaired;
pub use open::{DEFAULT_CACHE_BYTES, Keeping, OpenOptions};
pub(crate) use remains::LOST_OWNER;
pub use remains::{LOST_AND_FOUND, LostEntries, Remains};
pub use verify::{Fault, Verified, VerifyOptions};

use crate::entry::{Ino, Kind};
use crate::format::blob::{self, Xattrs};
use crate::format::header::Header;
use crate::format::leaf::{LeafRow, Run, Segment};
use crate::format::volume::Span;
use crate::format::{MAX_INLINE_PATH, MAX_NAME, Malformed};
use crate::{Error, ErrorKind, Result};
use contents::Contents;
use holes::HoleMaps;
use pages::PageStore;
use std::path::{Path, PathBuf};
use tree::Leaf;

/// What was read so far; every number only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Reads of the index.
    pub index_reads: u64,
    /// Bytes of these.
    pub index_bytes: u64,
    /// Reads of the volumes.
    pub data_reads: u64,
    /// Bytes of these.
    pub data_bytes: u64,
    /// Index pages decoded.
    pub pages_decoded: u64,
    /// Contents decompressed: chunks, and files of one.
    pub chunks_decoded: u64,
}

/// A volume of an open image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its file; unknown if the image was opened without volumes.
    pub path: Option<PathBuf>,
    /// First position.
    pub start: u64,
    /// Position behind its last extent.
    pub end: u64,
}

/// An open image. It can be shared by any number of threads.
#[derive(Debug)]
pub struct Image {
    store: PageStore,
    contents: Contents,
    spans: Vec<Span>,
    hole_maps: HoleMaps,
}

/// What a page says of the directory of an entry.
enum Above {
    Path(Vec<u8>),
    Ordinal(u64),
}

/// Why a path is not known in full.
struct LostAbove {
    /// The entry on the path that cannot be read.
    ordinal: u64,
    /// The names below it.
    below: Vec<Vec<u8>>,
    error: Error,
}

impl Image {
    /// Opens the image at `path`, its volumes beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        OpenOptions::default().open(path.as_ref())
    }

    /// How to open an image otherwise.
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    fn new(store: PageStore, contents: Contents, spans: Vec<Span>) -> Self {
        Self {
            store,
            contents,
            spans,
            hole_maps: HoleMaps::new(),
        }
    }

    /// What the index says of itself.
    pub fn header(&self) -> &Header {
        self.store.header()
    }

    /// The file of the index.
    pub fn index_path(&self) -> &Path {
        self.store.part().path()
    }

    /// The volumes in order of their numbers.
    pub fn volumes(&self) -> Vec<VolumeInfo> {
        let path = |number: usize| {
            self.contents
                .volumes()
                .get(number)
                .map(|v| v.part.path().to_owned())
        };
        let spans = self.spans.iter().enumerate();
        spans
            .map(|(number, span)| VolumeInfo {
                path: path(number),
                start: span.start,
                end: span.end,
            })
            .collect()
    }

    /// Whether any entry can have extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.header()
            .section(blob::SECTION)
            .is_some_and(|section| section.rows > 0)
    }

    /// Whether any entry can have a POSIX ACL.
    pub fn has_acls(&self) -> bool {
        self.has_xattrs() && self.header().has_acls()
    }

    /// What was read so far.
    pub fn counters(&self) -> Counters {
        let (index_reads, index_bytes) = self.store.part().count();
        let (mut data_reads, mut data_bytes) = (0, 0);
        for volume in self.contents.volumes() {
            let (reads, bytes) = volume.part.count();
            data_reads += reads;
            data_bytes += bytes;
        }
        let pages_decoded = self.store.decoded();
        Counters {
            index_reads,
            index_bytes,
            data_reads,
            data_bytes,
            pages_decoded,
            chunks_decoded: self.contents.codecs().decoded(),
        }
    }

    /// The root directory.
    pub fn root(&self) -> Result<Node> {
        let root = self.node(Ino::ROOT)?;
        if root.is_directory() {
            Ok(root)
        } else {
            Err(Error::corrupt("root is not a directory").at_path(self.index_path()))
        }
    }

    /// The entry with inode number `ino`.
    pub fn node(&self, ino: Ino) -> Result<Node> {
        let ordinal = ino
            .ordinal()
            .filter(|&ordinal| ordinal < self.header().entries);
        let ordinal = ordinal
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no inode {}", ino.0)))?;
        let (leaf, index) = tree::find_ordinal(&self.store, ordinal)?;
        self.node_at(&leaf, index)
    }

    /// The entry at `index` of a page.
    fn node_at(&self, leaf: &Leaf, index: usize) -> Result<Node> {
        let row = leaf.segment.row(index);
        let row = row.map_err(|malformed| self.malformed(leaf.number, malformed))?;
        let mut node = self.node_from_row(&row)?;
        if node.is_directory() {
            let mut name = Vec::new();
            leaf.segment.name_into(index, &mut name);
            let run = leaf.segment.run_of(index);
            node.path = run.and_then(|run| parentage::digest(&leaf.segment, run, &name));
        }
        Ok(node)
    }

    #[cold]
    fn malformed(&self, page: u64, what: Malformed) -> Error {
        Error::corrupt(what.0)
            .at_path(self.index_path())
            .at_page(page)
    }

    fn node_from_row(&self, row: &LeafRow<'_>) -> Result<Node> {
        let (node, missing) = self.known_of_row(row)?;
        missing.map_or(Ok(node), Err)
    }

    /// The entry of a row, and why it is not complete.
    fn known_of_row(&self, row: &LeafRow<'_>) -> Result<(Node, Option<Error>)> {
        let mut node = Node::from_row(row);
        node.other_times = self.header().has_other_times().then_some(row.other_times);
        let mut missing = None;
        if let node::Link::Blob(offset) = node.link {
            match blobs::target(&self.store, offset) {
                Ok(target) => {
                    node.size = target.len() as u64;
                    node.is_complete = true;
                }
                Err(error) => missing = Some(error),
            }
        }
        if node.children.end() > self.header().entries {
            return Err(
                Error::corrupt("directory has children beyond the last entry")
                    .at_path(self.index_path()),
            );
        }
        Ok((node, missing))
    }

    /// The entry at `path`, relative to the root and without leading or trailing `/`; `""` is the root.
    /// Symbolic links are not followed. Costs one leaf page, unless the path is longer than
    /// [`MAX_INLINE_PATH`]; then one for each component.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Node>> {
        if path.is_empty() {
            return self.root().map(Some);
        }
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (
                path.get(..slash).unwrap_or(&[]),
                path.get(slash + 1..).unwrap_or(&[]),
            ),
            None => (&[][..], path),
        };
        if name.is_empty() || name.len() > MAX_NAME {
            return Ok(None);
        }
        if parent.len() > MAX_INLINE_PATH {
            return self.lookup_by_components(path);
        }
        let (number, expected) =
            tree::leaf_number(&self.store, |inner| inner.find_key(parent, name))?;
        let page = self.store.leaf(number, expected)?;
        match tree::find_key(&self.store, number, &page, parent, name)? {
            Some((leaf, index)) => self.node_at(&leaf, index).map(Some),
            None => Ok(None),
        }
    }

    fn lookup_by_components(&self, path: &[u8]) -> Result<Option<Node>> {
        let mut node = self.root()?;
        for name in path.split(|&byte| byte == b'/') {
            if !node.is_directory() {
                return Ok(None);
            }
            match self.lookup_in(&node, name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The child `name` of directory `dir`. Costs one leaf page.
    pub fn lookup_in(&self, dir: &Node, name: &[u8]) -> Result<Option<Node>> {
        if !dir.is_directory() {
            return Err(Error::new(ErrorKind::NotADirectory, "not a directory"));
        }
        let children = &dir.children;
        if children.count == 0 || name.is_empty() || name.len() > MAX_NAME {
            return Ok(None);
        }
        let (first, end) = (children.first, children.end());
        let (number, expected) =
            tree::leaf_number(&self.store, |inner| inner.find_in_run(first, end, name))?;
        let ask = || {
            let around = self.pages_around(children);
            if around.contains(&number) {
                self.ask_for(&around);
            }
        };
        let page = self.store.leaf_after(number, expected, ask)?;
        let misplaced = || {
            Error::corrupt("directory's children are not where the index says")
                .at_path(self.index_path())
                .at_page(number)
        };
        let at = page.find_in_run(&(first..end), name);
        let leaf = Leaf::open(&self.store, number, page, at.ok_or_else(misplaced)?)?;
        let low = leaf.index_of(first.max(leaf.segment.first_ordinal));
        let low = low.ok_or_else(misplaced)?;
        let high = end.min(leaf.segment.end()) - leaf.segment.first_ordinal;
        // At most as many as the segment has entries.
        let high = usize::try_from(high).unwrap_or(usize::MAX);
        self.run_of_children(&leaf, low, dir)?;
        match leaf.segment.find_name(low..high, name) {
            Some(index) => self.node_at(&leaf, index).map(Some),
            None => Ok(None),
        }
    }

    /// The path of the entry with inode number `ino`; of a hard-linked file that of its first name.
    pub fn path_of(&self, ino: Ino) -> Result<Vec<u8>> {
        let ordinal = ino
            .ordinal()
            .filter(|&ordinal| ordinal < self.header().entries);
        match ordinal {
            Some(ordinal) => self.path_of_ordinal(ordinal),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("no inode {}", ino.0),
            )),
        }
    }

    /// The path that a page spells out for a run.
    fn run_path<'l>(&self, leaf: &'l Leaf, run: &Run) -> Result<&'l [u8]> {
        let path = leaf.segment.checked_path_of(run);
        path.map_err(|malformed| self.malformed(leaf.number, malformed))
    }

    fn path_of_ordinal(&self, ordinal: u64) -> Result<Vec<u8>> {
        self.path_above(ordinal).map_err(|lost| lost.error)
    }

    /// The name of the entry at `ordinal`, and what its page says of its directory.
    fn name_and_parent(&self, ordinal: u64) -> Result<(Vec<u8>, Above)> {
        let (leaf, index) = tree::find_ordinal(&self.store, ordinal)?;
        let mut name = Vec::new();
        leaf.segment.name_into(index, &mut name);
        Segment::check_name(ordinal, &name)
            .map_err(|malformed| self.malformed(leaf.number, malformed))?;
        let parent = match leaf.segment.run_of(index) {
            Some(run) => match run.far_parent {
                Some(parent) => Above::Ordinal(parent),
                None => Above::Path(self.run_path(&leaf, run)?.to_vec()),
            },
            None => Above::Path(Vec::new()),
        };
        Ok((name, parent))
    }

    fn path_above(&self, ordinal: u64) -> std::result::Result<Vec<u8>, LostAbove> {
        let mut components: Vec<Vec<u8>> = Vec::new();
        let mut at = ordinal;
        // The ordinal falls with each step, as the page decoder made sure, so this ends.
        let mut path = loop {
            match self.name_and_parent(at) {
                Ok((name, parent)) => {
                    components.push(name);
                    match parent {
                        Above::Path(path) => break path,
                        Above::Ordinal(above) => at = above,
                    }
                }
                Err(error) => {
                    components.reverse();
                    return Err(LostAbove {
                        ordinal: at,
                        below: components,
                        error,
                    });
                }
            }
        };
        for name in components.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
        }
        Ok(path)
    }

    /// The directory that the entry with inode number `ino` lies in; the root lies in itself.
    pub fn parent_of(&self, ino: Ino) -> Result<Ino> {
        let ordinal = ino
            .ordinal()
            .filter(|&ordinal| ordinal < self.header().entries);
        let ordinal = ordinal
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no inode {}", ino.0)))?;
        let (leaf, index) = tree::find_ordinal(&self.store, ordinal)?;
        let Some(run) = leaf.segment.run_of(index) else {
            return Ok(Ino::ROOT);
        };
        if let Some(parent) = run.far_parent {
            return Ok(Ino::from_ordinal(parent));
        }
        match self.lookup(self.run_path(&leaf, run)?)? {
            Some(parent) => Ok(parent.ino),
            None => Err(Error::corrupt("directory of an entry is missing")
                .at_path(self.index_path())
                .at_page(leaf.number)),
        }
    }

    /// Reads up to `length` bytes of the regular file `node` from `offset` on. The bytes are checked and lie in
    /// `scratch`; there are fewer than `length` only at the end of the file.
    pub fn read_at<'s>(
        &self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        match node.kind() {
            Kind::File if node.hole_bytes > 0 => {
                self.read_around_holes(node, offset, length, scratch)
            }
            Kind::File => self.contents.read_at(node, offset, length, scratch),
            Kind::Directory => Err(Error::new(ErrorKind::IsADirectory, "is a directory")),
            _ => Err(Error::new(ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    /// As [`Self::read_at`], but the bytes may also lie in memory of the image, so that what it has read ahead is not copied.
    pub fn read_lent<'a>(
        &'a self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<FileBytes<'a>> {
        if node.kind() == Kind::File && node.hole_bytes == 0 {
            return self.contents.read_lent(node, offset, length, scratch);
        }
        self.read_at(node, offset, length, scratch)
            .map(FileBytes::own)
    }

    /// The target of the symbolic link `node`.
    pub fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        match &node.link {
            node::Link::None => Err(Error::new(ErrorKind::InvalidInput, "not a symbolic link")),
            node::Link::Inline(target) => Ok(target.to_vec()),
            node::Link::Blob(offset) => blobs::target(&self.store, *offset),
        }
    }

    /// The extended attributes of `node`, in order of their names.
    pub fn xattrs(&self, node: &Node) -> Result<Xattrs> {
        node.xattrs.map_or(Ok(Xattrs::new()), |offset| {
            blobs::xattrs(&self.store, offset)
        })
    }
}
