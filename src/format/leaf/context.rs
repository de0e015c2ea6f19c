//! What leaf pages are read with beside their own bytes.

use crate::entry::Kind;
use crate::format::attributes::Attributes;
use crate::format::page_dictionaries::PageDictionaries;
use std::sync::Arc;

/// What leaf pages are read with beside their own bytes. Copies share all of it.
#[derive(Debug, Clone)]
pub struct LeafContext {
    /// The attribute section.
    pub table: Arc<[(Attributes, Kind)]>,
    /// The chunk shift of the header.
    pub chunk_shift: u32,
    /// What the frames refer to.
    pub dictionaries: Arc<PageDictionaries>,
}

impl LeafContext {
    /// That of an image whose pages refer to no dictionaries.
    pub fn plain(table: &Arc<[(Attributes, Kind)]>, chunk_shift: u32) -> Self {
        Self {
            table: Arc::clone(table),
            chunk_shift,
            dictionaries: Arc::default(),
        }
    }
}
