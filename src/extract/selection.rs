//! Which parts of an image are wanted.

use crate::entry::compare_paths;
use crate::source::PathPatterns;
use std::cmp::Ordering;

/// Paths in key order, none of them below another.
#[derive(Debug)]
pub(super) struct Selection(Vec<Vec<u8>>);

/// Whether patterns ask for an entry, by itself or by a directory above it.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    include: &'a PathPatterns,
    exclude: &'a PathPatterns,
    /// The directory that was asked about last, whether it is left out, and whether all in it is asked for.
    directory: Vec<u8>,
    is_out: bool,
    is_in: bool,
}

impl<'a> Filter<'a> {
    pub(super) fn new(include: &'a PathPatterns, exclude: &'a PathPatterns) -> Self {
        Self {
            include,
            exclude,
            directory: Vec::new(),
            is_out: false,
            is_in: include.is_empty(),
        }
    }

    /// Whether only a part of the tree can come out.
    pub(super) fn is_partial(&self) -> bool {
        !self.include.is_empty()
    }

    /// Whether the entry `name` of the directory `parent`, at `path`, is wanted.
    pub(super) fn wants(&mut self, parent: &[u8], path: &[u8], is_directory: bool) -> bool {
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        if self.directory != parent {
            let ends = parent.iter().enumerate().filter(|(_, byte)| **byte == b'/');
            let ends = ends.map(|(end, _)| end).chain([parent.len()]);
            let mut ancestors = ends.filter_map(|end| parent.get(..end).filter(|a| !a.is_empty()));
            (self.is_out, self.is_in) = (false, self.include.is_empty());
            for path in ancestors.by_ref() {
                self.is_out |= self.exclude.match_path(path, true);
                self.is_in |= self.include.match_path(path, true);
            }
            self.directory = parent.to_vec();
        }
        !self.is_out
            && !self.exclude.match_path(path, is_directory)
            && (self.is_in || self.include.match_path(path, is_directory))
    }
}

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
