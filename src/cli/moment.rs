//! Points in time as people write them.

use std::path::Path;

use dgfs::entry::Timestamp;
use dgfs::{Error, ErrorKind, Result};

use super::timestamp::{SECONDS_A_DAY, days_of};

/// Reads `@SECONDS`, `2024-02-29`, `2024-02-29T12:00:00.5+01:00`, or the time of modification of a
/// file whose path begins with `/` or `.`, as the option of tar does. Times without an offset are UTC.
pub(super) fn parse(text: &str) -> Result<Timestamp> {
    if text.starts_with(['/', '.']) {
        return of_file(Path::new(text));
    }
    let parsed = match text.strip_prefix('@') {
        Some(seconds) => since_1970(seconds),
        None => date_and_time(text),
    };
    parsed.ok_or_else(|| {
        let what = format!(
            "`{text}` is no time; write it as 2024-02-29, 2024-02-29T12:00:00Z, @SECONDS or \
             /PATH of a file"
        );
        Error::new(ErrorKind::InvalidInput, what)
    })
}

fn of_file(path: &Path) -> Result<Timestamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path
        .metadata()
        .map_err(|error| Error::io(path, "read the time of", error))?;
    Ok(Timestamp {
        seconds: metadata.mtime(),
        nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    })
}

/// `-1.5`: half a second before the second -1.
fn since_1970(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = seconds.strip_prefix('-').unwrap_or(seconds);
    let below = seconds.len() > digits.len();
    is_number(digits).then_some(())?;
    let (seconds, nanoseconds) = (seconds.parse().ok()?, nanoseconds(fraction)?);
    Some(if below && nanoseconds > 0 {
        Timestamp {
            seconds: i64::checked_sub(seconds, 1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        }
    } else {
        Timestamp {
            seconds,
            nanoseconds,
        }
    })
}

/// RFC 3339, where the time, or what is behind its minutes, or the offset may be missing.
fn date_and_time(text: &str) -> Option<Timestamp> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let days = days_of(year, month, day)?;
    let (mut seconds, mut fraction) = (0, 0);
    if let Some(time) = time {
        let (clock, offset) = match time.find(['Z', 'z', '+', '-']) {
            Some(at) => time.split_at_checked(at)?,
            None => (time, ""),
        };
        let (clock, digits) = clock.split_once('.').unwrap_or((clock, "0"));
        fraction = nanoseconds(digits)?;
        let [hour, minute, second] = match clock.len() {
            5 if digits == "0" => fields(&format!("{clock}:00"), ':', [2, 2, 2])?,
            _ => fields(clock, ':', [2, 2, 2])?,
        };
        // A leap second counts as the first of the next minute.
        (hour < 24 && minute < 60 && second <= 60).then_some(())?;
        seconds = hour * 3_600 + minute * 60 + second - offset_of(offset)?;
    }
    Some(Timestamp {
        seconds: days * SECONDS_A_DAY + seconds,
        nanoseconds: fraction,
    })
}

/// Seconds that `+01:00` is ahead of UTC.
fn offset_of(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, offset) = text.split_at_checked(1)?;
    let [hours, minutes, _] = fields(&format!("{offset}:00"), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(())?;
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

/// Three numbers of so many digits each.
fn fields(text: &str, between: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = is_number(part).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// The digits behind a decimal point, of which nine count.
fn nanoseconds(digits: &str) -> Option<u32> {
    is_number(digits).then_some(())?;
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().ok()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::timestamp::Utc;
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds,
        }
    }

    #[test]
    fn known_times() {
        for (text, time) in [
            ("@0", at(0, 0)),
            ("@1700000000.25", at(1_700_000_000, 250_000_000)),
            ("@-1.5", at(-3 + 1, 500_000_000)),
            ("@-0.5", at(-1, 500_000_000)),
            ("@9223372036854775807", at(i64::MAX, 0)),
            ("1970-01-01", at(0, 0)),
            ("2000-02-29T00:00", at(951_782_400, 0)),
            ("2000-02-29 00:00:01.5", at(951_782_401, 500_000_000)),
            ("2024-01-01T01:00:00+01:00", at(1_704_067_200, 0)),
            ("2023-12-31T18:30:00-05:30", at(1_704_067_200, 0)),
            ("2016-12-31T23:59:60Z", at(1_483_228_800, 0)),
            ("0001-01-01", at(-62_135_596_800, 0)),
        ] {
            assert_eq!(parse(text).unwrap(), time, "{text}");
        }
        for text in [
            "",
            "now",
            "@",
            "@x",
            "@1.",
            "@+1",
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-00-01",
            "2024-01-01T",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00+1",
            "2024-1-1",
            "2024-01-01T00:00:00Zx",
            "@9223372036854775808",
            "-1",
            "2024-01-01T0:00",
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.to_string().contains(&format!("`{text}`")),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_file_lends_its_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let time = parse(file.path().to_str().unwrap()).unwrap();
        let age = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        assert!(u64::try_from(time.seconds).unwrap().abs_diff(age) < 3_600);
        assert!(parse("./no such file").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(
            seconds in prop_oneof![-62_135_596_800i64..=253_402_300_799, any::<i64>()],
            nanoseconds in 0u32..1_000_000_000,
        ) {
            let time = at(seconds, nanoseconds);
            let shown = Utc(time).to_string();
            // Far from our time both parts are shown as they are, not as one number.
            prop_assume!(!shown.starts_with("@-"));
            prop_assert_eq!(parse(&shown).unwrap(), time, "{}", shown);
        }
    }
}
