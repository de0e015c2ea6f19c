//! Training of dictionaries by zstd, which `zstd-safe` offers only with a search for parameters that takes minutes.

#![expect(
    unsafe_code,
    reason = "the trainer is a C function that `zstd-safe` does not wrap"
)]

use std::ffi::c_uint;

use zstd_safe::zstd_sys::{
    ZDICT_fastCover_params_t, ZDICT_getDictHeaderSize, ZDICT_isError, ZDICT_params_t,
    ZDICT_trainFromBuffer_fastCover,
};

/// How finely samples are searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fineness {
    /// Bytes of the segments that a dictionary is put together from.
    segment: c_uint,
    /// Bytes that have to be equal to be found again.
    equal: c_uint,
}

impl Fineness {
    /// For contents of files. On a part of the Linux source, segments of 400 to 3000 bytes differ by less than 1 % of the
    /// whole; these were best.
    pub(crate) const CONTENTS: Self = Self {
        segment: 512,
        equal: 8,
    };
    /// For names: half of those of contents, since there are few of them.
    pub(crate) const TEXT: Self = Self {
        segment: 256,
        equal: 8,
    };
    /// For streams of small numbers.
    pub(crate) const NUMBERS: Self = Self {
        segment: 64,
        equal: 6,
    };
}

/// Size of the trainer's table of frequencies, as a power of 2: 4 MiB.
const TABLE: c_uint = 20;

/// With more bytes of samples than this, the trainer passes over most of them.
const MANY: usize = 1 << 20;

/// How: it counts what is equal at every fourth byte alone, and symbols in every fourth sample. That takes
/// less time, and made the image of the Linux source 0.05 % smaller.
const HASTE: c_uint = 4;

/// Trains a dictionary of at most `capacity` bytes on `samples`, which lie one behind the other and have `lengths`,
/// for files that are compressed at `level`. `None` if they are too few, or have nothing in common.
pub(crate) fn train(
    samples: &[u8],
    lengths: &[usize],
    capacity: usize,
    level: i32,
    fineness: Fineness,
) -> Option<Vec<u8>> {
    let sum = lengths
        .iter()
        .try_fold(0usize, |sum, &n| sum.checked_add(n));
    if sum != Some(samples.len()) {
        return None;
    }
    let count = c_uint::try_from(lengths.len()).ok()?;
    let parameters = ZDICT_fastCover_params_t {
        k: fineness.segment,
        d: fineness.equal,
        f: TABLE,
        steps: 1,
        nbThreads: 1,
        splitPoint: 1.0,
        accel: if samples.len() > MANY { HASTE } else { 1 },
        shrinkDict: 0,
        shrinkDictMaxRegression: 0,
        zParams: ZDICT_params_t {
            compressionLevel: level,
            notificationLevel: 0,
            // Frames name no dictionary; the codec of the file does.
            dictID: 1,
        },
    };
    let mut dictionary = vec![0u8; capacity];
    // SAFETY: the output has `dictionary.len()` writable bytes; the input has as many readable bytes as `lengths` sum
    // up to, checked above, and `lengths` has `count` elements. Nothing is kept beyond the call.
    let written = unsafe {
        ZDICT_trainFromBuffer_fastCover(
            dictionary.as_mut_ptr().cast(),
            dictionary.len(),
            samples.as_ptr().cast(),
            lengths.as_ptr(),
            count,
            parameters,
        )
    };
    // SAFETY: looks at the number alone.
    if unsafe { ZDICT_isError(written) } != 0 || written == 0 || written > dictionary.len() {
        return None;
    }
    dictionary.truncate(written);
    Some(dictionary)
}

/// Length of the tables that a trained dictionary begins with; its contents follow. `None` if it does not begin so.
pub(crate) fn header_length(dictionary: &[u8]) -> Option<usize> {
    // SAFETY: reads the bytes of `dictionary` and no others; looks at the number that it returned.
    let length = unsafe {
        let length = ZDICT_getDictHeaderSize(dictionary.as_ptr().cast(), dictionary.len());
        (ZDICT_isError(length) == 0).then_some(length)?
    };
    (length < dictionary.len()).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_share_is_found() {
        let samples: Vec<Vec<u8>> = (0..400u32)
            .map(|n| {
                let (a, b) = (n * 7919 % 1000, n * 104_729 % 1000);
                format!("{{\"identity\": {a}, \"description\": \"of {b}\", \"owner\": \"nobody\"}}")
                    .into_bytes()
            })
            .collect();
        let lengths: Vec<usize> = samples.iter().map(Vec::len).collect();
        let flat = samples.concat();
        let dictionary = train(&flat, &lengths, 4096, 3, Fineness::CONTENTS).unwrap();
        assert!(dictionary.len() <= 4096);
        let shared = b"\"description\": \"of ";
        assert!(dictionary.windows(shared.len()).any(|part| part == shared));
        assert_eq!(
            train(&flat, &lengths, 4096, 3, Fineness::CONTENTS),
            Some(dictionary)
        );
    }

    #[test]
    fn too_little_gives_none() {
        assert_eq!(train(b"", &[], 4096, 3, Fineness::CONTENTS), None);
        assert_eq!(train(b"one", &[3], 4096, 3, Fineness::CONTENTS), None);
        assert_eq!(
            train(b"wrong lengths", &[3, 3], 4096, 3, Fineness::CONTENTS),
            None
        );
    }
}
