//! Leaf pages: entries as columns in a few segments, filled to one page after compression.
//!
//! [`LeafBuilder`] collects entries and cuts segments from their front, of which [`PageBuilder`] makes pages; [`LeafPage`] is
//! a page to read from, [`Segment`] a part of it that is decompressed by itself, [`LeafRow`] one entry, and [`RowCursor`] goes
//! from entry to entry.

mod build;
mod columns;
mod context;
mod cursor;
mod files;
mod marks;
mod new_entry;
mod open_frames;
mod outline;
mod page;
mod page_builder;
mod row;
mod segment;
mod strings;
mod times;
mod told;

pub use build::{LeafBuilder, LeafFrames};
pub use context::LeafContext;
pub use cursor::RowCursor;
pub use new_entry::{NewEntry, NewMember, NewTarget};
pub use outline::{Outline, OutlinedRun};
pub use page::LeafPage;
pub use page_builder::PageBuilder;
pub use row::{LeafRow, Target};
pub use segment::{Run, Segment};

/// Byte offset of the first segment.
const FIRST_SEGMENT_OFFSET: usize = 24;

/// Most segments of a page.
pub const MAX_SEGMENTS: usize = 16;

/// Optional columns, by bit.
const SAVED: u32 = 1 << 0;
const PLACE: u32 = 1 << 1;
const PRIMARY: u32 = 1 << 2;
const LINKS: u32 = 1 << 3;
const DEVICE: u32 = 1 << 4;
const XATTRS: u32 = 1 << 5;
const FAR_TARGET: u32 = 1 << 6;
const HOLE_BYTES: u32 = 1 << 7;
const HOLE_MAP: u32 = 1 << 8;
const ACCESS_SECONDS: u32 = 1 << 9;
const ACCESS_NANOSECONDS: u32 = 1 << 10;
const CHANGE_SECONDS: u32 = 1 << 11;
const CHANGE_NANOSECONDS: u32 = 1 << 12;
const BIRTH_SECONDS: u32 = 1 << 13;
const BIRTH_NANOSECONDS: u32 = 1 << 14;
const CODEC: u32 = 1 << 15;
const CUT: u32 = 1 << 16;
const MEMBER: u32 = 1 << 17;
const FRAME_STORED: u32 = 1 << 18;
const FRAME_DATA: u32 = 1 << 19;
const KNOWN_COLUMNS: u32 = (1 << 20) - 1;

/// Seconds are stored with their sign bit flipped, so that earlier times are smaller numbers.
const SECONDS_BIAS: u64 = 1 << 63;

#[cfg(test)]
mod tests;
