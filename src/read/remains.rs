//! What remains of a damaged image: a pass over the leaf pages that passes over those which cannot be read, and
//! which parts of a file can be.

use super::node::Node;
use super::pages::PageStore;
use super::{Image, tree};
use crate::entry::{Ino, Kind};
use crate::format::PAGE_BYTES;
use crate::format::leaf::{LeafPage, RowCursor, Segment};
use crate::{Error, Result};
use std::ops::Range;

/// Leaf pages that are asked for in advance: 1 MiB.
const PAGES_AHEAD: u64 = 256;

/// Damaged ranges of one file that are told apart; more are joined with what lies between them.
const MOST_RANGES: usize = 1 << 16;

/// Directory of entries whose own path is lost: they lie in `LOST_AND_FOUND/#N`, N being the inode number of the
/// nearest directory above them that cannot be read.
pub const LOST_AND_FOUND: &[u8] = b"dgfs-lost+found";

/// Owner and group, in a mended index, of entries whose mode and owner are lost. No user has this number: for `chown`
/// it means that the owner stays.
pub(crate) const LOST_OWNER: u32 = u32::MAX;

impl Node {
    /// Whether mode and owner were lost when the index was mended; the kind was not.
    pub fn has_lost_mode(&self) -> bool {
        self.uid == LOST_OWNER && self.gid == LOST_OWNER
    }
}

/// What a pass over a damaged image finds.
#[derive(Debug)]
pub enum Remains<'a> {
    /// An entry: path of its directory, name, entry.
    Entry(&'a [u8], &'a [u8], &'a Node),
    /// Entries that follow each other and cannot be read.
    Lost(LostEntries),
}

/// Consecutive entries whose pages cannot be read.
#[derive(Debug)]
pub struct LostEntries {
    /// Ordinal of the first one.
    pub first: u64,
    /// How many there are.
    pub entries: u64,
    /// What is wrong with the first of their pages.
    pub error: Error,
}

/// A far parent whose path was found last.
type KnownParent = Option<(u64, Vec<u8>)>;

