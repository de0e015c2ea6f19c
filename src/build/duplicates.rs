//! Finds contents that have been stored before.

use std::path::Path;
use std::sync::Arc;

use super::contents::{Claims, Digest};
use super::placed::{Placed, SharedChunks};
use super::volumes::default_stored_length;
use crate::Result;
use crate::format::cut::Cut;
use crate::format::member::Member;
use crate::sort::{Key, SpillingTable};

/// Low bits of a number in the table that tell the codec; the others tell how many bytes were saved. Were these
/// 2^56 or more, by zeros that are not stored, the file is not remembered.
const CODEC_BITS: u32 = 8;

/// Set in the position of a file that is cut by content; there is no codec then, but the way it is cut.
const IS_CUT: u64 = 1 << 63;

/// Set in the position of a frame that files share. The other number tells, from its low bits on, the codec, the stored
/// length, what the frame decodes to, and where the file begins there.
const IS_MEMBER: u64 = 1 << 62;

/// Bits of each of the latter three.
const MEMBER_BITS: u32 = 18;

/// Low bits that tell the way a file is cut; the others tell how many bytes were saved.
const CUT_BITS: u32 = 14;

/// One part of the memory in so many is for claims.
const CLAIMS: usize = 8;

/// Most bytes for claims: half a million of them, some seconds of work.
const MOST_CLAIMS: usize = 4 << 20;

/// Stands for no codec: images have fewer.
const NO_CODEC: u64 = (1 << CODEC_BITS) - 1;

/// What has been stored so far, by digest and length.
#[derive(Debug)]
pub struct Duplicates {
    table: SpillingTable,
    chunk_shift: u32,
    claims: Arc<Claims>,
}

impl Duplicates {
    /// Nothing has been stored yet, and about `expected` files are to come. Takes about `memory` bytes, and spills to
    /// nameless files in `scratch_dir`; contents are cut in chunks of `1 << chunk_shift` bytes.
    pub fn new(scratch_dir: &Path, memory: usize, expected: u64, chunk_shift: u32) -> Self {
        let for_claims = (memory / CLAIMS).min(MOST_CLAIMS);
        Self {
            table: SpillingTable::new(scratch_dir, memory - for_claims, expected),
            chunk_shift,
            claims: Arc::new(Claims::new(for_claims, expected)),
        }
    }

    /// What threads tell each other of contents, also of those that are not stored yet.
    pub(super) fn claims(&self) -> Arc<Claims> {
        Arc::clone(&self.claims)
    }

    /// The extent of `size` bytes of contents with this digest.
    pub fn find(&self, digest: &Digest, size: u64) -> Result<Option<Placed>> {
        if size == 0 {
            return Ok(None);
        }
        let found = self.table.get(&key(digest, size))?;
        Ok(found.map(|[position, rest]| {
            if position & IS_MEMBER != 0 {
                return member(position & !IS_MEMBER, rest, size);
            }
            let (saved, codec, cut) = if position & IS_CUT == 0 {
                (rest >> CODEC_BITS, rest & NO_CODEC, None)
            } else {
                let cut = Cut::from_column(rest & ((1 << CUT_BITS) - 1));
                (rest >> CUT_BITS, NO_CODEC, cut.ok().flatten())
            };
            let default = match cut {
                Some(cut) => cut.default_stored_length(size),
                None => default_stored_length(size, self.chunk_shift),
            };
            Placed {
                position: position & !IS_CUT,
                size,
                holes: None,
                stored: default.saturating_sub(saved),
                saved,
                codec: u32::try_from(codec).ok().filter(|_| codec != NO_CODEC),
                cut,
                member: None,
                shared_chunks: SharedChunks::default(),
                shared: true,
            }
        }))
    }

    /// Contents with this digest, which are new, have been stored.
    pub fn add(&mut self, digest: &Digest, placed: &Placed) -> Result<()> {
        if let Some(Member { data, offset }) = placed.member {
            let numbers = [offset.into(), data.into(), placed.stored];
            let is_known = placed.position < IS_MEMBER;
            let packed = numbers.iter().try_fold(0, |packed: u64, &number| {
                (number >> MEMBER_BITS == 0).then_some(packed << MEMBER_BITS | number)
            });
            let packed = packed.filter(|packed| packed >> (64 - CODEC_BITS) == 0 && is_known);
            return match packed {
                Some(packed) => {
                    let codec = placed.codec.map_or(NO_CODEC, u64::from);
                    let value = [placed.position | IS_MEMBER, packed << CODEC_BITS | codec];
                    self.table.insert(key(digest, placed.size), value)
                }
                None => Ok(()),
            };
        }
        let (bits, rest, is_cut) = match placed.cut {
            None => (CODEC_BITS, placed.codec.map_or(NO_CODEC, u64::from), 0),
            Some(cut) => (CUT_BITS, cut.column(), IS_CUT),
        };
        let fits =
            placed.saved >> (64 - bits) == 0 && rest >> bits == 0 && placed.position < IS_MEMBER;
        if placed.stored == 0 || !fits {
            return Ok(());
        }
        let value = [placed.position | is_cut, placed.saved << bits | rest];
        self.table.insert(key(digest, placed.size), value)
    }
}

/// The file of `size` bytes in a shared frame at `position` that `packed` tells of.
fn member(position: u64, packed: u64, size: u64) -> Placed {
    let number = |skip: u32| packed >> (CODEC_BITS + skip) & ((1 << MEMBER_BITS) - 1);
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Placed {
        position,
        size,
        holes: None,
        stored: number(0),
        saved: 0,
        codec: Some(small(packed & NO_CODEC)),
        cut: None,
        member: Some(Member {
            data: small(number(MEMBER_BITS)),
            offset: small(number(2 * MEMBER_BITS)),
        }),
        shared_chunks: SharedChunks::default(),
        shared: true,
    }
}

fn key(digest: &Digest, size: u64) -> Key {
    let [a, b, c] = digest.numbers();
    [a, b, c, size]
}
