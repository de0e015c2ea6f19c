//! Which parts of an image are wanted.

use crate::entry::compare_paths;
use std::cmp::Ordering;

/// Paths in key order, none of them below another.
#[derive(Debug)]
pub(super) struct Selection(Vec<Vec<u8>>);

/// Whether `path` is `ancestor` or lies below it.
pub(super) fn is_within(ancestor: &[u8], path: &[u8]) -> bool {
    ancestor.is_empty()
        || path
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Selection {
    /// The entries at `paths` and what is below them; no path at all stands for everything.
    pub(super) fn new(paths: &[Vec<u8>]) -> Self {
        let mut paths = paths.to_vec();
        if paths.is_empty() {
            paths.push(Vec::new());
        }
        paths.sort_by(|a, b| compare_paths(a, b));
        // What is below a path comes right behind it.
        paths.dedup_by(|later, earlier| is_within(earlier, later));
        Self(paths)
    }

    pub(super) fn paths(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// Whether the entry at `path` is wanted.
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        let after = self
            .0
            .partition_point(|own| compare_paths(own, path) != Ordering::Greater);
        let candidate = after.checked_sub(1).and_then(|index| self.0.get(index));
        candidate.is_some_and(|own| is_within(own, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_what_lies_within_any_of_the_paths(
            paths in proptest::collection::vec("[ab-]{1,2}(/[ab-]{1,2}){0,2}", 1..6),
            probe in "[ab-]{1,2}(/[ab-]{1,2}){0,3}",
        ) {
            let paths: Vec<Vec<u8>> = paths.into_iter().map(String::into_bytes).collect();
            let selection = Selection::new(&paths);
            let expected = paths.iter().any(|path| is_within(path, probe.as_bytes()));
            prop_assert_eq!(selection.holds(probe.as_bytes()), expected);
            for pair in selection.paths().windows(2) {
                prop_assert!(!is_within(&pair[0], &pair[1]) && !is_within(&pair[1], &pair[0]));
            }
        }
    }

    #[test]
    fn no_path_is_everything() {
        assert!(Selection::new(&[]).holds(b"any/thing"));
    }
}
