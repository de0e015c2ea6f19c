//! Compression by dictionaries that lie directly in front of what is compressed.
//!
//! A dictionary that lies elsewhere is a second place to look for each match, which doubles the time of most levels. Here
//! zstd finds dictionary and contents in one piece, with tables of the dictionary that it has just copied: one search. The
//! safe crate cannot say so, since the dictionary is borrowed while the bytes behind it are written.

#![expect(
    unsafe_code,
    reason = "`zstd-safe` offers neither the parameters of prepared dictionaries nor one that contents follow in memory"
)]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use zstd_safe::zstd_sys::{
    ZSTD_CCtx, ZSTD_CCtx_params, ZSTD_CCtx_refCDict, ZSTD_CCtx_reset, ZSTD_CCtx_setParameter,
    ZSTD_CCtxParams_setParameter, ZSTD_CDict, ZSTD_ResetDirective, ZSTD_cParameter, ZSTD_compress2,
    ZSTD_compressBound, ZSTD_compressionParameters, ZSTD_createCCtx, ZSTD_createCCtxParams,
    ZSTD_createCDict_advanced2, ZSTD_customMem, ZSTD_dictContentType_e, ZSTD_dictLoadMethod_e,
    ZSTD_freeCCtx, ZSTD_freeCCtxParams, ZSTD_freeCDict, ZSTD_getCParams, ZSTD_isError,
    ZSTD_sizeof_CDict, ZSTD_strategy,
};

/// What zstd takes parameters for: larger chunks get the same ones. Also the room behind a dictionary.
const INPUT: usize = 128 << 10;

/// Tables have an entry for each byte of a dictionary, but at least and at most 2 to the power of so many. Beyond that
/// they leave the processor's cache, and to copy them takes longer than they save: 2^19 take a sixth more time at level 9 of
/// the Linux source, for 0.8 % fewer bytes.
const TABLE_BITS: std::ops::RangeInclusive<u32> = 17..=18;

/// The least for the fast strategies, which look for each match in two tables, or in one. 2^17 entries take an eighth more time
/// at level 3 of the Linux source, for 0.3 % fewer bytes.
const TABLE_BITS_FAST: u32 = 16;

/// Contents of fewer bytes are searched for in the dictionary's own tables: to copy these would take longer than the second
/// search.
const LEAST_COPIED: usize = 8 << 10;

/// Levels 5 to 10 look for longer matches behind dictionaries of more bytes.
const LARGE: usize = 256 << 10;

/// The shortest matches that they look for there: where so much data is
/// alike, there are longer ones. With 4, as zstd has it, level 9 took a tenth to a fifth more time on the C files of the Linux source
/// for 0.06 % fewer bytes, and pages of documentation became 1 % larger; behind the small dictionaries of a `node_modules`
/// tree, 4 saves 0.7 %.
const LEAST_MATCH: u32 = 5;

/// From `ZSTD_dictAttachPref_e`, and `ZSTD_format_e`.
const ATTACH: c_int = 1;
const COPY: c_int = 2;
const MAGICLESS: c_int = 1;

const FORMAT: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam2;
const FORCE_ATTACH: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam4;
const SOURCE_SIZE_HINT: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam7;

/// Parameters of zstd for inputs of [`INPUT`] bytes at `level` behind a dictionary of `length` bytes.
fn parameters(level: i32, length: usize) -> ZSTD_compressionParameters {
    // SAFETY: looks numbers up.
    let mut found = unsafe { ZSTD_getCParams(level, INPUT as u64, 0) };
    let bits = length.next_power_of_two().trailing_zeros();
    let bits = bits.clamp(*TABLE_BITS.start(), *TABLE_BITS.end());
    match found.strategy {
        // Short chains are enough where the dictionary has the best of all files.
        ZSTD_strategy::ZSTD_greedy | ZSTD_strategy::ZSTD_lazy | ZSTD_strategy::ZSTD_lazy2 => {
            if found.strategy == ZSTD_strategy::ZSTD_lazy2 {
                found.strategy = ZSTD_strategy::ZSTD_lazy;
            }
            found.hashLog = found.hashLog.max(bits);
            if length > LARGE {
                found.minMatch = LEAST_MATCH;
            }
        }
        ZSTD_strategy::ZSTD_fast => found.hashLog = found.hashLog.max(TABLE_BITS_FAST),
        ZSTD_strategy::ZSTD_dfast => {
            found.hashLog = found.hashLog.max(TABLE_BITS_FAST);
            found.chainLog = found.chainLog.max(TABLE_BITS_FAST);
        }
        // Two numbers for each byte.
        _ => {
            found.hashLog = found.hashLog.max(bits);
            found.chainLog = found.chainLog.max(bits + 1);
        }
    }
    found
}

