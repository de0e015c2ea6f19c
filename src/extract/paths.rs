//! Paths in an image: how they are taken apart and put together.

/// `parent/name`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        parent => [parent, name].join(&b'/'),
    }
}

/// The directory of `path`, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

/// `path` without its first `count` components; `None` if it has no more than these.
pub(super) fn strip_components(path: &[u8], count: usize) -> Option<&[u8]> {
    if count == 0 {
        return Some(path);
    }
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let (slash, _) = slashes.nth(count - 1)?;
    path.get(slash + 1..)
}

/// Whether a name leads nowhere but into its directory.
pub(super) fn is_safe(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cut_off_in_front() {
        let cases = [
            ("a/b/c", 0, Some("a/b/c")),
            ("a/b/c", 1, Some("b/c")),
            ("a/b/c", 2, Some("c")),
            ("a/b/c", 3, None),
            ("a", 1, None),
            ("", 1, None),
        ];
        for (path, count, expected) in cases {
            let stripped = strip_components(path.as_bytes(), count);
            assert_eq!(stripped, expected.map(str::as_bytes), "{path:?} {count}");
        }
    }
}
