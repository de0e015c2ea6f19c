//! CRC-32C, and what it is taken over in each place.

use super::{PAGE_SIZE, Uuid};

/// CRC-32C of `bytes`.
pub fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32C of what `so_far` covers followed by `bytes`.
pub fn crc_append(so_far: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(so_far, bytes)
}

/// The checksum of index page `number`: it covers the image's UUID and the page's place, so that a
/// page of another image or a misplaced one is as wrong as a damaged one.
pub fn page_crc(uuid: &Uuid, number: u64, page: &[u8; PAGE_SIZE]) -> u32 {
    let seed = crc_append(crc(uuid), &number.to_le_bytes());
    let (_, body) = page.split_at(4);
    crc_append(seed, body)
}

/// Writes the checksum of index page `number` into its first four bytes.
pub fn seal_page(uuid: &Uuid, number: u64, page: &mut [u8; PAGE_SIZE]) {
    let sum = page_crc(uuid, number, page);
    if let Some(field) = page.first_chunk_mut::<4>() {
        *field = sum.to_le_bytes();
    }
}

/// Whether the first four bytes of index page `number` agree with the rest.
pub fn page_is_sound(uuid: &Uuid, number: u64, page: &[u8; PAGE_SIZE]) -> bool {
    page.first_chunk::<4>() == Some(&page_crc(uuid, number, page).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_castagnoli_crc() {
        // Check value of the CRC catalogue for CRC-32/ISCSI, and RFC 3720 appendix B.4.
        assert_eq!(crc(b"123456789"), 0xE306_9283);
        assert_eq!(crc(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc_append(crc(b"1234"), b"56789"), 0xE306_9283);
    }

    #[test]
    fn a_sealed_page_is_bound_to_image_and_place() {
        let mut page = [7; PAGE_SIZE];
        seal_page(&[1; 16], 5, &mut page);
        assert!(page_is_sound(&[1; 16], 5, &page));
        assert!(!page_is_sound(&[1; 16], 6, &page));
        assert!(!page_is_sound(&[2; 16], 5, &page));
        page[4095] ^= 1;
        assert!(!page_is_sound(&[1; 16], 5, &page));
    }
}
