//! Index pages: read, checked, decoded, and kept within a budget of memory.

use super::files::Part;
use crate::format::header::Header;
use crate::format::inner::InnerPage;
use crate::format::leaf::{LeafContext, LeafPage, MAX_SEGMENTS, Segment};
use crate::format::{Malformed, PAGE_BYTES, PAGE_SIZE, Parsed, checksum};
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

impl Weighter<u64, Arc<Segment>> for ByMemory {
    fn weight(&self, _: &u64, segment: &Arc<Segment>) -> u64 {
        segment.memory() as u64
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
    context: LeafContext,
    leaves: Cache<u64, Arc<LeafPage>, ByMemory>,
    /// By page and number in it.
    segments: Cache<u64, Arc<Segment>, ByMemory>,
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
    /// A store that keeps up to `cache_bytes`: half of that are inner pages if there are so many, three eighths segments
    /// of leaf pages, and an eighth leaf pages as they were read.
    pub(super) fn new(
        part: Arc<Part>,
        header: Header,
        context: LeafContext,
        cache_bytes: usize,
    ) -> Self {
        let eighth = cache_bytes as u64 / 8;
        // The estimates only size hash tables: a segment takes some 7 KiB, an inner page 10 KiB.
        let cache = |bytes: u64, each: u64| ((bytes / each).clamp(16, 1 << 20) as usize, bytes);
        let (leaf_items, leaf_bytes) = cache(eighth, 5 << 10);
        let (segment_items, segment_bytes) = cache(3 * eighth, 7 << 10);
        let (inner_items, inner_bytes) = cache(4 * eighth, 10 << 10);
        Self {
            part,
            header,
            context,
            leaves: Cache::with_weighter(leaf_items, leaf_bytes, ByMemory),
            segments: Cache::with_weighter(segment_items, segment_bytes, ByMemory),
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

    /// How many inner pages and segments of leaf pages were decoded.
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
        decode: impl FnOnce(Box<[u8; PAGE_SIZE]>) -> Parsed<T>,
    ) -> Result<T> {
        let offset = number
            .checked_mul(PAGE_BYTES)
            .ok_or_else(|| self.corrupt(number, "page number is impossible"))?;
        let mut page = Box::new([0; PAGE_SIZE]);
        self.part
            .read(page.as_mut_slice(), offset)
            .map_err(|error| error.at_page(number))?;
        if !checksum::page_is_sound(&self.header.uuid, number, &page) {
            return Err(self.corrupt(number, "page checksum does not match"));
        }
        decode(page).map_err(|malformed| self.corrupt(number, malformed.0))
    }

    fn open_leaf(&self, page: Box<[u8; PAGE_SIZE]>) -> Parsed<LeafPage> {
        let page = LeafPage::open(page)?;
        if page.is_segmented() && !self.header.has_segments() {
            return Err(Malformed(
                "leaf page has segments in an image that says it has none",
            ));
        }
        Ok(page)
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
            self.load(number, |page| self.open_leaf(page).map(Arc::new))
        })?;
        let agrees = expected.is_none_or(|expected| {
            page.first_ordinal == expected.first_ordinal && page.position == expected.position
        });
        if !agrees || page.end() > self.header.entries {
            return Err(self.corrupt(number, "leaf page contradicts the page above it"));
        }
        Ok(page)
    }

    /// Segment `at` of leaf page `number`, from the cache or decompressed.
    pub(super) fn segment(&self, number: u64, page: &LeafPage, at: usize) -> Result<Arc<Segment>> {
        // Page numbers are far below 2^60, as positions in the index are below 2^64.
        let key = number * MAX_SEGMENTS as u64 + at as u64;
        self.segments
            .get_or_insert_with(&key, || self.segment_uncached(number, page, at))
    }

    /// As [`Self::segment`], for passes over all of them: what is not in the cache does not go there.
    pub(super) fn segment_uncached(
        &self,
        number: u64,
        page: &LeafPage,
        at: usize,
    ) -> Result<Arc<Segment>> {
        let segment = page.segment(at, &self.context);
        let segment = segment.map_err(|malformed| self.corrupt(number, malformed.0))?;
        self.decoded.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(segment))
    }

    /// Reads leaf page `number` past the cache, for passes over all of them.
    pub(super) fn leaf_uncached(&self, number: u64) -> Result<Arc<LeafPage>> {
        match self.leaves.get(&number) {
            Some(page) => Ok(page),
            None => self.load(number, |page| self.open_leaf(page).map(Arc::new)),
        }
    }

    /// Reads leaf page `number` past the cache and checks everything in it. Gives its segments, at least one, too.
    pub(super) fn leaf_checked(&self, number: u64) -> Result<(LeafPage, Vec<Segment>)> {
        let (page, segments) = self.load(number, |page| {
            let page = self.open_leaf(page)?;
            let segments = page.checked_segments(&self.context)?;
            Ok((page, segments))
        })?;
        let count = segments.len() as u64;
        self.decoded.fetch_add(count, Ordering::Relaxed);
        Ok((page, segments))
    }

    /// Reads inner page `number` past the cache, for passes over all of them.
    pub(super) fn inner_uncached(&self, number: u64) -> Result<InnerPage> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.load(number, |page| InnerPage::decode(&page))
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
            self.decoded.fetch_add(1, Ordering::Relaxed);
            self.load(number, |page| InnerPage::decode(&page).map(Arc::new))
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
