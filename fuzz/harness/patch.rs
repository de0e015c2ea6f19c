//! Changes to the pieces of an image, as a fuzzer writes them.

use super::cut;
use super::images::unpacked::Unpacked;

/// Applies changes: each two bytes of place among all bytes of the pieces, one byte that says what is done (its two
/// high bits) and to how many bytes (its low bits), then these bytes if any are needed.
pub(crate) fn apply(mut data: &[u8], unpacked: &mut Unpacked) {
    let total: usize = unpacked.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
    while data.len() > 2 {
        let place = usize::from(super::cut_u16(&mut data)) % total.max(1);
        let Some(&how) = cut(&mut data, 1).first() else {
            return;
        };
        let count = usize::from(how & 0x3f) % 24 + 1;
        let mut start = 0;
        let piece = unpacked.pieces.iter_mut().find(|(_, bytes)| {
            start += bytes.len();
            place < start
        });
        let Some((_, bytes)) = piece else { return };
        let at = (place + bytes.len()).saturating_sub(start).min(bytes.len());
        let end = (at + count).min(bytes.len());
        match how >> 6 {
            0 | 1 => {
                let new = cut(&mut data, end - at);
                bytes[at..at + new.len()].copy_from_slice(new);
            }
            2 => {
                let new = cut(&mut data, count).to_vec();
                bytes.splice(at..at, new);
            }
            _ => {
                bytes.drain(at..end);
            }
        }
    }
}
