//! An identity that follows from what an image holds.
//!
//! The checksums of pages cover the UUID, so it has to be known before the first page is written.
//! Contents are only known after the last. An image that is to be the same wherever it is built is
//! therefore written under a provisional UUID, the digest of all its bytes gives the final one, and
//! the checksums, four bytes of each index page, are taken anew.

use super::output::Output;
use crate::format::checksum::seal_page;
use crate::format::header::Header;
use crate::format::{PAGE_BYTES, PAGE_SIZE, Uuid};
use crate::{Error, ErrorKind, Result};

/// The UUID under which such an image is written at first.
pub(super) const PROVISIONAL: Uuid = [0; 16];

/// Pages read and written at a time.
const PAGES: usize = 256;

/// The UUID of the image with this complete index, whose extents have the digest `extents`.
///
/// Equal UUIDs mean equal trees: the digest is BLAKE3, of which 122 bits are kept (version 8 of RFC
/// 9562).
pub(super) fn derive(index: &Output, extents: &[u8; 32]) -> Result<Uuid> {
    let mut hasher = blake3::Hasher::new_derive_key("dgfs image identity 1");
    hasher.update(extents);
    let length = index.length()?;
    let mut buffer = vec![0; PAGES * PAGE_SIZE];
    let mut at = 0;
    while at < length {
        let part = part(&mut buffer, length - at);
        index.read_at(part, at)?;
        hasher.update(part);
        at += part.len() as u64;
    }
    let mut uuid: Uuid = [0; 16];
    let digest = hasher.finalize();
    for (to, from) in uuid.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = *version & 0x0f | 0x80;
    *variant = *variant & 0x3f | 0x80;
    Ok(uuid)
}

/// Gives the complete `index` with this `header` the identity `uuid`.
pub(super) fn reseal(index: &Output, header: &mut Header, uuid: Uuid) -> Result<()> {
    header.uuid = uuid;
    let page = header.encode();
    let footer = header
        .index_length
        .checked_sub(PAGE_BYTES)
        .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "an index without pages"))?;
    index.write_at(&page, 0)?;
    index.write_at(&page, footer)?;
    let mut buffer = vec![0; PAGES * PAGE_SIZE];
    let end = 1 + header.leaf_pages + header.inner_pages;
    let mut number = 1;
    while number < end {
        let at = number * PAGE_BYTES;
        let part = part(&mut buffer, (end - number) * PAGE_BYTES);
        index.read_at(part, at)?;
        for page in part.chunks_exact_mut(PAGE_SIZE) {
            if let Some(page) = page.first_chunk_mut::<PAGE_SIZE>() {
                seal_page(&uuid, number, page);
            }
            number += 1;
        }
        index.write_at(part, at)?;
    }
    Ok(())
}

/// As much of `buffer` as `length` bytes need.
fn part(buffer: &mut [u8], length: u64) -> &mut [u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (part, _) = buffer.split_at_mut(length.min(buffer.len()));
    part
}
