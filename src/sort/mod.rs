//! Sorts entries into key order within a memory budget.
//!
//! # Overview
//! - [`Record`] is one entry as a source describes it, [`Content`] says where its bytes are;
//! - [`Sorter`] takes records in any order, [`Sorted`] holds them in key order and
//!   [`SortedReader`] reads them, as often as wanted;
//! - [`TupleSorter`] does the same for fixed-size tuples of integers;
//! - [`SpillingTable`] finds values by keys that look random, however many there are;
//! - [`ImpliedParents`] supplies the directories that a source does not name.
//!
//! Both sorters fill a buffer, sort it, write it as a run to an unlinked scratch file and merge
//! the runs. What fits in memory is never written.

mod implied;
mod key;
mod merge;
mod payload;
mod record;
mod run;
mod run_buffer;
mod scratch;
mod sorter;
mod table;
mod tuples;
mod varint;

pub use implied::ImpliedParents;
pub use key::{NAME_LIMIT, PATH_LIMIT};
pub use record::{Content, Record};
pub use sorter::{Sorted, SortedReader, Sorter};
pub use table::{Key, SpillingTable, Value};
pub use tuples::{SortedTuples, TupleReader, TupleSorter};