impl Image {
    /// Visits the entries with ordinals in `range` in key order, until `visit` returns false. What cannot be read is
    /// visited as [`Remains::Lost`]; no damage ends the pass. Inner pages serve to find its beginning, but are not needed.
    pub fn walk_remains(&self, range: Range<u64>, visit: &mut dyn FnMut(Remains<'_>) -> bool) {
        let end = range.end.min(self.header().entries);
        let mut next = range.start;
        if next >= end {
            return;
        }
        let leaf_pages = self.header().leaf_pages;
        let first = leaf_page_of(&self.store, next);
        let mut damage: Option<Error> = None;
        let mut known_parent = None;
        for number in first..=leaf_pages {
            if number % PAGES_AHEAD == 1 || number == first {
                let ahead = number.saturating_mul(PAGE_BYTES);
                let length = 2 * PAGES_AHEAD * PAGE_BYTES;
                self.store.part().will_need(ahead, length);
            }
            let (page, segments) = match self.sound_leaf(number) {
                Ok(page) => page,
                Err(error) => {
                    damage.get_or_insert(error);
                    continue;
                }
            };
            if page.first_ordinal > next {
                let lost = LostEntries {
                    first: next,
                    entries: page.first_ordinal.min(end) - next,
                    error: damage.take().unwrap_or_else(|| self.no_page(number)),
                };
                if !visit(Remains::Lost(lost)) {
                    return;
                }
                next = page.first_ordinal;
            }
            damage = None;
            for segment in &segments {
                if next >= end || !self.visit_segment(segment, next..end, &mut known_parent, visit)
                {
                    return;
                }
            }
            next = next.max(page.end());
        }
        if next < end {
            visit(Remains::Lost(LostEntries {
                first: next,
                entries: end - next,
                error: damage.unwrap_or_else(|| self.no_page(leaf_pages)),
            }));
        }
    }

    fn no_page(&self, number: u64) -> Error {
        Error::corrupt("no page holds the entries before this page")
            .at_path(self.index_path())
            .at_page(number)
    }

    /// A page that is right, and its segments.
    fn sound_leaf(&self, number: u64) -> Result<(LeafPage, Vec<Segment>)> {
        let (page, segments) = self.store.leaf_checked(number)?;
        if page.end() > self.header().entries {
            return Err(Error::corrupt("leaf page holds entries behind the last")
                .at_path(self.index_path())
                .at_page(number));
        }
        Ok((page, segments))
    }

    /// Visits the entries of `segment` in `range`; false if that was wanted to end.
    fn visit_segment(
        &self,
        segment: &Segment,
        range: Range<u64>,
        known_parent: &mut KnownParent,
        visit: &mut dyn FnMut(Remains<'_>) -> bool,
    ) -> bool {
        let mut cursor = RowCursor::new(segment);
        let mut name = Vec::new();
        while let Some(row) = cursor.row() {
            segment.advance_name(cursor.index(), &mut name);
            if row.ordinal >= range.end {
                return false;
            }
            if row.ordinal >= range.start {
                let node = self.known_of_row(&row);
                let node = node.map_or_else(|_| Node::from_row(&row), |(node, _)| node);
                let run = segment.run_of(cursor.index());
                let parent = match run.and_then(|run| run.far_parent) {
                    None => run.map_or(&[][..], |run| segment.path_of(run)),
                    Some(far) => {
                        if known_parent.as_ref().is_none_or(|(known, _)| *known != far) {
                            *known_parent = Some((far, self.nearest_path_of(far)));
                        }
                        known_parent.as_ref().map_or(&[][..], |(_, path)| path)
                    }
                };
                if !visit(Remains::Entry(parent, &name, &node)) {
                    return false;
                }
            }
            cursor.advance();
        }
        true
    }

    /// The path of the directory at `ordinal`; if one of those above it is lost, a path below [`LOST_AND_FOUND`].
    fn nearest_path_of(&self, ordinal: u64) -> Vec<u8> {
        self.path_above(ordinal).unwrap_or_else(|lost| {
            let mut path = LOST_AND_FOUND.to_vec();
            path.extend_from_slice(format!("/#{}", Ino::from_ordinal(lost.ordinal).0).as_bytes());
            for name in lost.below {
                path.push(b'/');
                path.extend_from_slice(&name);
            }
            path
        })
    }

    /// Whether the extent of a file lies in what there is of its volume. If not, nothing of it can be checked, since
    /// checksums stand at its end; and a file may claim to be of any size.
    fn has_room_for(&self, node: &Node) -> bool {
        let (position, stored) = (node.extent.position, node.extent.stored);
        if stored == 0 {
            return true;
        }
        let volumes = self.contents.volumes();
        let index = volumes.partition_point(|volume| volume.span.end <= position);
        let end = position.saturating_add(stored);
        volumes.get(index).is_some_and(|volume| {
            let length = volume.part.file_length().unwrap_or(0);
            position >= volume.span.start && end - volume.span.start.min(end) <= length
        })
    }

    /// The parts of the regular file `node` that cannot be read, in order and apart from each other, and what is
    /// wrong with the first of them. All of the file's data is read.
    pub fn damaged_ranges(&self, node: &Node) -> (Vec<Range<u64>>, Option<Error>) {
        let mut damage = Damage::default();
        if node.kind() != Kind::File {
            return (damage.ranges, damage.first);
        }
        if !self.has_room_for(node) {
            let error = Error::corrupt("contents lie outside of the volumes, or behind their ends");
            damage.add(0..node.size, error);
            return (damage.ranges, damage.first);
        }
        let map = match self.holes(node) {
            Ok(map) => map,
            // Without its map, nobody knows where its data belongs.
            Err(error) => {
                damage.add(0..node.size, error);
                return (damage.ranges, damage.first);
            }
        };
        let mut scratch = Vec::new();
        for segment in map.segments() {
            let mut at = segment.offset;
            while at < segment.end() {
                let stored = segment.stored_at + (at - segment.offset);
                let chunk = self.contents.chunk_end(node, stored) - stored;
                let end = segment.end().min(at.saturating_add(chunk));
                let length = usize::try_from(end - at).unwrap_or(usize::MAX);
                match self.read_at(node, at, length, &mut scratch) {
                    Ok(bytes) if bytes.len() == length => {}
                    Ok(_) => damage.add(
                        at..end,
                        Error::corrupt("contents are shorter than the file"),
                    ),
                    Err(error) => damage.add(at..end, error),
                }
                at = end;
            }
        }
        (damage.ranges, damage.first)
    }
}

/// Damaged parts of a file.
#[derive(Default)]
struct Damage {
    ranges: Vec<Range<u64>>,
    first: Option<Error>,
}

impl Damage {
    fn add(&mut self, range: Range<u64>, error: Error) {
        self.first.get_or_insert(error);
        let full = self.ranges.len() >= MOST_RANGES;
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start || full => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }
}

/// The number of the leaf page that holds the entry at `ordinal`, or of one before it, which has lost it.
fn leaf_page_of(store: &PageStore, ordinal: u64) -> u64 {
    if let Ok((number, _)) = tree::leaf_number(store, |inner| inner.find_ordinal(ordinal)) {
        return number;
    }
    // Some page on the way is damaged. The leaf pages ascend, apart from damaged ones.
    let (mut low, mut high) = (1, store.header().leaf_pages);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let probe = (middle..=high).find_map(|number| {
            let (page, _) = store.leaf_checked(number).ok()?;
            Some((number, page.first_ordinal))
        });
        match probe {
            Some((number, first)) if first <= ordinal => low = number,
            _ => high = middle - 1,
        }
    }
    low
}