/// A dictionary with zstd's tables of it, and room for contents behind it.
pub(crate) struct Prefix {
    /// From a box; `dictionary` bytes that `tables` refers to, then room.
    bytes: NonNull<[u8]>,
    dictionary: usize,
    tables: NonNull<ZSTD_CDict>,
}

// SAFETY: it owns what it points to, and zstd's objects are bound to no thread.
unsafe impl Send for Prefix {}

impl std::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prefix").finish_non_exhaustive()
    }
}

impl Prefix {
    /// Prepares `dictionary` for `level` (1 to 22). `None` if memory is lacking, or zstd refuses it.
    pub(crate) fn new(dictionary: &[u8], level: i32) -> Option<Self> {
        let length = dictionary.len();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length + INPUT).ok()?;
        bytes.extend_from_slice(dictionary);
        bytes.resize(length + INPUT, 0);
        let wanted = parameters(level, length);
        let bytes = NonNull::from(Box::leak(bytes.into_boxed_slice()));
        let Some(tables) = tables(bytes, length, level, wanted) else {
            // SAFETY: this came from a box a few lines above, and nothing else has it.
            drop(unsafe { Box::from_raw(bytes.as_ptr()) });
            return None;
        };
        Some(Self {
            bytes,
            dictionary: length,
            tables,
        })
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        // SAFETY: the tables live as long as `self`.
        self.bytes.len() + unsafe { ZSTD_sizeof_CDict(self.tables.as_ptr()) }
    }

    /// Puts `contents` behind the dictionary, if there is room, and returns where they are.
    fn place(&mut self, contents: &[u8]) -> *const u8 {
        if contents.len() > self.bytes.len() - self.dictionary {
            return contents.as_ptr();
        }
        // SAFETY: from `dictionary` on there are as many bytes as was asked just above. They overlap neither `contents`, which
        // somebody else has borrowed, nor the dictionary, which is all that the tables refer to.
        unsafe {
            let room = self.bytes.cast::<u8>().as_ptr().add(self.dictionary);
            room.copy_from_nonoverlapping(contents.as_ptr(), contents.len());
            room
        }
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        // SAFETY: both were made in `new` and are used nowhere else: encoders forget the tables after each frame. The tables,
        // which refer to the bytes, go first.
        unsafe {
            ZSTD_freeCDict(self.tables.as_ptr());
            drop(Box::from_raw(self.bytes.as_ptr()));
        }
    }
}

/// Tables of the first `length` of `bytes`, which stay where they are and what they are as long as the tables are used.
fn tables(
    bytes: NonNull<[u8]>,
    length: usize,
    level: i32,
    wanted: ZSTD_compressionParameters,
) -> Option<NonNull<ZSTD_CDict>> {
    let number = |value: u32| c_int::try_from(value).ok();
    let all = [
        (ZSTD_cParameter::ZSTD_c_compressionLevel, level),
        (SOURCE_SIZE_HINT, c_int::try_from(INPUT).ok()?),
        (ZSTD_cParameter::ZSTD_c_windowLog, number(wanted.windowLog)?),
        (ZSTD_cParameter::ZSTD_c_hashLog, number(wanted.hashLog)?),
        (ZSTD_cParameter::ZSTD_c_chainLog, number(wanted.chainLog)?),
        (ZSTD_cParameter::ZSTD_c_searchLog, number(wanted.searchLog)?),
        (ZSTD_cParameter::ZSTD_c_minMatch, number(wanted.minMatch)?),
        (
            ZSTD_cParameter::ZSTD_c_targetLength,
            number(wanted.targetLength)?,
        ),
        (
            ZSTD_cParameter::ZSTD_c_strategy,
            number(wanted.strategy as u32)?,
        ),
    ];
    let system = ZSTD_customMem {
        customAlloc: None,
        customFree: None,
        opaque: std::ptr::null_mut(),
    };
    // SAFETY: the parameters are made, used and freed here. The dictionary is readable, and outlives the tables by the
    // contract of this function.
    unsafe {
        let parameters: *mut ZSTD_CCtx_params = ZSTD_createCCtxParams();
        if parameters.is_null() {
            return None;
        }
        let are_set = all.iter().all(|&(parameter, value)| {
            ZSTD_isError(ZSTD_CCtxParams_setParameter(parameters, parameter, value)) == 0
        });
        let made = if are_set {
            NonNull::new(ZSTD_createCDict_advanced2(
                bytes.cast::<c_void>().as_ptr(),
                length,
                ZSTD_dictLoadMethod_e::ZSTD_dlm_byRef,
                ZSTD_dictContentType_e::ZSTD_dct_auto,
                parameters,
                system,
            ))
        } else {
            None
        };
        ZSTD_freeCCtxParams(parameters);
        made
    }
}

