//! Goes through the regular files of a segment: sizes, and where contents lie.

use super::marks::{FilePlace, STEP};
use super::row::LeafRow;
use super::segment::Segment;
use super::told::{Extent, Told};
use crate::format::column::{Column, ColumnCursor, Streams};
use crate::format::cut::Cut;
use crate::format::extent::{CRC_BYTES, Shape};
use crate::format::member::Membership;
use crate::format::{Malformed, Parsed};

const BEYOND: Malformed = Malformed("column value exceeds 64 bits");
const NO_EXTENT: Malformed = Malformed("file has an impossible extent");

/// A place among the files of a segment.
#[derive(Debug)]
pub(super) struct FileCursor<'a> {
    segment: &'a Segment,
    streams: Streams<'a>,
    place: FilePlace,
    sizes: ColumnCursor<'a>,
    saved: ColumnCursor<'a>,
    places: ColumnCursor<'a>,
    hole_bytes: ColumnCursor<'a>,
    hole_maps: ColumnCursor<'a>,
    codecs: ColumnCursor<'a>,
    cuts: ColumnCursor<'a>,
    members: ColumnCursor<'a>,
    frame_stored: ColumnCursor<'a>,
    frame_data: ColumnCursor<'a>,
}

/// Room for the values of the columns for the files from one mark to the next.
#[derive(Default)]
struct Rooms {
    data: Values,
    hole_bytes: Values,
    members: Values,
    saved: Values,
    places: Values,
    codecs: Values,
    stored: Values,
    frame_data: Values,
}

/// Values of one column.
struct Values([u64; STEP]);

impl Default for Values {
    fn default() -> Self {
        Self([0; STEP])
    }
}

impl Values {
    /// The next `count` values of `column`, at most those of a step.
    fn take<'v>(
        &'v mut self,
        column: &mut ColumnCursor<'_>,
        streams: &Streams<'_>,
        count: usize,
    ) -> Option<&'v mut [u64]> {
        let values = self.0.get_mut(..count)?;
        column.take_into(streams, values)?;
        Some(values)
    }
}

