//! What must be known of an index before its pages mean anything: from its header, or, if no header is left, from
//! the pages themselves.

use super::attributes::{self, Sought, Table};
use super::copies::Copies;
use super::part::{Part, Sealed, decode_header};
use crate::Result;
use crate::format::checksum::{crc, page_is_sound};
use crate::format::header::{Header, Section};
use crate::format::inner::InnerPage;
use crate::format::leaf::{LeafContext, LeafPage};
use crate::format::page_dictionaries::{self, DictionaryBytes, MAGIC, MAX_SECTION};
use crate::format::volume::{ROW, SECTION, Span, decode_spans};
use crate::format::{MAX_VOLUMES, PAGE_BYTES, PAGE_SIZE, Uuid};
use std::sync::Arc;

/// Chunk shift to begin with where none is known: that of the builder.
const USUAL_CHUNK_SHIFT: u32 = crate::build::DEFAULT_CHUNK_SHIFT;

/// Pages behind the last inner page that is left in which the sections are looked for.
const MOST_SOUGHT: u64 = 1024;

/// Pages before the end of an index in which the last section is looked for.
const MOST_BEHIND: u64 = 64;

/// Pages by which the chunk shift is found.
const MOST_COMPARED: u64 = 2048;

/// What is known of an index.
pub(super) struct Skeleton {
    pub(super) uuid: Uuid,
    /// The header, if one was found.
    pub(super) header: Option<Header>,
    pub(super) leaf_pages: u64,
    /// What the frames of leaf pages refer to, as the index has it.
    pub(super) dictionaries: DictionaryBytes,
    pub(super) table: Table,
    /// What leaf pages are read with.
    pub(super) context: LeafContext,
    pub(super) spans: Vec<Span>,
    /// Where the blobs begin, and how long they can be.
    pub(super) blobs: Option<(u64, u64)>,
}

/// The header of an index, from whichever of its four pages is left.
pub(super) fn find_header(copies: &Copies, uuid: &Uuid) -> Result<Option<Header>> {
    for copy in &copies.0 {
        let pages = copy.length / PAGE_BYTES;
        // Of the copy in a volume without its end, the last page may be that of the volume.
        for number in [Some(0), pages.checked_sub(1), pages.checked_sub(2)] {
            let Some(offset) = number.map(|number| copy.base.saturating_add(number * PAGE_BYTES))
            else {
                continue;
            };
            let mut page = Box::new([0; PAGE_SIZE]);
            if copy
                .bytes
                .read_exact_at(page.as_mut_slice(), offset)
                .is_ok()
            {
                let header = decode_header(&page)?;
                if let Some(header) = header.filter(|header| header.uuid == *uuid) {
                    return Ok(Some(header));
                }
            }
        }
    }
    Ok(None)
}

/// The skeleton of the index that `header` describes.
pub(super) fn from_header(
    copies: &Copies,
    header: Header,
    volumes: &[Option<(Part, Sealed)>],
    note: &mut dyn FnMut(String),
) -> Skeleton {
    let uuid = header.uuid;
    let section = |kind| header.section(kind).copied();
    let sections = header
        .sections
        .iter()
        .filter(|section| section.kind == page_dictionaries::SECTION && header.has_segments());
    let mut places = sections.map(|section| section.offset).peekable();
    let has_some = places.peek().is_some();
    let dictionaries = places.find_map(|offset| page_dictionaries_at(copies, offset));
    if has_some && dictionaries.is_none() {
        note("the dictionaries of the leaf pages are lost, and with them all names".into());
    }
    let dictionaries = dictionaries.unwrap_or_default();
    let loaded = Arc::new(dictionaries.load().unwrap_or_default());
    let sought = Sought {
        copies,
        uuid: &uuid,
        leaf_pages: header.leaf_pages,
        chunk_shift: header.chunk_shift,
        dictionaries: &loaded,
    };
    let table = match section(crate::format::attributes::SECTION) {
        Some(section) => attributes::read(sought, &section),
        None => attributes::complete(sought, Vec::new(), true),
    };
    let spans = section(SECTION).and_then(|section| proven_spans(copies, &section));
    let spans = spans.unwrap_or_else(|| {
        note("the table of volumes is damaged; positions are taken from the volumes".into());
        spans_of_volumes(volumes)
    });
    // A header may lie; there is no more of the index than there is.
    let pages = copies.pages();
    let blobs = section(crate::format::blob::SECTION);
    let blobs = blobs.map(|section| {
        let room = (pages * PAGE_BYTES).saturating_sub(section.offset);
        (section.offset, section.length.min(room))
    });
    Skeleton {
        uuid,
        leaf_pages: header.leaf_pages.min(pages.saturating_sub(1)),
        context: LeafContext {
            table: Arc::clone(&table.rows),
            chunk_shift: header.chunk_shift,
            dictionaries: loaded,
        },
        dictionaries,
        table,
        spans,
        blobs,
        header: Some(header),
    }
}

