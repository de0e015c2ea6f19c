//! Samples that no dictionary was trained on, compressed as the files of an image would be.

use super::is_worth;
use crate::build::samples::MOST_OF_FILE;
use crate::format::extent::CRC_BYTES;
use crate::format::frame::ContentEncoder;
use crate::format::member::MAX_SHARED_STORED;
use crate::native::prefix::{Prefix, PrefixEncoder};

/// Samples, those together that small files of their length would share a frame with.
pub(super) struct HeldOut<'a>(Vec<Frame<'a>>);

struct Frame<'a> {
    samples: Vec<&'a [u8]>,
    length: usize,
    /// Whether these would be stored as they are, since a larger file that begins so is probed without a dictionary.
    is_refused: bool,
}

impl<'a> HeldOut<'a> {
    /// `samples` in frames of up to `most` bytes that would be full without a dictionary.
    pub(super) fn new(
        samples: &[&'a [u8]],
        most: usize,
        encoder: &mut ContentEncoder<'_>,
    ) -> Option<Self> {
        let mut frames: Vec<Frame<'a>> = Vec::new();
        let mut room = 0;
        for &sample in samples {
            let plain = encoder.encode(sample, None)?.len();
            let is_beginning = sample.len() as u64 >= MOST_OF_FILE;
            let last = frames.last_mut().filter(|last| {
                plain <= room && !is_beginning && last.length + sample.len() <= most
            });
            if let Some(last) = last {
                last.samples.push(sample);
                last.length += sample.len();
                room -= plain;
            } else {
                frames.push(Frame {
                    samples: vec![sample],
                    length: sample.len(),
                    is_refused: is_beginning && plain >= sample.len(),
                });
                room = (MAX_SHARED_STORED - CRC_BYTES).saturating_sub(plain);
                if is_beginning {
                    room = 0;
                }
            }
        }
        Some(Self(frames))
    }

    /// Bytes of samples.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|frame| frame.length as u64).sum()
    }

    /// Bytes that they take compressed by `encoder`.
    pub(super) fn without(&self, encoder: &mut ContentEncoder<'_>) -> Option<u64> {
        self.stored(|contents| Some(encoder.encode(contents, None)?.len()))
    }

    /// Bytes that they take compressed by the dictionary of `prefix`.
    pub(super) fn with(&self, encoder: &mut PrefixEncoder, prefix: &mut Prefix) -> Option<u64> {
        self.stored(|contents| Some(encoder.encode(contents, prefix)?.len()))
    }

    fn stored(&self, mut encode: impl FnMut(&[u8]) -> Option<usize>) -> Option<u64> {
        let mut sum = 0;
        for frame in &self.0 {
            let length = if frame.is_refused {
                None
            } else {
                let length = encode(&frame.samples.concat())?;
                Some(length).filter(|&length| is_worth(length, frame.length))
            };
            sum += length.unwrap_or(frame.length) as u64;
        }
        Some(sum)
    }
}
