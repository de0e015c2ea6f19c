//! Supplies the directories that a source leaves out.

use super::{Content, Record, Sorter};
use crate::Result;
use crate::entry::{Kind, Metadata};

/// Adds an implied directory for every ancestor of the entries it is shown, the root included.
///
/// An ancestor shared with the entry shown before is not added again. A source in any order is
/// served correctly; one in tree order gets the fewest duplicates, which the sorter collapses.
#[derive(Debug, Default)]
pub struct ImpliedParents {
    /// Parent path shown last; `None` before the first, when even the root is missing.
    last: Option<Vec<u8>>,
}

impl ImpliedParents {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what an entry in the directory `parent` needs and the entry before did not.
    pub fn add_ancestors(&mut self, parent: &[u8], sorter: &mut Sorter) -> Result<()> {
        let known = match &mut self.last {
            Some(last) if last == parent => return Ok(()),
            Some(last) => {
                let known = shared_path(last, parent);
                last.clear();
                last.extend_from_slice(parent);
                known
            }
            none => {
                sorter.add(&implied(b"", b""))?;
                *none = Some(parent.to_vec());
                0
            }
        };
        // Ends of the ancestors' paths that lie beyond the known part; `parent` itself is the last.
        let ends = parent
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at)
            .chain((!parent.is_empty()).then_some(parent.len()))
            .filter(|end| *end > known);
        for end in ends {
            let path = parent.get(..end).unwrap_or_default();
            let split = path.iter().rposition(|byte| *byte == b'/');
            let (above, name) = match split {
                Some(at) => (path.get(..at), path.get(at + 1..)),
                None => (None, Some(path)),
            };
            sorter.add(&implied(
                above.unwrap_or_default(),
                name.unwrap_or_default(),
            ))?;
        }
        Ok(())
    }
}

/// Length of the longest path that is `a` and `b` or an ancestor of both.
fn shared_path(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let ends = |path: &[u8]| path.get(same).is_none_or(|byte| *byte == b'/');
    if ends(a) && ends(b) {
        return same;
    }
    b.get(..same)
        .and_then(|common| common.iter().rposition(|byte| *byte == b'/'))
        .unwrap_or(0)
}

fn implied(parent: &[u8], name: &[u8]) -> Record {
    Record {
        parent: parent.to_vec(),
        name: name.to_vec(),
        metadata: Metadata::new(Kind::Directory, 0o755),
        size: 0,
        holes_hint: 0,
        target: Vec::new(),
        identity: None,
        content: Content::ImpliedDirectory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn every_ancestor_is_there_once(
            parents in prop::collection::vec(prop::collection::vec("[ab.]{1,2}", 0..5), 1..20),
        ) {
            let parents: Vec<Vec<u8>> = parents
                .iter()
                .map(|names| names.join("/").replace("..", "x").replace('.', "-").into_bytes())
                .collect();
            let directory = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(directory.path(), 1 << 20);
            let mut implied = ImpliedParents::new();
            let mut expected = BTreeSet::from([Vec::new()]);
            for parent in &parents {
                implied.add_ancestors(parent, &mut sorter).unwrap();
                for end in 0..=parent.len() {
                    if end == parent.len() || parent[end] == b'/' {
                        expected.insert(parent[..end].to_vec());
                    }
                }
            }
            let mut reader = sorter.finish().unwrap().reader().unwrap();
            let mut record = Record::empty();
            let mut seen = BTreeSet::new();
            while reader.next(&mut record).unwrap() {
                prop_assert_eq!(record.content, Content::ImpliedDirectory);
                prop_assert!(seen.insert(record.path()));
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn shared_ancestors_are_not_added_again() {
        for (a, b, shared) in [
            ("a/b/c", "a/b/d", 3),
            ("a/b", "a/b/c", 3),
            ("a/b/c", "a/b", 3),
            ("a/bc", "a/bd", 1),
            ("ab", "ac", 0),
            ("", "a", 0),
            ("a", "a", 1),
        ] {
            assert_eq!(shared_path(a.as_bytes(), b.as_bytes()), shared, "{a} {b}");
        }
    }
}
