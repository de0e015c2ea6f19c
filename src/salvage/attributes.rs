//! The attribute section of an index, put together from what is left of it. Without the kinds that its rows give, no
//! leaf page can be decoded. But the right kinds leave traces: what has entries in it is a directory, pages say how
//! many of their entries are links, and with wrong kinds their columns and the positions of files do not fit.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::copies::Copies;
use crate::entry::Kind;
use crate::format::attributes::{Attributes, ROW};
use crate::format::bytes::ByteReader;
use crate::format::checksum::{crc, page_is_sound};
use crate::format::header::Section;
use crate::format::leaf::{LeafContext, LeafPage, Outline, RowCursor, Segment};
use crate::format::page_dictionaries::PageDictionaries;
use crate::format::{MAX_ATTRIBUTES, PAGE_SIZE, Uuid, attributes};
use crate::read::LOST_OWNER;

/// Kinds that leave different traces in a page. Block devices look like character devices, sockets like fifos.
const KINDS: [Kind; 5] = [
    Kind::File,
    Kind::Symlink,
    Kind::Directory,
    Kind::Fifo,
    Kind::CharDevice,
];

/// Most rows of one page whose kinds are sought at once, and combinations that are tried for that: all that six
/// rows have. Decoding a page takes some 50 us.
const MOST_SOUGHT: usize = 6;
const MOST_TRIES: usize = 5usize.pow(6) + 1;

/// Most rows that are copied for these tries.
const MOST_COPIED: usize = 1 << 24;

/// Most pages that are looked at for one purpose.
const MOST_PAGES: u64 = 4096;

type Row = (Attributes, Kind);
type Page = [u8; PAGE_SIZE];

/// A table with as much as could be found.
pub(super) struct Table {
    pub(super) rows: Arc<[Row]>,
    /// Rows whose mode and owner are lost.
    pub(super) lost: u64,
    /// Rows whose kind is lost as well: pages that use them cannot be decoded.
    pub(super) unknown: BTreeSet<u64>,
    /// Whether nothing proves the other rows.
    pub(super) unproven: bool,
}

/// What entries get whose mode and owner are lost: as little as their kind can do with.
fn stand_in(kind: Kind) -> Row {
    let permissions = match kind {
        Kind::Directory => 0o700,
        Kind::Symlink => 0o777,
        _ => 0o600,
    };
    let row = Attributes {
        mode: kind.mode_bits() | permissions,
        uid: LOST_OWNER,
        gid: LOST_OWNER,
    };
    (row, kind)
}

/// The row in these bytes, if it can be one.
fn row_in(bytes: &[u8]) -> Option<Row> {
    let mut reader = ByteReader::new(bytes);
    let row = Attributes {
        mode: reader.u32().ok()?,
        uid: reader.u32().ok()?,
        gid: reader.u32().ok()?,
    };
    let kind = Kind::from_mode(row.mode).filter(|_| row.mode <= 0o177_777)?;
    Some((row, kind))
}

/// The table of a section that the header describes.
pub(super) fn read(sought: Sought<'_>, section: &Section) -> Table {
    let copies = sought.copies;
    let length = usize::try_from(section.length).unwrap_or(usize::MAX);
    let length = length.min(MAX_ATTRIBUTES * ROW);
    let right = copies.right(section.offset, length, &|bytes| {
        crc(bytes) == section.crc && attributes::decode(bytes, section.rows).is_ok()
    });
    if let Some(rows) = right.and_then(|bytes| attributes::decode(&bytes, section.rows).ok()) {
        return Table {
            rows: rows.into(),
            lost: 0,
            unknown: BTreeSet::new(),
            unproven: false,
        };
    }
    let versions = copies.versions(section.offset, length);
    let rows = (0..length / ROW).map(|row| {
        let mut found = versions
            .iter()
            .map(|bytes| bytes.get(row * ROW..(row + 1) * ROW).and_then(row_in));
        let first = found.next().flatten();
        // Where two places agree, the damage is elsewhere.
        first.filter(|first| found.all(|other| other.as_ref() == Some(first)))
    });
    complete(sought, rows.collect(), versions.len() < 2)
}

/// The table that begins at `offset`, of whose length nothing is known: rows go on until there are no more.
pub(super) fn guess(sought: Sought<'_>, offset: u64) -> Option<(Table, u64)> {
    let copies = sought.copies;
    let is_root = |bytes: &Vec<u8>| row_in(bytes).is_some_and(|(_, kind)| kind == Kind::Directory);
    if !copies.versions(offset, ROW).iter().any(is_root) {
        return None;
    }
    let versions = copies.versions(offset, MAX_ATTRIBUTES * ROW);
    let tables: Vec<Vec<Row>> = versions
        .iter()
        .map(|bytes| bytes.chunks_exact(ROW).map_while(row_in).collect())
        // The first row is that of the root.
        .filter(|rows: &Vec<Row>| {
            rows.first()
                .is_some_and(|(_, kind)| *kind == Kind::Directory)
        })
        .collect();
    let longest = tables.iter().max_by_key(|rows| rows.len())?;
    let length = (longest.len() * ROW) as u64;
    let rows = longest.iter().enumerate().map(|(index, row)| {
        let agreed = tables
            .iter()
            .all(|rows| rows.get(index).is_none_or(|own| own == row));
        agreed.then_some(*row)
    });
    let unproven = tables.len() < 2;
    Some((complete(sought, rows.collect(), unproven), length))
}

