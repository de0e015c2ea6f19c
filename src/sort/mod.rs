//! Sorts entries into key order within a memory budget.
mod record;

pub use record::{Content, Record};
