//! Index pages: read, checked, decoded, and kept within a budget of memory.

use super::files::Part;
use crate::entry::Kind;
use crate::format::attributes::Attributes;
use crate::format::header::Header;
use crate::format::inner::InnerPage;
use crate::format::leaf::LeafPage;
use crate::format::{PAGE_BYTES, PAGE_SIZE, Parsed, checksum};
use crate::{Error, Result};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a parent page says of a child; the child must agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) first_ordinal: u64,
    pub(super) position: u64,
}

#[derive(Debug, Clone, Copy)]
struct ByMemory;

impl Weighter<u64, Arc<LeafPage>> for ByMemory {
    fn weight(&self, _: &u64, page: &Arc<LeafPage>) -> u64 {
        page.memory() as u64
    }
}

impl Weighter<u64, Arc<InnerPage>> for ByMemory {
    fn weight(&self, _: &u64, page: &Arc<InnerPage>) -> u64 {
        page.memory() as u64
    }
}

/// Reads pages of one index. Inner pages have a cache of their own, so that a scan of leaves cannot push them
/// out: with them in memory a lookup is one read.
pub(super) struct PageStore {
    part: Arc<Part>,
    header: Header,
    table: Arc<[(Attributes, Kind)]>,
    leaves: Cache<u64, Arc<LeafPage>, ByMemory>,
    inners: Cache<u64, Arc<InnerPage>, ByMemory>,
    decoded: AtomicU64,
}

impl std::fmt::Debug for PageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageStore")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

impl PageStore {
    /// A store that keeps up to `cache_bytes` of decoded pages, half of them inner pages if there are so many.
    pub(super) fn new(
        part: Arc<Part>,
        header: Header,
        table: Arc<[(Attributes, Kind)]>,
        cache_bytes: usize,
    ) -> Self {
        let half = cache_bytes as u64 / 2;
        // The estimates only size hash tables: a leaf page takes some 20 KiB decoded, an inner page 10 KiB.
        let cache = |bytes: u64, page: u64| ((bytes / page).clamp(16, 1 << 20) as usize, bytes);
        let (leaf_items, leaf_bytes) = cache(half, 20 << 10);
        let (inner_items, inner_bytes) = cache(half, 10 << 10);
        Self {
            part,
            header,
            table,
            leaves: Cache::with_weighter(leaf_items, leaf_bytes, ByMemory),
            inners: Cache::with_weighter(inner_items, inner_bytes, ByMemory),
            decoded: AtomicU64::new(0),
        }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    /// How many pages were decoded.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    fn corrupt(&self, number: u64, what: impl Into<String>) -> Error {
        Error::corrupt(what)
            .at_path(self.part.path())
            .at_page(number)
    }

    fn load<T>(
        &self,
        number: u64,
        decode: impl FnOnce(&[u8; PAGE_SIZE]) -> Parsed<T>,
    ) -> Result<T> {
        let offset = number
            .checked_mul(PAGE_BYTES)
            .ok_or_else(|| self.corrupt(number, "page number is impossible"))?;
        let mut page = [0; PAGE_SIZE];
        self.part
            .read(&mut page, offset)
            .map_err(|error| error.at_page(number))?;
        if !checksum::page_is_sound(&self.header.uuid, number, &page) {
            return Err(self.corrupt(number, "page checksum does not match"));
        }
        self.decoded.fetch_add(1, Ordering::Relaxed);
        decode(&page).map_err(|malformed| self.corrupt(number, malformed.0))
    }

    /// Leaf page `number`, from the cache or the device.
    pub(super) fn leaf(&self, number: u64, expected: Option<Expected>) -> Result<Arc<LeafPage>> {
        self.leaf_after(number, expected, || {})
    }

    /// As [`Self::leaf`]; calls `before` if the page is not in the cache.
    pub(super) fn leaf_after(
        &self,
        number: u64,
        expected: Option<Expected>,
        before: impl FnOnce(),
    ) -> Result<Arc<LeafPage>> {
        if number == 0 || number > self.header.leaf_pages {
            return Err(self.corrupt(number, "page number is not that of a leaf page"));
        }
        let page = self.leaves.get_or_insert_with(&number, || {
            before();
            self.load(number, |page| {
                LeafPage::open(page, &self.table, self.header.chunk_shift).map(Arc::new)
            })
        })?;
        let end = page.first_ordinal.saturating_add(page.len() as u64);
        let agrees = expected.is_none_or(|expected| {
            page.first_ordinal == expected.first_ordinal && page.position == expected.position
        });
        if !agrees || end > self.header.entries {
            return Err(self.corrupt(number, "leaf page contradicts the page above it"));
        }
        Ok(page)
    }

    /// Reads leaf page `number` past the cache, for passes over all of them.
    pub(super) fn leaf_uncached(&self, number: u64) -> Result<Arc<LeafPage>> {
        match self.leaves.get(&number) {
            Some(page) => Ok(page),
            None => self.load(number, |page| {
                LeafPage::open(page, &self.table, self.header.chunk_shift).map(Arc::new)
            }),
        }
    }

    /// Reads leaf page `number` past the cache and checks everything in it.
    pub(super) fn leaf_checked(&self, number: u64) -> Result<LeafPage> {
        self.load(number, |page| {
            LeafPage::decode(page, &self.table, self.header.chunk_shift)
        })
    }

    /// Reads inner page `number` past the cache, for passes over all of them.
    pub(super) fn inner_uncached(&self, number: u64) -> Result<InnerPage> {
        self.load(number, InnerPage::decode)
    }

    /// Inner page `number`, which must be of `level`, from the cache or the device.
    pub(super) fn inner(
        &self,
        number: u64,
        level: u32,
        expected: Option<Expected>,
    ) -> Result<Arc<InnerPage>> {
        if number <= self.header.leaf_pages || number > self.header.root_page() {
            return Err(self.corrupt(number, "page number is not that of an inner page"));
        }
        let page = self.inners.get_or_insert_with(&number, || {
            self.load(number, |page| InnerPage::decode(page).map(Arc::new))
        })?;
        let agrees = expected.is_none_or(|expected| {
            page.first_ordinal == expected.first_ordinal && page.position == expected.position
        });
        if !agrees || u32::from(page.level) != level {
            return Err(self.corrupt(number, "inner page contradicts the page above it"));
        }
        Ok(page)
    }
}
