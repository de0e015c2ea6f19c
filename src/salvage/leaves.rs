//! The leaf pages of an index, each from the place where it is whole, and what inner pages have to say of them.

use std::path::Path;

use super::copies::Copies;
use super::skeleton::Skeleton;
use crate::Result;
use crate::build::inner_levels::InnerLevels;
use crate::build::output::Output;
use crate::entry::Kind;
use crate::format::checksum::page_is_sound;
use crate::format::inner::Separator;
use crate::format::leaf::{LeafPage, Outline, RowCursor, Segment};
use crate::format::{MAX_INLINE_PATH, MAX_NAME, PAGE_BYTES, PAGE_SIZE};

/// What the entries come to, as a header counts them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) symlinks: u64,
    pub(super) others: u64,
    pub(super) data_bytes: u64,
    /// Stored lengths of the extents in key order.
    pub(super) stored_bytes: u64,
    /// Entries that the root says there are, if it could be read.
    told: Option<u64>,
    /// Ordinal behind the last entry that was found.
    pub(super) end: u64,
}

impl Counts {
    fn add(&mut self, segment: &Segment) {
        let mut cursor = RowCursor::new(segment);
        while let Some(row) = cursor.row() {
            *match row.kind {
                Kind::File => &mut self.files,
                Kind::Directory => &mut self.directories,
                Kind::Symlink => &mut self.symlinks,
                _ => &mut self.others,
            } += 1;
            if row.kind == Kind::File && row.primary == 0 {
                self.data_bytes = self.data_bytes.saturating_add(row.size);
                if row.is_implicit {
                    self.stored_bytes = self.stored_bytes.saturating_add(row.stored);
                }
            }
            if row.ordinal == 0 {
                let below = row.children.saturating_add(row.deeper);
                self.told = below.checked_add(1).filter(|&entries| entries < 1 << 62);
            }
            cursor.advance();
        }
        self.end = segment.end();
    }

    /// How many entries there were.
    pub(super) fn entries(&self) -> u64 {
        self.told.unwrap_or(0).max(self.end).max(1)
    }
}

/// The path of a run, as far as a separator needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RunPath {
    path: Vec<u8>,
    far: Option<u64>,
    /// Whether the path is not known, and that of a run before it stands in.
    unknown: bool,
}

/// Goes through the leaf pages.
pub(super) struct Leaves<'a> {
    copies: &'a Copies,
    skeleton: &'a Skeleton,
    out: &'a Output,
    pub(super) levels: InnerLevels,
    /// First ordinals of the pages that were found, page 1 first; for lost pages that of the page before.
    firsts: Vec<u64>,
    pub(super) counts: Counts,
    /// Lost pages, the last of them behind which none was found yet.
    pub(super) lost: u64,
    waiting: u64,
    /// Pages that are not from the first place.
    pub(super) mended: u64,
    position: u64,
    last_run: RunPath,
    last_name: Vec<u8>,
}

impl<'a> Leaves<'a> {
    pub(super) fn new(
        copies: &'a Copies,
        skeleton: &'a Skeleton,
        out: &'a Output,
        scratch: &Path,
    ) -> Self {
        Self {
            copies,
            skeleton,
            out,
            levels: InnerLevels::new(scratch),
            firsts: Vec::new(),
            counts: Counts::default(),
            lost: 0,
            waiting: 0,
            mended: 0,
            position: PAGE_BYTES,
            last_run: RunPath::default(),
            last_name: Vec::new(),
        }
    }

    /// Writes every page that is whole somewhere to its place in the new index.
    pub(super) fn copy(&mut self) -> Result<()> {
        for number in 1..=self.skeleton.leaf_pages {
            let (next, waiting) = (self.counts.end, self.waiting);
            let skeleton = self.skeleton;
            let entries = skeleton
                .header
                .as_ref()
                .map_or(1 << 62, |header| header.entries);
            let found = self.copies.page(number, |page| {
                if !page_is_sound(&skeleton.uuid, number, page) {
                    return None;
                }
                if !uses_known_rows(skeleton, page) {
                    return None;
                }
                let segments = LeafPage::decode(page, &skeleton.context).ok()?;
                // Each lost page had an entry at least.
                let first = segments.first()?.first_ordinal;
                let follows = first >= next.saturating_add(waiting)
                    && (waiting > 0 || first == next)
                    && segments.last()?.end() <= entries;
                follows.then(|| (Box::new(*page), segments))
            });
            if let Some((place, (page, segments))) = found {
                self.mended += u64::from(place > 0);
                if let (Some(first), Some(last)) = (segments.first(), segments.last()) {
                    self.found(number, &page, (first, last), &segments)?;
                }
            } else {
                self.lost += 1;
                self.waiting += 1;
                self.firsts.push(next);
            }
        }
        let number = self.skeleton.leaf_pages + 1;
        let end = self
            .counts
            .entries()
            .max(self.counts.end.saturating_add(self.waiting));
        self.describe_lost(number, end, None)
    }

