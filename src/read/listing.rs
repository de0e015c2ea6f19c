//! Passes over consecutive entries: the children of a directory, or everything.

use super::Image;
use super::node::Node;
use super::parentage;
use super::tree::{self, Leaf};
use crate::format::PAGE_BYTES;
use crate::format::leaf::{LeafPage, RowCursor, Run, Segment};
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Leaf pages that a pass over everything asks the device for in advance: 1 MiB.
const PAGES_AHEAD: u64 = 256;

/// Gets the entries of a pass: segment, index in it, name, entry. False ends the pass.
type Visit<'a> = dyn FnMut(&Leaf, usize, &[u8], &Node) -> Result<bool> + 'a;

/// Gets the entries of a walk: parent path, name, entry. False ends the walk.
pub type WalkVisit<'a> = dyn FnMut(&[u8], &[u8], &Node) -> bool + 'a;

/// One child of a directory.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Its place among the children, from 0.
    pub index: u64,
    /// Its name.
    pub name: &'a [u8],
    /// The entry.
    pub node: &'a Node,
}

impl Image {
    /// Visits the children of `dir` in order of their names, from child number `from` on, until `visit`
    /// returns false. A link whose target cannot be read is visited all the same, as a node that is not complete
    /// ([`Node::is_complete`]).
    pub fn list(
        &self,
        dir: &Node,
        from: u64,
        visit: &mut dyn FnMut(Listed<'_>) -> bool,
    ) -> Result<()> {
        if !dir.is_directory() {
            return Err(Error::new(ErrorKind::NotADirectory, "not a directory"));
        }
        let children = dir.children;
        if from >= children.count {
            return Ok(());
        }
        let first = children.first.saturating_add(from);
        let mut run_end = (0, 0, 0);
        self.pass(
            first,
            children.end(),
            false,
            &mut |leaf, index, name, node| {
                // Once for each segment, unless the directory goes on where its run ends.
                if (run_end.0, run_end.1) != (leaf.number, leaf.at) || index >= run_end.2 {
                    let run = self.run_of_children(leaf, index, dir)?;
                    run_end = (leaf.number, leaf.at, run.entries.end);
                }
                Ok(visit(Listed {
                    index: node.ordinal - children.first,
                    name,
                    node,
                }))
            },
        )
    }

    /// Visits entries in key order from ordinal `from` on, until `visit`, which gets parent path, name and
    /// entry, returns false. Each leaf page is read once; none stays in the cache. A link whose target cannot be read
    /// is visited as a node that is not complete ([`Node::is_complete`]).
    pub fn walk(&self, from: u64, visit: &mut WalkVisit<'_>) -> Result<()> {
        let mut far: Option<(u64, Vec<u8>)> = None;
        let end = self.header().entries;
        self.pass(from, end, true, &mut |leaf, index, name, node| {
            let run = leaf.segment.run_of(index);
            match run.and_then(|run| run.far_parent) {
                None => {
                    let path = run.map_or(&[][..], |run| leaf.segment.path_of(run));
                    Ok(visit(path, name, node))
                }
                Some(parent) => {
                    if far.as_ref().is_none_or(|(known, _)| *known != parent) {
                        far = Some((parent, self.path_of_ordinal(parent)?));
                    }
                    let path = far.as_ref().map_or(&[][..], |(_, path)| path);
                    Ok(visit(path, name, node))
                }
            }
        })
    }

    fn pass(&self, first: u64, end: u64, whole: bool, visit: &mut Visit<'_>) -> Result<()> {
        if first >= end {
            return Ok(());
        }
        let (mut leaf, mut index) = tree::find_ordinal(&self.store, first)?;
        let mut ordinal = first;
        let mut name = Vec::new();
        loop {
            let mut cursor = RowCursor::at(&leaf.segment, index);
            leaf.segment.name_into(index, &mut name);
            let mut run: Option<&Run> = None;
            while cursor.index() < leaf.segment.len() {
                if ordinal >= end {
                    return Ok(());
                }
                if cursor.index() > index {
                    leaf.segment.advance_name(cursor.index(), &mut name);
                }
                if run.is_none_or(|run| cursor.index() >= run.entries.end) {
                    run = leaf.segment.run_of(cursor.index());
                    if let Some(run) = run {
                        self.run_path(&leaf, run)?;
                    }
                }
                let row = Segment::check_name(ordinal, &name).and_then(|()| cursor.read());
                let row = row.map_err(|malformed| self.malformed(leaf.number, malformed))?;
                let (mut node, _) = self.known_of_row(&row)?;
                if node.is_directory() {
                    node.path = run.and_then(|run| parentage::digest(&leaf.segment, run, &name));
                }
                if !visit(&leaf, cursor.index(), &name, &node)? {
                    return Ok(());
                }
                ordinal += 1;
                cursor.advance();
            }
            if ordinal >= end {
                return Ok(());
            }
            leaf = self.leaf_behind(&leaf, whole)?;
            if leaf.segment.first_ordinal != ordinal {
                return Err(
                    Error::corrupt("leaf page does not go on where the one before ends")
                        .at_path(self.index_path())
                        .at_page(leaf.number),
                );
            }
            index = 0;
        }
    }

    /// The segment behind `leaf`, for a pass over everything or over some.
    fn leaf_behind(&self, leaf: &Leaf, whole: bool) -> Result<Leaf> {
        let at = leaf.at + 1;
        if at < leaf.page.segments() {
            return self.pass_leaf(leaf.number, Arc::clone(&leaf.page), at, whole);
        }
        let number = leaf.number + 1;
        if !whole {
            let page = self.store.leaf(number, None)?;
            return self.pass_leaf(number, page, 0, whole);
        }
        if number % PAGES_AHEAD == 1 {
            let ahead = number.saturating_mul(PAGE_BYTES);
            self.store
                .part()
                .will_need(ahead, 2 * PAGES_AHEAD * PAGE_BYTES);
        }
        if number > self.header().leaf_pages {
            return Err(
                Error::corrupt("index ends before its last entry").at_path(self.index_path())
            );
        }
        let page = self.store.leaf_uncached(number)?;
        self.pass_leaf(number, page, 0, whole)
    }

    fn pass_leaf(&self, number: u64, page: Arc<LeafPage>, at: usize, whole: bool) -> Result<Leaf> {
        if !whole {
            return Leaf::open(&self.store, number, page, at);
        }
        let segment = self.store.segment_uncached(number, &page, at)?;
        Ok(Leaf {
            number,
            at,
            page,
            segment,
        })
    }
}