impl<'a> FileCursor<'a> {
    /// A cursor at the first file.
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self::from_place(
            segment,
            FilePlace {
                position: Some(segment.position),
                ..FilePlace::default()
            },
        )
    }

    /// A cursor at file number `file`. Leaves marks for those who come after.
    pub(super) fn at(segment: &'a Segment, file: usize) -> Self {
        if let Some(place) = all_alike(segment, file) {
            return Self::from_place(segment, place);
        }
        let mut cursor = match segment.marks.before(file) {
            Some(place) => Self::from_place(segment, place),
            None => Self::new(segment),
        };
        let mut left = file.saturating_sub(cursor.place.files);
        if left == 0 {
            return cursor;
        }
        let rooms = &mut Rooms::default();
        while left >= STEP {
            cursor.skip(STEP, rooms);
            segment.marks.add(&cursor.place);
            left -= STEP;
        }
        cursor.skip(left, rooms);
        cursor
    }

    fn from_place(segment: &'a Segment, place: FilePlace) -> Self {
        let (columns, streams) = (&segment.columns, segment.streams());
        let of_extent = |column: &Column| column.cursor(&streams, place.extents);
        Self {
            segment,
            streams,
            sizes: columns.sizes.cursor(&streams, place.files),
            saved: of_extent(&columns.saved),
            places: of_extent(&columns.places),
            hole_bytes: of_extent(&columns.hole_bytes),
            hole_maps: columns.hole_maps.cursor(&streams, place.maps),
            codecs: of_extent(&columns.codecs),
            cuts: of_extent(&columns.cuts),
            members: of_extent(&columns.members),
            frame_stored: columns.frame_stored.cursor(&streams, place.frames),
            frame_data: columns.frame_data.cursor(&streams, place.frames),
            place,
        }
    }

    /// Passes `count` files, at most those of one step. Column by column, which takes a fraction of the time of going
    /// file by file.
    fn skip(&mut self, count: usize, rooms: &mut Rooms) {
        if !self.segment.columns.cuts.is_zero() {
            for _ in 0..count {
                self.pass();
            }
            return;
        }
        self.place.position = self.behind(count, rooms);
        self.place.files += count;
    }

    /// Passes `count` files of which none is cut by content, but does not count them; returns where the next implicit extent begins.
    fn behind(&mut self, count: usize, rooms: &mut Rooms) -> Option<u64> {
        let (columns, streams) = (&self.segment.columns, &self.streams);
        let sizes = rooms.data.take(&mut self.sizes, streams, count)?;
        let (mut sum, mut any, mut extents) = (0u64, 0, 0);
        for &size in &*sizes {
            sum = sum.wrapping_add(size);
            any |= size;
            extents += usize::from(size > 0);
        }
        self.place.extents += extents;
        let is_small = any < 1 << self.segment.chunk_shift;
        let others = [
            &columns.saved,
            &columns.places,
            &columns.hole_bytes,
            &columns.members,
        ];
        if is_small
            && others.iter().all(|column| column.is_zero())
            && columns.codecs.constant().is_some()
        {
            let stored = sum + (CRC_BYTES * extents) as u64;
            return self.place.position?.checked_add(stored);
        }
        if extents < count {
            let mut next = 0;
            for index in 0..count {
                let size = sizes.get(index).copied().unwrap_or(0);
                if let Some(kept) = sizes.get_mut(next) {
                    *kept = size;
                }
                next += usize::from(size > 0);
            }
        }
        if !columns.hole_bytes.is_zero() {
            let holes = rooms
                .hole_bytes
                .take(&mut self.hole_bytes, streams, extents)?;
            let mut maps = 0;
            for (size, &mut hole_bytes) in sizes.iter_mut().zip(holes) {
                maps += usize::from(hole_bytes > 0 && hole_bytes < *size);
                *size = size.checked_sub(hole_bytes)?;
            }
            self.place.maps += maps;
            for _ in 0..maps {
                self.hole_maps.advance(streams);
            }
        }
        if columns.members.is_zero() {
            self.behind_own(extents, is_small, rooms)
        } else {
            self.behind_members(extents, rooms)
        }
    }

    /// As [`Self::behind`], of `extents` that belong to one file each. In `rooms` are the bytes of data in them, `is_small` says that
    /// none has more than one chunk.
    fn behind_own(&mut self, extents: usize, is_small: bool, rooms: &mut Rooms) -> Option<u64> {
        let (columns, streams) = (&self.segment.columns, &self.streams);
        let chunk_shift = self.segment.chunk_shift;
        let lengths = rooms.data.0.get_mut(..extents)?;
        for length in &mut *lengths {
            *length = if is_small {
                *length + if *length > 0 { CRC_BYTES as u64 } else { 0 }
            } else {
                let data = (*length).min(i64::MAX.unsigned_abs());
                Shape::new(data, chunk_shift).default_stored_length()
            };
        }
        if !columns.saved.is_zero() {
            let saved = rooms.saved.take(&mut self.saved, streams, extents)?;
            for (length, saved) in lengths.iter_mut().zip(saved) {
                *length = length.checked_sub(*saved)?;
            }
        }
        if !columns.places.is_zero() {
            let places = rooms.places.take(&mut self.places, streams, extents)?;
            for (length, place) in lengths.iter_mut().zip(places) {
                *length = if *place > 0 { 0 } else { *length };
            }
        }
        if !columns.codecs.is_zero() {
            rooms.codecs.take(&mut self.codecs, streams, extents)?;
        }
        let sum = |at: u64, length: &u64| at.checked_add(*length);
        lengths.iter().try_fold(self.place.position?, sum)
    }

    /// As [`Self::behind_own`], where some files share frames.
    fn behind_members(&mut self, extents: usize, rooms: &mut Rooms) -> Option<u64> {
        let streams = &self.streams;
        let data = rooms.data.0.get(..extents)?;
        let members = rooms.members.take(&mut self.members, streams, extents)?;
        let saved = rooms.saved.take(&mut self.saved, streams, extents)?;
        let places = rooms.places.take(&mut self.places, streams, extents)?;
        let codecs = rooms.codecs.take(&mut self.codecs, streams, extents)?;
        let is_described = |member: &&mut u64| Membership::is_described(**member);
        let frames = members.iter_mut().filter(is_described).count();
        self.place.frames += frames;
        let stored = rooms.stored.take(&mut self.frame_stored, streams, frames)?;
        let frame_data = rooms
            .frame_data
            .take(&mut self.frame_data, streams, frames)?;
        let mut described = stored.iter().copied().zip(frame_data.iter().copied());
        let chunk_shift = self.segment.chunk_shift;
        let mut position = self.place.position;
        let shares = members.iter().zip(codecs.iter());
        for ((&data, (&mut saved, &mut place)), (&member, &codec)) in
            data.iter().zip(saved.iter_mut().zip(places)).zip(shares)
        {
            let is_chunk = data > 0 && data <= 1 << chunk_shift;
            if member == 0 && is_chunk {
                let stored = (data + CRC_BYTES as u64).checked_sub(saved)?;
                if place == 0 {
                    position = Some(position?.checked_add(stored)?);
                }
                continue;
            }
            let is_bare = saved | place == 0 && is_chunk;
            if is_bare && member == 1 && self.place.open.follow_within(codec, data) {
                continue;
            }
            let told = Told {
                data,
                saved,
                place,
                codec,
                membership: Membership::from_column(member),
                frame: if Membership::is_described(member) {
                    Some(described.next()?)
                } else {
                    None
                },
            };
            let extent = told.extent(None, chunk_shift, position, &self.place.open)?;
            position = extent.pass(&told, position, &mut self.place.open);
        }
        position
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
        let (chunk_shift, place) = (self.segment.chunk_shift, &self.place);
        told.extent(cut, chunk_shift, place.position, &place.open)
    }

    /// Puts what concerns the file here into its row.
    pub(super) fn read(&self, row: &mut LeafRow<'_>) -> Parsed<()> {
        let value = |column: &ColumnCursor<'_>| column.get(&self.streams).ok_or(BEYOND);
        if self.place.position.is_none() {
            // Columns that contradicted themselves cannot be read on.
            return Err(NO_EXTENT);
        }
        row.size = value(&self.sizes)?;
        if row.size == 0 {
            return Ok(());
        }
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
        Ok(())
    }

    /// Goes to the next file.
    pub(super) fn pass(&mut self) {
        let streams = &self.streams;
        match self.sizes.get(streams) {
            Some(0) => {}
            Some(size) => {
                let told = self.told(size);
                let (position, chunk_shift) = (self.place.position, self.segment.chunk_shift);
                let extent = told.as_ref().and_then(|(told, cut)| {
                    let extent = told.extent(*cut, chunk_shift, position, &self.place.open)?;
                    Some((told, extent))
                });
                self.place.position = extent
                    .and_then(|(told, extent)| extent.pass(told, position, &mut self.place.open));
                let hole_bytes = self.hole_bytes.get(streams).unwrap_or(0);
                if hole_bytes > 0 && hole_bytes < size {
                    self.hole_maps.advance(streams);
                    self.place.maps += 1;
                }
                self.hole_bytes.advance(streams);
                self.saved.advance(streams);
                self.places.advance(streams);
                self.codecs.advance(streams);
                self.cuts.advance(streams);
                let member = self.members.take(streams);
                if member.is_some_and(Membership::is_described) {
                    self.frame_stored.advance(streams);
                    self.frame_data.advance(streams);
                    self.place.frames += 1;
                }
                self.place.extents += 1;
            }
            None => self.place.position = None,
        }
        self.sizes.advance(streams);
        self.place.files += 1;
    }
}

/// What is known before file number `file` of a segment whose files are all of one size and one chunk as it is.
fn all_alike(segment: &Segment, file: usize) -> Option<FilePlace> {
    let columns = &segment.columns;
    let size = columns.sizes.constant()?;
    let others = [
        &columns.saved,
        &columns.places,
        &columns.hole_bytes,
        &columns.cuts,
        &columns.members,
    ];
    if size > 1 << segment.chunk_shift || !others.iter().all(|column| column.is_zero()) {
        return None;
    }
    let shape = Shape::new(size, segment.chunk_shift);
    // Counts of a segment and lengths of a chunk are small numbers.
    let before = shape.default_stored_length() * file as u64;
    Some(FilePlace {
        files: file,
        extents: if size > 0 { file } else { 0 },
        position: segment.position.checked_add(before),
        ..FilePlace::default()
    })
}
