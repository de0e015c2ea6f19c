//! Zstandard frames without magic number, as leaf pages and extents hold them.

use super::{Malformed, Parsed};
use std::cell::RefCell;
use zstd_safe::{CCtx, CDict, CParameter, DCtx, DDict, DParameter, FrameFormat};

/// Most bytes that a frame of a leaf page may decode to.
pub const MAX_FRAME: usize = 65_535;

/// Compresses the frames of leaf pages; keeps its tables between calls.
pub struct FrameEncoder {
    context: CCtx<'static>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameEncoder").finish_non_exhaustive()
    }
}

impl FrameEncoder {
    /// An encoder at zstd `level` (1 … 22).
    pub fn new(level: i32) -> crate::Result<Self> {
        Ok(Self {
            context: context(level)?,
            scratch: Vec::with_capacity(zstd_safe::compress_bound(MAX_FRAME)),
        })
    }

    /// An encoder at zstd `level` for frames that refer to `dictionary`; if that is empty, to none.
    pub fn with_dictionary(level: i32, dictionary: &[u8]) -> crate::Result<Self> {
        let mut encoder = Self::new(level)?;
        if !dictionary.is_empty() {
            encoder
                .context
                .load_dictionary(dictionary)
                .map_err(|code| {
                    crate::Error::new(
                        crate::ErrorKind::Limit,
                        format!(
                            "zstd refuses a dictionary of leaf pages: {}",
                            zstd_safe::get_error_name(code)
                        ),
                    )
                })?;
        }
        Ok(encoder)
    }

    /// Appends the frame of `bytes` (at most [`MAX_FRAME`]) to `out` and returns its length.
    pub fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> crate::Result<usize> {
        self.scratch.clear();
        let length = self
            .context
            .compress2(&mut self.scratch, bytes)
            .map_err(|code| {
                crate::Error::new(
                    crate::ErrorKind::Limit,
                    format!(
                        "zstd cannot compress a page: {}",
                        zstd_safe::get_error_name(code)
                    ),
                )
            })?;
        out.extend_from_slice(&self.scratch);
        Ok(length)
    }
}

/// A context for bare frames.
fn context<'a>(level: i32) -> crate::Result<CCtx<'a>> {
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::Format(FrameFormat::Magicless),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
    ] {
        context.set_parameter(parameter).map_err(|code| {
            crate::Error::new(
                crate::ErrorKind::InvalidInput,
                format!(
                    "zstd refuses level {level}: {}",
                    zstd_safe::get_error_name(code)
                ),
            )
        })?;
    }
    Ok(context)
}

/// Compresses contents, with dictionaries or without; keeps its tables between calls.
pub struct ContentEncoder<'d> {
    context: CCtx<'d>,
    /// The dictionary that the context refers to.
    current: Option<&'d CDict<'static>>,
    frame: Vec<u8>,
}

impl std::fmt::Debug for ContentEncoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentEncoder").finish_non_exhaustive()
    }
}

impl<'d> ContentEncoder<'d> {
    /// An encoder at zstd `level`; a dictionary brings its own.
    pub fn new(level: i32) -> crate::Result<Self> {
        Ok(Self {
            context: context(level)?,
            current: None,
            frame: Vec::new(),
        })
    }

    /// The frame of `bytes`; `None` if zstd cannot make one.
    pub fn encode(
        &mut self,
        bytes: &[u8],
        dictionary: Option<&'d CDict<'static>>,
    ) -> Option<&[u8]> {
        let same = match (self.current, dictionary) {
            (Some(a), Some(b)) => std::ptr::eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let changed = match dictionary {
                Some(dictionary) => self.context.ref_cdict(dictionary),
                None => self.context.disable_dictionary(),
            };
            changed.ok()?;
            self.current = dictionary;
        }
        self.frame.clear();
        self.frame.reserve(zstd_safe::compress_bound(bytes.len()));
        self.context.compress2(&mut self.frame, bytes).ok()?;
        Some(&self.frame)
    }
}

struct FrameDecoder {
    context: DCtx<'static>,
    buffer: Box<[u8]>,
}

impl FrameDecoder {
    fn new(room: usize) -> Parsed<Self> {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::Format(FrameFormat::Magicless))
            .map_err(|_| Malformed("this zstd cannot decode magicless frames"))?;
        let buffer = vec![0; room].into();
        Ok(Self { context, buffer })
    }
}

