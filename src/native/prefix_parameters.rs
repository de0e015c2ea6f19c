//! What zstd searches with behind a dictionary, by level.

#![expect(
    unsafe_code,
    reason = "`zstd-safe` does not tell the parameters of a level"
)]

use zstd_safe::zstd_sys::{ZSTD_compressionParameters, ZSTD_getCParams, ZSTD_strategy};

use super::prefix::INPUT;

/// Tables have an entry for each byte of a dictionary, but at least and at most 2 to the power of so many. Beyond that
/// they leave the processor's cache, and to copy them takes longer than they save: 2^19 take a sixth more time at level 9 of
/// the Linux source, for 0.8 % fewer bytes.
const TABLE_BITS: std::ops::RangeInclusive<u32> = 17..=18;

/// The least for the table of long matches of the fast strategies. 2^17 entries take an eighth more time at level 3 of the Linux
/// source, for 0.3 % fewer bytes. The table of short ones has what zstd gives it: twice as much takes a twelfth
/// more time, for 0.3 % fewer bytes.
const TABLE_BITS_FAST: u32 = 16;

/// Levels 5 to 10 look for longer matches behind dictionaries of more bytes.
const LARGE: usize = 256 << 10;

/// The shortest matches that they look for there: where so much data is
/// alike, there are longer ones. With 4, as zstd has it, level 9 took a tenth to a fifth more time on the C files of the Linux source
/// for 0.06 % fewer bytes, and pages of documentation became 1 % larger; behind the small dictionaries of a `node_modules`
/// tree, 4 saves 0.7 %.
const LEAST_MATCH: u32 = 5;

/// Entries of the table of the thorough search, as a power of 2, and that behind dictionaries of more than [`LARGE`] bytes: with the
/// smaller one, scripts of `npm` became larger than without that search.
const THOROUGH_BITS: u32 = 16;
const THOROUGH_BITS_LARGE: u32 = 17;

/// Places that it looks at for a match, as a power of 2: zstd finds 16 of them at once. 8 take 2 % less time, for 0.6 % more bytes.
const THOROUGH_SEARCH: u32 = 4;

/// Parameters of zstd for inputs of [`INPUT`] bytes at `level` behind a dictionary of `length` bytes.
pub(super) fn parameters(level: i32, length: usize) -> ZSTD_compressionParameters {
    // SAFETY: looks numbers up.
    let mut found = unsafe { ZSTD_getCParams(level, INPUT as u64, 0) };
    let bits = length.next_power_of_two().trailing_zeros();
    let bits = bits.clamp(*TABLE_BITS.start(), *TABLE_BITS.end());
    match found.strategy {
        ZSTD_strategy::ZSTD_greedy | ZSTD_strategy::ZSTD_lazy | ZSTD_strategy::ZSTD_lazy2 => {
            found.hashLog = found.hashLog.max(bits);
            if length > LARGE {
                found.minMatch = LEAST_MATCH;
                // A second look ahead takes a fourteenth more time at level 9 of the Linux source, for 0.6 % fewer bytes.
                if found.strategy == ZSTD_strategy::ZSTD_lazy2 {
                    found.strategy = ZSTD_strategy::ZSTD_lazy;
                }
            }
        }
        ZSTD_strategy::ZSTD_fast | ZSTD_strategy::ZSTD_dfast => {
            found.hashLog = found.hashLog.max(TABLE_BITS_FAST);
        }
        // Two numbers for each byte.
        _ => {
            found.hashLog = found.hashLog.max(bits);
            found.chainLog = found.chainLog.max(bits + 1);
        }
    }
    found
}

/// The same for a more thorough search at the levels that look for each match in two tables; `None` for the others.
pub(super) fn thorough(level: i32, length: usize) -> Option<ZSTD_compressionParameters> {
    let mut found = parameters(level, length);
    (found.strategy == ZSTD_strategy::ZSTD_dfast).then(|| {
        found.strategy = ZSTD_strategy::ZSTD_greedy;
        found.hashLog = if length > LARGE {
            THOROUGH_BITS_LARGE
        } else {
            THOROUGH_BITS
        };
        found.searchLog = THOROUGH_SEARCH;
        found
    })
}
