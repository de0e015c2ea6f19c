//! Takes things out of an image again: a tree, or the index out of a volume.
//!
//! # Overview
//! - [`extract_tree`] goes through the image in key order and keeps track of the directories it is in; it uses
//!   `place` to make entries and `metadata` to make them what they were;
//! - files are made by the threads of `pool`, each by `file`, which fills it by `contents`;
//! - [`extract_remains`] does the same and says of each entry what became of it, for damaged images;
//! - [`extract_index`] recovers an index from the copy in volume 0.

mod contents;
mod directories;
mod file;
mod index;
mod links;
mod metadata;
mod options;
mod outcome;
mod paths;
mod place;
mod pool;
mod report;
mod selection;
mod tree;

pub use index::extract_index;
pub use options::{Existing, ExtractOptions, Extracted};
pub use outcome::{Fate, Outcome};
pub use tree::{extract_remains, extract_tree};
