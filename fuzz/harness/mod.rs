//! What each fuzz target does with its input. `tests/fuzz_corpus.rs` does the same with the inputs that are kept.
//!
//! Checksums are put right before a decoder sees the bytes: they would stop a fuzzer at the first step.

#![allow(dead_code, reason = "each target uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a target that fails says where"
)]

pub(crate) mod codecs;
pub(crate) mod cut_table;
pub(crate) mod extent;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod image;
#[path = "../../tests/images/mod.rs"]
pub(crate) mod images;
pub(crate) mod inner;
pub(crate) mod leaf;
pub(crate) mod patch;
pub(crate) mod tables;

use dgfs::format::PAGE_SIZE;

/// The bytes as a page, cut or filled with zeros.
pub(crate) fn page(data: &[u8]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let length = data.len().min(PAGE_SIZE);
    page[..length].copy_from_slice(&data[..length]);
    page
}

/// Puts the checksum at the end of a header, footer or trailer right.
pub(crate) fn seal(page: &mut [u8; PAGE_SIZE]) {
    let sum = dgfs::format::checksum::crc(&page[..PAGE_SIZE - 4]);
    page[PAGE_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
}

/// Cuts `count` bytes, or what there is, from the front of `data`.
pub(crate) fn cut<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = data.split_at(count.min(data.len()));
    *data = rest;
    front
}

/// Cuts a number of two bytes from the front of `data`; 0 if there are none.
pub(crate) fn cut_u16(data: &mut &[u8]) -> u16 {
    let mut bytes = [0; 2];
    let front = cut(data, 2);
    bytes[..front.len()].copy_from_slice(front);
    u16::from_le_bytes(bytes)
}
