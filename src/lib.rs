//! dgfs: a read-only packed file system for millions of small files.
//!
//! # Overview
//! Data flows one way, and the modules stand in that order:
//! - [`source`] walks a directory tree and yields entries;
//! - [`sort`] brings them into key order, in bounded memory;
//! - [`build`] writes contents into data volumes and entries into the pages of an index;
//! - [`format`] is what those bytes mean, shared by writer and reader, and [`image`] what the files
//!   they lie in are called;
//! - [`read`] answers lookups, listings and reads from an image;
//! - [`extract`] takes trees and indexes out of it again;
//! - [`fs`] is the file system without a kernel, [`mount`] its FUSE service.

mod beneath;
pub mod build;
pub mod entry;
mod error;
pub mod extract;
pub mod format;
pub mod fs;
pub mod image;
#[cfg(feature = "mount")]
pub mod mount;
pub mod read;
pub mod sort;
pub mod source;

pub use error::{Error, ErrorKind, Result};
