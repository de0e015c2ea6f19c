//! dgfs: a read-only packed file system for millions of small files.
//!
//! An image is one index file and one or more data volumes. Reading a small file costs one read of the data device
//! and at most one 4 KiB read of the index device; neither building nor reading needs memory that grows with the
//! number of files. The bytes are described in `docs/format.md`.
//!
//! # Overview
//! Data flows one way, and the modules stand in that order:
//! - [`source`] walks a directory tree and yields entries;
//! - [`sort`] brings them into key order, in bounded memory;
//! - [`build`] writes contents into data volumes and entries into the pages of an index;
//! - [`format`] is what those bytes mean, shared by writer and reader, and [`image`] what the files
//!   they lie in are called;
//! - [`read`] answers lookups, listings and reads from an image, and verifies it;
//! - [`extract`] turns an image into a directory tree again, [`salvage`] what is left of a damaged one;
//! - [`escape`] shows names of any bytes on one line;
//! - [`fs`] is the file system without a kernel, [`mount`] its FUSE service.
//!
//! # Example
//! An image of entries that come from anywhere, read back without a mount:
//!
//! ```
//! use dgfs::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
//! use dgfs::entry::{Kind, Metadata};
//! use dgfs::read::Image;
//!
//! # fn main() -> dgfs::Result<()> {
//! let directory = tempfile::tempdir().expect("a temporary directory");
//! let path = directory.path().join("tiles.dgfs");
//!
//! let mut builder = Builder::new(&path, BuildOptions::default())?;
//! for (x, y) in [(2, 1), (1, 7), (1, 3)] {
//!     builder.add(NewEntry {
//!         path: format!("tiles/{x}/{y}.png").as_bytes(),
//!         metadata: Metadata::new(Kind::File, 0o644),
//!         contents: Contents::Bytes(format!("tile {x}, {y}").as_bytes()),
//!         target: b"",
//!         identity: None,
//!     })?;
//! }
//! let report = builder.finish(&mut LogObserver)?;
//! assert_eq!(report.header.files, 3);
//!
//! let image = Image::open(&path)?;
//! let node = image.lookup(b"tiles/1/7.png")?.expect("it was packed");
//! let mut buffer = Vec::new();
//! assert_eq!(image.read_at(&node, 0, 100, &mut buffer)?, b"tile 1, 7");
//!
//! let tiles = image.lookup(b"tiles/1")?.expect("made because entries below it need it");
//! let mut names = Vec::new();
//! image.list(&tiles, 0, &mut |child| {
//!     names.push(child.name.to_vec());
//!     true
//! })?;
//! assert_eq!(names, [b"3.png", b"7.png"]);
//! # Ok(())
//! # }
//! ```

mod beneath;
pub mod build;
mod descriptors;
pub mod entry;
mod error;
pub mod escape;
pub mod extract;
pub mod format;
pub mod fs;
pub mod image;
#[cfg(feature = "mount")]
pub mod mount;
mod native;
pub mod read;
pub mod salvage;
pub mod sort;
pub mod source;

pub use error::{Error, ErrorKind, Result};
