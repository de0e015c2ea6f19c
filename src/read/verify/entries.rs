//! The pass over all leaf pages.

use super::directories::Directories;
use super::extents::Extents;
use super::levels::{Described, Levels, separates};
use super::links::Links;
use super::reading::{Contents, Reading};
use super::{Report, VerifyOptions, join};
use crate::entry::{Ino, Kind};
use crate::format::header::Header;
use crate::format::leaf::{LeafPage, LeafRow, RowCursor, Segment};
use crate::format::{PAGE_BYTES, blob};
use crate::read::node::{Link, Node};
use crate::read::{Image, blobs};
use crate::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Leaf pages that are asked for in advance: 64 KiB, of which Linux grants two at once.
const PAGES_AHEAD: u64 = 16;

/// Blobs of extended attributes that are remembered as right: many entries share few.
const MOST_REMEMBERED: usize = 1 << 12;

/// What header and pages both say, as the pages have it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    entries: u64,
    files: u64,
    directories: u64,
    symlinks: u64,
    others: u64,
    data_bytes: u64,
}

impl Counts {
    fn of(header: &Header) -> Self {
        Self {
            entries: header.entries,
            files: header.files,
            directories: header.directories,
            symlinks: header.symlinks,
            others: header.others,
            data_bytes: header.data_bytes,
        }
    }

    fn add(&mut self, node: &Node) {
        self.entries += 1;
        *match node.kind() {
            Kind::File => &mut self.files,
            Kind::Directory => &mut self.directories,
            Kind::Symlink => &mut self.symlinks,
            _ => &mut self.others,
        } += 1;
        if node.kind() == Kind::File && node.ino == Ino::from_ordinal(node.ordinal) {
            self.data_bytes = self.data_bytes.saturating_add(node.size);
        }
    }
}

/// Which segment it is.
struct SegmentOf<'p> {
    /// Number of the page.
    number: u64,
    page: &'p LeafPage,
    at: usize,
}

struct Pass<'scope, 'a> {
    image: &'a Image,
    quick: bool,
    reading: Reading<'scope, 'a>,
    directories: Directories,
    extents: Extents<'a>,
    links: Links,
    counts: Counts,
    sound_blobs: HashSet<u64>,
}

/// Checks all entries; returns how many there are and what was found of their contents.
pub(super) fn check<'a>(
    image: &'a Image,
    options: VerifyOptions,
    reading: Reading<'_, 'a>,
    report: &mut Report<'_>,
) -> (u64, Contents) {
    let header = image.header();
    let mut levels = Levels::scan(&image.store, report);
    let mut pass = Pass {
        image,
        quick: options.quick,
        reading,
        directories: Directories::default(),
        extents: Extents::new(image),
        links: Links::new(header.uuid),
        counts: Counts::default(),
        sound_blobs: HashSet::new(),
    };
    for number in 1..=header.leaf_pages {
        if number % PAGES_AHEAD == 1 {
            let ahead = number * PAGE_BYTES;
            image
                .store
                .part()
                .will_need(ahead, 2 * PAGES_AHEAD * PAGE_BYTES);
        }
        let described = levels.describe(&image.store, number, report);
        match image.store.leaf_checked(number) {
            Ok((page, segments)) => {
                pass.page(number, (&page, &segments), described.as_ref(), report);
            }
            Err(error) => {
                pass.directories.lose();
                pass.extents.lose();
                let from = described.as_ref().and_then(|d| d.separators.first());
                let from = from.map(|separator| join(&separator.path, &separator.name));
                report.damaged_page(number, from, error);
            }
        }
        pass.reading.keep_up(report);
    }
    levels.finish(header.leaf_pages, report);
    pass.finish(report);
    let absent = pass.extents.absent;
    let mut contents = pass.reading.finish(report);
    if !options.quick {
        contents.damaged_files += absent;
    }
    (pass.counts.entries, contents)
}

impl Pass<'_, '_> {
    fn page(
        &mut self,
        number: u64,
        (page, segments): (&LeafPage, &[Segment]),
        described: Option<&Described>,
        report: &mut Report<'_>,
    ) {
        let first = page.first_ordinal;
        if let Some(next) = self.directories.next().filter(|&next| next != first) {
            let what = format!("page begins with entry {first}, but entry {next} comes next");
            report.page(number, what);
            self.directories.lose();
        }
        for (at, segment) in segments.iter().enumerate() {
            if at > 0 && self.extents.goes_on(segment.position) == Some(false) {
                report.page(
                    number,
                    "contents of a segment do not begin where those of the segment before end",
                );
            }
            let part = SegmentOf { number, page, at };
            self.segment(&part, segment, described, report);
        }
    }

