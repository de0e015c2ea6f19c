//! Writes an image from sorted entries.
mod attribute_table;
mod blobs;
mod directory_counts;
mod hard_links;
mod index;
mod inner_levels;
pub mod plan;
