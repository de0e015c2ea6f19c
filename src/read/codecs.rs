//! The codecs of an image, and its dictionaries as they are needed.

use super::files::Part;
use crate::format::checksum::crc;
use crate::format::codec::{self, Codec, Dictionary};
use crate::format::frame::decode_exactly;
use crate::format::header::Header;
use crate::{Error, Result};
use std::sync::{Arc, OnceLock};
use zstd_safe::DDict;

/// The codecs. A dictionary is read when a file of its codec is, and kept; the format bounds what all of them take.
pub(super) struct Codecs {
    part: Arc<Part>,
    /// Where the section of dictionaries begins in the index.
    start: u64,
    rows: Vec<(Codec, OnceLock<DDict<'static>>)>,
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Codecs").field(&self.rows.len()).finish()
    }
}

impl Codecs {
    /// The codecs of the index `part`; none if the image is not compressed.
    pub(super) fn new(part: Arc<Part>, header: &Header, codecs: Vec<Codec>) -> Self {
        let section = header.section(codec::DICTIONARIES);
        Self {
            part,
            start: section.map_or(0, |section| section.offset),
            rows: codecs
                .into_iter()
                .map(|codec| (codec, OnceLock::new()))
                .collect(),
        }
    }

    /// Whether contents may be frames.
    pub(super) fn is_compressed(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Decodes `frame`, which codec `number` made, into all of `out`.
    pub(super) fn decode(&self, number: u32, frame: &[u8], out: &mut [u8]) -> Result<()> {
        let row = self.rows.get(number as usize);
        let (codec, slot) = row.ok_or_else(|| {
            Error::corrupt(format!(
                "contents are of codec {number}, which is not there"
            ))
        })?;
        let dictionary = match codec.dictionary {
            None => None,
            Some(dictionary) => Some(if let Some(loaded) = slot.get() {
                loaded
            } else {
                // Two threads may load the same one; a failure is not remembered.
                let loaded = self.load(&dictionary)?;
                slot.get_or_init(|| loaded)
            }),
        };
        Ok(decode_exactly(frame, dictionary, out)?)
    }

    /// Reads a dictionary.
    fn load(&self, dictionary: &Dictionary) -> Result<DDict<'static>> {
        let bytes = self.dictionary(dictionary)?;
        DDict::try_create(&bytes).ok_or_else(|| self.damaged(dictionary, "is none"))
    }

    /// The bytes of a dictionary.
    pub(super) fn dictionary(&self, dictionary: &Dictionary) -> Result<Vec<u8>> {
        let offset = self.start.saturating_add(dictionary.offset);
        let mut stored = vec![0; dictionary.stored as usize];
        self.part.read(&mut stored, offset)?;
        if crc(&stored) != dictionary.crc {
            return Err(self.damaged(dictionary, "does not match its checksum"));
        }
        if dictionary.stored == dictionary.length {
            return Ok(stored);
        }
        let mut bytes = vec![0; dictionary.length as usize];
        decode_exactly(&stored, None, &mut bytes)
            .map_err(|_| self.damaged(dictionary, "does not decode"))?;
        Ok(bytes)
    }

    #[cold]
    fn damaged(&self, dictionary: &Dictionary, what: &str) -> Error {
        Error::corrupt(format!("dictionary of compressed contents {what}"))
            .at_path(self.part.path())
            .at_offset(self.start.saturating_add(dictionary.offset))
    }
}
