//! A whole image: a small sound one, changed behind its checksums.

use super::images::chunks::chunks_and_holes;
use super::images::compressed::compressed;
use super::images::consistency;
use super::images::cut::cut_and_moved;
use super::images::every_kind::every_kind;
use super::images::unpacked::Unpacked;
use super::patch;

thread_local! {
    static BASES: [Unpacked; 4] =
        [every_kind(), chunks_and_holes(), compressed(), cut_and_moved()].map(|parts| Unpacked::new(&parts));
}

/// The first byte says which image; the others are changes, see [`patch::apply`].
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let mut unpacked = BASES.with(|bases| bases[usize::from(choice) % bases.len()].clone());
    patch::apply(data, &mut unpacked);
    if let Some(parts) = unpacked.pack() {
        if let Ok(image) = parts.open() {
            consistency::examine(&image);
        }
    }
}
