//! The section of codecs, the notes on them, and dictionaries read through an image.

use super::images::compressed::with_dictionary;
use super::{cut, cut_u16};
use dgfs::format::codec::{self, Codec, Dictionary, Section};

/// First byte: which of them, and lies about the number of rows. The codecs have the size of the section of dictionaries
/// before them; a dictionary has the length that it says it has.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, mut data)) = data.split_first() else {
        return;
    };
    match choice % 3 {
        0 => {
            let room = u64::from(cut_u16(&mut data)) << 8;
            let rows = (data.len() / codec::ROW) as u64 + u64::from(choice >> 6);
            if let Ok(codecs) = codec::decode(data, rows, room) {
                let mut again = Vec::new();
                for codec in &codecs {
                    codec.encode_into(&mut again);
                }
                assert_eq!(again, data);
                assert!(codecs.len() <= codec::MAX_CODECS && codecs[0] == Codec::default());
                let dictionaries = codecs.iter().filter_map(|codec| codec.dictionary);
                let mut total = 0;
                for Dictionary {
                    offset,
                    stored,
                    length,
                    ..
                } in dictionaries
                {
                    assert!(offset + u64::from(stored) <= room && stored <= length);
                    total += u64::from(length);
                }
                assert!(total <= codec::MAX_DICTIONARIES);
            }
        }
        1 => {
            if let Ok(notes) = codec::decode_notes(data) {
                assert_eq!(notes.len() * codec::NOTE, data.len());
                for section in Section::of_codecs(&[Codec::default()], Vec::new(), &notes) {
                    assert_eq!(codec::decode_notes(&section.bytes), Ok(notes.clone()));
                }
            }
        }
        _ => {
            let length = usize::from(cut_u16(&mut data));
            let frame = usize::from(cut_u16(&mut data) % 256);
            let frame = cut(&mut data, frame).to_vec();
            let file = 40 + usize::from(choice >> 2);
            let image = with_dictionary(data, length, &frame, file).open();
            let is_possible = data.len() <= length && data.is_empty() == (length == 0);
            // Bytes that decode to no dictionary are found by the read that needs it.
            assert_eq!(
                image.is_ok(),
                is_possible && length <= codec::MAX_DICTIONARY as usize
            );
            let Ok(image) = image else { return };
            let found = image.lookup(b"file");
            // Nothing stands for a file of one chunk.
            assert_eq!(found.is_ok(), !frame.is_empty());
            let Ok(node) = found.map(Option::unwrap) else {
                return;
            };
            let mut scratch = Vec::new();
            if let Ok(bytes) = image.read_at(&node, 0, usize::MAX, &mut scratch) {
                assert_eq!(bytes.len() as u64, node.size);
            }
        }
    }
}
