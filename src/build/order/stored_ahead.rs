//! Where the contents went that were stored ahead of their entries.

use std::path::Path;

use crate::Result;
use crate::build::primaries::{NUMBERS, Primary};
use crate::sort::{TupleReader, TupleSorter};

/// Collects what became of files, in any order.
#[derive(Debug)]
pub(in crate::build) struct StoredAhead(TupleSorter<NUMBERS>);

/// The same by ordinal.
#[derive(Debug)]
pub(in crate::build) struct Ahead(TupleReader<NUMBERS>);

impl StoredAhead {
    pub(in crate::build) fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self(TupleSorter::new(scratch_dir, memory))
    }

    pub(in crate::build) fn add(&mut self, primary: &Primary) -> Result<()> {
        self.0.add(primary.numbers())
    }

    pub(in crate::build) fn finish(self) -> Result<Ahead> {
        Ok(Ahead(self.0.finish()?.reader()?))
    }
}

impl Ahead {
    /// What became of the file at `ordinal`, if it was stored. Asked for in ascending order.
    pub(in crate::build) fn take(&mut self, ordinal: u64) -> Result<Option<Primary>> {
        match self.0.peek() {
            Some(numbers) if Primary::from_numbers(numbers).ordinal == ordinal => {
                self.0.take()?;
                Ok(Some(Primary::from_numbers(numbers)))
            }
            _ => Ok(None),
        }
    }
}
