//! Sorted records in a scratch file; in memory, a filter of them and the first number of every so many.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::filter::Filter;
use super::{Key, Record, Value, record};
use crate::Result;
use crate::sort::merge::Merge;
use crate::sort::run::Run;
use crate::sort::scratch::{Scratch, ScratchWriter};
use crate::sort::tuples::{TupleCursor, write};

/// Bytes of a record in a file.
const RECORD_BYTES: usize = size_of::<Record>();

/// Records between fences, at least: a read of 4 KiB.
const LEAST_SPACING: u64 = 85;

/// Records between fences, at most: a read of 192 KiB. A table that needs them this far apart has
/// 2^34 records in 32 MiB.
const MOST_SPACING: u64 = 4096;

/// Bytes that a merge reads of each run at once.
const READ_BUFFER: usize = 64 << 10;

/// How far apart fences stand in runs made now, in a table of `records`, so that all of them take
/// about `memory` bytes.
pub(super) fn spacing(records: u64, memory: usize) -> usize {
    let fences = (memory / size_of::<u64>()).max(1) as u64;
    let spacing = records.div_ceil(fences).clamp(LEAST_SPACING, MOST_SPACING);
    usize::try_from(spacing).unwrap_or(1)
}

/// Sorted records in a file.
#[derive(Debug)]
pub(super) struct Records {
    scratch: Scratch,
    count: usize,
}

impl Records {
    pub(super) fn count(&self) -> u64 {
        self.count as u64
    }
}

#[derive(Debug)]
pub(super) struct SortedRun {
    records: Records,
    /// The first number of each record whose index is a multiple of `spacing`.
    fences: Vec<u64>,
    spacing: usize,
    filter: Filter,
}

/// A run in the making.
struct Writer {
    out: ScratchWriter,
    count: usize,
    fences: Vec<u64>,
    spacing: usize,
    filter: Filter,
}

impl Writer {
    fn new(scratch_dir: &Path, filter: Filter, spacing: usize) -> Result<Self> {
        Ok(Self {
            out: ScratchWriter::create(scratch_dir)?,
            count: 0,
            fences: Vec::new(),
            spacing,
            filter,
        })
    }

    fn push(&mut self, record: &Record) -> Result<()> {
        if self.count.is_multiple_of(self.spacing) {
            self.fences.push(record[0]);
        }
        self.count += 1;
        self.filter.add(&record::key(record));
        write(record, &mut self.out)
    }

    fn finish(self) -> Result<SortedRun> {
        Ok(SortedRun {
            records: Records {
                scratch: self.out.finish()?,
                count: self.count,
            },
            fences: self.fences,
            spacing: self.spacing,
            filter: self.filter,
        })
    }
}

impl SortedRun {
    /// Writes `records`, which are sorted, and makes them known to `filter`, which is empty.
    pub(super) fn write(
        scratch_dir: &Path,
        records: &[Record],
        filter: Filter,
        spacing: usize,
    ) -> Result<Self> {
        let mut writer = Writer::new(scratch_dir, filter, spacing)?;
        records.iter().try_for_each(|record| writer.push(record))?;
        writer.finish()
    }

    /// Makes one run of several.
    pub(super) fn merge(
        scratch_dir: &Path,
        runs: &[Records],
        filter: Filter,
        spacing: usize,
    ) -> Result<Self> {
        let cursors = runs.iter().map(|run| {
            let whole = Run {
                start: 0,
                end: (run.count * RECORD_BYTES) as u64,
            };
            TupleCursor::in_file(&run.scratch, whole, READ_BUFFER)
        });
        let mut merge: Merge<TupleCursor<6>> = Merge::new(cursors.collect())?;
        let mut writer = Writer::new(scratch_dir, filter, spacing)?;
        while let Some(cursor) = merge.lowest() {
            writer.push(&cursor.current())?;
            merge.advance()?;
        }
        writer.finish()
    }

    pub(super) fn records(&self) -> u64 {
        self.records.count()
    }

    pub(super) fn filter_bytes(&self) -> usize {
        self.filter.bytes()
    }

    /// What is in the file; gives up what is in memory.
    pub(super) fn into_records(self) -> Records {
        self.records
    }

    /// The value of `key`; counts what is read for it.
    pub(super) fn get(&self, key: &Key, reads: &AtomicU64) -> Result<Option<Value>> {
        if !self.filter.has(key) {
            return Ok(None);
        }
        // Behind the last fence below the key, and before the first above it: one block, unless
        // other keys have the same first number.
        let first = self.fences.partition_point(|&fence| fence < key[0]);
        let end = self.fences.partition_point(|&fence| fence <= key[0]);
        let mut bytes = vec![0; self.spacing * RECORD_BYTES];
        for block in first.saturating_sub(1)..end {
            let start = block * self.spacing;
            let count = self.spacing.min(self.records.count - start);
            let bytes = bytes.get_mut(..count * RECORD_BYTES).unwrap_or_default();
            reads.fetch_add(1, Ordering::Relaxed);
            let at = (start * RECORD_BYTES) as u64;
            self.records.scratch.read_at(bytes, at)?;
            if let Some(value) = find(bytes, key) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// Looks for `key` among sorted records.
fn find(bytes: &[u8], key: &Key) -> Option<Value> {
    let (mut low, mut high) = (0, bytes.len() / RECORD_BYTES);
    while low < high {
        let middle = usize::midpoint(low, high);
        let record = decode(bytes.get(middle * RECORD_BYTES..)?)?;
        match record::key(&record).cmp(key) {
            std::cmp::Ordering::Equal => return Some(record::value(&record)),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

fn decode(mut bytes: &[u8]) -> Option<Record> {
    let mut record = Record::default();
    for number in &mut record {
        let (first, rest) = bytes.split_first_chunk()?;
        *number = u64::from_le_bytes(*first);
        bytes = rest;
    }
    Some(record)
}
