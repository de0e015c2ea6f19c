//! Remembers where the contents of hard-linked files went, for their further names.

use super::index::{Placement, Usage};
use crate::format::cut::Cut;
use crate::format::member::Member;
use crate::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Numbers of a record: ordinal, size, bytes of holes, hole map, position, stored length, bytes saved, codec, usage,
/// how it is cut, its shared frame.
pub(super) const NUMBERS: usize = 11;

/// Bytes of a record.
const RECORD: usize = 8 * NUMBERS;

/// Records that wait in memory before they are written, and the unit of growth of the file.
const KEPT: usize = 4096;

/// What a further name of a file has in common with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Primary {
    pub(super) ordinal: u64,
    pub(super) size: u64,
    /// Bytes in holes, and the blob that says where they are if there is data as well.
    pub(super) hole_bytes: u64,
    pub(super) hole_map: u64,
    pub(super) placement: Option<Placement>,
}

impl Primary {
    /// All of it in numbers, the ordinal first.
    pub(super) fn numbers(&self) -> [u64; NUMBERS] {
        let placement = self.placement;
        let number = |part: fn(Placement) -> u64| placement.map_or(u64::MAX, part);
        [
            self.ordinal,
            self.size,
            self.hole_bytes,
            self.hole_map,
            number(|p| p.position),
            number(|p| p.stored),
            number(|p| p.saved),
            number(|p| p.codec.map_or(u64::MAX, u64::from)),
            number(|p| p.usage as u64),
            number(|p| p.cut.map_or(0, Cut::column)),
            number(|p| {
                p.member
                    .map_or(0, |m| u64::from(m.data) << 32 | u64::from(m.offset))
            }),
        ]
    }

    /// What gave these numbers.
    pub(super) fn from_numbers(numbers: [u64; NUMBERS]) -> Self {
        let [ordinal, size, hole_bytes, hole_map, place @ ..] = numbers;
        let [position, stored, saved, codec, usage, cut, member] = place;
        let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0);
        let usages = [Usage::Own, Usage::Ahead, Usage::Shared];
        let usage = usages.into_iter().find(|known| *known as u64 == usage);
        Self {
            ordinal,
            size,
            hole_bytes,
            hole_map,
            placement: usage.map(|usage| Placement {
                position,
                stored,
                saved,
                codec: u32::try_from(codec).ok(),
                cut: Cut::from_column(cut).ok().flatten(),
                member: (member > 0).then(|| Member {
                    data: half(member >> 32),
                    offset: half(member),
                }),
                usage,
            }),
        }
    }
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
                for value in primary.numbers() {
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
        let numbers = [(); NUMBERS].map(|()| numbers.next().unwrap_or_default());
        Ok(Primary::from_numbers(numbers))
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
                cut: Cut::from_column(3074 + n % 203).ok().flatten(),
                member: n.is_multiple_of(4).then_some(Member {
                    data: 1 << 16,
                    offset: u32::try_from(n % 100).unwrap(),
                }),
                usage: if n.is_multiple_of(3) {
                    Usage::Ahead
                } else {
                    Usage::Shared
                },
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