/// Compresses contents by dictionaries; keeps its tables between calls. Frames come without magic number, checksum and sizes.
pub(crate) struct PrefixEncoder {
    context: NonNull<ZSTD_CCtx>,
    frame: Vec<u8>,
}

// SAFETY: it owns the context, which is bound to no thread.
unsafe impl Send for PrefixEncoder {}

impl std::fmt::Debug for PrefixEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixEncoder").finish_non_exhaustive()
    }
}

impl PrefixEncoder {
    /// One for any level: dictionaries bring theirs. `None` if memory is lacking.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: takes nothing; the result is owned by what is returned.
        let context = NonNull::new(unsafe { ZSTD_createCCtx() })?;
        let encoder = Self {
            context,
            frame: Vec::new(),
        };
        let all = [
            (FORMAT, MAGICLESS),
            (ZSTD_cParameter::ZSTD_c_contentSizeFlag, 0),
            (ZSTD_cParameter::ZSTD_c_checksumFlag, 0),
            (ZSTD_cParameter::ZSTD_c_dictIDFlag, 0),
        ];
        let are_set = all.iter().all(|&(name, value)| encoder.set(name, value));
        are_set.then_some(encoder)
    }

    fn set(&self, parameter: ZSTD_cParameter, value: c_int) -> bool {
        // SAFETY: the context lives as long as `self`.
        unsafe {
            ZSTD_isError(ZSTD_CCtx_setParameter(
                self.context.as_ptr(),
                parameter,
                value,
            )) == 0
        }
    }

    /// The frame of `contents` by a dictionary; `None` if zstd cannot make one.
    pub(crate) fn encode(&mut self, contents: &[u8], prefix: &mut Prefix) -> Option<&[u8]> {
        let is_copied = contents.len() >= LEAST_COPIED;
        let from = if is_copied {
            prefix.place(contents)
        } else {
            contents.as_ptr()
        };
        if !self.set(FORCE_ATTACH, if is_copied { COPY } else { ATTACH }) {
            return None;
        }
        // SAFETY: looks at a number.
        let bound = unsafe { ZSTD_compressBound(contents.len()) };
        self.frame.clear();
        self.frame.try_reserve(bound).ok()?;
        let context = self.context.as_ptr();
        // SAFETY: `from` has as many readable bytes as `contents`, be it these or their copy, and `frame` has room for `bound`
        // bytes. The tables live through the call, and the context forgets them after it, which a context that was reset cannot
        // refuse. All bytes up to the length that zstd returns were written by it.
        unsafe {
            let referred = ZSTD_CCtx_refCDict(context, prefix.tables.as_ptr());
            let written = ZSTD_compress2(
                context,
                self.frame.as_mut_ptr().cast(),
                bound,
                from.cast(),
                contents.len(),
            );
            let reset = ZSTD_CCtx_reset(context, ZSTD_ResetDirective::ZSTD_reset_session_only);
            let forgotten = ZSTD_CCtx_refCDict(context, std::ptr::null());
            let codes = [referred, written, reset, forgotten];
            if codes.iter().any(|&code| ZSTD_isError(code) != 0) || written > bound {
                return None;
            }
            self.frame.set_len(written);
        }
        Some(&self.frame)
    }
}

