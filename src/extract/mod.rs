//! Takes things out of an image again: a tree, or the index out of a volume.
//!
//! # Overview
//! - [`extract_tree`] goes through the image in key order and keeps track of the directories it is in; it uses
//!   `place` to make entries, `contents` to fill files, and `metadata` to make entries what they were;
//! - [`extract_index`] recovers an index from the copy in volume 0.

mod contents;
mod index;
mod metadata;
mod options;
mod place;
mod selection;
mod tree;

pub use index::extract_index;
pub use options::{ExtractOptions, Extracted};
pub use tree::extract_tree;
