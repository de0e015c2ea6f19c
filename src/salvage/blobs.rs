//! The blobs of an index, each from the place where its checksum is right.

use super::copies::Copies;
use crate::Result;
use crate::build::output::Output;
use crate::format::blob::{self, BLOB_HEADER};

/// Bytes that are searched at once for the next whole blob.
const WINDOW: u64 = 1 << 20;

/// What became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blobs {
    /// Blobs that are whole.
    pub(super) whole: u64,
    /// Stretches of damaged ones between them.
    pub(super) lost: u64,
    /// Length of the section.
    pub(super) length: u64,
}

/// Writes the blobs that lie from `start` to `start + length` of the copies to `at` of `out`, each at its own
/// offset; what is damaged everywhere is left out. If `exact`, the section has that length, else blobs end somewhere
/// before it.
pub(super) fn copy(
    copies: &Copies,
    start: u64,
    length: u64,
    exact: bool,
    out: &Output,
    at: u64,
) -> Result<Blobs> {
    let mut blobs = Blobs::default();
    let mut offset = 0;
    while offset < length {
        if let Some(bytes) = whole_blob(copies, start, offset, length) {
            out.write_at(&bytes, at + offset)?;
            offset += bytes.len() as u64;
            blobs.whole += 1;
            blobs.length = offset;
            continue;
        }
        let next = next_blob(copies, start, offset, length);
        if next.is_none() && !exact {
            break;
        }
        blobs.lost += 1;
        offset = next.unwrap_or(length);
    }
    if exact {
        blobs.length = length;
    }
    Ok(blobs)
}

/// Header and contents of the blob at `offset`, if they are whole.
fn whole_blob(copies: &Copies, start: u64, offset: u64, length: u64) -> Option<Vec<u8>> {
    let headers = copies.versions(start + offset, BLOB_HEADER);
    let mut lengths: Vec<usize> = headers
        .iter()
        .filter_map(|header| blob::length(header.first_chunk()?).ok())
        .filter(|&own| (BLOB_HEADER + own) as u64 <= length - offset)
        .collect();
    lengths.dedup();
    lengths.into_iter().find_map(|own| {
        copies.right(start + offset, BLOB_HEADER + own, &|bytes| {
            is_whole(offset, bytes)
        })
    })
}

fn is_whole(offset: u64, bytes: &[u8]) -> bool {
    bytes
        .split_first_chunk()
        .is_some_and(|(header, contents)| blob::check(offset, header, contents).is_ok())
}

/// The offset of the first whole blob behind the damaged one at `offset`. A checksum covers its blob's offset, so
/// bytes that only look like a blob do not pass.
fn next_blob(copies: &Copies, start: u64, offset: u64, length: u64) -> Option<u64> {
    // Mostly the damage is not in the length.
    let header = copies.versions(start + offset, BLOB_HEADER);
    let by_length = header.iter().filter_map(|header| {
        let own = blob::length(header.first_chunk()?).ok()?;
        Some(offset + (BLOB_HEADER + own) as u64)
    });
    for next in by_length {
        if next < length && whole_blob(copies, start, next, length).is_some() {
            return Some(next);
        }
    }
    let mut from = offset + 1;
    while from < length {
        let window = usize::try_from((length - from).min(WINDOW)).ok()?;
        let found = copies
            .versions(start + from, window)
            .iter()
            .find_map(|bytes| {
                let mut candidates = bytes.windows(BLOB_HEADER).enumerate();
                candidates.find_map(|(skip, header)| {
                    let at = from + skip as u64;
                    let own = blob::length(header.first_chunk()?).ok()?;
                    // Empty blobs do not occur, and zeros would look like them.
                    let fits = own > 0 && (BLOB_HEADER + own) as u64 <= length - at;
                    let whole = fits && whole_blob(copies, start, at, length).is_some();
                    whole.then_some(at)
                })
            });
        if found.is_some() {
            return found;
        }
        from += (window as u64)
            .saturating_sub(BLOB_HEADER as u64 - 1)
            .max(1);
    }
    None
}
