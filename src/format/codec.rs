//! How contents are compressed: the section of codecs, and the dictionaries that they use.

use super::bytes::ByteReader;
use super::{Malformed, Parsed};

/// Kind of the section of codecs.
pub const SECTION: u32 = 4;

/// Kind of the section that dictionaries lie in.
pub const DICTIONARIES: u32 = 5;

/// Bytes of a row of the section of codecs.
pub const ROW: usize = 24;

/// Most codecs of one image.
pub const MAX_CODECS: usize = 64;

/// Longest dictionary in bytes.
pub const MAX_DICTIONARY: u32 = 1 << 20;

/// Most bytes of all dictionaries of an image together: what a reader that has used each of them holds.
pub const MAX_DICTIONARIES: u64 = 16 << 20;

/// Kind of the section that says what each codec was used for.
pub const NOTES: u32 = 6;

/// Bytes of a row of that section.
pub const NOTE: usize = 64;

/// Bytes of a label.
const LABEL: usize = 32;

/// Zstd frames, the only algorithm there is.
const ZSTD: u32 = 1;

/// Where a dictionary lies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dictionary {
    /// Offset in the section of dictionaries.
    pub offset: u64,
    /// Bytes it takes there: as many as it has, or fewer for one zstd frame.
    pub stored: u32,
    /// CRC-32C of these bytes.
    pub crc: u32,
    /// Bytes of the dictionary.
    pub length: u32,
}

/// A row of the section: zstd, with a dictionary or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Codec {
    /// The dictionary.
    pub dictionary: Option<Dictionary>,
}

impl Codec {
    /// Appends the row.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let dictionary = self.dictionary.unwrap_or(Dictionary {
            offset: 0,
            stored: 0,
            crc: 0,
            length: 0,
        });
        for number in [ZSTD, dictionary.length, dictionary.stored, dictionary.crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&dictionary.offset.to_le_bytes());
    }
}

/// What a codec was used for. Readers need it for nothing but to tell people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// Files with frames of this codec.
    pub files: u64,
    /// Bytes of data of these.
    pub data_bytes: u64,
    /// Stored lengths of their extents.
    pub stored_bytes: u64,
    /// What these would be without the dictionary, by samples.
    pub plain_bytes: u64,
    /// What its files are called.
    pub label: Vec<u8>,
}

