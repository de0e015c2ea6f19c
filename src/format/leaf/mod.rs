//! Leaf pages: entries as columns, filled to one page after compression.
//!
//! [`LeafBuilder`] collects entries and cuts pages from their front; [`LeafPage`] is a page to read from,
//! [`LeafRow`] one entry of it, and [`RowCursor`] goes from entry to entry.

mod build;
mod columns;
mod cursor;
mod files;
mod marks;
mod open_frames;
mod outline;
mod page;
mod row;
mod strings;
mod times;
mod told;

pub use build::{LeafBuilder, NewEntry, NewMember, NewTarget};
pub use cursor::RowCursor;
pub use outline::{Outline, OutlinedRun};
pub use page::{LeafPage, Run};
pub use row::{LeafRow, Target};

/// Byte offset of the names frame.
const FRAMES_OFFSET: usize = 36;

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
