//! Finds the codecs of an index whose header is lost: their rows prove themselves by the checksums of the dictionaries.

use super::copies::Copies;
use crate::format::PAGE_BYTES;
use crate::format::checksum::crc;
use crate::format::codec::{self, Codec, MAX_CODECS, ROW, Section};

/// The sections of codecs and dictionaries that lie behind `from`. Dictionaries that are damaged are zeros.
pub(super) fn find(copies: &Copies, from: u64) -> Vec<Section> {
    let pages = from.div_ceil(PAGE_BYTES)..copies.pages();
    for offset in pages.map(|page| page.saturating_mul(PAGE_BYTES)) {
        for bytes in copies.versions(offset, MAX_CODECS * ROW) {
            let Some(codecs) = rows(&bytes) else {
                continue;
            };
            let end = offset + (codecs.len() * ROW) as u64;
            if let Some(dictionaries) =
                dictionaries(copies, &codecs, end.next_multiple_of(PAGE_BYTES))
            {
                return Section::of_codecs(&codecs, dictionaries, &[]);
            }
        }
    }
    Vec::new()
}

/// The rows that `bytes` begin with, if they may be some with a dictionary.
fn rows(bytes: &[u8]) -> Option<Vec<Codec>> {
    let mut first = Vec::new();
    Codec::default().encode_into(&mut first);
    let algorithm = first.get(..4)?;
    let count = bytes
        .chunks_exact(ROW)
        .take_while(|row| row.starts_with(algorithm))
        .count();
    let bytes = bytes
        .get(..count * ROW)
        .filter(|bytes| count > 1 && bytes.starts_with(&first))?;
    codec::decode(bytes, count as u64, u64::MAX).ok()
}

/// The dictionaries that lie from `start` on; `None` if none of them is right.
fn dictionaries(copies: &Copies, codecs: &[Codec], start: u64) -> Option<Vec<u8>> {
    let mut section = Vec::new();
    let mut proven = false;
    for dictionary in codecs.iter().filter_map(|codec| codec.dictionary) {
        // They stand one behind the other.
        if dictionary.offset != section.len() as u64 {
            return None;
        }
        let length = dictionary.stored as usize;
        let right = |bytes: &[u8]| crc(bytes) == dictionary.crc;
        match copies.right(start.checked_add(dictionary.offset)?, length, &right) {
            Some(bytes) => {
                proven = true;
                section.extend_from_slice(&bytes);
            }
            None => section.resize(section.len() + length, 0),
        }
    }
    proven.then_some(section)
}
