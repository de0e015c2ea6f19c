//! Walks a directory tree and yields its entries.
//!
//! # Overview
//! - [`walk`] turns a tree into records, with several threads and in no particular order;
//! - [`TreeOpener`] opens the files that the records name when their contents are due.
//!
//! Both reach everything through descriptors of directories, without following symbolic links unless
//! told to, so that neither long paths nor links swapped in meanwhile lead them astray. A
//! [`Selection`] says which entries are taken.

mod events;
mod extended_attributes;
#[cfg(test)]
mod extreme_trees;
mod list;
mod look;
mod open;
mod options;
mod patterns;
mod pending;
mod queue;
mod selection;
#[cfg(test)]
mod selection_tests;
mod tree;
mod walk;
mod worker;

pub use events::{SkipReason, WalkEvent, WalkSummary};
pub use open::TreeOpener;
pub use options::WalkOptions;
pub use patterns::{AttributePatterns, PathPatterns, VCS_PATTERNS};
pub use selection::{PathList, Selection};
pub use walk::walk;
