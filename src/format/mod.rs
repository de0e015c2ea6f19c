//! What the bytes of an image mean: `docs/format.md` in code, shared by writer and reader.
//!
//! # Overview
//! - [`header`] is the first page of an index, [`volume`] first and last page of a data volume;
//! - [`leaf`] holds entries as [`column`]s, [`inner`] the way to them;
//! - [`extent`] describes how the contents of a file lie in a volume, [`cut`] how they do if chunks are shared,
//!   [`member`] how those of several small files do in one frame, [`codec`] how they are compressed;
//! - [`attributes`] and [`blob`] hold what does not belong into a leaf page;
//! - [`bytes`], [`bits`], [`frame`] and [`checksum`] are the alphabet of the others.
//!
//! Nothing here does I/O, and nothing allocates, loops or recurses by a number that was not checked
//! first. What does not parse is [`Malformed`]; the caller knows the file and page and says so.

pub mod attributes;
pub mod bits;
pub mod blob;
pub mod bytes;
pub mod checksum;
pub mod codec;
pub mod column;
pub mod cut;
pub mod extent;
pub mod frame;
pub mod header;
pub mod holes;
pub mod inner;
pub mod leaf;
pub mod member;
pub mod page_dictionaries;
pub mod volume;

/// Bytes of an index page, and the unit of every read of the index.
pub const PAGE_SIZE: usize = 4096;

/// [`PAGE_SIZE`] as a file offset.
pub const PAGE_BYTES: u64 = 4096;

/// Major version of the format that this crate writes and reads.
pub const VERSION_MAJOR: u16 = 1;

/// Newest minor version that this crate writes; readers accept any.
pub const VERSION_MINOR: u16 = 5;

/// Longest name of an entry in bytes.
pub const MAX_NAME: usize = 255;

/// Longest parent path, in bytes, that a leaf page or separator spells out; runs below a longer one
/// are "far". Sized so that one far-from-compressible entry always fits into a page: path 1024,
/// name 255 and an inline target of [`MAX_INLINE_TARGET`] leave a third of the page free.
pub const MAX_INLINE_PATH: usize = 1024;

/// Longest symbolic link target that a leaf page holds; longer ones are blobs.
pub const MAX_INLINE_TARGET: usize = 1024;

/// Longest symbolic link target in bytes: far beyond what systems take, and little enough that a page of links, each
/// with a target of its own, costs no more than a large file to list.
pub const MAX_TARGET: usize = 65_535;

/// Most entries in one leaf page; bounds what decoding a page can cost (about 100 us).
pub const MAX_LEAF_ENTRIES: usize = 4096;

/// Most levels of inner pages. Even with the smallest fan-out that the longest separators leave
/// (three), 24 levels reach 10^11 leaf pages.
pub const MAX_LEVELS: u32 = 24;

/// Most rows of the attribute section (12 MiB in memory).
pub const MAX_ATTRIBUTES: usize = 1 << 20;

/// Most volumes of one image.
pub const MAX_VOLUMES: usize = 1 << 16;

/// Most data segments of one file with holes (24 MiB in memory); a writer fills the smallest holes of a file
/// that has more.
pub const MAX_HOLE_SEGMENTS: usize = 1 << 20;

/// Longest blob in bytes.
pub const MAX_BLOB: usize = 1 << 24;

/// An image UUID.
pub type Uuid = [u8; 16];

/// Bytes that contradict the format, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl From<Malformed> for crate::Error {
    fn from(malformed: Malformed) -> Self {
        Self::corrupt(malformed.0)
    }
}

/// The result of parsing bytes of an image.
pub type Parsed<T> = std::result::Result<T, Malformed>;
