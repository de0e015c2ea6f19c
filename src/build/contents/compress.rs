//! Compresses chunks, where that pays.

use std::ops::Range;

use super::grouping::Candidate;
use crate::build::classes::Classes;
use crate::build::dictionaries::{Class, Dictionaries, is_worth};
use crate::format::frame::ContentEncoder;
use crate::native::prefix::{Prefix, PrefixEncoder};
use crate::{Error, ErrorKind, Result};

/// Contents up to so many bytes are compressed without asking: that costs little more than the answer.
const UNPROBED: usize = 8 << 10;

/// The same at levels up to [`FAST`], where zstd by itself passes over what does not compress.
const UNPROBED_FAST: usize = 64 << 10;

/// The highest of the levels that look for a match in one place or two.
const FAST: i32 = 4;

/// Pieces of a chunk that a probe compresses, and the bytes of each.
const PROBES: usize = 4;
const PROBE: usize = 2 << 10;

/// The level of probes: zstd's fastest that still codes literals.
const PROBE_LEVEL: i32 = 1;

/// Lengths of contents that are searched more thoroughly than the level means, if that pays for their class: it takes about a sixth
/// more time for all of the Linux source at level 3, and saves 1.7 % of the bytes. Up to 64 KiB it saves another 1.6 % for a seventh more
/// time. Shorter contents gain less, as copying tables is most of their time.
const SEARCHED_MORE: Range<usize> = 16 << 10..32 << 10;

/// What contents are compressed with.
#[derive(Debug)]
pub struct Codecs {
    level: i32,
    /// Those with dictionaries, by number of the codec less one: the first codec has none.
    trained: Vec<Class>,
    classes: Classes,
    /// Bytes of memory that the dictionaries take in each thread.
    memory: usize,
}

impl Codecs {
    /// Zstd at `level` (1 to 22), without dictionaries. Fails if zstd knows no such level.
    pub fn plain(level: i32) -> Result<Self> {
        ContentEncoder::new(level)?;
        Ok(Self {
            level,
            trained: Vec::new(),
            classes: Classes::default(),
            memory: 0,
        })
    }

    /// Zstd at `level`, with dictionaries.
    pub(in crate::build) fn trained(level: i32, dictionaries: Dictionaries) -> Result<Self> {
        let mut codecs = Self::plain(level)?;
        codecs.memory = dictionaries.list.iter().map(|class| class.memory).sum();
        codecs.trained = dictionaries.list;
        codecs.classes = dictionaries.classes;
        Ok(codecs)
    }

    /// About how many bytes of memory the dictionaries take in each thread that compresses.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The codec for a file called `name` that begins with `head`, as far as that is known.
    pub(super) fn of(&self, name: &[u8], head: Option<&[u8]>) -> u32 {
        self.classes.codec(name, head)
    }
}

/// Compresses for one thread.
#[derive(Debug)]
pub(super) struct Compressor<'c> {
    /// `None` leaves everything as it is.
    with: Option<(&'c Codecs, Encoders)>,
}

#[derive(Debug)]
struct Encoders {
    plain: ContentEncoder<'static>,
    prober: ContentEncoder<'static>,
    prefixed: PrefixEncoder,
    /// By number of the codec less one.
    prefixes: Vec<Prefix>,
    unprobed: usize,
}

impl<'c> Compressor<'c> {
    /// One that uses `codecs`, or that leaves everything as it is. Fails if memory is lacking.
    pub(super) fn new(codecs: Option<&'c Codecs>) -> Result<Self> {
        Ok(Self {
            with: match codecs {
                Some(codecs) => Some((codecs, Encoders::new(codecs)?)),
                None => None,
            },
        })
    }

    /// The codec for a file called `name` that begins with `head`.
    pub(super) fn codec_of(&self, name: &[u8], head: &[u8]) -> u32 {
        let with = self.with.as_ref();
        with.map_or(0, |(codecs, _)| codecs.of(name, Some(head)))
    }

    /// Bytes of the samples that were compressed by `codec`, and of their frames, if any were.
    pub(super) fn samples(&self, codec: u32) -> Option<(u64, u64)> {
        let (codecs, _) = self.with.as_ref()?;
        let class = codecs.trained.get((codec as usize).checked_sub(1)?)?;
        Some((class.samples, class.with))
    }

    /// The frame of `chunk` by `codec`; `None` if it is better stored as it is.
    pub(super) fn frame(&mut self, chunk: &[u8], codec: u32) -> Option<&[u8]> {
        self.with.as_mut()?.1.frame(chunk, codec)
    }

    /// The frame of `data`, the contents of `files` one behind the other, which have one codec; `None` if they are better
    /// stored alone.
    pub(super) fn shared_frame(&mut self, data: &[u8], files: &[Candidate]) -> Option<&[u8]> {
        let codec = files.first()?.codec;
        let frame = self.with.as_mut()?.1.encode(data, codec)?;
        is_worth(frame.len(), data.len()).then_some(frame)
    }
}

impl Encoders {
    fn new(codecs: &Codecs) -> Result<Self> {
        let lacking = || {
            let what = "zstd cannot prepare to compress; there may be too little memory";
            Error::new(ErrorKind::Limit, what)
        };
        let prepare = |class: &Class| {
            let mut prefix = Prefix::new(&class.dictionary, codecs.level)?;
            if class.is_thorough {
                prefix.search_more(codecs.level, SEARCHED_MORE)?;
            }
            Some(prefix)
        };
        Ok(Self {
            plain: ContentEncoder::new(codecs.level)?,
            prober: ContentEncoder::new(PROBE_LEVEL)?,
            prefixed: PrefixEncoder::new().ok_or_else(lacking)?,
            prefixes: codecs
                .trained
                .iter()
                .map(prepare)
                .collect::<Option<_>>()
                .ok_or_else(lacking)?,
            unprobed: if codecs.level <= FAST {
                UNPROBED_FAST
            } else {
                UNPROBED
            },
        })
    }

    fn frame(&mut self, chunk: &[u8], codec: u32) -> Option<&[u8]> {
        if chunk.len() > self.unprobed && !self.seems_compressible(chunk) {
            return None;
        }
        let frame = self.encode(chunk, codec)?;
        is_worth(frame.len(), chunk.len()).then_some(frame)
    }

    fn encode(&mut self, bytes: &[u8], codec: u32) -> Option<&[u8]> {
        let prefix = (codec as usize).checked_sub(1);
        match prefix.and_then(|number| self.prefixes.get_mut(number)) {
            Some(prefix) => self.prefixed.encode(bytes, prefix),
            None => self.plain.encode(bytes, None),
        }
    }

    /// Whether any of a few pieces of `chunk` becomes shorter.
    fn seems_compressible(&mut self, chunk: &[u8]) -> bool {
        let step = (chunk.len() - PROBE) / (PROBES - 1);
        (0..PROBES).any(|number| {
            let start = number * step;
            let piece = chunk.get(start..start + PROBE).unwrap_or(chunk);
            let frame = self.prober.encode(piece, None);
            frame.is_none_or(|frame| frame.len() < piece.len())
        })
    }
}