/// Finds the kinds of the rows that are missing.
pub(super) fn complete(sought: Sought<'_>, rows: Vec<Option<Row>>, unproven: bool) -> Table {
    let mut lost: BTreeMap<usize, Option<Kind>> = BTreeMap::new();
    let mut known = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        if row.is_none() {
            lost.insert(index, None);
        }
        known.push(row.unwrap_or_else(|| stand_in(Kind::File)));
    }
    sought.extend_to_largest(&mut known, &mut lost);
    if !lost.is_empty() {
        sought.find_kinds(&mut known, &mut lost);
    }
    Table {
        rows: known.into(),
        lost: lost.len() as u64,
        unknown: lost
            .iter()
            .filter(|(_, kind)| kind.is_none())
            .map(|(&row, _)| row as u64)
            .collect(),
        unproven,
    }
}

/// The leaf pages whose attributes are sought.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) copies: &'a Copies,
    pub(super) uuid: &'a Uuid,
    pub(super) leaf_pages: u64,
    pub(super) chunk_shift: u32,
    /// What the frames of the pages refer to.
    pub(super) dictionaries: &'a Arc<PageDictionaries>,
}

impl Sought<'_> {
    fn sound_page(&self, number: u64) -> Option<Page> {
        let sound = |page: &Page| page_is_sound(self.uuid, number, page).then_some(*page);
        self.copies.page(number, sound).map(|(_, page)| page)
    }

    /// Where the extents of page `number` end, if that can be told: where those of the next page begin.
    fn end_of(&self, number: u64) -> Option<u64> {
        let next = self
            .sound_page(number + 1)
            .filter(|_| number < self.leaf_pages)?;
        let position = next.get(16..24).and_then(|field| field.first_chunk());
        position.map(|field| u64::from_le_bytes(*field))
    }

    /// The pages that are looked at.
    fn pages(&self) -> impl Iterator<Item = (u64, Page, Outline)> + '_ {
        let numbers = 1..=self.leaf_pages.min(MOST_PAGES);
        numbers.filter_map(|number| {
            let page = self.sound_page(number)?;
            Some((
                number,
                page,
                Outline::decode(&page, self.dictionaries).ok()?,
            ))
        })
    }

    /// Rows that pages use but the table lacks are lost as well.
    fn extend_to_largest(&self, known: &mut Vec<Row>, lost: &mut BTreeMap<usize, Option<Kind>>) {
        if !known.is_empty() && lost.is_empty() {
            return;
        }
        for (.., outline) in self.pages() {
            let largest = outline.rows.iter().max().copied().unwrap_or(0);
            while (known.len() as u64) <= largest && known.len() < MAX_ATTRIBUTES {
                lost.insert(known.len(), None);
                known.push(stand_in(Kind::File));
            }
        }
    }

    /// Entries that have others in them are directories, whatever else is lost.
    fn find_directories(&self, known: &mut [Row], lost: &mut BTreeMap<usize, Option<Kind>>) {
        let mut paths: HashSet<Vec<u8>> = HashSet::new();
        let mut ordinals: HashSet<u64> = HashSet::from([0]);
        for (.., outline) in self.pages() {
            for run in outline.runs {
                match run.parent {
                    Ok(path) => paths.insert(path),
                    Err(ordinal) => ordinals.insert(ordinal),
                };
            }
        }
        for (.., outline) in self.pages() {
            let mut index = 0;
            for run in &outline.runs {
                for _ in 0..run.entries {
                    let (name, row) = (outline.names.get(index), outline.rows.get(index));
                    let ordinal = outline.first_ordinal.saturating_add(index as u64);
                    index += 1;
                    let is_parent = ordinals.contains(&ordinal)
                        || match (&run.parent, name) {
                            (Ok(parent), Some(name)) if parent.is_empty() => paths.contains(name),
                            (Ok(parent), Some(name)) => {
                                paths.contains(&[parent.as_slice(), name].join(&b'/'))
                            }
                            _ => false,
                        };
                    let row = row.and_then(|&row| usize::try_from(row).ok());
                    if let Some(row) = row.filter(|row| is_parent && lost.contains_key(row)) {
                        settle(known, lost, row, Kind::Directory);
                    }
                }
            }
        }
    }

    /// Goes through the pages that use lost rows until nothing more is found: each row whose kind is found leaves
    /// fewer to seek in the other pages.
    fn find_kinds(&self, known: &mut [Row], lost: &mut BTreeMap<usize, Option<Kind>>) {
        self.find_directories(known, lost);
        let mut found = true;
        while std::mem::take(&mut found) && lost.values().any(Option::is_none) {
            for (number, page, outline) in self.pages() {
                let page = (&page, self.end_of(number));
                for (row, kind) in self.kinds_in(page, &outline, known, lost) {
                    settle(known, lost, row, kind);
                    found = true;
                }
            }
        }
    }

    /// The kinds of the lost rows of a page, as far as it decodes with no others: with wrong ones, contents could come
    /// out under wrong names.
    fn kinds_in(
        &self,
        (page, end): (&Page, Option<u64>),
        outline: &Outline,
        known: &[Row],
        lost: &BTreeMap<usize, Option<Kind>>,
    ) -> Vec<(usize, Kind)> {
        let mut entries: BTreeMap<usize, usize> = BTreeMap::new();
        let mut links = 0;
        for row in outline
            .rows
            .iter()
            .filter_map(|&row| usize::try_from(row).ok())
        {
            if lost.get(&row).is_some_and(Option::is_none) {
                *entries.entry(row).or_default() += 1;
            } else {
                let is_link = known
                    .get(row)
                    .is_some_and(|(_, kind)| *kind == Kind::Symlink);
                links += usize::from(is_link);
            }
        }
        let links = outline.symlinks.checked_sub(links);
        let Some(links) = links.filter(|_| (1..=MOST_SOUGHT).contains(&entries.len())) else {
            return Vec::new();
        };
        let mut search = Search {
            page,
            end,
            chunk_shift: self.chunk_shift,
            dictionaries: self.dictionaries,
            kinds: Vec::new(),
            rows: entries.into_iter().collect(),
            table: known.to_vec(),
            tries: MOST_TRIES.min(MOST_COPIED / known.len().max(1)),
            fitting: Vec::new(),
        };
        search.try_kinds(links);
        if search.tries == 0 {
            return Vec::new();
        }
        let rows = search.rows.iter().enumerate();
        let kinds = rows.filter_map(|(at, &(row, _))| {
            let mut kinds = search
                .fitting
                .iter()
                .filter_map(|kinds| kinds.get(at).copied());
            let first = kinds.next()?;
            // Fifos and devices often leave the same traces. A fifo does the least harm.
            let special = |kind| matches!(kind, Kind::Fifo | Kind::CharDevice);
            kinds
                .all(|other| other == first || special(other) && special(first))
                .then_some((row, first))
        });
        kinds.collect()
    }
}

