//! Ways from the root page to one segment of a leaf page.

use super::pages::{Expected, PageStore};
use crate::format::inner::InnerPage;
use crate::format::leaf::{LeafPage, Segment};
use crate::{Error, Result};
use std::sync::Arc;

/// A segment of a leaf page, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// Number of the page.
    pub(super) number: u64,
    /// Number of the segment in it.
    pub(super) at: usize,
    pub(super) page: Arc<LeafPage>,
    pub(super) segment: Arc<Segment>,
}

impl Leaf {
    /// Segment `at` of `page`, which has the number `number`.
    pub(super) fn open(
        store: &PageStore,
        number: u64,
        page: Arc<LeafPage>,
        at: usize,
    ) -> Result<Self> {
        let segment = store.segment(number, &page, at)?;
        Ok(Self {
            number,
            at,
            page,
            segment,
        })
    }

    /// Index in the segment of the entry at `ordinal`, if the segment holds it.
    pub(super) fn index_of(&self, ordinal: u64) -> Option<usize> {
        let index = usize::try_from(ordinal.checked_sub(self.segment.first_ordinal)?).ok()?;
        (index < self.segment.len()).then_some(index)
    }
}

/// The leaf page that the inner pages lead to, and what they say of it; it is not read.
pub(super) fn leaf_number(
    store: &PageStore,
    choose: impl Fn(&InnerPage) -> usize,
) -> Result<(u64, Option<Expected>)> {
    let header = store.header();
    let mut number = header.root_page();
    let mut expected = None;
    // At most MAX_LEVELS steps: the header was checked, and each page must be one level below its parent.
    for level in (1..=header.levels).rev() {
        let inner = store.inner(number, level, expected)?;
        let child = inner
            .child(choose(&inner))
            .ok_or_else(|| Error::corrupt("inner page has no child for a key").at_page(number))?;
        number = child.page;
        expected = Some(Expected {
            first_ordinal: child.first_ordinal,
            position: child.position,
        });
    }
    Ok((number, expected))
}

/// The segment that holds the entry at `ordinal`, and its index there.
pub(super) fn find_ordinal(store: &PageStore, ordinal: u64) -> Result<(Leaf, usize)> {
    let (number, expected) = leaf_number(store, |inner| inner.find_ordinal(ordinal))?;
    let page = store.leaf(number, expected)?;
    let misplaced = || {
        Error::corrupt(format!("entry {ordinal} is not where the index says"))
            .at_path(store.part().path())
            .at_page(number)
    };
    let at = page.segment_of(ordinal).ok_or_else(misplaced)?;
    let leaf = Leaf::open(store, number, page, at)?;
    match leaf.index_of(ordinal) {
        Some(index) => Ok((leaf, index)),
        None => Err(misplaced()),
    }
}

/// The entry with key (`path`, `name`) in `page`, for paths that a page spells out: its segment, and its index there.
pub(super) fn find_key(
    store: &PageStore,
    number: u64,
    page: &Arc<LeafPage>,
    path: &[u8],
    name: &[u8],
) -> Result<Option<(Leaf, usize)>> {
    let find = |at| {
        let leaf = Leaf::open(store, number, Arc::clone(page), at)?;
        let index = leaf.segment.find_key(path, name);
        Ok(index.map(|index| (leaf, index)))
    };
    let (mut low, mut high) = (0, page.segments() - 1);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match store.segment(number, page, middle)?.begins_by(path, name) {
            Some(true) => low = middle,
            Some(false) => high = middle - 1,
            // Of a far run no page says which paths come before it; any segment may be the one.
            None => {
                for at in low..high {
                    if let Some(found) = find(at)? {
                        return Ok(Some(found));
                    }
                }
                low = high;
            }
        }
    }
    find(low)
}
