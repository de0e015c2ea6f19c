//! Points in time as text.

use std::fmt;

use dgfs::entry::Timestamp;

/// Shows a time as `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`; outside the years 1 to 9999 as
/// `@SECONDS.nnnnnnnnn`, both parts as `stat` gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Utc(pub(super) Timestamp);

pub(super) const SECONDS_A_DAY: i64 = 86_400;

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;

/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// Counts in years that begin in March, so that the leap day comes last, and in eras of 400 years,
/// which all have 146,097 days. 719,468 days lie between 0000-03-01 and 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    // A century has 36,524 days and 4 years 1,461; taking out the leap days leaves years of 365.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, months repeat 31 30 31 30 31: 153 days in 5 months.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day)
}

/// Days from 1970-01-01 to a date; `None` if there is no such one. The inverse of [`civil`].
pub(super) fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=9999).contains(&year) {
        return None;
    }
    // Years that begin in March, as there.
    let (march_year, since_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year_of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let leap_days = year_of_era / 4 - year_of_era / 100;
    let day_of_year = (153 * since_march + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + leap_days + day_of_year - 719_468;
    // A day that the month does not have belongs to another one.
    (civil(days) == (year, month, day)).then_some(days)
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp {
            seconds,
            nanoseconds,
        } = self.0;
        if !(FIRST..=LAST).contains(&seconds) {
            return write!(f, "@{seconds}.{nanoseconds:09}");
        }
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_A_DAY));
        let second = seconds.rem_euclid(SECONDS_A_DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanoseconds:09}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(seconds: i64, nanoseconds: u32) -> String {
        Utc(Timestamp {
            seconds,
            nanoseconds,
        })
        .to_string()
    }

    #[test]
    fn shows_known_times() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
            (1_709_251_199, 0, "2024-02-29T23:59:59.000000000Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (FIRST, 0, "0001-01-01T00:00:00.000000000Z"),
            (LAST, 5, "9999-12-31T23:59:59.000000005Z"),
            (FIRST - 1, 7, "@-62135596801.000000007"),
            (LAST + 1, 0, "@253402300800.000000000"),
            (i64::MIN, 0, "@-9223372036854775808.000000000"),
        ];
        for (seconds, nanoseconds, text) in cases {
            assert_eq!(shown(seconds, nanoseconds), text);
        }
    }

    #[test]
    fn days_follow_each_other() {
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = |year, month| match month {
            2 if leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut date = civil(FIRST / SECONDS_A_DAY);
        assert_eq!(date, (1, 1, 1));
        for days in FIRST / SECONDS_A_DAY + 1..=LAST / SECONDS_A_DAY {
            let (year, month, day) = date;
            date = if day < length(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            assert_eq!(civil(days), date);
            assert_eq!(days_of(date.0, date.1, date.2), Some(days));
        }
        assert_eq!(date, (9999, 12, 31));
    }
}
