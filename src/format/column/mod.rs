//! Columns of numbers: the five encodings of section 2.5 of the format.
//!
//! [`ColumnEncoder`] chooses among them; [`Column`] knows where the values of one lie, and [`ColumnCursor`] reads
//! them one after the other from anywhere on.

mod encode;
mod read;

pub use encode::ColumnEncoder;
pub use read::{Column, ColumnCursor, Streams};

const CONSTANT: u8 = 0;
const PACKED: u8 = 1;
const CLASSED: u8 = 2;
const DICTIONARY: u8 = 3;
const DELTA: u8 = 4;

/// Most values that a dictionary holds: its index is a byte.
const MAX_DICTIONARY: usize = 256;

#[cfg(test)]
mod tests;
