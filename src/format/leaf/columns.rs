//! Where the columns of a leaf page lie, in the order of the format.

use super::marks::STEP;
use super::segment::Run;
use super::times::{TIME_COLUMNS, Times};
use super::{
    CODEC, CUT, DEVICE, FAR_TARGET, FRAME_DATA, FRAME_STORED, HOLE_BYTES, HOLE_MAP, LINKS, MEMBER,
    PLACE, PRIMARY, SAVED, XATTRS,
};
use crate::entry::Kind;
use crate::format::attributes::Attributes;
use crate::format::bits::BitReader;
use crate::format::bytes::ByteReader;
use crate::format::column::{Column, Streams};
use crate::format::member::Membership;
use crate::format::{Malformed, Parsed};

const BEYOND: Malformed = Malformed("column value exceeds 64 bits");

/// The columns of a page.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) attributes: Column,
    pub(super) sizes: Column,
    pub(super) seconds: Column,
    pub(super) nanoseconds: Column,
    pub(super) children: Column,
    pub(super) subdirectories: Column,
    pub(super) deeper: Column,
    pub(super) bases: Column,
    pub(super) saved: Column,
    pub(super) places: Column,
    pub(super) primaries: Column,
    pub(super) links: Column,
    pub(super) devices: Column,
    pub(super) xattrs: Column,
    pub(super) far_targets: Column,
    pub(super) hole_bytes: Column,
    pub(super) hole_maps: Column,
    pub(super) times: Times,
    pub(super) codecs: Column,
    pub(super) cuts: Column,
    pub(super) members: Column,
    pub(super) frame_stored: Column,
    pub(super) frame_data: Column,
}

/// Finds columns one after the other.
pub(super) struct Locator<'a> {
    whole: &'a [u8],
    control: ByteReader<'a>,
    bits: BitReader<'a>,
    pub(super) at: usize,
    pub(super) dictionaries: Vec<u64>,
}

impl<'a> Locator<'a> {
    /// Looks in `whole`, the control stream, of which `control` has still to read the columns, and in the bit area.
    pub(super) fn new(whole: &'a [u8], control: ByteReader<'a>, bits: BitReader<'a>) -> Self {
        Self {
            whole,
            control,
            bits,
            at: 0,
            dictionaries: Vec::new(),
        }
    }

    /// The next column.
    fn next(&mut self, count: usize) -> Parsed<Column> {
        Column::locate(
            count,
            self.whole,
            &mut self.control,
            self.bits,
            &mut self.at,
            &mut self.dictionaries,
        )
    }

    fn optional(&mut self, is_present: bool, count: usize) -> Parsed<Column> {
        if is_present {
            self.next(count)
        } else {
            Ok(Column::Constant(0))
        }
    }

