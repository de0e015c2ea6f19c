//! Sort keys: byte strings whose plain comparison is the key order of entries.
//!
//! A key is the parent path, a 0 byte, and the name, with `/` written as 1 and the bytes below it
//! (`0x01..=0x2e`) moved up by one. So the end of a parent path sorts below `/`, and `/` below
//! every byte of a name. The 0 occurs exactly once.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::{Error, ErrorKind, Result};

/// Longest name of an entry in bytes: `NAME_MAX` of Linux.
pub const NAME_LIMIT: usize = 255;

/// Longest path of an entry in bytes. Far beyond `PATH_MAX` (4096), which only bounds what a
/// single system call takes; this one bounds the memory that a path and its ancestors need.
pub const PATH_LIMIT: usize = 1 << 20;

/// Ends the parent path in a key.
const SPLIT: u8 = 0;
/// Stands for `/` in a key.
const SLASH: u8 = 1;

fn encode_byte(byte: u8) -> u8 {
    match byte {
        b'/' => SLASH,
        0..b'/' => byte + 1,
        _ => byte,
    }
}

fn decode_byte(byte: u8) -> u8 {
    match byte {
        SLASH => b'/',
        0..=b'/' => byte.wrapping_sub(1),
        _ => byte,
    }
}

/// Appends the part of a key that all children of `parent` share.
pub(super) fn encode_parent(parent: &[u8], out: &mut Vec<u8>) {
    out.extend(parent.iter().map(|&byte| encode_byte(byte)));
    out.push(SPLIT);
}

/// Appends the part of a key that names the child.
pub(super) fn encode_name(name: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(|&byte| encode_byte(byte)));
}

/// Length of the parent path in `key`, or `None` if it is no key.
pub(super) fn parent_len(key: &[u8]) -> Option<usize> {
    key.iter().position(|&byte| byte == SPLIT)
}

/// Replaces `out` with the text that the part `bytes` of a key stands for.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(bytes.iter().map(|&byte| decode_byte(byte)));
}

/// Refuses parent paths with empty, overlong or special components.
pub(super) fn check_parent(parent: &[u8]) -> Result<()> {
    if parent.is_empty() {
        return Ok(());
    }
    if parent.len() > PATH_LIMIT {
        return Err(too_long(parent));
    }
    parent
        .split(|&byte| byte == b'/')
        .try_for_each(|name| check_component(parent, name))
}

/// Refuses names that no entry can have, and those that make its path too long. The root, with
/// neither parent nor name, is the caller's to let through.
pub(super) fn check_name(parent: &[u8], name: &[u8]) -> Result<()> {
    if parent.len() + name.len() >= PATH_LIMIT {
        return Err(too_long(parent));
    }
    check_component(parent, name)
}

fn check_component(parent: &[u8], name: &[u8]) -> Result<()> {
    let what = match name {
        b"" => "a path has an empty component; give it without leading, trailing or double '/'",
        b"." | b".." => "'.' and '..' cannot be entries of an image; give the path without them",
        _ if name.contains(&b'/') => "a name contains '/'",
        _ if name.contains(&0) => "a name contains a NUL byte",
        _ if name.len() > NAME_LIMIT => {
            let what = format!("a name is longer than {NAME_LIMIT} bytes; shorten it");
            return Err(Error::new(ErrorKind::Limit, what).at_path(join(parent, name)));
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidInput, what).at_path(join(parent, name)))
}

#[cold]
fn too_long(path: &[u8]) -> Error {
    let what = format!("a path is longer than {PATH_LIMIT} bytes; move that subtree up");
    // The whole path would be a message of a megabyte.
    let shown = path.get(..NAME_LIMIT).unwrap_or(path);
    Error::new(ErrorKind::Limit, what).at_path(OsStr::from_bytes(shown))
}

/// The path of an entry, for messages.
pub(super) fn join(parent: &[u8], name: &[u8]) -> std::path::PathBuf {
    std::path::Path::new(OsStr::from_bytes(parent)).join(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::compare_keys;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        // Mostly bytes around the moved ones, so that equal prefixes and edge values are common.
        let byte = prop_oneof![
            4 => prop::sample::select(vec![1u8, 2, b'-', b'.', b'0', b'a']),
            1 => 1u8..=255
        ];
        prop::collection::vec(byte.prop_filter("slash", |b| *b != b'/'), 1..4)
    }

    fn entry() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        (prop::collection::vec(name(), 0..4), name())
            .prop_map(|(dirs, name)| (dirs.join(&b'/'), name))
    }

    fn key(entry: &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode_parent(&entry.0, &mut out);
        encode_name(&entry.1, &mut out);
        out
    }

    proptest! {
        #[test]
        fn keys_compare_as_entries(a in entry(), b in entry()) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), compare_keys((&a.0, &a.1), (&b.0, &b.1)));
        }

        #[test]
        fn keys_round_trip(a in entry()) {
            let key = key(&a);
            let split = parent_len(&key).unwrap();
            let (mut parent, mut name) = (Vec::new(), Vec::new());
            decode(&key[..split], &mut parent);
            decode(&key[split + 1..], &mut name);
            prop_assert_eq!((parent, name), a);
        }
    }

    #[test]
    fn impossible_names_are_refused() {
        let long = vec![b'x'; NAME_LIMIT + 1];
        for name in [b"".as_slice(), b".", b"..", b"a/b", b"a\0", &long] {
            assert!(check_name(b"p", name).is_err(), "{name:?}");
        }
        assert!(check_name(b"p", &long[1..]).is_ok());
        for parent in [b"/a".as_slice(), b"a/", b"a//b", b"a/../b", b"."] {
            assert!(check_parent(parent).is_err(), "{parent:?}");
        }
        let deep = b"ab/".repeat(PATH_LIMIT / 3);
        assert!(check_parent(&deep[..deep.len() - 1]).is_ok());
        assert_eq!(
            check_name(&deep[..deep.len() - 1], b"xyz").map_err(|e| e.kind()),
            Err(ErrorKind::Limit)
        );
    }
}
