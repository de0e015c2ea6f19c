//! Walks a directory tree and yields its entries.
//!
//! # Overview
//! - [`walk`] turns a tree into records, with several threads and in no particular order;
//! - [`TreeOpener`] opens the files that the records name when their contents are due.
//!
//! Both reach everything through descriptors of directories, without following symbolic links, so
//! that neither long paths nor links swapped in meanwhile lead them astray.

mod extended_attributes;
#[cfg(test)]
mod extreme_trees;
mod open;
mod pending;
mod queue;
mod walk;
mod worker;

pub use open::TreeOpener;
pub use walk::{SkipReason, WalkEvent, WalkOptions, WalkSummary, walk};
