//! Ways from the root page to one leaf page.

use super::pages::{Expected, PageStore};
use crate::format::inner::InnerPage;
use crate::format::leaf::LeafPage;
use crate::{Error, Result};
use std::sync::Arc;

/// A leaf page with its number.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) number: u64,
    pub(super) page: Arc<LeafPage>,
}

impl Leaf {
    /// Index in the page of the entry at `ordinal`, if the page holds it.
    pub(super) fn index_of(&self, ordinal: u64) -> Option<usize> {
        let index = usize::try_from(ordinal.checked_sub(self.page.first_ordinal)?).ok()?;
        (index < self.page.len()).then_some(index)
    }
}

/// Goes down the tree; `choose` picks a child in each inner page.
pub(super) fn descend(store: &PageStore, choose: impl Fn(&InnerPage) -> usize) -> Result<Leaf> {
    let (number, expected) = leaf_number(store, choose)?;
    Ok(Leaf {
        number,
        page: store.leaf(number, expected)?,
    })
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

/// The leaf page that holds the entry at `ordinal`, and its index there.
pub(super) fn find_ordinal(store: &PageStore, ordinal: u64) -> Result<(Leaf, usize)> {
    let leaf = descend(store, |inner| inner.find_ordinal(ordinal))?;
    match leaf.index_of(ordinal) {
        Some(index) => Ok((leaf, index)),
        None => Err(
            Error::corrupt(format!("entry {ordinal} is not where the index says"))
                .at_path(store.part().path())
                .at_page(leaf.number),
        ),
    }
}
