//! Zstandard frames without magic number, as leaf pages hold them.

use super::{Malformed, Parsed};
use std::cell::RefCell;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, FrameFormat};

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
        Ok(Self {
            context,
            scratch: Vec::with_capacity(zstd_safe::compress_bound(MAX_FRAME)),
        })
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

struct FrameDecoder {
    context: DCtx<'static>,
    buffer: Box<[u8]>,
}

thread_local! {
    static DECODER: RefCell<Option<FrameDecoder>> = const { RefCell::new(None) };
}

/// Decodes `frame` into `out`, which is cleared first and gets at most [`MAX_FRAME`] bytes.
pub fn decode(frame: &[u8], out: &mut Vec<u8>) -> Parsed<()> {
    out.clear();
    DECODER.with_borrow_mut(|slot| {
        let decoder = if let Some(decoder) = slot {
            decoder
        } else {
            let mut context = DCtx::create();
            context
                .set_parameter(DParameter::Format(FrameFormat::Magicless))
                .map_err(|_| Malformed("this zstd cannot decode magicless frames"))?;
            let buffer = vec![0; MAX_FRAME].into();
            slot.insert(FrameDecoder { context, buffer })
        };
        let length = decoder
            .context
            .decompress(&mut *decoder.buffer, frame)
            .map_err(|_| Malformed("frame does not decode"))?;
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
            decode(&frame[1..], &mut out).unwrap();
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn damaged_frames_are_refused_or_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = decode(&bytes, &mut out);
            prop_assert!(out.len() <= MAX_FRAME);
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
            decode(&frame, &mut Vec::new()),
            Err(Malformed("frame does not decode"))
        );
    }
}
