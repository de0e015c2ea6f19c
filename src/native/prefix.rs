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
use std::ops::Range;
use std::ptr::NonNull;

use zstd_safe::zstd_sys::{
    ZSTD_CCtx, ZSTD_CCtx_params, ZSTD_CCtx_refCDict, ZSTD_CCtx_reset, ZSTD_CCtx_setParameter,
    ZSTD_CCtxParams_setParameter, ZSTD_CDict, ZSTD_ResetDirective, ZSTD_cParameter, ZSTD_compress2,
    ZSTD_compressBound, ZSTD_compressionParameters, ZSTD_createCCtx, ZSTD_createCCtxParams,
    ZSTD_createCDict_advanced2, ZSTD_customMem, ZSTD_dictContentType_e, ZSTD_dictLoadMethod_e,
    ZSTD_freeCCtx, ZSTD_freeCCtxParams, ZSTD_freeCDict, ZSTD_isError, ZSTD_sizeof_CDict,
};

use super::prefix_parameters::{parameters, thorough};

/// What zstd takes parameters for: larger chunks get the same ones. Also the room behind a dictionary.
pub(super) const INPUT: usize = 128 << 10;

/// Contents of fewer bytes are searched for in the dictionary's own tables: to copy these would take longer than the second
/// search.
const LEAST_COPIED: usize = 8 << 10;

/// From `ZSTD_dictAttachPref_e`, and `ZSTD_format_e`.
const ATTACH: c_int = 1;
const COPY: c_int = 2;
const MAGICLESS: c_int = 1;

const FORMAT: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam2;
const FORCE_ATTACH: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam4;
const SOURCE_SIZE_HINT: ZSTD_cParameter = ZSTD_cParameter::ZSTD_c_experimentalParam7;

/// A dictionary with zstd's tables of it, and room for contents behind it.
pub(crate) struct Prefix {
    /// From a box; `dictionary` bytes that `tables` refers to, then room.
    bytes: NonNull<[u8]>,
    dictionary: usize,
    tables: NonNull<ZSTD_CDict>,
    /// Tables for a more thorough search, if contents of some lengths get one.
    thorough: Option<NonNull<ZSTD_CDict>>,
    lengths: Range<usize>,
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
            thorough: None,
            lengths: 0..0,
        })
    }

    /// Has contents of these `lengths` be searched more thoroughly from now on than `level`, that of the tables, means; false
    /// if no level of that kind needs it. `None` if memory is lacking.
    pub(crate) fn search_more(&mut self, level: i32, lengths: Range<usize>) -> Option<bool> {
        let Some(wanted) = thorough(level, self.dictionary) else {
            return Some(false);
        };
        if self.thorough.is_none() {
            self.thorough = Some(tables(self.bytes, self.dictionary, level, wanted)?);
        }
        self.lengths = lengths;
        Some(true)
    }

    /// The tables for contents of `length` bytes.
    fn tables_for(&self, length: usize) -> NonNull<ZSTD_CDict> {
        let thorough = self.thorough.filter(|_| self.lengths.contains(&length));
        thorough.unwrap_or(self.tables)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        let all = std::iter::once(self.tables).chain(self.thorough);
        // SAFETY: the tables live as long as `self`.
        let tables = all.map(|tables| unsafe { ZSTD_sizeof_CDict(tables.as_ptr()) });
        self.bytes.len() + tables.sum::<usize>()
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
        // SAFETY: all were made in `new` and `search_more` and are used nowhere else: encoders forget the tables after each
        // frame. The tables, which refer to the bytes, go first.
        unsafe {
            ZSTD_freeCDict(self.tables.as_ptr());
            if let Some(thorough) = self.thorough {
                ZSTD_freeCDict(thorough.as_ptr());
            }
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
        let tables = prefix.tables_for(contents.len());
        // SAFETY: `from` has as many readable bytes as `contents`, be it these or their copy, and `frame` has room for `bound`
        // bytes. The tables live through the call, and the context forgets them after it, which a context that was reset cannot
        // refuse. All bytes up to the length that zstd returns were written by it.
        unsafe {
            let referred = ZSTD_CCtx_refCDict(context, tables.as_ptr());
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
#[path = "prefix_tests.rs"]
mod tests;