    /// `ends` are the first and the last of the `segments` of `page`.
    fn found(
        &mut self,
        number: u64,
        page: &[u8; PAGE_SIZE],
        ends: (&Segment, &Segment),
        segments: &[Segment],
    ) -> Result<()> {
        let leaf = ends.0;
        let run = self.run_of((leaf, 0), segments);
        let mut name = Vec::new();
        leaf.name_into(0, &mut name);
        let first = leaf.first_ordinal;
        let separator = if number == 1 {
            Separator::default()
        } else if self.waiting > 0 || run.unknown {
            // The key before is not known, so only the whole key is sure to be above it.
            exact_separator(&run.path, &name, run.unknown)
        } else {
            let same_run = if run.far.is_some() {
                run.far == self.last_run.far
            } else {
                run == self.last_run
            };
            let before = (self.last_run.path.as_slice(), self.last_name.as_slice());
            Separator::between(before, (&run.path, &name), same_run)
        };
        self.describe_lost(number, first, Some(&run))?;
        self.levels.push(number, first, leaf.position, &separator)?;
        self.out.write_at(page, number * PAGE_BYTES)?;
        self.firsts.push(first);
        for segment in segments {
            self.counts.add(segment);
        }
        self.position = leaf.position;
        let last = ends.1.len().saturating_sub(1);
        self.last_run = self.run_of((ends.1, last), segments);
        ends.1.name_into(last, &mut self.last_name);
        Ok(())
    }

    /// Describes the lost pages before page `number`, whose first entry is `first` and whose first run `run`: the
    /// first of them holds nearly all lost entries, as far as can be told.
    fn describe_lost(&mut self, number: u64, first: u64, run: Option<&RunPath>) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        for index in 0..waiting {
            let lost = number - waiting + index;
            let behind = index > 0 && run.is_some_and(|run| *run != self.last_run);
            let separator = if lost == 1 {
                Separator::default()
            } else if behind {
                // Where the next run begins is lost, too; it may be here.
                let path = run.map_or(&[][..], |run| &run.path);
                exact_separator(path, b"", run.is_some_and(|run| run.unknown))
            } else {
                let mut name = self.last_name.clone();
                if name.len() < MAX_NAME {
                    name.push(1);
                }
                exact_separator(&self.last_run.path, &name, self.last_run.unknown)
            };
            let ordinal = if index == 0 {
                self.counts.end
            } else {
                first - (waiting - index)
            };
            self.levels.push(lost, ordinal, self.position, &separator)?;
        }
        Ok(())
    }

    /// The run of the entry at an index of `leaf`, which is one of the segments of the `current` page.
    fn run_of(&self, (leaf, index): (&Segment, usize), current: &[Segment]) -> RunPath {
        let Some(run) = leaf.run_of(index) else {
            return RunPath::default();
        };
        let Some(parent) = run.far_parent else {
            return RunPath {
                path: leaf.path_of(run).to_vec(),
                far: None,
                unknown: false,
            };
        };
        if self.last_run.far == Some(parent) {
            return self.last_run.clone();
        }
        let path = self.path_of(parent, current);
        RunPath {
            unknown: path.is_none(),
            path: path.unwrap_or_else(|| self.last_run.path.clone()),
            far: Some(parent),
        }
    }

    /// The path of the entry at `ordinal`, which is in `current` or in a page that was written already.
    fn path_of(&self, ordinal: u64, current: &[Segment]) -> Option<Vec<u8>> {
        let first = current.first()?.first_ordinal;
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut at = ordinal;
        let mut path = loop {
            let earlier;
            let segments = if at >= first {
                current
            } else {
                earlier = self.page_of(at)?;
                &*earlier
            };
            let behind = segments.partition_point(|segment| segment.first_ordinal <= at);
            let leaf = segments.get(behind.checked_sub(1)?)?;
            let index = usize::try_from(at.checked_sub(leaf.first_ordinal)?).ok()?;
            let run = leaf.run_of(index).filter(|_| index < leaf.len())?;
            let mut name = Vec::new();
            leaf.name_into(index, &mut name);
            names.push(name);
            match run.far_parent {
                Some(parent) => at = parent,
                None => break leaf.path_of(run).to_vec(),
            }
        };
        for name in names.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
        }
        Some(path)
    }

    /// The segments of the page with the entry at `ordinal`.
    fn page_of(&self, ordinal: u64) -> Option<Vec<Segment>> {
        let number = self.firsts.partition_point(|&first| first <= ordinal) as u64;
        let mut page = [0; PAGE_SIZE];
        self.out.read_at(&mut page, number * PAGE_BYTES).ok()?;
        let skeleton = self.skeleton;
        if !page_is_sound(&skeleton.uuid, number, &page) {
            return None;
        }
        LeafPage::decode(&page, &skeleton.context).ok()
    }
}

/// Whether the kinds of all entries of the page are known.
fn uses_known_rows(skeleton: &Skeleton, page: &[u8; PAGE_SIZE]) -> bool {
    let unknown = &skeleton.table.unknown;
    unknown.is_empty()
        || Outline::decode(page, &skeleton.context.dictionaries)
            .is_ok_and(|outline| outline.rows.iter().all(|row| !unknown.contains(row)))
}

/// The key itself, as a separator that can be nothing shorter.
fn exact_separator(path: &[u8], name: &[u8], unknown: bool) -> Separator {
    let cut = path.len() > MAX_INLINE_PATH || unknown;
    Separator {
        path: path.get(..MAX_INLINE_PATH).unwrap_or(path).to_vec(),
        cut,
        name: name.to_vec(),
    }
}