impl Note {
    /// A note on a codec that was used for nothing yet.
    pub fn new(label: &[u8]) -> Self {
        Self {
            label: label.get(..LABEL).unwrap_or(label).to_vec(),
            ..Self::default()
        }
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        for number in [
            self.files,
            self.data_bytes,
            self.stored_bytes,
            self.plain_bytes,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let end = out.len() + LABEL;
        out.extend(self.label.iter().take(LABEL));
        out.resize(end, 0);
    }
}

/// Parses the notes on codecs.
pub fn decode_notes(bytes: &[u8]) -> Parsed<Vec<Note>> {
    if !bytes.len().is_multiple_of(NOTE) || bytes.len() > MAX_CODECS * NOTE {
        return Err(Malformed("notes on codecs have an impossible length"));
    }
    let mut reader = ByteReader::new(bytes);
    let mut notes = Vec::with_capacity(MAX_CODECS);
    while !reader.rest().is_empty() {
        let mut note = Note {
            files: reader.u64()?,
            data_bytes: reader.u64()?,
            stored_bytes: reader.u64()?,
            plain_bytes: reader.u64()?,
            label: Vec::new(),
        };
        let label = reader.take(LABEL)?;
        let end = label.iter().position(|&byte| byte == 0).unwrap_or(LABEL);
        note.label.extend(label.iter().take(end));
        notes.push(note);
    }
    Ok(notes)
}

/// A section of the index with its kind and number of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The kind.
    pub kind: u32,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Section {
    /// The sections of a compressed image: codecs and dictionaries if there is more than the first codec, and notes.
    pub fn of_codecs(codecs: &[Codec], dictionaries: Vec<u8>, notes: &[Note]) -> Vec<Self> {
        let mut sections = Vec::new();
        if codecs.len() > 1 {
            let mut bytes = Vec::new();
            for codec in codecs {
                codec.encode_into(&mut bytes);
            }
            sections.push(Self {
                kind: SECTION,
                rows: codecs.len() as u64,
                bytes,
            });
            sections.push(Self {
                kind: DICTIONARIES,
                rows: codecs.len() as u64 - 1,
                bytes: dictionaries,
            });
        }
        if !notes.is_empty() {
            let mut bytes = Vec::new();
            for note in notes {
                note.encode_into(&mut bytes);
            }
            sections.push(Self {
                kind: NOTES,
                rows: notes.len() as u64,
                bytes,
            });
        }
        sections
    }
}

/// Parses the section of codecs, whose dictionaries lie in a section of `room` bytes.
pub fn decode(bytes: &[u8], rows: u64, room: u64) -> Parsed<Vec<Codec>> {
    if rows == 0 || rows > MAX_CODECS as u64 || bytes.len() as u64 != rows * ROW as u64 {
        return Err(Malformed("section of codecs has an impossible length"));
    }
    let mut reader = ByteReader::new(bytes);
    let mut codecs = Vec::with_capacity(MAX_CODECS);
    let mut total = 0;
    while !reader.rest().is_empty() {
        if reader.u32()? != ZSTD {
            return Err(Malformed("codec of an unknown algorithm"));
        }
        let (length, stored, crc) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let dictionary = Dictionary {
            offset: reader.u64()?,
            stored,
            crc,
            length,
        };
        if length == 0 {
            if (stored, crc, dictionary.offset) != (0, 0, 0) {
                return Err(Malformed("codec has a dictionary of no bytes"));
            }
            codecs.push(Codec::default());
            continue;
        }
        let end = dictionary.offset.checked_add(u64::from(stored));
        total += u64::from(length);
        if codecs.is_empty()
            || length > MAX_DICTIONARY
            || stored == 0
            || stored > length
            || end.is_none_or(|end| end > room)
            || total > MAX_DICTIONARIES
        {
            return Err(Malformed("codec has an impossible dictionary"));
        }
        codecs.push(Codec {
            dictionary: Some(dictionary),
        });
    }
    Ok(codecs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(codecs: &[Codec]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for codec in codecs {
            codec.encode_into(&mut bytes);
        }
        bytes
    }

    fn with(offset: u64, stored: u32, length: u32) -> Codec {
        let dictionary = Dictionary {
            offset,
            stored,
            crc: 7,
            length,
        };
        Codec {
            dictionary: Some(dictionary),
        }
    }

    #[test]
    fn codecs_round_trip() {
        let codecs = [Codec::default(), with(0, 30, 100), with(30, 50, 50)];
        let bytes = rows(&codecs);
        assert_eq!(bytes.len(), 3 * ROW);
        assert_eq!(decode(&bytes, 3, 80), Ok(codecs.to_vec()));
        assert!(decode(&bytes, 2, 80).is_err());
        assert!(decode(&bytes, 3, 79).is_err());
        assert!(decode(&[], 0, 80).is_err());
    }

    #[test]
    fn notes_round_trip() {
        let long = Note {
            files: 1,
            data_bytes: 2,
            stored_bytes: 3,
            plain_bytes: u64::MAX,
            ..Note::new(&[b'x'; 40])
        };
        let notes = [Note::default(), Note::new(b".c"), long];
        let sections = Section::of_codecs(&[Codec::default()], Vec::new(), &notes);
        assert_eq!(
            (sections.len(), sections[0].kind, sections[0].rows),
            (1, NOTES, 3)
        );
        assert_eq!(decode_notes(&sections[0].bytes), Ok(notes.to_vec()));
        assert!(decode_notes(&sections[0].bytes[1..]).is_err());
    }

    #[test]
    fn impossible_codecs_are_refused() {
        let first = Codec::default();
        for codecs in [
            vec![with(0, 1, 1)],
            vec![first, with(0, 2, 1)],
            vec![first, with(0, 0, 1)],
            vec![first, with(0, 1, MAX_DICTIONARY + 1)],
            vec![first, with(u64::MAX, 1, 1)],
            [vec![first], vec![with(0, 1, MAX_DICTIONARY); 17]].concat(),
            vec![first; MAX_CODECS + 1],
        ] {
            let count = codecs.len() as u64;
            assert!(
                decode(&rows(&codecs), count, 1 << 30).is_err(),
                "{codecs:?}"
            );
        }
        let mut other = rows(&[first]);
        other[0] = 2;
        assert!(decode(&other, 1, 0).is_err());
    }
}