    fn streams(&self) -> Streams<'_> {
        Streams {
            control: self.whole,
            bits: self.bits,
            dictionaries: &self.dictionaries,
        }
    }

    fn nonzero(&self, column: &Column, count: usize) -> Parsed<usize> {
        column.count_nonzero(&self.streams(), count).ok_or(BEYOND)
    }

    /// The first column, and the kind of each of the `count` entries by it.
    pub(super) fn attributes(
        &mut self,
        count: usize,
        table: &[(Attributes, Kind)],
    ) -> Parsed<(Column, Vec<Kind>)> {
        const MISSING: Malformed = Malformed("entry names attributes that are not there");
        let kind_of = |row: u64| {
            let row = usize::try_from(row).ok().and_then(|row| table.get(row));
            row.map(|row| row.1).ok_or(MISSING)
        };
        let column = self.next(count)?;
        if let Some(row) = column.constant() {
            return Ok((column, vec![kind_of(row)?; count]));
        }
        let mut kinds = vec![Kind::File; count];
        let streams = self.streams();
        let mut cursor = column.cursor(&streams, 0);
        let mut room = [0; STEP];
        // Neighbours mostly have the same.
        let mut last = (0, kind_of(0));
        let mut missing = false;
        for kinds in kinds.chunks_mut(STEP) {
            let rows = room.get_mut(..kinds.len()).unwrap_or(&mut []);
            cursor.take_into(&streams, rows).ok_or(BEYOND)?;
            for (kind, &mut row) in kinds.iter_mut().zip(rows) {
                if row != last.0 {
                    last = (row, kind_of(row));
                }
                missing |= last.1.is_err();
                *kind = last.1.unwrap_or(Kind::File);
            }
        }
        if missing {
            return Err(MISSING);
        }
        Ok((column, kinds))
    }

    /// The other columns. `present` are the optional ones, `far_targets` how many links have an empty target.
    pub(super) fn others(
        &mut self,
        attributes: Column,
        kinds: &[Kind],
        runs: &[Run],
        present: u32,
        far_targets: usize,
    ) -> Parsed<Columns> {
        let count = kinds.len();
        let of_kind = |kind: Kind| count_kind(kinds, kind);
        let files = of_kind(Kind::File);
        let directories = of_kind(Kind::Directory);
        let devices = of_kind(Kind::CharDevice) + of_kind(Kind::BlockDevice);
        let has = |bit: u32| present & bit != 0;

        let sizes = self.next(files)?;
        let seconds = self.next(count)?;
        let nanoseconds = self.next(count)?;
        let children = self.next(directories)?;
        let subdirectories = self.next(directories)?;
        let parents = self.nonzero(&subdirectories, directories)?;
        let deeper = self.next(parents)?;
        let bases = self.next(match runs {
            _ if directories == 0 => 0,
            [_] => 1,
            runs => runs.iter().filter(|run| has_directory(kinds, run)).count(),
        })?;
        let extents = if has(SAVED | PLACE | HOLE_BYTES | HOLE_MAP | CODEC | CUT | MEMBER) {
            self.nonzero(&sizes, files)?
        } else {
            0
        };
        let saved = self.optional(has(SAVED), extents)?;
        let places = self.optional(has(PLACE), extents)?;
        let primaries = self.optional(has(PRIMARY), count - directories)?;
        let links = self.optional(has(LINKS), count - directories)?;
        let devices = self.optional(has(DEVICE), devices)?;
        let xattrs = self.optional(has(XATTRS), count)?;
        let far_targets = self.optional(has(FAR_TARGET), far_targets)?;
        let hole_bytes = self.optional(has(HOLE_BYTES), extents)?;
        let mapped = if has(HOLE_MAP) {
            self.mapped(&sizes, &hole_bytes, files)?
        } else {
            0
        };
        let hole_maps = self.optional(has(HOLE_MAP), mapped)?;
        let mut times = Times::default();
        for (bit, _) in TIME_COLUMNS {
            if has(bit) {
                times.set(bit, self.next(count)?);
            }
        }
        let codecs = self.optional(has(CODEC), extents)?;
        let cuts = self.optional(has(CUT), extents)?;
        let members = self.optional(has(MEMBER), extents)?;
        let mut frames = 0;
        members
            .for_each(&self.streams(), extents, |value| {
                frames += usize::from(Membership::is_described(value));
            })
            .ok_or(BEYOND)?;
        let frame_stored = self.optional(has(FRAME_STORED), frames)?;
        let frame_data = self.optional(has(FRAME_DATA), frames)?;
        if !self.control.rest().is_empty() {
            return Err(Malformed("control stream goes on behind its last column"));
        }
        self.bits.only_zeros_from(self.at)?;
        Ok(Columns {
            attributes,
            sizes,
            seconds,
            nanoseconds,
            children,
            subdirectories,
            deeper,
            bases,
            saved,
            places,
            primaries,
            links,
            devices,
            xattrs,
            far_targets,
            hole_bytes,
            hole_maps,
            times,
            codecs,
            cuts,
            members,
            frame_stored,
            frame_data,
        })
    }

    /// How many files have both holes and data.
    fn mapped(&self, sizes: &Column, hole_bytes: &Column, files: usize) -> Parsed<usize> {
        let streams = self.streams();
        let (mut sizes, mut holes) = (sizes.cursor(&streams, 0), hole_bytes.cursor(&streams, 0));
        let (mut size_room, mut hole_room) = ([0; STEP], [0; STEP]);
        let mut mapped = 0;
        for at in (0..files).step_by(STEP) {
            let some = size_room.get_mut(..STEP.min(files - at));
            let some = some.unwrap_or(&mut []);
            sizes.take_into(&streams, some).ok_or(BEYOND)?;
            let extents = some.iter().filter(|&&size| size > 0);
            let with_holes = hole_room.get_mut(..extents.clone().count());
            let with_holes = with_holes.unwrap_or(&mut []);
            holes.take_into(&streams, with_holes).ok_or(BEYOND)?;
            mapped += extents
                .zip(with_holes)
                .filter(|(size, hole_bytes)| **hole_bytes > 0 && **hole_bytes < **size)
                .count();
        }
        Ok(mapped)
    }
}

/// How many of `kinds` are `kind`.
pub(super) fn count_kind(kinds: &[Kind], kind: Kind) -> usize {
    // In pieces whose sums fit into a byte, so that the compiler can count many at once.
    let piece = |kinds: &[Kind]| -> u8 { kinds.iter().map(|&other| u8::from(other == kind)).sum() };
    let pieces = kinds.chunks(usize::from(u8::MAX));
    pieces.map(|kinds| usize::from(piece(kinds))).sum()
}

/// Whether a run has a directory in this page.
pub(super) fn has_directory(kinds: &[Kind], run: &Run) -> bool {
    let kinds = kinds.get(run.entries.clone());
    kinds.is_some_and(|kinds| count_kind(kinds, Kind::Directory) > 0)
}
