//! The second pass of a build: what was stored becomes entries of the index.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::compression::Prepared;
use super::contents::Receiver;
use super::index::{IndexEntry, IndexWriter, Placement, Usage};
use super::options::{DEFAULT_CHUNK_SHIFT, Observer, Progress, report};
use super::order::{RankedEntry, StoredAhead};
use super::overrides::Overrides;
use super::placed::Placed;
use super::plan::PlannedEntry;
use super::primaries::{Primaries, Primary};
use crate::entry::Kind;
use crate::format::attributes::Attributes;
use crate::{Error, ErrorKind, Result};

/// The second pass: entries go into the index as their contents have been stored.
pub(super) struct Packing<'a, 'f> {
    pub(super) index: &'a mut IndexWriter<'f>,
    pub(super) primaries: Primaries,
    pub(super) overrides: &'a Overrides,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) progress: Progress,
    pub(super) problems: u64,
    /// Bytes of the current file that were counted before it was complete.
    pub(super) bytes_ahead: u64,
    /// Entries and files that were done.
    pub(super) steps: u64,
    /// What contents are compressed with.
    pub(super) compression: Prepared,
}

/// Files whose contents are stored ahead of their entries.
pub(super) struct PackingAhead<'p, 'a, 'f> {
    pub(super) packing: &'p mut Packing<'a, 'f>,
    pub(super) stored: StoredAhead,
}

impl Receiver<RankedEntry> for PackingAhead<'_, '_, '_> {
    fn stored(&mut self, entry: &mut RankedEntry, placed: Option<Placed>) -> Result<()> {
        let mut primary = self.packing.first_name(entry.ordinal(), placed)?;
        if let Some(placement) = &mut primary.placement {
            if placement.usage == Usage::Own {
                placement.usage = Usage::Ahead;
            }
        }
        self.stored.add(&primary)?;
        self.packing.count_bytes(&primary)
    }

    fn problem(&mut self, error: &Error) {
        self.packing.note(error);
    }

    fn progress(&mut self, bytes: u64) {
        self.packing.advance(bytes);
    }
}

impl Receiver<PlannedEntry> for Packing<'_, '_> {
    fn stored(&mut self, entry: &mut PlannedEntry, placed: Option<Placed>) -> Result<()> {
        let primary = match entry.link.filter(|_| entry.is_alias()) {
            Some(link) => self.primaries.find(link.primary)?.ok_or_else(|| {
                Error::new(ErrorKind::OutOfOrder, "hard link without a first name")
                    .at_path(OsString::from_vec(entry.record.path()))
            })?,
            None => match entry.stored_ahead {
                Some(primary) => primary,
                None => self.first_name(entry.ordinal, placed)?,
            },
        };
        if entry.link.is_some() && !entry.is_alias() {
            self.primaries.add(primary)?;
        }
        // Not before: until here the source's own time tells whether the file has changed.
        self.overrides.apply(&mut entry.record.metadata);
        self.push(entry, primary)?;
        self.progress.entries += 1;
        if entry.is_alias() || entry.stored_ahead.is_some() {
            return self.tell(0);
        }
        self.count_bytes(&primary)
    }

    fn problem(&mut self, error: &Error) {
        self.note(error);
    }

    fn progress(&mut self, bytes: u64) {
        self.advance(bytes);
    }
}

impl Packing<'_, '_> {
    /// Hands the index what readers must know of codecs.
    pub(super) fn finish_codecs(self) {
        if self.index.is_compressed() {
            self.index.add_sections(self.compression.sections());
        }
    }

    /// Something could not be packed as it was.
    pub(super) fn note(&mut self, error: &Error) {
        self.problems += 1;
        self.observer.problem(error);
    }

    /// So many bytes of a file that is not complete yet were stored.
    fn advance(&mut self, bytes: u64) {
        self.bytes_ahead += bytes;
        self.progress.bytes += bytes;
        // The next call of `tell` fails if the observer wants no more.
        self.observer.progress(self.progress);
    }

    /// A file is complete.
    fn count_bytes(&mut self, primary: &Primary) -> Result<()> {
        let data = primary.size - primary.hole_bytes;
        self.progress.bytes += data.saturating_sub(self.bytes_ahead);
        self.bytes_ahead = 0;
        self.tell(data)
    }

    /// Tells the observer how far it is: every so often, and after files of much data.
    fn tell(&mut self, data: u64) -> Result<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(256) || data >= 1 << DEFAULT_CHUNK_SHIFT {
            report(self.observer, self.progress)?;
        }
        Ok(())
    }

    /// What the index says of contents that were placed.
    fn first_name(&mut self, ordinal: u64, placed: Option<Placed>) -> Result<Primary> {
        let mut primary = Primary {
            ordinal,
            size: 0,
            hole_bytes: 0,
            hole_map: 0,
            placement: None,
        };
        let Some(placed) = placed else {
            return Ok(primary);
        };
        self.compression.count(&placed);
        let shared = placed.shared_chunks;
        self.index
            .count_shared_chunks(shared.chunks, shared.stored_bytes);
        primary.size = placed.size;
        if let Some(holes) = placed.holes {
            primary.size = holes.size();
            primary.hole_bytes = holes.size() - holes.data_length();
            if primary.hole_bytes < primary.size {
                primary.hole_map = self.index.add_blob(&holes.encode())?;
            }
        }
        primary.placement = (placed.stored > 0).then_some(Placement {
            position: placed.position,
            stored: placed.stored,
            saved: placed.saved,
            codec: placed.codec,
            cut: placed.cut,
            member: placed.member,
            usage: if placed.shared {
                Usage::Shared
            } else {
                Usage::Own
            },
        });
        Ok(primary)
    }

    fn push(&mut self, entry: &PlannedEntry, primary: Primary) -> Result<()> {
        let record = &entry.record;
        if let Some(run) = entry.run {
            self.index
                .begin_run(&record.parent, run.directory, run.direct);
        }
        let kind = record.metadata.kind().unwrap_or(Kind::File);
        let children = entry.children.unwrap_or_default();
        let link = entry
            .link
            .map_or((0, 1), |link| (entry.ordinal - link.primary, link.count));
        self.index.push(&IndexEntry {
            name: &record.name,
            attributes: Attributes {
                mode: record.metadata.mode,
                uid: record.metadata.uid,
                gid: record.metadata.gid,
            },
            kind,
            mtime: record.metadata.mtime,
            other_times: record.metadata.other_times,
            size: primary.size,
            hole_bytes: primary.hole_bytes,
            hole_map: primary.hole_map,
            children: (children.direct, children.subdirs, children.deeper),
            placement: primary.placement,
            link,
            device: record.metadata.rdev,
            xattrs: &record.metadata.xattrs,
            target: &record.target,
        })
    }
}
