//! The text form of image UUIDs: 32 hex digits in groups of 8, 4, 4, 4 and 12.

use crate::format::Uuid;
use crate::{Error, ErrorKind, Result};

/// Bytes before which the text form has a dash.
const DASHES_BEFORE: [usize; 4] = [4, 6, 8, 10];

/// The lower-case text form with dashes.
pub fn format_uuid(uuid: &Uuid) -> String {
    let mut text = String::with_capacity(36);
    for (at, &byte) in uuid.iter().enumerate() {
        if DASHES_BEFORE.contains(&at) {
            text.push('-');
        }
        push_hex(&mut text, byte);
    }
    text
}

/// The first four bytes in lower-case hex, as pending names carry them.
pub(super) fn tag(uuid: &Uuid) -> String {
    let mut text = String::with_capacity(8);
    uuid.iter()
        .take(4)
        .for_each(|&byte| push_hex(&mut text, byte));
    text
}

/// Parses the text form; capitals are accepted, and so is a text without any dashes.
pub fn parse_uuid(text: &str) -> Result<Uuid> {
    let wrong = || {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not a UUID; it takes 32 hex digits, grouped 8-4-4-4-12 or not"),
        )
    };
    let dashes_fit = match text.len() {
        32 => true,
        36 => text
            .bytes()
            .enumerate()
            .all(|(at, byte)| (byte == b'-') == [8, 13, 18, 23].contains(&at)),
        _ => false,
    };
    if !dashes_fit {
        return Err(wrong());
    }
    let mut uuid = [0; 16];
    let mut digits = text.chars().filter(|&c| c != '-');
    for byte in &mut uuid {
        let mut digit = || digits.next().and_then(|c| c.to_digit(16));
        let value = digit().zip(digit()).map(|(high, low)| high << 4 | low);
        *byte = value
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(wrong)?;
    }
    Ok(uuid)
}

/// A new random UUID (version 4 of RFC 9562).
pub fn random_uuid() -> Result<Uuid> {
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid).map_err(|e| {
        Error::new(
            ErrorKind::Io,
            format!("the system gives no random numbers for a UUID: {e}"),
        )
    })?;
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    Ok(uuid)
}

fn push_hex(text: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        text.extend(char::from_digit(u32::from(nibble), 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: Uuid = [
        0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32,
        0x10,
    ];

    #[test]
    fn has_the_usual_form() {
        assert_eq!(format_uuid(&UUID), "01234567-89ab-cdef-fedc-ba9876543210");
        assert_eq!(tag(&UUID), "01234567");
        assert_eq!(
            parse_uuid("01234567-89AB-CDEF-fedc-ba9876543210").unwrap(),
            UUID
        );
        assert_eq!(
            parse_uuid("0123456789abcdeffedcba9876543210").unwrap(),
            UUID
        );
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "01234567",
            "0123456789abcdeffedcba987654321",
            "0123456789abcdeffedcba98765432100",
            "0123456789abcdeffedcba987654321g",
            "0123456789abcdeffedcba98765432-0",
            "+123456789abcdeffedcba9876543210",
            "012345678-9ab-cdef-fedc-ba9876543210",
            "01234567-89ab-cdef-fedcba-9876543210",
            "01234567-89ab-cdef-fedc-ba987654321\u{e9}",
        ] {
            assert_eq!(
                parse_uuid(text).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{text}"
            );
        }
    }

    #[test]
    fn random_ones_differ_and_say_so() {
        let (a, b) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert_ne!(a, b);
        assert_eq!((a[6] >> 4, a[8] >> 6), (4, 2));
    }

    proptest! {
        #[test]
        fn round_trips(uuid: Uuid) {
            prop_assert_eq!(parse_uuid(&format_uuid(&uuid)).unwrap(), uuid);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_uuid(&text);
        }
    }
}
