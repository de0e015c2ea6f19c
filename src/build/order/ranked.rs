//! Files by rank.

use std::path::Path;

use crate::Result;
use crate::build::contents::{Entries, Work};
use crate::build::plan::PlannedEntry;
use crate::entry::Metadata;
use crate::sort::{Content, Record, Sorted, SortedReader, Sorter};

/// Sorts files by rank.
///
/// It is the sorter of entries that does it: a record's path is its rank, it has the ordinal in place of an identity and
/// its own path in that of a target.
pub(super) struct Ranker(Sorter);

impl Ranker {
    pub(super) fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self(Sorter::new(scratch_dir, memory))
    }

    /// Adds a file; no two have one rank.
    pub(super) fn add(&mut self, entry: &PlannedEntry, rank: u64) -> Result<()> {
        self.add_at(entry, (Vec::new(), format!("{rank:016x}").into_bytes()))
    }

    /// Adds a file with parent and name of a path for a rank; no two have one.
    pub(super) fn add_at(
        &mut self,
        entry: &PlannedEntry,
        (parent, name): (Vec<u8>, Vec<u8>),
    ) -> Result<()> {
        let record = &entry.record;
        self.0.add(&Record {
            parent,
            name,
            metadata: Metadata {
                other_times: None,
                xattrs: Vec::new(),
                ..record.metadata.clone()
            },
            target: record.path(),
            identity: Some((entry.ordinal, 0)),
            ..*record
        })
    }

    pub(super) fn finish(self) -> Result<Ranked> {
        let sorted: Sorted = self.0.finish()?;
        Ok(Ranked(sorted.reader()?))
    }
}

/// Yields files by rank.
#[derive(Debug)]
pub(in crate::build) struct Ranked(SortedReader);

/// A file on its way to the volumes ahead of its entry.
#[derive(Debug)]
pub(in crate::build) struct RankedEntry(Record);

impl RankedEntry {
    /// The ordinal of its entry.
    pub(in crate::build) fn ordinal(&self) -> u64 {
        self.0.identity.map_or(0, |(ordinal, _)| ordinal)
    }
}

impl Entries for Ranked {
    type Entry = RankedEntry;

    fn blank() -> RankedEntry {
        RankedEntry(Record::empty())
    }

    fn next(&mut self, into: &mut RankedEntry) -> Result<bool> {
        self.0.next(&mut into.0)
    }

    fn path(entry: &RankedEntry) -> Vec<u8> {
        entry.0.target.clone()
    }

    fn work(entry: &RankedEntry) -> Work<'_> {
        let record = &entry.0;
        let path = record.target.as_slice();
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = match slash {
            Some(at) => (path.get(..at), path.get(at + 1..)),
            None => (None, Some(path)),
        };
        let (parent, name) = (parent.unwrap_or_default(), name.unwrap_or_default());
        match record.content {
            Content::Tree => Work::Tree {
                parent,
                name,
                size: record.size,
                holes_hint: record.holes_hint,
                mtime: record.metadata.mtime,
            },
            Content::Spool { offset } => Work::Spool {
                name,
                offset,
                size: record.size,
            },
            Content::None | Content::ImpliedDirectory => Work::Nothing,
        }
    }

    fn memory(entry: &RankedEntry) -> usize {
        size_of::<RankedEntry>() + entry.0.name.len() + entry.0.target.len()
    }

    fn room(entry: &RankedEntry) -> usize {
        size_of::<RankedEntry>() + entry.0.name.capacity() + entry.0.target.capacity()
    }
}
