//! The columns of a leaf page that hold times of access, change and birth.

use super::{
    ACCESS_NANOSECONDS, ACCESS_SECONDS, BIRTH_NANOSECONDS, BIRTH_SECONDS, CHANGE_NANOSECONDS,
    CHANGE_SECONDS, SECONDS_BIAS,
};
use crate::entry::{OtherTimes, Timestamp};
use crate::format::column::{Column, ColumnCursor, Streams};

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

/// The columns of a page that it has, in the order of [`TIME_COLUMNS`].
#[derive(Debug, Default)]
pub(super) struct Times([Option<Column>; TIME_COLUMNS.len()]);

impl Times {
    /// Takes the column of `bit`.
    pub(super) fn set(&mut self, bit: u32, column: Column) {
        for ((known, _), slot) in TIME_COLUMNS.iter().zip(&mut self.0) {
            if *known == bit {
                *slot = Some(column);
            }
        }
    }

    /// A cursor at the entry `index`.
    pub(super) fn cursor<'a>(&self, streams: &Streams<'a>, index: usize) -> TimesCursor<'a> {
        let cursor = |column: &Option<Column>| Some(column.as_ref()?.cursor(streams, index));
        TimesCursor(self.0.each_ref().map(cursor))
    }

    /// Whether the page has none of them.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// A place in all columns of times.
#[derive(Debug, Clone)]
pub(super) struct TimesCursor<'a>([Option<ColumnCursor<'a>>; TIME_COLUMNS.len()]);

impl TimesCursor<'_> {
    /// The times of the entry here, which was last modified at `mtime`; what the page lacks is as there. `None` if
    /// they are impossible.
    pub(super) fn get(&self, streams: &Streams<'_>, mtime: Timestamp) -> Option<OtherTimes> {
        let [access, access_part, change, change_part, birth, birth_part] = &self.0;
        let time = |seconds: &Option<ColumnCursor<'_>>, part: &Option<ColumnCursor<'_>>| {
            Some(Timestamp {
                seconds: match seconds {
                    Some(column) => unbiased(column.get(streams)?),
                    None => mtime.seconds,
                },
                nanoseconds: match part {
                    Some(column) => nanoseconds(column.get(streams)?)?,
                    None => mtime.nanoseconds,
                },
            })
        };
        let unknown = match birth {
            Some(column) => column.get(streams)? == UNKNOWN,
            None => false,
        };
        Some(OtherTimes {
            atime: time(access, access_part)?,
            ctime: time(change, change_part)?,
            btime: if unknown {
                None
            } else {
                Some(time(birth, birth_part)?)
            },
        })
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self, streams: &Streams<'_>) {
        for cursor in self.0.iter_mut().flatten() {
            cursor.advance(streams);
        }
    }
}

/// Nanoseconds of a value of a column; `None` if they are more than a second.
pub(super) fn nanoseconds(value: u64) -> Option<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&value| value < 1_000_000_000)
}
