//! Goes through the entries of a leaf page, from anywhere on.

use super::columns::{count_kind, has_directory};
use super::open_frames::OpenFrames;
use super::page::LeafPage;
use super::row::{LeafRow, Target};
use super::times::{TimesCursor, nanoseconds, unbiased};
use super::told::{Extent, Told};
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::column::{Column, ColumnCursor, Streams};
use crate::format::cut::Cut;
use crate::format::extent::{CRC_BYTES, Shape};
use crate::format::member::Membership;
use crate::format::{Malformed, Parsed};

const NO_ENTRY: Malformed = Malformed("leaf page lacks an entry");
const BEYOND: Malformed = Malformed("column value exceeds 64 bits");
const TOO_LONG: Malformed = Malformed("time has more nanoseconds than a second");
const NO_EXTENT: Malformed = Malformed("file has an impossible extent");

/// A place among the rows of a page. Getting to an entry costs little for each one before it, a step further the
/// same anywhere.
#[derive(Debug)]
pub struct RowCursor<'a> {
    page: &'a LeafPage,
    streams: Streams<'a>,
    index: usize,
    run: usize,
    /// Symbolic links so far.
    symlinks: usize,
    /// Where the next implicit extent begins; `None` if a column contradicts itself before.
    position: Option<u64>,
    /// Where the children of the next directory begin, once the run has had one.
    next_child: Option<u64>,
    attributes: ColumnCursor<'a>,
    sizes: ColumnCursor<'a>,
    seconds: ColumnCursor<'a>,
    nanoseconds: ColumnCursor<'a>,
    children: ColumnCursor<'a>,
    subdirectories: ColumnCursor<'a>,
    deeper: ColumnCursor<'a>,
    bases: ColumnCursor<'a>,
    saved: ColumnCursor<'a>,
    places: ColumnCursor<'a>,
    primaries: ColumnCursor<'a>,
    links: ColumnCursor<'a>,
    devices: ColumnCursor<'a>,
    xattrs: ColumnCursor<'a>,
    far_targets: ColumnCursor<'a>,
    hole_bytes: ColumnCursor<'a>,
    hole_maps: ColumnCursor<'a>,
    codecs: ColumnCursor<'a>,
    cuts: ColumnCursor<'a>,
    members: ColumnCursor<'a>,
    frame_stored: ColumnCursor<'a>,
    frame_data: ColumnCursor<'a>,
    /// The frames that further members may be in.
    open: OpenFrames,
    times: Option<TimesCursor<'a>>,
}

impl<'a> RowCursor<'a> {
    /// A cursor at the first row.
    pub fn new(page: &'a LeafPage) -> Self {
        Self::at(page, 0)
    }

    /// A cursor at row `index`.
    pub fn at(page: &'a LeafPage, index: usize) -> Self {
        let mut cursor = Self::beside(page, index);
        let kinds = page.kinds.get(..cursor.index).unwrap_or(&[]);
        cursor.skip_files(count_kind(kinds, Kind::File));
        cursor.skip_directories(count_kind(kinds, Kind::Directory));
        cursor.skip_symlinks(count_kind(kinds, Kind::Symlink));
        cursor
    }