fn settle(known: &mut [Row], lost: &mut BTreeMap<usize, Option<Kind>>, row: usize, kind: Kind) {
    lost.insert(row, Some(kind));
    if let Some(slot) = known.get_mut(row) {
        *slot = stand_in(kind);
    }
}

/// Where the extents of a page with these segments end.
pub(super) fn end_of(segments: &[Segment]) -> u64 {
    let mut end = 0;
    for segment in segments {
        end = segment.position;
        let mut cursor = RowCursor::new(segment);
        while let Some(row) = cursor.row() {
            if row.stored > 0 && row.is_implicit {
                end = row.position.saturating_add(row.stored);
            }
            cursor.advance();
        }
    }
    end
}

/// A search for the kinds of rows that one page uses.
struct Search<'a> {
    page: &'a Page,
    /// Where its extents end, if that is known.
    end: Option<u64>,
    chunk_shift: u32,
    dictionaries: &'a Arc<PageDictionaries>,
    /// The rows, and how many entries of the page each has.
    rows: Vec<(usize, usize)>,
    /// A kind for each of the first of them.
    kinds: Vec<Kind>,
    table: Vec<Row>,
    /// Combinations that may still be tried on the page.
    tries: usize,
    /// Combinations with which the page decodes.
    fitting: Vec<Vec<Kind>>,
}

impl Search<'_> {
    /// Tries all kinds for the rows that have none yet, `links` entries of which are symbolic links.
    fn try_kinds(&mut self, links: usize) {
        if self.tries == 0 {
            return;
        }
        let Some(&(row, entries)) = self.rows.get(self.kinds.len()) else {
            if links > 0 {
                return;
            }
            self.tries -= 1;
            let context = LeafContext {
                table: self.table.as_slice().into(),
                chunk_shift: self.chunk_shift,
                dictionaries: Arc::clone(self.dictionaries),
            };
            let page = LeafPage::decode(self.page, &context);
            if page.is_ok_and(|page| self.end.is_none_or(|end| end == end_of(&page))) {
                self.fitting.push(self.kinds.clone());
            }
            return;
        };
        for kind in KINDS {
            let left = match kind {
                Kind::Symlink => links.checked_sub(entries),
                _ => Some(links),
            };
            if let (Some(left), Some(slot)) = (left, self.table.get_mut(row)) {
                *slot = stand_in(kind);
                self.kinds.push(kind);
                self.try_kinds(left);
                self.kinds.pop();
            }
        }
    }
}
