//! The sections of an index: attributes, volumes, dictionaries of leaf pages, blobs and what is in them.

use dgfs::format::checksum::crc;
use dgfs::format::holes::HoleMap;
use dgfs::format::page_dictionaries::{DictionaryBytes, MAGIC, MAX_PAGE_DICTIONARY};
use dgfs::format::{attributes, blob, volume};

/// First byte: which of them. The rest is the section, or the blob.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let rows = |row: usize| {
        let lie = u64::from(choice >> 4);
        (data.len() / row) as u64 + if lie == 15 { u64::MAX / 2 } else { lie }
    };
    match choice % 5 {
        0 => {
            if let Ok(table) = attributes::decode(data, rows(attributes::ROW)) {
                let mut again = Vec::new();
                for (row, kind) in &table {
                    assert_eq!(row.mode & 0o170_000, kind.mode_bits());
                    row.encode_into(&mut again);
                }
                assert_eq!(again, data);
            }
        }
        1 => {
            if let Ok(spans) = volume::decode_spans(data, rows(volume::ROW)) {
                let mut again = Vec::new();
                let mut end = 0;
                for span in &spans {
                    assert!(span.start == end && span.end > span.start);
                    end = span.end;
                    span.encode_into(&mut again);
                }
                assert_eq!(again, data);
            }
        }
        2 => {
            if let Ok(xattrs) = blob::decode_xattrs(data) {
                assert_eq!(blob::encode_xattrs(&xattrs).unwrap(), data);
            }
        }
        3 => {
            // Sizes that fit the first segments, or do not.
            let size = u64::from(choice) << 12;
            for hole_bytes in [0, 100, size / 2, size, u64::MAX] {
                if let Ok(map) = HoleMap::decode(data, size, hole_bytes) {
                    assert_eq!(map.encode(), data);
                    assert_eq!(map.data_length(), size - hole_bytes);
                    let mut at = 0;
                    while let Some(start) = map.next_data(at) {
                        at = map.next_hole(start).unwrap();
                        assert!(at > start && at <= size);
                    }
                }
            }
        }
        _ if choice >= 0xf0 => {
            // The checksum as it should be, so that only the rest decides.
            let sealed = [&MAGIC[..], &crc(data).to_le_bytes(), data].concat();
            if let Ok((dictionaries, length)) = DictionaryBytes::decode(&sealed) {
                assert!(length <= sealed.len());
                for bytes in [&dictionaries.names, &dictionaries.control] {
                    assert!(bytes.len() <= MAX_PAGE_DICTIONARY as usize);
                }
                let again = dictionaries.encode().unwrap();
                assert_eq!(
                    DictionaryBytes::decode(&again),
                    Ok((dictionaries, again.len()))
                );
            }
        }
        _ => {
            let Some((header, contents)) = data.split_first_chunk() else {
                return;
            };
            if let Ok(length) = blob::length(header) {
                // The checksum as it should be, so that only the length decides.
                let mut right = Vec::new();
                blob::encode_into(u64::from(choice), contents, &mut right);
                let mut sealed = *header;
                sealed[..4].copy_from_slice(&right[..4]);
                let sound = blob::check(u64::from(choice), &sealed, contents).is_ok();
                assert_eq!(sound, length == contents.len());
            }
        }
    }
}
