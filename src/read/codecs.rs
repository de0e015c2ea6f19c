//! The codecs of an image, and its dictionaries as they are needed.

use super::Image;
use super::files::Part;
use crate::format::checksum::crc;
use crate::format::codec::{self, Codec, Dictionary, Note};
use crate::format::frame::decode_exactly;
use crate::format::header::{Header, Section};
use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use zstd_safe::DDict;

/// What is known of a codec without reading contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecInfo {
    /// Bytes of its dictionary; 0 if it has none.
    pub dictionary_bytes: u64,
    /// Bytes that these take in the index.
    pub dictionary_stored: u64,
    /// What it was used for, if the index says.
    pub note: Option<Note>,
}

/// The codecs. A dictionary is read when a file of its codec is, and kept; the format bounds what all of them take.
pub(super) struct Codecs {
    part: Arc<Part>,
    /// Where the section of dictionaries begins in the index.
    start: u64,
    notes: Option<Section>,
    rows: Vec<(Codec, OnceLock<DDict<'static>>)>,
    decoded: AtomicU64,
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
            notes: header.section(codec::NOTES).copied(),
            rows: codecs
                .into_iter()
                .map(|codec| (codec, OnceLock::new()))
                .collect(),
            decoded: AtomicU64::new(0),
        }
    }

    /// How many frames were decoded so far.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// Whether contents may be frames.
    pub(super) fn is_compressed(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The codecs by number.
    fn describe(&self) -> Result<Vec<CodecInfo>> {
        let notes = self.notes()?;
        let rows = self.rows.iter().enumerate();
        let info = rows.map(|(number, (codec, _))| CodecInfo {
            dictionary_bytes: codec.dictionary.map_or(0, |d| d.length.into()),
            dictionary_stored: codec.dictionary.map_or(0, |d| d.stored.into()),
            note: notes.get(number).cloned(),
        });
        Ok(info.collect())
    }

    /// What the index says of the use of codecs, which may be nothing.
    fn notes(&self) -> Result<Vec<Note>> {
        const MOST: u64 = (codec::MAX_CODECS * codec::NOTE) as u64;
        let Some(section) = self.notes.filter(|_| self.is_compressed()) else {
            return Ok(Vec::new());
        };
        let at = |error: Error| error.at_path(self.part.path()).at_offset(section.offset);
        let mut bytes = vec![0; usize::try_from(section.length.min(MOST)).unwrap_or(0)];
        self.part.read(&mut bytes, section.offset)?;
        if bytes.len() as u64 != section.length || crc(&bytes) != section.crc {
            return Err(at(Error::corrupt("notes on codecs are damaged")));
        }
        codec::decode_notes(&bytes).map_err(|malformed| at(malformed.into()))
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
        self.decoded.fetch_add(1, Ordering::Relaxed);
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

impl Image {
    /// The codecs that contents are compressed with, by number; none if they are not.
    pub fn codecs(&self) -> Result<Vec<CodecInfo>> {
        self.contents.codecs().describe()
    }
}