impl Drop for PrefixEncoder {
    fn drop(&mut self) {
        // SAFETY: made in `new`, and freed once.
        unsafe { ZSTD_freeCCtx(self.context.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{ContentEncoder, decode_exactly};
    use zstd_safe::{DCtx, DDict, DParameter, FrameFormat, InBuffer, OutBuffer};

    /// Words that come again and again, and numbers that do not.
    fn text(mut seed: u64, length: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < length {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = ["static int ", "return ", "struct page *", "unsigned long "]
                [usize::try_from(seed >> 62).unwrap()];
            text.extend_from_slice(format!("{word}{:x};\n", seed >> 40 & 0xFFF).as_bytes());
        }
        text.truncate(length);
        text
    }

    /// Frames by each of `levels` and each dictionary decode, also by what decodes in pieces and keeps no more than the window that
    /// the frame declares, and do not depend on what the encoder did before.
    fn check(levels: impl Iterator<Item = i32>, dictionaries: &[usize], lengths: &[usize]) {
        for level in levels {
            let mut encoder = PrefixEncoder::new().unwrap();
            for &size in dictionaries {
                let dictionary = text(1, size);
                let mut prefix = Prefix::new(&dictionary, level).unwrap();
                assert!(prefix.memory() > dictionary.len() + INPUT);
                let readers = DDict::create(&dictionary);
                for &length in lengths {
                    let case = format!("level {level}, dictionary of {size}, {length} bytes");
                    let contents = text(length as u64, length);
                    let frame = encoder.encode(&contents, &mut prefix).unwrap().to_vec();
                    let mut out = vec![0; length];
                    decode_exactly(&frame, Some(&readers), &mut out).unwrap();
                    assert!(out == contents, "{case}");
                    assert!(in_pieces(&frame, &dictionary) == contents, "{case}");
                    let mut fresh = Prefix::new(&dictionary, level).unwrap();
                    let mut other = PrefixEncoder::new().unwrap();
                    let again = other.encode(&contents, &mut fresh).unwrap();
                    assert!(again == frame, "{case}");
                }
            }
        }
    }

    fn in_pieces(frame: &[u8], dictionary: &[u8]) -> Vec<u8> {
        let mut context = DCtx::create();
        let magicless = DParameter::Format(FrameFormat::Magicless);
        context.set_parameter(magicless).unwrap();
        context.load_dictionary(dictionary).unwrap();
        let mut input = InBuffer::around(frame);
        let mut all = Vec::new();
        loop {
            let mut piece = [0; 5000];
            let mut output = OutBuffer::around(&mut piece[..]);
            let left = context.decompress_stream(&mut output, &mut input).unwrap();
            all.extend_from_slice(output.as_slice());
            if left == 0 {
                return all;
            }
        }
    }

    #[test]
    fn frames_decode_by_the_dictionary_whatever_their_length() {
        let lengths = [1, 100, 8191, 8192, 16_384, 50_000, INPUT, INPUT + 1];
        check([1, 3, 5, 9, 19].into_iter(), &[3000, 200_000], &lengths);
        check(1..=22, &[300_000], &[3000, 20_000]);
    }

    #[test]
    fn chunks_longer_than_the_window_decode() {
        check([1, 3, 9].into_iter(), &[512 << 10], &[1 << 20, 16 << 20]);
        check([22].into_iter(), &[40_000], &[1 << 20]);
    }

    #[test]
    fn dictionaries_make_frames_shorter() {
        let contents = text(100, 100);
        for level in [1, 3, 9, 19] {
            let mut prefix = Prefix::new(&text(1, 3000), level).unwrap();
            let mut encoder = PrefixEncoder::new().unwrap();
            let with = encoder.encode(&contents, &mut prefix).unwrap().len();
            let mut plain = ContentEncoder::new(level).unwrap();
            assert!(with < plain.encode(&contents, None).unwrap().len());
        }
    }

    #[test]
    fn encoders_outlive_dictionaries() {
        let mut encoder = PrefixEncoder::new().unwrap();
        let contents = text(5, 20_000);
        let mut first = Prefix::new(&text(1, 5000), 9).unwrap();
        let frame = encoder.encode(&contents, &mut first).unwrap().to_vec();
        drop(first);
        let mut second = Prefix::new(&text(1, 5000), 9).unwrap();
        assert!(encoder.encode(&contents, &mut second).unwrap() == frame);
    }
}
