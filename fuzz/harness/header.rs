//! The header of an index; header and trailer of a volume.

use super::{page, seal};
use dgfs::format::PAGE_SIZE;
use dgfs::format::header::Header;
use dgfs::format::volume;

/// First byte: which of the three, and whether the length of the file is that of the header. The rest is the page.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let mut page = page(data);
    seal(&mut page);
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&page[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    match choice % 3 {
        0 => {
            let length = if choice & 0x80 == 0 {
                number(56)
            } else {
                1 << 20
            };
            if let Ok(header) = Header::decode(&page, length) {
                let again = header.encode();
                // A writer says its own version, whatever it was told.
                let again = Header::decode(&again, length).unwrap();
                let version_minor = header.version_minor;
                assert_eq!(
                    Header {
                        version_minor,
                        ..again
                    },
                    header
                );
                assert!(header.root_page() > 0);
                assert!(header.index_length == length && header.entries > 0);
            }
        }
        1 => {
            if let Ok(identity) = volume::decode_header(&page) {
                let again = volume::encode_header(&identity);
                assert_eq!(volume::decode_header(&again).unwrap(), identity);
            }
        }
        _ => {
            let length = number(72).max(2 * PAGE_SIZE as u64);
            if let Ok((identity, layout)) = volume::decode_trailer(&page, length) {
                let again = volume::encode_trailer(&identity, &layout);
                let decoded = volume::decode_trailer(&again, length).unwrap();
                assert_eq!(decoded, (identity, layout));
                assert!(layout.extents_end <= length);
                assert!(layout.index_offset + layout.index_length <= length);
            }
        }
    }
}