    /// Row `index` of `page` alone, for which less has to be read than to go on from there.
    pub(super) fn row_at(page: &'a LeafPage, index: usize) -> Parsed<LeafRow<'a>> {
        let mut cursor = Self::beside(page, index);
        let kinds = page.kinds.get(..index).unwrap_or(&[]);
        match page.kinds.get(index).copied().ok_or(NO_ENTRY)? {
            Kind::File => cursor.skip_files(count_kind(kinds, Kind::File)),
            Kind::Directory => cursor.skip_directories(count_kind(kinds, Kind::Directory)),
            Kind::Symlink => cursor.skip_symlinks(count_kind(kinds, Kind::Symlink)),
            _ => {}
        }
        cursor.read()
    }

    /// A cursor at row `index`, but at the first file, directory and link.
    fn beside(page: &'a LeafPage, index: usize) -> Self {
        let streams = page.streams();
        let columns = &page.columns;
        let index = index.min(page.len());
        let kinds = page.kinds.get(..index).unwrap_or(&[]);
        let directories = count_kind(kinds, Kind::Directory);
        let nondirectories = index - directories;
        let devices = count_kind(kinds, Kind::CharDevice) + count_kind(kinds, Kind::BlockDevice);
        let run = page.runs.partition_point(|run| run.entries.end <= index);
        Self {
            page,
            streams,
            index,
            run,
            symlinks: 0,
            position: Some(page.position),
            next_child: None,
            attributes: columns.attributes.cursor(&streams, index),
            sizes: columns.sizes.cursor(&streams, 0),
            seconds: columns.seconds.cursor(&streams, index),
            nanoseconds: columns.nanoseconds.cursor(&streams, index),
            children: columns.children.cursor(&streams, 0),
            subdirectories: columns.subdirectories.cursor(&streams, 0),
            deeper: columns.deeper.cursor(&streams, 0),
            bases: columns.bases.cursor(&streams, 0),
            saved: columns.saved.cursor(&streams, 0),
            places: columns.places.cursor(&streams, 0),
            primaries: columns.primaries.cursor(&streams, nondirectories),
            links: columns.links.cursor(&streams, nondirectories),
            devices: columns.devices.cursor(&streams, devices),
            xattrs: columns.xattrs.cursor(&streams, index),
            far_targets: columns.far_targets.cursor(&streams, 0),
            hole_bytes: columns.hole_bytes.cursor(&streams, 0),
            hole_maps: columns.hole_maps.cursor(&streams, 0),
            codecs: columns.codecs.cursor(&streams, 0),
            cuts: columns.cuts.cursor(&streams, 0),
            members: columns.members.cursor(&streams, 0),
            frame_stored: columns.frame_stored.cursor(&streams, 0),
            frame_data: columns.frame_data.cursor(&streams, 0),
            open: OpenFrames::default(),
            times: (!columns.times.is_empty()).then(|| columns.times.cursor(&streams, index)),
        }
    }

    /// Index of the row in the page.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Passes the first `count` files of the page.
    fn skip_files(&mut self, count: usize) {
        let columns = &self.page.columns;
        if !columns.hole_bytes.is_zero() || !columns.cuts.is_zero() {
            for _ in 0..count {
                self.pass_file();
            }
            return;
        }
        if !columns.members.is_zero() {
            self.skip_members(count);
            return;
        }
        self.sizes = columns.sizes.cursor(&self.streams, count);
        let small = if columns.saved.is_zero() && columns.places.is_zero() {
            self.sum_of_small(count)
        } else {
            None
        };
        let (stored, extents) = small.unwrap_or_else(|| self.sum_of_extents(count));
        self.position = self
            .position
            .zip(stored)
            .and_then(|(at, stored)| at.checked_add(stored));
        self.saved = columns.saved.cursor(&self.streams, extents);
        self.places = columns.places.cursor(&self.streams, extents);
        self.codecs = columns.codecs.cursor(&self.streams, extents);
    }

    /// Passes the first `count` files of a page of which some share frames, and none has holes or is cut by content.
    /// Column by column, as [`Self::sum_of_extents`].
    fn skip_members(&mut self, count: usize) {
        let (columns, streams) = (&self.page.columns, &self.streams);
        let values = |column: &Column, count: usize| {
            let mut values = Vec::with_capacity(count);
            let seen = column.for_each(streams, count, |value| values.push(value));
            seen.map(|()| values)
        };
        self.position = None;
        self.sizes = columns.sizes.cursor(streams, count);
        let Some(mut sizes) = values(&columns.sizes, count) else {
            return;
        };
        sizes.retain(|&size| size > 0);
        let extents = sizes.len();
        self.saved = columns.saved.cursor(streams, extents);
        self.places = columns.places.cursor(streams, extents);
        self.codecs = columns.codecs.cursor(streams, extents);
        self.members = columns.members.cursor(streams, extents);
        let Some(members) = values(&columns.members, extents) else {
            return;
        };
        let described = |&&member: &&u64| Membership::is_described(member);
        let frames = members.iter().filter(described).count();
        self.frame_stored = columns.frame_stored.cursor(streams, frames);
        self.frame_data = columns.frame_data.cursor(streams, frames);
        let (Some(saved), Some(places), Some(codecs)) = (
            values(&columns.saved, extents),
            values(&columns.places, extents),
            values(&columns.codecs, extents),
        ) else {
            return;
        };
        let (Some(stored), Some(data)) = (
            values(&columns.frame_stored, frames),
            values(&columns.frame_data, frames),
        ) else {
            return;
        };
        let mut frames = stored.into_iter().zip(data);
        let mut position = Some(self.page.position);
        let shares = members.into_iter().zip(codecs);
        for ((size, (saved, place)), (member, codec)) in sizes
            .into_iter()
            .zip(saved.into_iter().zip(places))
            .zip(shares)
        {
            let told = Told {
                data: size,
                saved,
                place,
                codec,
                membership: Membership::from_column(member),
                frame: if Membership::is_described(member) {
                    frames.next()
                } else {
                    None
                },
            };
            position = match told.extent(None, self.page.chunk_shift, position, &self.open) {
                Some(extent) => extent.pass(&told, position, &mut self.open),
                None => None,
            };
        }
        self.position = position;
    }

    /// What the extents of the first `count` files take, and how many there are, if all are of one chunk as it is and this
    /// can be told from the sum of the sizes.
    fn sum_of_small(&self, count: usize) -> Option<(Option<u64>, usize)> {
        let sizes = &self.page.columns.sizes;
        let most = 1 << self.page.chunk_shift;
        let (sum, extents) = sizes.sum_of_small(&self.streams, count, most)?;
        Some((sum.checked_add((CRC_BYTES * extents) as u64), extents))
    }

    /// What the implicit extents of the first `count` files take, and how many files have extents, place or not; `None`
    /// if a column contradicts itself. Column by column, which takes a fraction of the time of going file by file.
    fn sum_of_extents(&self, count: usize) -> (Option<u64>, usize) {
        let (columns, streams) = (&self.page.columns, &self.streams);
        let chunk_shift = self.page.chunk_shift;
        let mut lengths = Vec::with_capacity(count);
        let sizes = columns.sizes.for_each(streams, count, |size| {
            if size > 0 {
                let shape = Shape::new(size.min(i64::MAX.unsigned_abs()), chunk_shift);
                lengths.push(shape.default_stored_length());
            }
        });
        let extents = lengths.len();
        let mut is_possible = sizes.is_some();
        if !columns.saved.is_zero() {
            let mut lengths = lengths.iter_mut();
            let saved = columns.saved.for_each(streams, extents, |saved| {
                if let Some(length) = lengths.next() {
                    is_possible &= saved <= *length;
                    *length = length.wrapping_sub(saved);
                }
            });
            is_possible &= saved.is_some();
        }
        if !columns.places.is_zero() {
            let mut lengths = lengths.iter_mut();
            let places = columns.places.for_each(streams, extents, |place| {
                if let Some(length) = lengths.next().filter(|_| place > 0) {
                    *length = 0;
                }
            });
            is_possible &= places.is_some();
        }
        let stored = lengths
            .into_iter()
            .try_fold(0, |sum: u64, length| sum.checked_add(length));
        (stored.filter(|_| is_possible), extents)
    }

    /// Passes the first `count` directories of the page; those of this run one by one, since each says where the
    /// children of the next are.
    fn skip_directories(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let (page, streams) = (self.page, &self.streams);
        let columns = &page.columns;
        let runs = page.runs.get(..self.run).unwrap_or(&[]);
        let start = page
            .runs
            .get(self.run)
            .map_or(self.index, |run| run.entries.start);
        let earlier = count_kind(page.kinds.get(..start).unwrap_or(&[]), Kind::Directory);
        if earlier > 0 {
            let bases = runs.iter().filter(|run| has_directory(&page.kinds, run));
            self.bases = columns.bases.cursor(streams, bases.count());
            self.children = columns.children.cursor(streams, earlier);
            self.subdirectories = columns.subdirectories.cursor(streams, earlier);
            // All columns were counted when the page was opened, so this succeeds.
            let parents = columns.subdirectories.count_nonzero(streams, earlier);
            self.deeper = columns.deeper.cursor(streams, parents.unwrap_or(0));
        }
        for _ in earlier..count {
            self.pass_directory();
        }
    }

    fn skip_symlinks(&mut self, count: usize) {
        for _ in 0..count {
            self.pass_symlink();
        }
    }

    /// What the columns tell of a file of `size` > 0 here, and how it is cut by content.
    fn told(&self, size: u64) -> Option<(Told, Option<Cut>)> {
        let streams = &self.streams;
        let member = self.members.get(streams)?;
        let frame = if Membership::is_described(member) {
            Some((
                self.frame_stored.get(streams)?,
                self.frame_data.get(streams)?,
            ))
        } else {
            None
        };
        let told = Told {
            data: size.checked_sub(self.hole_bytes.get(streams)?)?,
            saved: self.saved.get(streams)?,
            place: self.places.get(streams)?,
            codec: self.codecs.get(streams)?,
            membership: Membership::from_column(member),
            frame,
        };
        Some((told, Cut::from_column(self.cuts.get(streams)?).ok()?))
    }

    /// The extent of a file of `size` > 0 here.
    fn extent(&self, size: u64) -> Option<Extent> {
        let (told, cut) = self.told(size)?;
        told.extent(cut, self.page.chunk_shift, self.position, &self.open)
    }

    fn child_base(&self) -> Option<u64> {
        if self.next_child.is_some() {
            return self.next_child;
        }
        let base = self.bases.get(&self.streams)?;
        self.page.first_ordinal.checked_add(base)
    }

    fn target(&self) -> Option<Target<'a>> {
        let text = self.page.target(self.symlinks);
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
        row.check(self.page.chunk_shift)?;
        Ok(row)
    }

