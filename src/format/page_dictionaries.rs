//! Dictionaries for the frames of leaf pages: one for names, one for control streams.

use super::bytes::ByteReader;
use super::checksum::crc;
use super::frame::{self, FrameEncoder, PageFrame, decode_exactly};
use super::{Malformed, Parsed};
use zstd_safe::DDict;

/// Kind of the section.
pub const SECTION: u32 = 7;

/// Rows of the section: one for each dictionary.
pub const ROWS: u64 = 2;

/// First bytes of the section. It carries its own length and checksum as well, so that it is found without a header.
pub const MAGIC: [u8; 8] = *b"\x89dgfp\r\n\x1a";

/// Longest dictionary in bytes.
pub const MAX_PAGE_DICTIONARY: u32 = 1 << 16;

/// Byte offset behind the checksum, which covers all that follows.
const COVERED_OFFSET: usize = 12;

/// Byte offset of what is stored.
const STORED_OFFSET: usize = 32;

/// Longest section in bytes.
pub const MAX_SECTION: usize = STORED_OFFSET + 2 * MAX_PAGE_DICTIONARY as usize;

/// Level at which the dictionaries are compressed: they are small, and there is one section.
const LEVEL: i32 = 19;

/// What the frames of leaf pages refer to.
#[derive(Default)]
pub struct PageDictionaries {
    /// For names frames, if they have one.
    pub names: Option<DDict<'static>>,
    /// For control frames, if they have one.
    pub control: Option<DDict<'static>>,
}

impl PageDictionaries {
    /// What a frame of a leaf page decodes to, at most [`MAX_FRAME`](super::frame::MAX_FRAME) bytes.
    pub fn decode(&self, kind: PageFrame, frame: &[u8]) -> Parsed<Vec<u8>> {
        let dictionary = match kind {
            PageFrame::Names => &self.names,
            PageFrame::Control => &self.control,
        };
        let mut out = Vec::new();
        frame::decode(kind, frame, dictionary.as_ref(), &mut out)?;
        Ok(out)
    }
}

impl std::fmt::Debug for PageDictionaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageDictionaries")
            .field("names", &self.names.is_some())
            .field("control", &self.control.is_some())
            .finish()
    }
}

/// The bytes of two dictionaries, each empty if there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DictionaryBytes {
    /// For names frames.
    pub names: Vec<u8>,
    /// For control frames.
    pub control: Vec<u8>,
}

impl DictionaryBytes {
    /// Whether there is neither.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.control.is_empty()
    }

    /// The section.
    pub fn encode(&self) -> crate::Result<Vec<u8>> {
        let mut encoder = FrameEncoder::new(LEVEL)?;
        let (mut lengths, mut stored) = (Vec::new(), Vec::new());
        for dictionary in [&self.names, &self.control] {
            let mut frame = Vec::new();
            if !dictionary.is_empty() {
                encoder.encode(dictionary, &mut frame)?;
            }
            let bytes = if frame.len() < dictionary.len() {
                &frame
            } else {
                dictionary
            };
            for length in [dictionary.len(), bytes.len()] {
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                lengths.extend_from_slice(&length.to_le_bytes());
            }
            stored.extend_from_slice(bytes);
        }
        let length = u32::try_from(STORED_OFFSET + stored.len()).unwrap_or(u32::MAX);
        let covered = [&length.to_le_bytes()[..], &lengths, &stored].concat();
        Ok([&MAGIC[..], &crc(&covered).to_le_bytes(), &covered].concat())
    }

    /// Parses the section that `bytes` begin with; gives its length, too.
    pub fn decode(bytes: &[u8]) -> Parsed<(Self, usize)> {
        let mut reader = ByteReader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Malformed("dictionaries of leaf pages are none"));
        }
        let told = reader.u32()?;
        let length = reader.u32()? as usize;
        if !(STORED_OFFSET..=MAX_SECTION).contains(&length) {
            return Err(Malformed(
                "dictionaries of leaf pages have an impossible length",
            ));
        }
        let covered = bytes.get(COVERED_OFFSET..length);
        if covered.map(crc) != Some(told) {
            return Err(Malformed(
                "dictionaries of leaf pages do not match their checksum",
            ));
        }
        let mut lengths = [0; 4];
        for length in &mut lengths {
            *length = reader.u32()?;
        }
        let [names, names_stored, control, control_stored] = lengths;
        let mut stored = ByteReader::new(bytes.get(STORED_OFFSET..length).unwrap_or(&[]));
        let read = Self {
            names: dictionary(&mut stored, names, names_stored)?,
            control: dictionary(&mut stored, control, control_stored)?,
        };
        if stored.rest().is_empty() {
            Ok((read, length))
        } else {
            Err(Malformed(
                "dictionaries of leaf pages go on behind their end",
            ))
        }
    }

    /// As readers need them.
    pub fn load(&self) -> Parsed<PageDictionaries> {
        let load = |bytes: &[u8]| {
            if bytes.is_empty() {
                return Ok(None);
            }
            let dictionary = DDict::try_create(bytes);
            dictionary
                .map(Some)
                .ok_or(Malformed("dictionary of leaf pages is none"))
        };
        Ok(PageDictionaries {
            names: load(&self.names)?,
            control: load(&self.control)?,
        })
    }
}

fn dictionary(reader: &mut ByteReader<'_>, length: u32, stored: u32) -> Parsed<Vec<u8>> {
    if length > MAX_PAGE_DICTIONARY || stored > length || (stored == 0) != (length == 0) {
        return Err(Malformed(
            "dictionary of leaf pages has an impossible length",
        ));
    }
    let bytes = reader.take(stored as usize)?;
    if stored == length {
        return Ok(bytes.to_vec());
    }
    let mut whole = vec![0; length as usize];
    decode_exactly(bytes, None, &mut whole)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> DictionaryBytes {
        DictionaryBytes {
            names: b"a name\0and another name\0".repeat(40),
            control: vec![7, 1, 200, 3],
        }
    }

    #[test]
    fn a_section_comes_back() {
        let none = DictionaryBytes::default();
        for dictionaries in [some(), none] {
            let mut bytes = dictionaries.encode().unwrap();
            assert!(bytes.len() < 200);
            let length = bytes.len();
            // Zeros fill the page that it ends in.
            bytes.extend_from_slice(&[0; 100]);
            assert_eq!(DictionaryBytes::decode(&bytes), Ok((dictionaries, length)));
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let bytes = some().encode().unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(DictionaryBytes::decode(&damaged).is_err(), "byte {at}");
            assert!(DictionaryBytes::decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let bytes = some().encode().unwrap();
        for (field, value) in [
            (16, MAX_PAGE_DICTIONARY + 1),
            (16, 3),
            (20, 0),
            (20, 1 << 20),
            (28, 3),
        ] {
            let mut lying = bytes.clone();
            lying[field..field + 4].copy_from_slice(&value.to_le_bytes());
            let sum = crc(&lying[COVERED_OFFSET..]);
            lying[8..12].copy_from_slice(&sum.to_le_bytes());
            assert!(
                DictionaryBytes::decode(&lying).is_err(),
                "{value} at {field}"
            );
        }
    }
}
