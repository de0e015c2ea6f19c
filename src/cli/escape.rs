//! Names of any bytes on one line of text.

use std::fmt;

/// Shows bytes such that they take one line and can be told back: control characters and bytes that
/// are not part of valid UTF-8 as three octal digits behind a backslash, a backslash as two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unescape(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => match bytes.next().unwrap() {
                    b'\\' => out.push(b'\\'),
                    digit => {
                        let mut value = u32::from(digit - b'0');
                        for digit in bytes.by_ref().take(2) {
                            value = value * 8 + u32::from(digit - b'0');
                        }
                        out.push(u8::try_from(value).unwrap());
                    }
                },
                other => out.push(other),
            }
        }
        out
    }

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

    proptest! {
        #[test]
        fn every_name_can_be_told_back(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shown = Escaped(&name).to_string();
            prop_assert!(shown.bytes().all(|byte| byte >= 0x20 && byte != 0x7f));
            prop_assert_eq!(unescape(&shown), name);
        }
    }
}
