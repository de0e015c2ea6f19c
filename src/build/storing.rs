//! Stores all contents: those that another order moves to the front, then the others by path.

use std::path::Path;

use super::contents::{ContentOptions, Planned, store_contents};
use super::digest_tables::TableSize;
use super::duplicates::Duplicates;
use super::options::{BuildOptions, Dedup};
use super::order::{self, Ahead, Ranked, StoredAhead};
use super::packing::{Packing, PackingAhead};
use super::plan::Plan;
use super::volumes::VolumeSet;
use crate::sort::Sorted;
use crate::source::TreeOpener;
use crate::{Result, descriptors};

/// What contents are stored from, and how.
pub(super) struct Storing<'a> {
    pub(super) options: &'a BuildOptions,
    pub(super) scratch_dir: &'a Path,
    pub(super) tree: Option<&'a TreeOpener>,
    /// Of the table of files that have been stored.
    pub(super) files: TableSize,
    pub(super) contents: ContentOptions,
}

impl Storing<'_> {
    /// Stores the contents of all entries of a plan, and passes the entries on to `packing`.
    pub(super) fn store(
        self,
        (plan, sorted): (&Plan, &Sorted),
        volumes: &mut VolumeSet,
        packing: &mut Packing<'_, '_>,
    ) -> Result<()> {
        let mut duplicates = match self.options.dedup {
            Dedup::None => None,
            Dedup::Files | Dedup::Chunks => Some(Duplicates::new(
                self.scratch_dir,
                self.files.memory,
                self.files.expected,
                self.options.chunk_shift,
            )),
        };
        let strict = self.options.strict;
        let ranked = order::ranked(
            &self.options.order,
            (plan, sorted),
            self.scratch_dir,
            self.options.memory / 8,
            &mut |error| {
                if strict {
                    return Err(error);
                }
                packing.note(&error);
                Ok(())
            },
        )?;
        let ahead = match ranked {
            None => None,
            Some(ranked) => {
                Some(self.store_ahead(ranked, volumes, duplicates.as_mut(), packing)?)
            }
        };
        packing.index.begin_run(b"", 0, 1);
        let planned = Planned::new(plan.entries(sorted)?, ahead);
        store_contents(
            planned,
            self.openers(),
            volumes,
            duplicates.as_mut(),
            self.contents,
            packing,
        )
    }

    fn store_ahead(
        &self,
        ranked: Ranked,
        volumes: &mut VolumeSet,
        duplicates: Option<&mut Duplicates>,
        packing: &mut Packing<'_, '_>,
    ) -> Result<Ahead> {
        let mut packing = PackingAhead {
            packing,
            stored: StoredAhead::new(self.scratch_dir, self.options.memory / 16),
        };
        store_contents(
            ranked,
            self.openers(),
            volumes,
            duplicates,
            ContentOptions {
                // Neighbours in this order are none in the index, which would have to describe the frame of each.
                small_frames: None,
                ..self.contents.clone()
            },
            &mut packing,
        )?;
        packing.packing.index.begin_at(volumes.position());
        packing.stored.finish()
    }

    /// What each thread that reads contents opens files with.
    fn openers(&self) -> Vec<Option<TreeOpener>> {
        let threads = self.options.threads.clamp(1, descriptors::most_threads());
        let tree = self.tree;
        (0..threads)
            .map(|_| tree.map(TreeOpener::another))
            .collect()
    }
}
