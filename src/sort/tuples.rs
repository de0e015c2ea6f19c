//! The sorter of integer tuples, for joins by number within a memory budget.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merge::{Cursor, Merge};
use super::run::Run;
use super::scratch::{RangeReader, Scratch, ScratchWriter};
use crate::Result;

/// Buffers that a merge reads runs through, in bytes: smallest and largest.
const READ_BUFFER: std::ops::RangeInclusive<usize> = 8 << 10..=256 << 10;

/// Runs that one merge reads at most.
const FAN_IN_LIMIT: usize = 512;

/// Takes tuples of `N` numbers in any order and sorts them, first number first. Equal ones stay.
#[derive(Debug)]
pub struct TupleSorter<const N: usize> {
    directory: PathBuf,
    memory: usize,
    filling: Vec<[u64; N]>,
    scratch: Option<ScratchWriter>,
    runs: Vec<Run>,
}

impl<const N: usize> TupleSorter<N> {
    /// A sorter that holds at most `memory` bytes (but at least two tuples) and spills to nameless
    /// files in `scratch_dir`.
    pub fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self {
            directory: scratch_dir.to_path_buf(),
            memory,
            filling: Vec::new(),
            scratch: None,
            runs: Vec::new(),
        }
    }

    /// Adds one tuple.
    pub fn add(&mut self, tuple: [u64; N]) -> Result<()> {
        if self.filling.len() >= 2 && size_of_val(self.filling.as_slice()) >= self.memory {
            self.spill()?;
        }
        self.filling.push(tuple);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.filling.sort_unstable();
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(ScratchWriter::create(&self.directory)?),
        };
        let start = scratch.position();
        for tuple in self.filling.drain(..) {
            write(&tuple, scratch)?;
        }
        self.runs.push(Run {
            start,
            end: scratch.position(),
        });
        Ok(())
    }

    /// Ends adding.
    pub fn finish(mut self) -> Result<SortedTuples<N>> {
        if self.scratch.is_some() && !self.filling.is_empty() {
            self.spill()?;
        }
        let Some(scratch) = self.scratch.take() else {
            self.filling.sort_unstable();
            return Ok(SortedTuples(Stored::Memory(Arc::new(self.filling))));
        };
        self.filling = Vec::new();
        let mut scratch = scratch.finish()?;
        let mut runs = self.runs;
        let fan_in = (self.memory / 2 / READ_BUFFER.start()).clamp(2, FAN_IN_LIMIT);
        while runs.len() > fan_in {
            let mut out = ScratchWriter::create(&self.directory)?;
            let mut merged = Vec::new();
            for group in runs.chunks(fan_in) {
                let start = out.position();
                let mut merge = merge::<N>(&scratch, group, self.memory)?;
                while let Some(cursor) = merge.lowest() {
                    write(&cursor.current(), &mut out)?;
                    merge.advance()?;
                }
                merged.push(Run {
                    start,
                    end: out.position(),
                });
            }
            scratch = out.finish()?;
            runs = merged;
        }
        Ok(SortedTuples(Stored::Files {
            scratch,
            runs,
            memory: self.memory,
        }))
    }
}

pub(super) fn write<const N: usize>(tuple: &[u64; N], scratch: &mut ScratchWriter) -> Result<()> {
    for number in tuple {
        scratch.buffer().extend_from_slice(&number.to_le_bytes());
    }
    scratch.flush_if_full()
}

fn merge<const N: usize>(
    scratch: &Scratch,
    runs: &[Run],
    memory: usize,
) -> Result<Merge<TupleCursor<N>>> {
    let share = memory / 2 / runs.len().max(1);
    let buffer = share.clamp(*READ_BUFFER.start(), *READ_BUFFER.end());
    let cursors = runs
        .iter()
        .map(|run| TupleCursor::in_file(scratch, *run, buffer));
    Merge::new(cursors.collect())
}

/// Sorted tuples.
#[derive(Debug)]
pub struct SortedTuples<const N: usize>(Stored<N>);

