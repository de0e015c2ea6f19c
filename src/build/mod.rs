//! Writes an image from sorted entries.
mod attribute_table;
mod blobs;
mod chunk_table;
mod directory_counts;
mod hard_links;
mod index;
mod inner_levels;
pub mod output;
pub mod plan;
mod preallocate;
pub mod volumes;
