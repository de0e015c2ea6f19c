//! Compresses chunks, where that pays.

use crate::build::classes::Classes;
use crate::build::dictionaries::{Dictionaries, is_worth};
use crate::format::frame::ContentEncoder;
use crate::{Error, ErrorKind, Result};
use zstd_safe::CDict;

/// Contents up to so many bytes are compressed without asking: that costs little more than the answer.
const UNPROBED: usize = 8 << 10;

/// Pieces of a chunk that a probe compresses, and the bytes of each.
const PROBES: usize = 4;
const PROBE: usize = 2 << 10;

/// The level of probes: zstd's fastest that still codes literals.
const PROBE_LEVEL: i32 = 1;

/// What contents are compressed with.
pub struct Codecs {
    level: i32,
    /// By number of the codec; the first has none.
    dictionaries: Vec<Option<CDict<'static>>>,
    classes: Classes,
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codecs")
            .field("level", &self.level)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

impl Codecs {
    /// Zstd at `level` (1 to 22), without dictionaries. Fails if zstd knows no such level.
    pub fn plain(level: i32) -> Result<Self> {
        ContentEncoder::new(level)?;
        Ok(Self {
            level,
            dictionaries: vec![None],
            classes: Classes::default(),
        })
    }

    /// Zstd at `level`, with dictionaries.
    pub(in crate::build) fn trained(level: i32, dictionaries: Dictionaries) -> Result<Self> {
        let mut codecs = Self::plain(level)?;
        for class in &dictionaries.list {
            let prepared = CDict::try_create(&class.dictionary, level);
            let prepared = prepared.ok_or_else(|| {
                let what = "zstd cannot prepare a dictionary; there may be too little memory";
                Error::new(ErrorKind::Limit, what)
            })?;
            codecs.dictionaries.push(Some(prepared));
        }
        codecs.classes = dictionaries.classes;
        Ok(codecs)
    }

    /// About how many bytes of memory the dictionaries take.
    pub(super) fn memory(&self) -> usize {
        self.dictionaries.iter().flatten().map(CDict::sizeof).sum()
    }

    /// The codec for a file called `name` that begins with `head`, as far as that is known.
    pub(super) fn of(&self, name: &[u8], head: Option<&[u8]>) -> u32 {
        self.classes.codec(name, head)
    }

    fn dictionary(&self, codec: u32) -> Option<&CDict<'static>> {
        self.dictionaries.get(codec as usize)?.as_ref()
    }
}

/// Compresses for one thread.
#[derive(Debug)]
pub(super) struct Compressor<'c> {
    codecs: Option<&'c Codecs>,
    encoder: Option<ContentEncoder<'c>>,
    prober: Option<ContentEncoder<'c>>,
}

impl<'c> Compressor<'c> {
    /// One that uses `codecs`, or that leaves everything as it is.
    pub(super) fn new(codecs: Option<&'c Codecs>) -> Self {
        let encoder = |level: i32| ContentEncoder::new(level).ok();
        Self {
            codecs,
            encoder: codecs.and_then(|codecs| encoder(codecs.level)),
            prober: codecs.and_then(|_| encoder(PROBE_LEVEL)),
        }
    }

    /// The codec for a file called `name` that begins with `head`.
    pub(super) fn codec_of(&self, name: &[u8], head: &[u8]) -> u32 {
        self.codecs.map_or(0, |codecs| codecs.of(name, Some(head)))
    }

    /// The frame of `chunk` by `codec`; `None` if it is better stored as it is.
    pub(super) fn frame(&mut self, chunk: &[u8], codec: u32) -> Option<&[u8]> {
        let codecs = self.codecs?;
        if chunk.len() > UNPROBED && !self.seems_compressible(chunk) {
            return None;
        }
        let dictionary = codecs.dictionary(codec);
        let frame = self.encoder.as_mut()?.encode(chunk, dictionary)?;
        is_worth(frame.len(), chunk.len()).then_some(frame)
    }

    /// Whether any of a few pieces of `chunk` becomes shorter.
    fn seems_compressible(&mut self, chunk: &[u8]) -> bool {
        let Some(prober) = &mut self.prober else {
            return true;
        };
        let step = (chunk.len() - PROBE) / (PROBES - 1);
        (0..PROBES).any(|number| {
            let start = number * step;
            let piece = chunk.get(start..start + PROBE).unwrap_or(chunk);
            let frame = prober.encode(piece, None);
            frame.is_none_or(|frame| frame.len() < piece.len())
        })
    }
}
