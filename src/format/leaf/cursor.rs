//! Goes through the entries of a segment, from anywhere on.

use super::columns::{count_kind, has_directory};
use super::files::FileCursor;
use super::marks::STEP;
use super::row::{LeafRow, Target};
use super::segment::Segment;
use super::times::{TimesCursor, nanoseconds, unbiased};
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::column::{ColumnCursor, Streams};
use crate::format::{Malformed, Parsed};

const NO_ENTRY: Malformed = Malformed("leaf page lacks an entry");
const BEYOND: Malformed = Malformed("column value exceeds 64 bits");
const TOO_LONG: Malformed = Malformed("time has more nanoseconds than a second");

/// A place among the rows of a segment. Getting to an entry costs little for those before it, a step further the
/// same anywhere.
#[derive(Debug)]
pub struct RowCursor<'a> {
    segment: &'a Segment,
    streams: Streams<'a>,
    index: usize,
    run: usize,
    /// Symbolic links so far.
    symlinks: usize,
    /// Where the children of the next directory begin, once the run has had one.
    next_child: Option<u64>,
    attributes: ColumnCursor<'a>,
    seconds: ColumnCursor<'a>,
    nanoseconds: ColumnCursor<'a>,
    children: ColumnCursor<'a>,
    subdirectories: ColumnCursor<'a>,
    deeper: ColumnCursor<'a>,
    bases: ColumnCursor<'a>,
    primaries: ColumnCursor<'a>,
    links: ColumnCursor<'a>,
    devices: ColumnCursor<'a>,
    xattrs: ColumnCursor<'a>,
    far_targets: ColumnCursor<'a>,
    files: FileCursor<'a>,
    times: Option<TimesCursor<'a>>,
}

impl<'a> RowCursor<'a> {
    /// A cursor at the first row.
    pub fn new(segment: &'a Segment) -> Self {
        Self::at(segment, 0)
    }

    /// A cursor at row `index`.
    pub fn at(segment: &'a Segment, index: usize) -> Self {
        let kinds = segment.kinds.get(..index).unwrap_or(&segment.kinds);
        let files = FileCursor::at(segment, count_kind(kinds, Kind::File));
        let mut cursor = Self::beside(segment, index, files);
        cursor.skip_directories(count_kind(kinds, Kind::Directory));
        cursor.skip_symlinks(count_kind(kinds, Kind::Symlink));
        cursor
    }