fn proven_spans(copies: &Copies, section: &Section) -> Option<Vec<Span>> {
    let length = usize::try_from(section.length).ok()?;
    if length > MAX_VOLUMES * ROW {
        return None;
    }
    let right = |bytes: &[u8]| crc(bytes) == section.crc;
    let bytes = copies.right(section.offset, length, &right)?;
    decode_spans(&bytes, section.rows).ok()
}

/// The positions that volumes cover by what they say themselves; what they do not say, by their lengths.
fn spans_of_volumes(volumes: &[Option<(Part, Sealed)>]) -> Vec<Span> {
    let mut start = 0u64;
    let mut spans = Vec::with_capacity(volumes.len());
    for volume in volumes {
        let length = match volume {
            Some((
                _,
                Sealed {
                    trailer: Some((_, layout)),
                    ..
                },
            )) => layout.extents_end,
            Some((part, _)) => part.length().max(PAGE_BYTES),
            None => PAGE_BYTES,
        };
        let end = start.saturating_add(length);
        spans.push(Span { start, end });
        start = end;
    }
    if spans.is_empty() {
        spans.push(Span {
            start: 0,
            end: PAGE_BYTES,
        });
    }
    spans
}

/// What the pages say of how many there are.
#[derive(Default)]
struct Census {
    last_leaf: u64,
    last_inner: u64,
}

impl Census {
    fn take(copies: &Copies, uuid: &Uuid) -> Self {
        let mut census = Self::default();
        for number in 1..copies.pages() {
            let sound = |page: &[u8; PAGE_SIZE]| page_is_sound(uuid, number, page).then_some(*page);
            let Some((_, page)) = copies.page(number, sound) else {
                continue;
            };
            match InnerPage::decode(&page) {
                Ok(inner) => {
                    census.last_inner = number;
                    if inner.level == 1 {
                        let last = inner.child(inner.len() - 1).map_or(0, |child| child.page);
                        census.last_leaf = census.last_leaf.max(last);
                    }
                }
                Err(_) => census.last_leaf = census.last_leaf.max(number),
            }
        }
        census
    }
}

