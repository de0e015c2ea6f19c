//! Names of any bytes on one line of text.

use std::fmt;

/// Shows bytes such that they take one line and can be told back: control characters and bytes that
/// are not part of valid UTF-8 as three octal digits behind a backslash, a backslash as two.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

fn is_plain(c: char) -> bool {
    c >= ' ' && c != '\x7f' && c != '\\'
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for (start, text) in plain_pieces(chunk.valid()) {
                match start {
                    Some('\\') => f.write_str("\\\\")?,
                    Some(control) => write!(f, "\\{:03o}", u32::from(control))?,
                    None => {}
                }
                f.write_str(text)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\{byte:03o}")?;
            }
        }
        Ok(())
    }
}

/// Cuts a text into the pieces between characters that need an escape, each with that before it.
fn plain_pieces(text: &str) -> impl Iterator<Item = (Option<char>, &str)> {
    let mut rest = Some((None, text));
    std::iter::from_fn(move || {
        let (start, text) = rest.take()?;
        let Some(end) = text.find(|c| !is_plain(c)) else {
            return Some((start, text));
        };
        let (piece, tail) = text.split_at(end);
        let mut tail = tail.chars();
        rest = tail.next().map(|c| (Some(c), tail.as_str()));
        Some((start, piece))
    })
}

/// The bytes that [`Escaped`] shows as `line`, which may also hold others as they are; `None` if a backslash stands before
/// something else than an escape.
pub fn unescape(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let (digits, after) = rest.split_first_chunk::<3>()?;
            let digit = |&digit: &u8| digit.checked_sub(b'0').filter(|&value| value < 8);
            let value = digits.iter().try_fold(0u32, |value, byte| {
                Some(value * 8 + u32::from(digit(byte)?))
            })?;
            out.push(u8::try_from(value).ok()?);
            rest = after;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_the_manual_says() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain name", "plain name"),
            (b"a\nb\\c\x7f", "a\\012b\\\\c\\177"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            (b"\xffx\xc3", "\\377x\\303"),
            (b"", ""),
        ];
        for (bytes, text) in cases {
            assert_eq!(Escaped(bytes).to_string(), text);
        }
    }

    #[test]
    fn lines_stand_for_bytes() {
        let cases: [(&[u8], Option<&[u8]>); 8] = [
            (b"a b", Some(b"a b")),
            (b"a\\012b\\\\c\\177", Some(b"a\nb\\c\x7f")),
            (b"\\377x", Some(b"\xffx")),
            (b"\\400", None),
            (b"\\n", None),
            (b"\\08", None),
            (b"x\\", None),
            (b"\xc3\xa9", Some(b"\xc3\xa9")),
        ];
        for (line, bytes) in cases {
            assert_eq!(unescape(line).as_deref(), bytes, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_can_be_told_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shown = Escaped(&name).to_string();
            prop_assert!(shown.bytes().all(|byte| byte >= 0x20 && byte != 0x7f));
            prop_assert_eq!(unescape(shown.as_bytes()), Some(name));
        }
    }
}