    /// Row `index` of `segment` alone, for which less has to be read than to go on from there.
    pub(super) fn row_at(segment: &'a Segment, index: usize) -> Parsed<LeafRow<'a>> {
        let kinds = segment.kinds.get(..index).unwrap_or(&[]);
        let kind = segment.kinds.get(index).copied().ok_or(NO_ENTRY)?;
        let files = if kind == Kind::File {
            FileCursor::at(segment, count_kind(kinds, Kind::File))
        } else {
            FileCursor::new(segment)
        };
        let mut cursor = Self::beside(segment, index, files);
        match kind {
            Kind::Directory => cursor.skip_directories(count_kind(kinds, Kind::Directory)),
            Kind::Symlink => cursor.skip_symlinks(count_kind(kinds, Kind::Symlink)),
            _ => {}
        }
        cursor.read()
    }

    /// A cursor at row `index`, but at the first directory and link, and at `files` of the files.
    fn beside(segment: &'a Segment, index: usize, files: FileCursor<'a>) -> Self {
        let streams = segment.streams();
        let columns = &segment.columns;
        let index = index.min(segment.len());
        let kinds = segment.kinds.get(..index).unwrap_or(&[]);
        let directories = count_kind(kinds, Kind::Directory);
        let nondirectories = index - directories;
        let devices = if columns.devices.constant().is_some() {
            0
        } else {
            count_kind(kinds, Kind::CharDevice) + count_kind(kinds, Kind::BlockDevice)
        };
        let run = segment.runs.partition_point(|run| run.entries.end <= index);
        Self {
            segment,
            streams,
            index,
            run,
            symlinks: 0,
            next_child: None,
            attributes: columns.attributes.cursor(&streams, index),
            seconds: columns.seconds.cursor(&streams, index),
            nanoseconds: columns.nanoseconds.cursor(&streams, index),
            children: columns.children.cursor(&streams, 0),
            subdirectories: columns.subdirectories.cursor(&streams, 0),
            deeper: columns.deeper.cursor(&streams, 0),
            bases: columns.bases.cursor(&streams, 0),
            primaries: columns.primaries.cursor(&streams, nondirectories),
            links: columns.links.cursor(&streams, nondirectories),
            devices: columns.devices.cursor(&streams, devices),
            xattrs: columns.xattrs.cursor(&streams, index),
            far_targets: columns.far_targets.cursor(&streams, 0),
            files,
            times: (!columns.times.is_empty()).then(|| columns.times.cursor(&streams, index)),
        }
    }

    /// Index of the row in the segment.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Passes the first `count` directories of the segment; those of this run one by one, since each says where the
    /// children of the next are.
    fn skip_directories(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let (segment, streams) = (self.segment, &self.streams);
        let columns = &segment.columns;
        let runs = segment.runs.get(..self.run).unwrap_or(&[]);
        let start = segment
            .runs
            .get(self.run)
            .map_or(self.index, |run| run.entries.start);
        let earlier = count_kind(segment.kinds.get(..start).unwrap_or(&[]), Kind::Directory);
        if earlier > 0 {
            let bases = runs.iter().filter(|run| has_directory(&segment.kinds, run));
            self.bases = columns.bases.cursor(streams, bases.count());
            self.children = columns.children.cursor(streams, earlier);
            self.subdirectories = columns.subdirectories.cursor(streams, earlier);
            // All columns were counted when the segment was opened, so this succeeds.
            let parents = columns.subdirectories.count_nonzero(streams, earlier);
            self.deeper = columns.deeper.cursor(streams, parents.unwrap_or(0));
        }
        let mut left = count - earlier;
        if left == 0 {
            return;
        }
        let mut next = self.child_base();
        if self.next_child.is_none() {
            self.bases.advance(&self.streams);
        }
        while left > 0 {
            let step = left.min(STEP);
            let below = self.skip_counts(step);
            next = next
                .zip(below)
                .and_then(|(at, below)| at.checked_add(below));
            left -= step;
        }
        self.next_child = Some(next.unwrap_or(u64::MAX));
    }

    /// Goes on by `count` directories, at most those of a step; returns how many entries lie below these.
    fn skip_counts(&mut self, count: usize) -> Option<u64> {
        let streams = &self.streams;
        let mut room = [0; STEP];
        let subdirectories = room.get_mut(..count)?;
        self.subdirectories.take_into(streams, subdirectories)?;
        let parents = subdirectories.iter().filter(|&&some| some > 0).count();
        let sum = |sum: u64, value: &u64| sum.checked_add(*value);
        let children = room.get_mut(..count)?;
        self.children.take_into(streams, children)?;
        let below = children.iter().try_fold(0, sum)?;
        let deeper = room.get_mut(..parents)?;
        self.deeper.take_into(streams, deeper)?;
        deeper.iter().try_fold(below, sum)
    }

    fn skip_symlinks(&mut self, count: usize) {
        if self.segment.columns.far_targets.constant().is_some() {
            self.symlinks += count;
            return;
        }
        for _ in 0..count {
            self.pass_symlink();
        }
    }

    fn child_base(&self) -> Option<u64> {
        if self.next_child.is_some() {
            return self.next_child;
        }
        let base = self.bases.get(&self.streams)?;
        self.segment.first_ordinal.checked_add(base)
    }

    fn target(&self) -> Option<Target<'a>> {
        let text = self.segment.target(self.symlinks);
        Some(if text.is_empty() {
            Target::Blob(self.far_targets.get(&self.streams)?)
        } else {
            Target::Inline(text)
        })
    }

