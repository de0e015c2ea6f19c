//! Finds chunks that have been stored before.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use super::contents::Digest;
use crate::Result;
use crate::format::cut::CutChunk;
use crate::sort::{Key, SpillingTable};

/// Bits of a position in the table: volumes of 4 PiB. Chunks behind that are not remembered.
const POSITION_BITS: u32 = 52;

/// Most files that were taken back after chunks of theirs had been stored; what is stored after that is not remembered.
const MOST_TAKEN_BACK: usize = (1 << (64 - POSITION_BITS)) - 1;

/// Bits of the stored length, which is at most 2^24, and of the codec, behind those of the checksum.
const STORED_BITS: u32 = 25;
const CODEC_BITS: u32 = 7;

/// The chunks that have been stored so far, by digest and length. Many threads may ask, one adds.
#[derive(Debug)]
pub(super) struct KnownChunks {
    table: SpillingTable,
    /// Where the files began that were taken back, in order: it never falls, since what follows is stored from there on.
    /// Chunks that were stored before the nth of them and do not lie before its place are gone.
    taken_back: RwLock<Vec<u64>>,
}

impl KnownChunks {
    /// No chunk is known, and about `expected` are to come. Takes about `memory` bytes, and spills to nameless files in
    /// `scratch_dir`.
    pub(super) fn new(scratch_dir: &Path, memory: usize, expected: u64) -> Self {
        Self {
            table: SpillingTable::new(scratch_dir, memory, expected),
            taken_back: RwLock::default(),
        }
    }

    /// How many files were taken back, and where one of them began.
    fn taken_back(&self, number: usize) -> (usize, Option<u64>) {
        let taken_back = self.taken_back.read();
        let taken_back = taken_back.unwrap_or_else(PoisonError::into_inner);
        (taken_back.len(), taken_back.get(number).copied())
    }

    /// The chunk of `length` bytes with this digest.
    pub(super) fn find(&self, digest: &Digest, length: u32) -> Result<Option<CutChunk>> {
        let Some([place, rest]) = self.table.get(&key(digest, length))? else {
            return Ok(None);
        };
        let position = place & ((1 << POSITION_BITS) - 1);
        let since = usize::try_from(place >> POSITION_BITS).unwrap_or(usize::MAX);
        let (_, next) = self.taken_back(since);
        if next.is_some_and(|from| position >= from) {
            return Ok(None);
        }
        let part = |shift: u32, bits: u32| {
            u32::try_from(rest >> shift & ((1 << bits) - 1)).unwrap_or(u32::MAX)
        };
        Ok(Some(CutChunk {
            length,
            stored: part(0, STORED_BITS),
            crc: part(STORED_BITS + CODEC_BITS, 32),
            codec: part(STORED_BITS, CODEC_BITS),
            position,
        }))
    }

    /// A chunk with this digest, which was not found, has been stored.
    pub(super) fn add(&self, digest: &Digest, chunk: &CutChunk) -> Result<()> {
        let (since, _) = self.taken_back(0);
        if chunk.position >> POSITION_BITS != 0 || since >= MOST_TAKEN_BACK {
            return Ok(());
        }
        let key = key(digest, chunk.length);
        // One that was taken back keeps its place in the table.
        if since > 0 && self.table.get(&key)?.is_some() {
            return Ok(());
        }
        let place = chunk.position | (since as u64) << POSITION_BITS;
        let rest = u64::from(chunk.stored)
            | u64::from(chunk.codec) << STORED_BITS
            | u64::from(chunk.crc) << (STORED_BITS + CODEC_BITS);
        self.table.insert(key, [place, rest])
    }

    /// The file that began at `position` and has stored chunks is taken back, and nothing was stored behind it.
    pub(super) fn take_back(&self, position: u64) {
        let taken_back = self.taken_back.write();
        let mut taken_back = taken_back.unwrap_or_else(PoisonError::into_inner);
        if taken_back.len() < MOST_TAKEN_BACK {
            taken_back.push(position);
        }
    }
}

fn key(digest: &Digest, length: u32) -> Key {
    let [a, b, c] = digest.numbers();
    [a, b, c, length.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(position: u64) -> CutChunk {
        CutChunk {
            length: 1 << 24,
            stored: 1 << 24,
            crc: 0xfedc_ba98,
            codec: 63,
            position,
        }
    }

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn chunks_are_found_as_they_were_added() {
        let scratch = tempfile::tempdir().unwrap();
        for memory in [0, 1 << 20] {
            let known = KnownChunks::new(scratch.path(), memory, 100);
            for n in 0..100 {
                assert_eq!(known.find(&digest(n), 1 << 24).unwrap(), None);
                known.add(&digest(n), &chunk(4096 + u64::from(n))).unwrap();
            }
            let last = CutChunk {
                length: 1,
                stored: 1,
                crc: 0,
                codec: 0,
                position: (1 << 52) - 1,
            };
            known.add(&digest(1), &last).unwrap();
            known
                .add(
                    &digest(2),
                    &CutChunk {
                        position: 1 << 52,
                        length: 2,
                        ..last
                    },
                )
                .unwrap();
            for n in 0..100 {
                let found = known.find(&digest(n), 1 << 24).unwrap();
                assert_eq!(found, Some(chunk(4096 + u64::from(n))));
            }
            assert_eq!(known.find(&digest(1), 1).unwrap(), Some(last));
            assert_eq!(
                known.find(&digest(2), 2).unwrap(),
                None,
                "beyond what is remembered"
            );
        }
    }

    #[test]
    fn chunks_of_a_file_that_was_taken_back_are_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        let known = KnownChunks::new(scratch.path(), 1 << 20, 100);
        let add = |n: u32, position| known.add(&digest(n), &chunk(position)).unwrap();
        let finds = |n: u32| known.find(&digest(n), 1 << 24).unwrap().map(|c| c.position);
        add(1, 5000);
        add(2, 6000);
        add(3, 7000);
        known.take_back(6000);
        assert_eq!([1, 2, 3].map(finds), [Some(5000), None, None]);
        // The place is used again; what lay there before does not come back.
        add(4, 6000);
        add(2, 6500);
        assert_eq!([2, 4].map(finds), [None, Some(6000)]);
        add(5, 8000);
        known.take_back(8000);
        add(6, 8000);
        assert_eq!(
            [1, 4, 5, 6].map(finds),
            [Some(5000), Some(6000), None, Some(8000)]
        );
    }

    #[test]
    fn files_taken_back_are_bounded() {
        let scratch = tempfile::tempdir().unwrap();
        let known = KnownChunks::new(scratch.path(), 1 << 20, 100);
        known.add(&digest(0), &chunk(4096)).unwrap();
        for n in 0..5000 {
            known.take_back(10_000 + n);
        }
        known.add(&digest(1), &chunk(1 << 20)).unwrap();
        assert_eq!(known.find(&digest(0), 1 << 24).unwrap(), Some(chunk(4096)));
        assert_eq!(known.find(&digest(1), 1 << 24).unwrap(), None);
    }
}