    fn parse(&self) -> Parsed<LeafRow<'a>> {
        let (page, streams) = (self.page, &self.streams);
        let kind = page.kinds.get(self.index).copied().ok_or(NO_ENTRY)?;
        let value = |column: &ColumnCursor<'_>| column.get(streams).ok_or(BEYOND);
        let attribute = usize::try_from(value(&self.attributes)?).unwrap_or(usize::MAX);
        let mtime = Timestamp {
            seconds: unbiased(value(&self.seconds)?),
            nanoseconds: nanoseconds(value(&self.nanoseconds)?).ok_or(TOO_LONG)?,
        };
        let mut row = LeafRow {
            ordinal: page.first_ordinal + self.index as u64,
            kind,
            attributes: page.table.get(attribute).ok_or(NO_ENTRY)?.0,
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
            Kind::File => {
                row.size = value(&self.sizes)?;
                if row.size > 0 {
                    let extent = self.extent(row.size).ok_or(NO_EXTENT)?;
                    (row.position, row.stored) = (extent.position, extent.stored);
                    row.is_implicit = extent.is_implicit;
                    row.hole_bytes = value(&self.hole_bytes)?;
                    row.codec = value(&self.codecs)?;
                    row.cut = extent.cut;
                    row.member = extent.member;
                    if row.hole_bytes > 0 && row.hole_bytes < row.size {
                        row.hole_map = Some(value(&self.hole_maps)?);
                    }
                }
            }
            Kind::Symlink => row.target = self.target().ok_or(BEYOND)?,
            Kind::CharDevice | Kind::BlockDevice => row.device = value(&self.devices)?,
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        Ok(row)
    }

