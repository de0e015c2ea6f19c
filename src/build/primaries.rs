//! Remembers where the contents of hard-linked files went, for their further names.

use super::index::Placement;
use crate::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a record: ordinal, size, bytes of holes, hole map, position, stored length, bytes saved, codec.
const RECORD: usize = 64;

/// Records that wait in memory before they are written, and the unit of growth of the file.
const KEPT: usize = 4096;

/// What a further name of a file has in common with the first; not whether others share its extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) ordinal: u64,
    pub(super) size: u64,
    /// Bytes in holes, and the blob that says where they are if there is data as well.
    pub(super) hole_bytes: u64,
    pub(super) hole_map: u64,
    pub(super) placement: Option<Placement>,
}

/// First names of hard-linked files, found by ordinal.
///
/// They come in ascending order, so a file of fixed-size records is searched by bisection, and memory does
/// not depend on how many there are.
#[derive(Debug)]
pub(super) struct Primaries {
    scratch_dir: PathBuf,
    file: Option<File>,
    written: u64,
    kept: Vec<Primary>,
}

impl Primaries {
    pub(super) fn new(scratch_dir: &Path) -> Self {
        Self {
            scratch_dir: scratch_dir.to_path_buf(),
            file: None,
            written: 0,
            kept: Vec::new(),
        }
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(&self.scratch_dir, "use scratch data in", error)
    }

    /// Remembers a first name; its ordinal is greater than all before.
    pub(super) fn add(&mut self, primary: Primary) -> Result<()> {
        if self.kept.len() == KEPT {
            let mut bytes = Vec::with_capacity(KEPT * RECORD);
            for primary in self.kept.drain(..) {
                let placement = primary.placement;
                let number = |part: fn(Placement) -> u64| placement.map_or(u64::MAX, part);
                for value in [
                    primary.ordinal,
                    primary.size,
                    primary.hole_bytes,
                    primary.hole_map,
                    number(|p| p.position),
                    number(|p| p.stored),
                    number(|p| p.saved),
                    number(|p| p.codec.map_or(u64::MAX, u64::from)),
                ] {
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
            let file = match self.file.take() {
                Some(file) => file,
                None => tempfile::tempfile_in(&self.scratch_dir).map_err(|e| self.failed(e))?,
            };
            let at = self.written * RECORD as u64;
            file.write_all_at(&bytes, at).map_err(|e| self.failed(e))?;
            self.file = Some(file);
            self.written += KEPT as u64;
        }
        self.kept.push(primary);
        Ok(())
    }

    fn record(&self, index: u64) -> Result<Primary> {
        let mut bytes = [0; RECORD];
        if let Some(file) = &self.file {
            file.read_exact_at(&mut bytes, index * RECORD as u64)
                .map_err(|e| self.failed(e))?;
        }
        let mut numbers = bytes.chunks_exact(8).map(|chunk| {
            chunk
                .first_chunk::<8>()
                .map_or(0, |number| u64::from_le_bytes(*number))
        });
        let mut next = || numbers.next().unwrap_or_default();
        let (ordinal, size) = (next(), next());
        let (hole_bytes, hole_map) = (next(), next());
        let placement = Placement {
            position: next(),
            stored: next(),
            saved: next(),
            codec: u32::try_from(next()).ok(),
            shared: false,
        };
        let placement = (placement.position != u64::MAX).then_some(placement);
        Ok(Primary {
            ordinal,
            size,
            hole_bytes,
            hole_map,
            placement,
        })
    }

    /// The first name with `ordinal`, if it was added.
    pub(super) fn find(&self, ordinal: u64) -> Result<Option<Primary>> {
        if let Ok(at) = self
            .kept
            .binary_search_by_key(&ordinal, |primary| primary.ordinal)
        {
            return Ok(self.kept.get(at).copied());
        }
        let (mut low, mut high) = (0, self.written);
        while low < high {
            let middle = low + (high - low) / 2;
            let primary = self.record(middle)?;
            match primary.ordinal.cmp(&ordinal) {
                std::cmp::Ordering::Equal => return Ok(Some(primary)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_added_in_memory_and_on_disk() {
        let scratch = tempfile::tempdir().unwrap();
        let mut primaries = Primaries::new(scratch.path());
        let primary = |n: u64| Primary {
            ordinal: n * 3,
            size: n,
            hole_bytes: n / 2,
            hole_map: n * 7,
            placement: (!n.is_multiple_of(5)).then_some(Placement {
                position: n << 20,
                stored: n,
                saved: 1,
                codec: u32::try_from(n).ok().filter(|codec| codec % 2 == 0),
                shared: false,
            }),
        };
        let count = 3 * KEPT as u64 + 7;
        for n in 0..count {
            primaries.add(primary(n)).unwrap();
        }
        for n in 0..count {
            assert_eq!(primaries.find(n * 3).unwrap(), Some(primary(n)));
            assert_eq!(primaries.find(n * 3 + 1).unwrap(), None);
        }
    }
}
