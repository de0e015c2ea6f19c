//! Contents in another order than that of their entries.
//!
//! # Overview
//! - a list of paths ([`list`]) gives files a rank, or their names do ([`similar`]);
//! - [`Ranked`] yields those files by rank, for the pipeline to store before all others;
//! - what became of them waits in a sorter ([`StoredAhead`]) until their entries come in key order.
//!
//! Each step is an external sort or a join of two sorted sequences, so memory is bounded.

mod list;
mod ranked;
mod similar;
mod stored_ahead;

use std::path::{Path, PathBuf};

use super::plan::{Plan, PlannedEntry};
use crate::sort::{Sorted, SortedTuples};
use crate::{Error, Result};

pub(super) use ranked::{Ranked, RankedEntry};
pub(super) use stored_ahead::{Ahead, StoredAhead};

/// The order of contents in the volumes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Order {
    /// That of the entries: by path.
    #[default]
    Path,
    /// The files that this list names come first, in its order; all others follow by path.
    ///
    /// A line holds one path, relative to the root of the tree, as `dgfs ls` prints it: three octal digits
    /// behind a backslash are a byte, two backslashes one. `./` and `/` in front do not count. Only the first
    /// line of a file counts, and lines of what is no file do not.
    List(PathBuf),
    /// Files that are probably alike lie together: those of one class (the extension, or a short name without one), in
    /// it those of one name, and of these those of one size.
    Similarity,
}

/// The files of `sorted` that `order` moves, by rank; `None` if it moves none.
///
/// Takes about `memory` bytes, and spills to `scratch_dir` beyond. `problem` is told of each path of a list that
/// is not in the tree, and may end the build.
pub(super) fn ranked(
    order: &Order,
    (plan, sorted): (&Plan, &Sorted),
    scratch_dir: &Path,
    memory: usize,
    problem: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<Option<Ranked>> {
    let list = match order {
        Order::Path => return Ok(None),
        Order::Similarity => return by_likeness((plan, sorted), scratch_dir, memory).map(Some),
        Order::List(list) => list,
    };
    let named = list::read(list, scratch_dir, memory, problem)?;
    let ranks = list::ranks(&named, (plan, sorted), scratch_dir, memory, problem)?;
    drop(named);
    by_rank(&ranks, (plan, sorted), scratch_dir, memory).map(Some)
}

/// Brings all files together that are probably alike.
fn by_likeness(
    (plan, sorted): (&Plan, &Sorted),
    scratch_dir: &Path,
    memory: usize,
) -> Result<Ranked> {
    let mut entries = plan.entries(sorted)?;
    let mut entry = PlannedEntry::empty();
    let mut ranked = ranked::Ranker::new(scratch_dir, memory);
    while entries.next(&mut entry)? {
        if entry.has_contents() {
            ranked.add_at(&entry, similar::place(&entry))?;
        }
    }
    ranked.finish()
}

/// Brings files into the order of `ranks`, which are pairs of ordinal and rank. Of several ranks of one file
/// the lowest counts.
fn by_rank(
    ranks: &SortedTuples<2>,
    (plan, sorted): (&Plan, &Sorted),
    scratch_dir: &Path,
    memory: usize,
) -> Result<Ranked> {
    let mut ranks = ranks.reader()?;
    let mut entries = plan.entries(sorted)?;
    let mut entry = PlannedEntry::empty();
    let mut ranked = ranked::Ranker::new(scratch_dir, memory);
    while ranks.peek().is_some() && entries.next(&mut entry)? {
        let mut lowest = None;
        while let Some([ordinal, rank]) = ranks.peek() {
            if ordinal != entry.ordinal {
                break;
            }
            lowest.get_or_insert(rank);
            ranks.take()?;
        }
        if let Some(rank) = lowest.filter(|_| entry.has_contents()) {
            ranked.add(&entry, rank)?;
        }
    }
    ranked.finish()
}
