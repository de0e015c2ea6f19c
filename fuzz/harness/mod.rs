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

/// Cuts a number of `count` bytes, at most 8, from the front of `data`; what is missing of it is 0.
pub(crate) fn cut_number(data: &mut &[u8], count: usize) -> u64 {
    let mut bytes = [0; 8];
    let front = cut(data, count);
    bytes[..front.len()].copy_from_slice(front);
    u64::from_le_bytes(bytes)
}

/// The same of two bytes.
pub(crate) fn cut_u16(data: &mut &[u8]) -> u16 {
    cut_number(data, 2) as u16
}