    /// `described` is what other pages say of the page that has the segment.
    fn segment(
        &mut self,
        part: &SegmentOf<'_>,
        segment: &Segment,
        described: Option<&Described>,
        report: &mut Report<'_>,
    ) {
        let number = part.number;
        let first = segment.first_ordinal;
        self.extents.begin_segment(number, segment.position, report);
        let mut name = Vec::new();
        let mut cursor = RowCursor::new(segment);
        for run in segment.runs() {
            let path = match run.far_parent {
                None => Ok(segment.path_of(run).to_vec()),
                Some(parent) => self.image.path_of_ordinal(parent),
            };
            let path = path.unwrap_or_else(|error| {
                report.lookup(segment.path_of(run).to_vec(), error);
                self.directories.lose();
                segment.path_of(run).to_vec()
            });
            let path: Arc<[u8]> = path.into();
            segment.name_into(run.entries.start, &mut name);
            if run.entries.start == 0 {
                self.separator(part, (&path, &name), report);
                if part.at == 0 {
                    self.compare(number, part.page, described, (&path, &name), report);
                }
            }
            let ordinal = first + run.entries.start as u64;
            self.directories
                .begin_run(self.image, &path, run.far_parent, ordinal, report);
            while let Some(row) = cursor.row().filter(|_| cursor.index() < run.entries.end) {
                if cursor.index() > run.entries.start {
                    segment.advance_name(cursor.index(), &mut name);
                }
                self.entry(&row, &path, &name, report);
                cursor.advance();
            }
        }
    }

    /// Checks the separator of a segment that begins with the entry `first`.
    fn separator(&self, part: &SegmentOf<'_>, first: (&[u8], &[u8]), report: &mut Report<'_>) {
        let separator = part.page.separator_of(part.at);
        let before = self.directories.last_key().filter(|_| part.at > 0);
        let right = match before.filter(|before| before.0 == first.0) {
            Some(before) => before.1 < separator && separator <= first.1,
            // What lies before may be lost.
            None => separator.is_empty() || part.at > 0 && before.is_none(),
        };
        if !right {
            report.page(part.number, "separator leads past a segment of this page");
        }
    }

    /// Compares a page with what the pages above say of it.
    fn compare(
        &self,
        number: u64,
        page: &LeafPage,
        described: Option<&Described>,
        first_key: (&[u8], &[u8]),
        report: &mut Report<'_>,
    ) {
        let Some(described) = described else { return };
        if (described.first_ordinal, described.position) != (page.first_ordinal, page.position) {
            report.page(number, "leaf page contradicts the page above it");
        }
        let before = self.directories.last_key();
        for separator in &described.separators {
            let right = match number {
                1 => *separator == crate::format::inner::Separator::default(),
                _ => separates(separator, before, first_key),
            };
            if !right {
                report.page(number, "separators lead past this page");
            }
        }
    }

    fn entry(
        &mut self,
        row: &LeafRow<'_>,
        parent: &Arc<[u8]>,
        name: &[u8],
        report: &mut Report<'_>,
    ) {
        let path = || join(parent, name);
        let node = self.image.node_from_row(row).unwrap_or_else(|error| {
            report.lookup(path(), error);
            Node::from_row(row)
        });
        self.directories.entry(name, &node, report);
        self.counts.add(&node);
        if !node.is_directory() {
            if let Err(error) = self.links.name(self.image, &node) {
                report.lookup(path(), error);
            }
        }
        if node.kind() == Kind::File
            && self.extents.file(&node, row.is_implicit, &path, report)
            && !self.quick
        {
            self.reading.add(&node, parent, name, report);
        }
        if let Err(error) = self.blobs(&node) {
            report.lookup(path(), error);
        }
    }

    fn blobs(&mut self, node: &Node) -> Result<()> {
        if let Link::Blob(_) = node.link {
            self.image.read_link(node)?;
        }
        if node.kind() == Kind::File && node.hole_bytes > 0 {
            if !self.image.header().has_holes() {
                return Err(
                    Error::corrupt("file has holes in an image that says it has none")
                        .at_path(self.image.index_path()),
                );
            }
            self.image.holes(node)?;
        }
        if node.extent.cut.is_some() && !self.image.header().is_cut() {
            return Err(Error::corrupt(
                "file is cut by content in an image that says it has none of these",
            )
            .at_path(self.image.index_path()));
        }
        if node.extent.member.is_some() && !self.image.header().has_members() {
            return Err(Error::corrupt(
                "file shares a frame in an image that says it has none of these",
            )
            .at_path(self.image.index_path()));
        }
        if let Some(offset) = node
            .xattrs
            .filter(|offset| !self.sound_blobs.contains(offset))
        {
            let xattrs = blobs::xattrs(&self.image.store, offset)?;
            let header = self.image.header();
            // Version 1.0 did not say it.
            if header.version_minor > 0
                && !header.has_acls()
                && xattrs.iter().any(|(name, _)| blob::is_acl(name))
            {
                return Err(Error::corrupt(
                    "entry has an ACL in an image that says it has none, and that no mount enforces",
                )
                .at_path(self.image.index_path())
                .at_offset(offset));
            }
            if xattrs.is_empty() {
                return Err(Error::corrupt("list of extended attributes is empty")
                    .at_path(self.image.index_path())
                    .at_offset(offset));
            }
            if self.sound_blobs.len() >= MOST_REMEMBERED {
                self.sound_blobs.clear();
            }
            self.sound_blobs.insert(offset);
        }
        Ok(())
    }

    fn finish(&mut self, report: &mut Report<'_>) {
        let header = self.image.header();
        self.extents.finish(report);
        if self.directories.finish(self.image, header.entries, report) {
            self.links.finish(report);
            if self.counts != Counts::of(header) {
                let what = format!(
                    "header's counts are not those of the entries: {:?}, found {:?}",
                    Counts::of(header),
                    self.counts
                );
                report.page(0, what);
            }
        }
    }
}