#[derive(Debug)]
enum Stored<const N: usize> {
    Memory(Arc<Vec<[u64; N]>>),
    Files {
        scratch: Scratch,
        runs: Vec<Run>,
        memory: usize,
    },
}

impl<const N: usize> SortedTuples<N> {
    /// A reader from the first tuple on. Several may be open at a time.
    pub fn reader(&self) -> Result<TupleReader<N>> {
        let merge = match &self.0 {
            Stored::Memory(tuples) => Merge::new(vec![TupleCursor::Memory {
                tuples: tuples.clone(),
                next: 0,
            }])?,
            Stored::Files {
                scratch,
                runs,
                memory,
            } => merge(scratch, runs, *memory)?,
        };
        Ok(TupleReader { merge })
    }
}

/// Reads tuples in order.
#[derive(Debug)]
pub struct TupleReader<const N: usize> {
    merge: Merge<TupleCursor<N>>,
}

impl<const N: usize> TupleReader<N> {
    /// The next tuple, which stays the next one.
    pub fn peek(&self) -> Option<[u64; N]> {
        self.merge.lowest().map(TupleCursor::current)
    }

    /// Takes the next tuple; `None` at the end.
    pub fn take(&mut self) -> Result<Option<[u64; N]>> {
        let tuple = self.peek();
        self.merge.advance()?;
        Ok(tuple)
    }
}

/// Reads the tuples of one run.
#[derive(Debug)]
pub(super) enum TupleCursor<const N: usize> {
    Memory {
        tuples: Arc<Vec<[u64; N]>>,
        /// Index of the tuple after the current one.
        next: usize,
    },
    File {
        reader: RangeReader,
        current: [u64; N],
    },
}

impl<const N: usize> TupleCursor<N> {
    /// A cursor before the first tuple of `run`.
    pub(super) fn in_file(scratch: &Scratch, run: Run, buffer: usize) -> Self {
        Self::File {
            reader: scratch.range(run.start, run.end, buffer),
            current: [0; N],
        }
    }

    pub(super) fn current(&self) -> [u64; N] {
        match self {
            Self::Memory { tuples, next } => next
                .checked_sub(1)
                .and_then(|index| tuples.get(index))
                .copied()
                .unwrap_or([0; N]),
            Self::File { current, .. } => *current,
        }
    }
}

impl<const N: usize> Cursor for TupleCursor<N> {
    fn advance(&mut self) -> Result<bool> {
        match self {
            Self::Memory { tuples, next } => {
                *next += 1;
                Ok(*next <= tuples.len())
            }
            Self::File { reader, current } => {
                let mut bytes = reader.peek(size_of::<[u64; N]>())?;
                if bytes.is_empty() {
                    return Ok(false);
                }
                for number in current.iter_mut() {
                    let Some((first, rest)) = bytes.split_first_chunk() else {
                        return Err(reader.damaged());
                    };
                    *number = u64::from_le_bytes(*first);
                    bytes = rest;
                }
                reader.consume(size_of::<[u64; N]>());
                Ok(true)
            }
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.current().cmp(&other.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_budget_gives_the_same_order(
            mut tuples in prop::collection::vec([0u64..5, 0..u64::MAX], 0..400),
            memory in 0usize..8000,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut sorter = TupleSorter::new(directory.path(), memory);
            for tuple in &tuples {
                sorter.add(*tuple).unwrap();
            }
            let sorted = sorter.finish().unwrap();
            tuples.sort_unstable();
            for _ in 0..2 {
                let mut reader = sorted.reader().unwrap();
                for tuple in &tuples {
                    prop_assert_eq!(reader.peek(), Some(*tuple));
                    prop_assert_eq!(reader.take().unwrap(), Some(*tuple));
                }
                prop_assert_eq!(reader.take().unwrap(), None);
                prop_assert_eq!(reader.take().unwrap(), None);
            }
        }
    }
}
