//! Which files resemble each other, by their names and by how they begin.

use std::collections::HashMap;

/// Longest extension, and longest name without one, that says what a file is. Longer ones are rarely shared.
const LONGEST: usize = 16;

/// Bytes at the beginning of a file by which text is told from other contents.
const PROBED: usize = 512;

/// What the name of a file says of its contents: `.` and the extension, or all of a short name without one, in small
/// letters. Empty if it says nothing.
pub(super) fn key(name: &[u8]) -> Vec<u8> {
    let dot = name.iter().rposition(|&byte| byte == b'.');
    let key = match dot {
        Some(at) if at > 0 => name.get(at..),
        _ => Some(name),
    };
    let key = key.filter(|key| key.len() <= LONGEST);
    key.unwrap_or(&[]).to_ascii_lowercase()
}

/// Whether a file that begins with `head` seems to be text.
pub(super) fn is_text(head: &[u8]) -> bool {
    !head.iter().take(PROBED).any(|&byte| byte == 0)
}

/// The codecs of files.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// By [`key`].
    pub(super) keys: HashMap<Vec<u8>, u32>,
    /// For other texts.
    pub(super) text: u32,
    /// For anything else.
    pub(super) binary: u32,
}

impl Classes {
    /// The codec of a file called `name` that begins with `head`, as far as that is known.
    pub(super) fn codec(&self, name: &[u8], head: Option<&[u8]>) -> u32 {
        if self.keys.is_empty() && self.text == 0 && self.binary == 0 {
            return 0;
        }
        match (self.keys.get(&key(name)), head) {
            (Some(&codec), _) => codec,
            (None, Some(head)) if is_text(head) => self.text,
            (None, Some(_)) => self.binary,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        for (name, expected) in [
            (&b"main.c"[..], &b".c"[..]),
            (b"PICTURE.JPG", b".jpg"),
            (b"archive.tar.gz", b".gz"),
            (b"Makefile", b"makefile"),
            (b".gitignore", b".gitignore"),
            (b"0123456789abcdef0123", b""),
            (b"a.0123456789abcdef0123", b""),
            (b"dot.", b"."),
        ] {
            assert_eq!(key(name), expected, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn names_come_before_contents() {
        let classes = Classes {
            keys: HashMap::from([(b".c".to_vec(), 1), (b".gz".to_vec(), 0)]),
            text: 2,
            binary: 3,
        };
        assert_eq!(classes.codec(b"a.c", Some(b"\0")), 1);
        assert_eq!(classes.codec(b"a.gz", Some(b"text")), 0);
        assert_eq!(classes.codec(b"a.txt", Some(b"text")), 2);
        assert_eq!(classes.codec(b"a.txt", Some(b"\x01\0")), 3);
        assert_eq!(classes.codec(b"a.txt", None), 0);
    }
}
