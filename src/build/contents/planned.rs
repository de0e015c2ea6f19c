//! The entries of a plan as the pipeline takes them.

use super::source::{Entries, Work};
use crate::Result;
use crate::build::order::Ahead;
use crate::build::plan::{PlannedEntries, PlannedEntry};
use crate::sort::{Content, Record};

/// Planned entries and their contents; further names of a file have none of their own.
#[derive(Debug)]
pub struct Planned {
    entries: PlannedEntries,
    ahead: Option<Ahead>,
}

impl Planned {
    /// All of `entries`; the contents of those in `ahead` have been stored already.
    pub(in crate::build) fn new(entries: PlannedEntries, ahead: Option<Ahead>) -> Self {
        Self { entries, ahead }
    }
}

impl Entries for Planned {
    type Entry = PlannedEntry;

    fn blank() -> PlannedEntry {
        PlannedEntry::empty()
    }

    fn next(&mut self, into: &mut PlannedEntry) -> Result<bool> {
        let found = self.entries.next(into)?;
        into.stored_ahead = match &mut self.ahead {
            Some(ahead) if found => ahead.take(into.ordinal)?,
            _ => None,
        };
        Ok(found)
    }

    fn path(entry: &PlannedEntry) -> Vec<u8> {
        entry.record.path()
    }

    fn work(entry: &PlannedEntry) -> Work<'_> {
        let record = &entry.record;
        match record.content {
            _ if !entry.has_contents() || entry.stored_ahead.is_some() => Work::Nothing,
            Content::None | Content::ImpliedDirectory => Work::Nothing,
            Content::Tree => Work::Tree {
                parent: &record.parent,
                name: &record.name,
                size: record.size,
                holes_hint: record.holes_hint,
                mtime: record.metadata.mtime,
            },
            Content::Spool { offset } => Work::Spool {
                name: &record.name,
                offset,
                size: record.size,
            },
        }
    }

    fn memory(entry: &PlannedEntry) -> usize {
        measure(&entry.record, Vec::len)
    }

    fn room(entry: &PlannedEntry) -> usize {
        measure(&entry.record, Vec::capacity)
    }
}

/// Bytes of an entry with this record, of whose byte strings each counts as `of` says.
fn measure(record: &Record, of: fn(&Vec<u8>) -> usize) -> usize {
    let Record {
        parent,
        name,
        metadata,
        target,
        ..
    } = record;
    let xattrs = metadata.xattrs.iter();
    let attribute = size_of::<(Vec<u8>, Vec<u8>)>();
    size_of::<PlannedEntry>()
        + of(parent)
        + of(name)
        + of(target)
        + xattrs
            .map(|(name, value)| attribute + of(name) + of(value))
            .sum::<usize>()
}
