//! Finds contents that have been stored before.

use std::path::Path;

use super::contents::Digest;
use super::volumes::{Placed, default_stored_length};
use crate::Result;
use crate::sort::{Key, SpillingTable};

/// Low bits of a number in the table that tell the codec; the others tell how many bytes were saved. Were these
/// 2^56 or more, by zeros that are not stored, the file is not remembered.
const CODEC_BITS: u32 = 8;

/// Stands for no codec: images have fewer.
const NO_CODEC: u64 = (1 << CODEC_BITS) - 1;

/// What has been stored so far, by digest and length.
#[derive(Debug)]
pub struct Duplicates {
    table: SpillingTable,
    chunk_shift: u32,
}

impl Duplicates {
    /// Nothing has been stored yet. Takes about `memory` bytes, and spills to nameless files in
    /// `scratch_dir`; contents are cut in chunks of `1 << chunk_shift` bytes.
    pub fn new(scratch_dir: &Path, memory: usize, chunk_shift: u32) -> Self {
        Self {
            table: SpillingTable::new(scratch_dir, memory),
            chunk_shift,
        }
    }

    /// The extent of `size` bytes of contents with this digest.
    pub fn find(&mut self, digest: &Digest, size: u64) -> Result<Option<Placed>> {
        if size == 0 {
            return Ok(None);
        }
        let found = self.table.get(&key(digest, size))?;
        Ok(found.map(|[position, rest]| {
            let (saved, codec) = (rest >> CODEC_BITS, rest & NO_CODEC);
            Placed {
                position,
                size,
                holes: None,
                stored: default_stored_length(size, self.chunk_shift).saturating_sub(saved),
                saved,
                codec: u32::try_from(codec).ok().filter(|_| codec != NO_CODEC),
                shared: true,
            }
        }))
    }

    /// Contents with this digest, which are new, have been stored.
    pub fn add(&mut self, digest: &Digest, placed: &Placed) -> Result<()> {
        let codec = placed.codec.map_or(NO_CODEC, u64::from);
        let fits = placed.saved >> (64 - CODEC_BITS) == 0 && codec <= NO_CODEC;
        if placed.stored == 0 || !fits {
            return Ok(());
        }
        let value = [placed.position, placed.saved << CODEC_BITS | codec];
        self.table.insert(key(digest, placed.size), value)
    }
}

fn key(digest: &Digest, size: u64) -> Key {
    let [a, b, c] = digest.numbers();
    [a, b, c, size]
}
