//! A whole image: a small sound one, changed behind its checksums.

use super::images::consistency;
use super::images::every_kind::every_kind;
use super::images::unpacked::Unpacked;
use super::patch;

thread_local! {
    static BASE: Unpacked = Unpacked::new(&every_kind(false));
}

/// All bytes are changes, see [`patch::apply`].
pub(crate) fn run(data: &[u8]) {
    let mut unpacked = BASE.with(Unpacked::clone);
    patch::apply(data, &mut unpacked);
    if let Some(parts) = unpacked.pack() {
        if let Ok(image) = parts.open() {
            consistency::examine(&image);
        }
    }
}
