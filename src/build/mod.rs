//! Writes an image.
//!
//! # Overview
//! - [`Builder`] takes entries in any order; [`pack_tree`] feeds it from a directory tree;
//! - once they are sorted, a first pass ([`plan`]) counts the children of each directory and groups hard links;
//! - a second pass appends contents to the volumes ([`volumes`]) and entries to the index;
//! - the finished files get their names in an order that a crash cannot spoil.

mod attribute_table;
mod blobs;
mod builder;
mod chunk_table;
mod classes;
mod closed_volumes;
mod compression;
pub mod contents;
pub mod cut_file;
mod cut_table;
mod dictionaries;
mod digest_tables;
mod directory_counts;
pub mod duplicates;
mod hard_links;
mod identity;
pub mod index;
pub(crate) mod inner_levels;
mod known_chunks;
mod leaf_filler;
mod mode_changes;
mod options;
mod order;
pub mod output;
mod overrides;
mod pack;
mod packing;
pub mod page_samples;
pub mod placed;
pub mod plan;
mod preallocate;
mod primaries;
mod publish;
mod samples;
mod spool;
mod storing;
mod volume_writer;
pub mod volumes;

pub use builder::{Builder, Contents, NewEntry};
pub use mode_changes::ModeChanges;
pub use options::{
    BuildOptions, CHUNK_SHIFTS, Compression, DEFAULT_CHUNK_SHIFT, DEFAULT_INDEX_LEVEL,
    DEFAULT_LEVEL, DEFAULT_MEMORY, DEFAULT_SMALL_FRAMES, Dedup, DictionarySize, LARGEST_DICTIONARY,
    LogObserver, MIN_MEMORY, Observer, Phase, Progress, Report, SMALL_FRAMES, SMALLEST_DICTIONARY,
};
pub use order::Order;
pub use overrides::{NewTime, Overrides};
pub use pack::pack_tree;