    /// Goes on in the columns of sizes and extents.
    fn pass_file(&mut self) {
        let streams = &self.streams;
        match self.sizes.get(streams) {
            Some(0) => {}
            Some(size) => {
                let told = self.told(size);
                let (position, chunk_shift) = (self.position, self.page.chunk_shift);
                let extent = told.as_ref().and_then(|(told, cut)| {
                    let extent = told.extent(*cut, chunk_shift, position, &self.open)?;
                    Some((told, extent))
                });
                self.position =
                    extent.and_then(|(told, extent)| extent.pass(told, position, &mut self.open));
                let hole_bytes = self.hole_bytes.get(streams).unwrap_or(0);
                if hole_bytes > 0 && hole_bytes < size {
                    self.hole_maps.advance(streams);
                }
                self.hole_bytes.advance(streams);
                self.saved.advance(streams);
                self.places.advance(streams);
                self.codecs.advance(streams);
                self.cuts.advance(streams);
                if self
                    .members
                    .take(streams)
                    .is_some_and(Membership::is_described)
                {
                    self.frame_stored.advance(streams);
                    self.frame_data.advance(streams);
                }
            }
            None => self.position = None,
        }
        self.sizes.advance(streams);
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
        let Some(&kind) = self.page.kinds.get(self.index) else {
            return;
        };
        let streams = self.streams;
        match kind {
            Kind::Directory => self.pass_directory(),
            Kind::File => self.pass_file(),
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
        let run = self.page.runs.get(self.run);
        if run.is_some_and(|run| run.entries.end == self.index) {
            self.run += 1;
            self.next_child = None;
        }
    }
}