/// The skeleton of an index without header and footer; `None` if nothing of it is left.
pub(super) fn from_pages(
    copies: &Copies,
    uuid: &Uuid,
    volumes: &[Option<(Part, Sealed)>],
) -> Option<Skeleton> {
    let census = Census::take(copies, uuid);
    let leaf_pages = census.last_leaf;
    if leaf_pages == 0 {
        return None;
    }
    let behind = census.last_inner.max(census.last_leaf) + 1;
    let sections = behind..copies.pages().min(behind.saturating_add(MOST_SOUGHT));
    // They come first and last.
    let last = copies.pages().saturating_sub(MOST_BEHIND)..copies.pages();
    let dictionaries = sections
        .clone()
        .chain(last)
        .find_map(|page| page_dictionaries_at(copies, page * PAGE_BYTES));
    let dictionaries = dictionaries.unwrap_or_default();
    let loaded = Arc::new(dictionaries.load().unwrap_or_default());
    let mut sought = Sought {
        copies,
        uuid,
        leaf_pages,
        chunk_shift: USUAL_CHUNK_SHIFT,
        dictionaries: &loaded,
    };
    let guess = |page| {
        let offset = page * PAGE_BYTES;
        let (table, length) = attributes::guess(sought, offset)?;
        Some((table, (offset + length).next_multiple_of(PAGE_BYTES)))
    };
    let (table, volumes_at) = match sections.clone().find_map(guess) {
        Some((table, at)) => (table, Some(at)),
        None => (attributes::complete(sought, Vec::new(), true), None),
    };
    let (spans, spans_length) = volumes_at
        .and_then(|at| guessed_spans(copies, at, volumes.len()))
        .unwrap_or_else(|| (spans_of_volumes(volumes), 0));
    let blobs = volumes_at.map(|at| (at + spans_length).next_multiple_of(PAGE_BYTES));
    let index_end = copies.pages() * PAGE_BYTES;
    sought.chunk_shift = find_chunk_shift(sought, &table);
    Some(Skeleton {
        uuid: *uuid,
        header: None,
        leaf_pages,
        context: LeafContext {
            table: Arc::clone(&table.rows),
            chunk_shift: sought.chunk_shift,
            dictionaries: loaded,
        },
        dictionaries,
        table,
        spans,
        blobs: blobs.and_then(|at| Some((at, index_end.checked_sub(at)?))),
    })
}

/// The spans at `offset` and the length of their section, if there are spans: they join, so nothing else looks like them.
fn guessed_spans(copies: &Copies, offset: u64, volumes: usize) -> Option<(Vec<Span>, u64)> {
    copies
        .versions(offset, volumes.max(1) * ROW)
        .iter()
        .find_map(|bytes| {
            let spans = decode_spans(bytes, (bytes.len() / ROW) as u64).ok()?;
            Some((spans, bytes.len() as u64))
        })
}

/// The chunk shift with which the extents of most pages end where those of the next page begin.
fn find_chunk_shift(sought: Sought<'_>, table: &Table) -> u32 {
    let mut best = (u64::MAX, USUAL_CHUNK_SHIFT);
    let others = crate::format::header::CHUNK_SHIFTS.filter(|&shift| shift != USUAL_CHUNK_SHIFT);
    for shift in std::iter::once(USUAL_CHUNK_SHIFT).chain(others) {
        let context = LeafContext {
            table: Arc::clone(&table.rows),
            chunk_shift: shift,
            dictionaries: Arc::clone(sought.dictionaries),
        };
        let mut misfits = 0;
        let mut end_before = None;
        for number in 1..=sought.leaf_pages.min(MOST_COMPARED) {
            let page = sought.copies.page(number, |page| {
                page_is_sound(sought.uuid, number, page).then(|| LeafPage::decode(page, &context))
            });
            let Some((_, Ok(page))) = page else {
                misfits += u64::from(page.is_some());
                end_before = None;
                continue;
            };
            let start = page.first().map(|segment| segment.position);
            misfits += u64::from(end_before.is_some() && end_before != start);
            end_before = Some(attributes::end_of(&page));
        }
        if misfits < best.0 {
            best = (misfits, shift);
        }
    }
    best.1
}

/// The dictionaries of leaf pages in the section at `offset`, if it is one; it says itself how long it is and what its
/// checksum is.
fn page_dictionaries_at(copies: &Copies, offset: u64) -> Option<DictionaryBytes> {
    let length = copies.versions(offset, 2 * MAGIC.len()).into_iter();
    let mut lengths = length.filter_map(|bytes| {
        let length = bytes.get(12..16).filter(|_| bytes.starts_with(&MAGIC))?;
        Some(u32::from_le_bytes(*length.first_chunk()?) as usize)
    });
    lengths.find_map(|length| {
        let length = Some(length).filter(|&length| length <= MAX_SECTION)?;
        let right = |bytes: &[u8]| DictionaryBytes::decode(bytes).is_ok();
        let bytes = copies.right(offset, length, &right)?;
        DictionaryBytes::decode(&bytes).ok().map(|(bytes, _)| bytes)
    })
}