thread_local! {
    /// One for each kind of frame: a context that goes from one dictionary to another takes it for cold, and decodes
    /// for a third more time.
    static DECODERS: [RefCell<Option<FrameDecoder>>; 2] =
        const { [RefCell::new(None), RefCell::new(None)] };
    static CONTENTS: RefCell<Option<FrameDecoder>> = const { RefCell::new(None) };
}

/// Decodes the frame of contents into `out`, which it must fill to the last byte.
pub fn decode_exactly(
    frame: &[u8],
    dictionary: Option<&DDict<'static>>,
    out: &mut [u8],
) -> Parsed<()> {
    CONTENTS.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(FrameDecoder::new(0)?),
        };
        let length = match dictionary {
            Some(dictionary) => decoder
                .context
                .decompress_using_ddict(out, frame, dictionary),
            None => decoder.context.decompress(out, frame),
        };
        match length {
            Ok(length) if length == out.len() => Ok(()),
            Ok(_) => Err(Malformed("compressed contents are shorter than the file")),
            Err(_) => Err(Malformed("compressed contents do not decode")),
        }
    })
}

/// The frames of leaf pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFrame {
    /// Of names.
    Names,
    /// Of control streams.
    Control,
}

/// Decodes `frame`, which refers to `dictionary`, into `out`, which is cleared first and gets at most [`MAX_FRAME`] bytes.
pub fn decode(
    kind: PageFrame,
    frame: &[u8],
    dictionary: Option<&DDict<'static>>,
    out: &mut Vec<u8>,
) -> Parsed<()> {
    out.clear();
    DECODERS.with(|[names, control]| {
        let mut slot = match kind {
            PageFrame::Names => names,
            PageFrame::Control => control,
        }
        .borrow_mut();
        let decoder = match &mut *slot {
            Some(decoder) => decoder,
            slot @ None => slot.insert(FrameDecoder::new(MAX_FRAME)?),
        };
        let buffer = &mut *decoder.buffer;
        let length = match dictionary {
            Some(dictionary) => decoder
                .context
                .decompress_using_ddict(buffer, frame, dictionary),
            None => decoder.context.decompress(buffer, frame),
        };
        let length = length.map_err(|_| Malformed("frame does not decode"))?;
        out.extend_from_slice(decoder.buffer.get(..length).unwrap_or(&[]));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let mut encoder = FrameEncoder::new(9).unwrap();
            let mut frame = vec![0xAA];
            let length = encoder.encode(&bytes, &mut frame).unwrap();
            prop_assert_eq!(length + 1, frame.len());
            let mut out = vec![1, 2, 3];
            decode(PageFrame::Names, &frame[1..], None, &mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn damaged_frames_are_refused_or_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = decode(PageFrame::Control, &bytes, None, &mut out);
            prop_assert!(out.len() <= MAX_FRAME);
        }
    }

    #[test]
    fn contents_decode_to_their_length_and_no_other() {
        let text = b"contents of a file, and contents of another".repeat(3);
        let dictionary = b"contents of a file, and contents of".repeat(9);
        let compress = CDict::create(&dictionary, 9);
        let decompress = DDict::create(&dictionary);
        let mut encoder = ContentEncoder::new(9).unwrap();
        let plain = encoder.encode(&text, None).unwrap().to_vec();
        let with = encoder.encode(&text, Some(&compress)).unwrap().to_vec();
        assert!(with.len() < plain.len());
        assert_eq!(encoder.encode(&text, None).unwrap(), plain);
        for (frame, dictionary) in [(plain, None), (with, Some(&decompress))] {
            let mut out = vec![0; text.len()];
            decode_exactly(&frame, dictionary, &mut out).unwrap();
            assert_eq!(out, text);
            for wrong in [text.len() - 1, text.len() + 1, 0] {
                let mut out = vec![0; wrong];
                assert!(decode_exactly(&frame, dictionary, &mut out).is_err());
            }
            let mut out = vec![0; text.len()];
            let cut = frame.split_last().unwrap().1;
            assert!(decode_exactly(cut, dictionary, &mut out).is_err());
        }
    }

    #[test]
    fn a_frame_that_would_decode_to_more_is_refused() {
        let mut context = CCtx::create();
        context
            .set_parameter(CParameter::Format(FrameFormat::Magicless))
            .unwrap();
        let mut frame = Vec::with_capacity(1 << 16);
        context
            .compress2(&mut frame, &vec![0; MAX_FRAME + 1])
            .unwrap();
        assert_eq!(
            decode(PageFrame::Names, &frame, None, &mut Vec::new()),
            Err(Malformed("frame does not decode"))
        );
    }
}
