//! The columns of a leaf page that hold times of access, change and birth.

use super::values::Column;
use super::{
    ACCESS_NANOSECONDS, ACCESS_SECONDS, BIRTH_NANOSECONDS, BIRTH_SECONDS, CHANGE_NANOSECONDS,
    CHANGE_SECONDS, SECONDS_BIAS,
};
use crate::entry::{OtherTimes, Timestamp};

/// The columns in the order of the format, and whether they hold nanoseconds.
pub(super) const TIME_COLUMNS: [(u32, bool); 6] = [
    (ACCESS_SECONDS, false),
    (ACCESS_NANOSECONDS, true),
    (CHANGE_SECONDS, false),
    (CHANGE_NANOSECONDS, true),
    (BIRTH_SECONDS, false),
    (BIRTH_NANOSECONDS, true),
];

/// The value in a column of seconds of a birth time that is not known.
pub(super) const UNKNOWN: u64 = 0;

/// Seconds as a column has them.
pub(super) fn biased(seconds: i64) -> u64 {
    seconds.cast_unsigned() ^ SECONDS_BIAS
}

/// Seconds of a value of a column.
pub(super) fn unbiased(value: u64) -> i64 {
    (value ^ SECONDS_BIAS).cast_signed()
}

/// Seconds and nanoseconds of one kind of time; what a page lacks is as in `mtime`.
#[derive(Debug, Default)]
struct Pair {
    seconds: Option<Column>,
    nanoseconds: Option<Column>,
}

impl Pair {
    fn get(&self, index: usize, mtime: Timestamp) -> Option<Timestamp> {
        let seconds = self.seconds.as_ref().map(|column| column.get(index));
        let nanoseconds = self.nanoseconds.as_ref().map(|column| column.get(index));
        if seconds == Some(UNKNOWN) {
            return None;
        }
        Some(Timestamp {
            seconds: seconds.map_or(mtime.seconds, unbiased),
            nanoseconds: nanoseconds.map_or(mtime.nanoseconds, |value| {
                u32::try_from(value).unwrap_or_default()
            }),
        })
    }

    fn memory(&self) -> usize {
        let columns = [&self.seconds, &self.nanoseconds].into_iter().flatten();
        columns.map(Column::memory).sum()
    }
}

/// The times of a page besides `mtime`.
#[derive(Debug, Default)]
pub(super) struct Times {
    access: Pair,
    change: Pair,
    birth: Pair,
}

impl Times {
    /// Takes the column of `bit`.
    pub(super) fn set(&mut self, bit: u32, column: Column) {
        let field = match bit {
            ACCESS_SECONDS => &mut self.access.seconds,
            ACCESS_NANOSECONDS => &mut self.access.nanoseconds,
            CHANGE_SECONDS => &mut self.change.seconds,
            CHANGE_NANOSECONDS => &mut self.change.nanoseconds,
            BIRTH_SECONDS => &mut self.birth.seconds,
            _ => &mut self.birth.nanoseconds,
        };
        *field = Some(column);
    }

    /// The times of the entry at `index`, which was last modified at `mtime`.
    pub(super) fn get(&self, index: usize, mtime: Timestamp) -> OtherTimes {
        OtherTimes {
            atime: self.access.get(index, mtime).unwrap_or(mtime),
            ctime: self.change.get(index, mtime).unwrap_or(mtime),
            btime: self.birth.get(index, mtime),
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.access.memory() + self.change.memory() + self.birth.memory()
    }
}
