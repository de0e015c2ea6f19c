//! Whether entries are the children of a directory.
//!
//! A directory says at which ordinals its children lie, and a page says whose children they are: by path, or by the
//! directory's ordinal where that path is long. Only if both agree are they handed out. Otherwise an image could show one
//! run of children in two places, and twice as many places on each level of such directories.

use super::Image;
use super::node::Node;
use super::path_digest::PathDigest;
use super::tree::Leaf;
use crate::format::MAX_INLINE_PATH;
use crate::format::leaf::{Run, Segment};
use crate::{Error, Result};

/// The digest of the path of the directory `name` in `run`, an entry of `segment`; `None` where its children name it by
/// ordinal.
pub(super) fn digest(segment: &Segment, run: &Run, name: &[u8]) -> Option<PathDigest> {
    if run.far_parent.is_some() {
        return None;
    }
    let parent = segment.path_of(run);
    let length = parent.len() + usize::from(!parent.is_empty()) + name.len();
    if parent.is_empty() {
        return Some(PathDigest::of(name));
    }
    (length <= MAX_INLINE_PATH).then(|| {
        let mut path = Vec::with_capacity(length);
        path.extend_from_slice(parent);
        path.push(b'/');
        path.extend_from_slice(name);
        PathDigest::of(&path)
    })
}

impl Image {
    /// The run that begins at entry `index` of a segment or holds it, if it is that of the children of `directory`.
    pub(super) fn run_of_children<'l>(
        &self,
        leaf: &'l Leaf,
        index: usize,
        directory: &Node,
    ) -> Result<&'l Run> {
        let run = leaf.segment.run_of(index).filter(|run| {
            // The run of a directory begins at its first child or with the segment.
            let first = leaf.segment.first_ordinal;
            let begins = first.saturating_add(run.entries.start as u64);
            begins == directory.children.first.max(first)
                && match run.far_parent {
                    Some(parent) => parent == directory.ordinal,
                    None => directory.path == Some(PathDigest::of(leaf.segment.path_of(run))),
                }
        });
        run.ok_or_else(|| {
            Error::corrupt("directory's children are those of another directory")
                .at_path(self.index_path())
                .at_page(leaf.number)
        })
    }
}
