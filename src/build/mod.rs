//! Writes an image from sorted entries.
mod directory_counts;
mod hard_links;
pub mod plan;