    /// The row; `None` behind the last, and if the row cannot be.
    pub fn row(&self) -> Option<LeafRow<'a>> {
        self.read().ok()
    }

    /// The row; refuses one that is not there or cannot be.
    pub fn read(&self) -> Parsed<LeafRow<'a>> {
        let row = self.parse()?;
        row.check(self.segment.chunk_shift)?;
        Ok(row)
    }

    fn parse(&self) -> Parsed<LeafRow<'a>> {
        let (segment, streams) = (self.segment, &self.streams);
        let kind = segment.kinds.get(self.index).copied().ok_or(NO_ENTRY)?;
        let value = |column: &ColumnCursor<'_>| column.get(streams).ok_or(BEYOND);
        let attribute = usize::try_from(value(&self.attributes)?).unwrap_or(usize::MAX);
        let mtime = Timestamp {
            seconds: unbiased(value(&self.seconds)?),
            nanoseconds: nanoseconds(value(&self.nanoseconds)?).ok_or(TOO_LONG)?,
        };
        let mut row = LeafRow {
            ordinal: segment.first_ordinal + self.index as u64,
            kind,
            attributes: segment.table.get(attribute).ok_or(NO_ENTRY)?.0,
            mtime,
            other_times: match &self.times {
                Some(times) => times.get(streams, mtime).ok_or(TOO_LONG)?,
                None => OtherTimes {
                    atime: mtime,
                    ctime: mtime,
                    btime: Some(mtime),
                },
            },
            size: 0,
            children: 0,
            subdirectories: 0,
            deeper: 0,
            first_child: 0,
            hole_bytes: 0,
            hole_map: None,
            position: 0,
            stored: 0,
            codec: 0,
            cut: None,
            member: None,
            is_implicit: true,
            primary: 0,
            links: 1,
            device: 0,
            xattrs: value(&self.xattrs)?.checked_sub(1),
            target: Target::Inline(&[]),
        };
        if kind == Kind::Directory {
            row.children = value(&self.children)?;
            row.subdirectories = value(&self.subdirectories)?;
            if row.subdirectories > 0 {
                row.deeper = value(&self.deeper)?;
            }
            row.first_child = self.child_base().ok_or(BEYOND)?;
            return Ok(row);
        }
        row.primary = value(&self.primaries)?;
        row.links = value(&self.links)?.saturating_add(1);
        match kind {
            Kind::File => self.files.read(&mut row)?,
            Kind::Symlink => row.target = self.target().ok_or(BEYOND)?,
            Kind::CharDevice | Kind::BlockDevice => row.device = value(&self.devices)?,
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        Ok(row)
    }

    /// Goes on in the columns of directories; returns how many entries lie below this one.
    fn pass_counts(&mut self) -> Option<u64> {
        let streams = &self.streams;
        let mut below = self.children.take(streams);
        if self.subdirectories.take(streams) != Some(0) {
            let deeper = self.deeper.take(streams);
            below = below.zip(deeper).and_then(|(a, b)| a.checked_add(b));
        }
        below
    }

    fn pass_directory(&mut self) {
        let first = self.child_base();
        if self.next_child.is_none() {
            self.bases.advance(&self.streams);
        }
        let below = self.pass_counts();
        // What cannot be leads to no row: it is beyond all ordinals.
        let next = first.zip(below).and_then(|(a, b)| a.checked_add(b));
        self.next_child = Some(next.unwrap_or(u64::MAX));
    }

    fn pass_symlink(&mut self) {
        if let Some(Target::Blob(_)) = self.target() {
            self.far_targets.advance(&self.streams);
        }
        self.symlinks += 1;
    }

    /// Goes to the next row.
    pub fn advance(&mut self) {
        let Some(&kind) = self.segment.kinds.get(self.index) else {
            return;
        };
        let streams = self.streams;
        match kind {
            Kind::Directory => self.pass_directory(),
            Kind::File => self.files.pass(),
            Kind::Symlink => self.pass_symlink(),
            Kind::CharDevice | Kind::BlockDevice => self.devices.advance(&streams),
            Kind::Fifo | Kind::Socket => {}
        }
        if kind != Kind::Directory {
            self.primaries.advance(&streams);
            self.links.advance(&streams);
        }
        for column in [
            &mut self.attributes,
            &mut self.seconds,
            &mut self.nanoseconds,
            &mut self.xattrs,
        ] {
            column.advance(&streams);
        }
        if let Some(times) = &mut self.times {
            times.advance(&streams);
        }
        self.index += 1;
        let run = self.segment.runs.get(self.run);
        if run.is_some_and(|run| run.entries.end == self.index) {
            self.run += 1;
            self.next_child = None;
        }
    }
}
