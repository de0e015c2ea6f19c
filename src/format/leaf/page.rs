//! A decoded leaf page.

#![expect(
    clippy::cast_possible_truncation,
    reason = "decoded frames have at most 65,535 bytes; the rest was checked when the page was decoded"
)]

use super::row::{LeafRow, RowCursor};
use super::times::{TIME_COLUMNS, Times};
use super::values::Column;
use super::{
    DEVICE, FAR_TARGET, HOLE_BYTES, HOLE_MAP, KNOWN_COLUMNS, LINKS, PLACE, PRIMARY, SAVED, XATTRS,
};
use crate::entry::Kind;
use crate::format::attributes::Attributes;
use crate::format::bits::BitReader;
use crate::format::bytes::ByteReader;
use crate::format::extent::Shape;
use crate::format::{
    MAX_INLINE_PATH, MAX_LEAF_ENTRIES, MAX_NAME, Malformed, PAGE_SIZE, Parsed, column, frame,
};
use std::ops::Range;

/// A run, whole or in part, in a page.
#[derive(Debug, Clone)]
pub struct Run {
    /// The entries of the page that belong to it.
    pub entries: Range<usize>,
    /// Ordinal of the parent directory if the run is far, that is if the page does not spell its path.
    pub far_parent: Option<u64>,
    path: Range<usize>,
}

/// A decoded leaf page.
#[derive(Debug)]
pub struct LeafPage {
    /// Ordinal of the first entry.
    pub first_ordinal: u64,
    /// Position where the first implicit extent of the page begins.
    pub position: u64,
    pub(super) chunk_shift: u32,
    pub(super) runs: Box<[Run]>,
    paths: Box<[u8]>,
    /// The name suffixes, each with its NUL, then the targets, each with its NUL.
    pub(super) text: Box<[u8]>,
    /// Offsets of the NULs in `text`: names first, then targets.
    pub(super) ends: Box<[u16]>,
    shared: Box<[u8]>,
    pub(super) kinds: Box<[Kind]>,
    pub(super) attributes: Column,
    pub(super) table: std::sync::Arc<[(Attributes, Kind)]>,
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
}

/// Positions in `stream` of the next `count` NULs from `from` on.
fn find_ends(stream: &[u8], from: usize, count: usize) -> Parsed<Vec<u16>> {
    let mut ends = Vec::with_capacity(count.min(stream.len()));
    let tail = stream.get(from..).unwrap_or(&[]);
    let nuls = tail.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.extend(nuls.take(count).map(|(at, _)| (from + at) as u16));
    if ends.len() < count {
        return Err(Malformed("names stream ends early"));
    }
    Ok(ends)
}

impl LeafPage {
    /// Parses a page whose checksum was found right. `table` is the attribute section, `chunk_shift` that of
    /// the header.
    #[expect(
        clippy::too_many_lines,
        reason = "one step for each column, in the order of the format"
    )]
    pub fn decode(
        page: &[u8; PAGE_SIZE],
        table: &std::sync::Arc<[(Attributes, Kind)]>,
        chunk_shift: u32,
    ) -> Parsed<Self> {
        let mut reader = ByteReader::new(page);
        reader.u32()?;
        if reader.u8()? != 0 || reader.u8()? != 0 {
            return Err(Malformed("not a leaf page"));
        }
        let count = usize::from(reader.u16()?);
        let (first_ordinal, position) = (reader.u64()?, reader.u64()?);
        let present = reader.u32()?;
        let run_count = usize::from(reader.u16()?);
        let names_length = usize::from(reader.u16()?);
        let control_length = usize::from(reader.u16()?);
        if reader.u16()? != 0 || present & !KNOWN_COLUMNS != 0 {
            return Err(Malformed("leaf page has columns of a later version"));
        }
        if count == 0 || count > MAX_LEAF_ENTRIES || run_count == 0 || run_count > count {
            return Err(Malformed("leaf page has an impossible number of entries"));
        }
        if first_ordinal >= 1 << 62 || position >= 1 << 63 {
            return Err(Malformed("leaf page has an impossible ordinal or position"));
        }
        let mut stream = Vec::new();
        frame::decode(reader.take(names_length)?, &mut stream)?;
        let mut control = Vec::new();
        frame::decode(reader.take(control_length)?, &mut control)?;
        let bits = BitReader::new(reader.rest());

        let mut control = ByteReader::new(&control);
        let path_ends = find_ends(&stream, 0, run_count)?;
        let (runs, paths) = decode_runs(&stream, &path_ends, count, first_ordinal, &mut control)?;
        let names_start = path_ends.last().map_or(0, |&end| usize::from(end) + 1);
        let shared: Box<[u8]> = control.take(count)?.into();

        let (mut at, mut values) = (0usize, Vec::with_capacity(count));
        let mut next = |domain: usize, values: &mut Vec<u64>| {
            column::decode(domain, &mut control, bits, &mut at, values)?;
            Ok::<Column, Malformed>(Column::new(values))
        };
        let attributes = next(count, &mut values)?;
        let mut kinds = Vec::with_capacity(count);
        for &row in &values {
            let row = usize::try_from(row).ok().and_then(|row| table.get(row));
            kinds.push(
                row.ok_or(Malformed("entry names attributes that are not there"))?
                    .1,
            );
        }
        let of_kind = |kind: Kind| kinds.iter().filter(|&&other| other == kind).count();
        let directories = of_kind(Kind::Directory);
        let symlinks = of_kind(Kind::Symlink);
        let devices = of_kind(Kind::CharDevice) + of_kind(Kind::BlockDevice);

        let mut ends = find_ends(&stream, names_start, count)?;
        let names_end = ends.last().map_or(names_start, |&end| usize::from(end) + 1);
        let target_ends = find_ends(&stream, names_end, symlinks)?;
        let text_end = target_ends
            .last()
            .map_or(names_end, |&end| usize::from(end) + 1);
        if text_end != stream.len() {
            return Err(Malformed("names stream goes on behind its last string"));
        }
        let mut before = names_end;
        let mut inline_targets = 0;
        for &end in &target_ends {
            inline_targets += usize::from(usize::from(end) > before);
            before = usize::from(end) + 1;
        }
        ends.extend(target_ends);
        for end in &mut ends {
            *end -= names_start as u16;
        }

        let sizes = next(of_kind(Kind::File), &mut values)?;
        if values.iter().any(|&size| size >= 1 << 63) {
            return Err(Malformed("file has an impossible size"));
        }
        let file_sizes: Vec<u64> = values.iter().copied().filter(|&size| size > 0).collect();
        let extents = file_sizes.len();
        let seconds = next(count, &mut values)?;
        let nanoseconds = next(count, &mut values)?;
        if values.iter().any(|&value| value >= 1_000_000_000) {
            return Err(Malformed("time has more nanoseconds than a second"));
        }
        let children = next(directories, &mut values)?;
        let subdirectories = next(directories, &mut values)?;
        let parents = values.iter().filter(|&&value| value > 0).count();
        let deeper = next(parents, &mut values)?;
        let with_directories = runs
            .iter()
            .filter(|run| {
                kinds
                    .get(run.entries.clone())
                    .is_some_and(|k| k.contains(&Kind::Directory))
            })
            .count();
        let bases = next(with_directories, &mut values)?;
        let mut optional = |bit: u32, domain: usize, values: &mut Vec<u64>| {
            if present & bit == 0 {
                values.clear();
                values.resize(domain, 0);
                Ok(Column::Constant(0))
            } else {
                next(domain, values)
            }
        };
        let saved = optional(SAVED, extents, &mut values)?;
        let places = optional(PLACE, extents, &mut values)?;
        let primaries = optional(PRIMARY, count - directories, &mut values)?;
        let links = optional(LINKS, count - directories, &mut values)?;
        let devices = optional(DEVICE, devices, &mut values)?;
        let xattrs = optional(XATTRS, count, &mut values)?;
        let far_targets = optional(FAR_TARGET, symlinks - inline_targets, &mut values)?;
        let hole_bytes = optional(HOLE_BYTES, extents, &mut values)?;
        let mut mapped = 0;
        for (&hole_bytes, &size) in values.iter().zip(&file_sizes) {
            if hole_bytes > size {
                return Err(Malformed("file has more bytes of holes than bytes"));
            }
            mapped += usize::from(hole_bytes > 0 && hole_bytes < size);
        }
        let hole_maps = optional(HOLE_MAP, mapped, &mut values)?;
        let mut times = Times::default();
        for (bit, nanoseconds) in TIME_COLUMNS {
            if present & bit != 0 {
                let column = next(count, &mut values)?;
                if nanoseconds && values.iter().any(|&value| value >= 1_000_000_000) {
                    return Err(Malformed("time has more nanoseconds than a second"));
                }
                times.set(bit, column);
            }
        }
        let page = Self {
            first_ordinal,
            position,
            chunk_shift,
            runs,
            paths,
            text: stream.get(names_start..).unwrap_or(&[]).into(),
            ends: ends.into(),
            shared,
            attributes,
            table: std::sync::Arc::clone(table),
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
            kinds: kinds.into(),
        };
        if !control.rest().is_empty() {
            return Err(Malformed("control stream goes on behind its last column"));
        }
        bits.only_zeros_from(at)?;
        page.check_names()?;
        page.check_rows()?;
        Ok(page)
    }

    /// Refuses names that no directory can hold. (That they ascend is for verification to check.)
    fn check_names(&self) -> Parsed<()> {
        let mut length = 0;
        for (index, &shared) in self.shared.iter().enumerate() {
            let shared = usize::from(shared);
            let suffix = self.suffix(index);
            let first = self.first_ordinal + index as u64;
            let starts_run = shared == 0;
            if !starts_run && shared > length {
                return Err(Malformed("name shares more bytes than the one before has"));
            }
            length = shared + suffix.len();
            if length > MAX_NAME || (length == 0) != (first == 0) {
                return Err(Malformed("name has an impossible length"));
            }
            if suffix.contains(&b'/') {
                return Err(Malformed("name contains a slash"));
            }
        }
        for run in &self.runs {
            if self.shared.get(run.entries.start) != Some(&0) {
                return Err(Malformed("first name of a run shares bytes"));
            }
        }
        let mut name = Vec::with_capacity(MAX_NAME);
        for index in 0..self.len() {
            // Only names this short can be "." or "..", so few names have to be put together.
            let shared = self.shared.get(index).copied().map_or(0, usize::from);
            if shared + self.suffix(index).len() <= 2 {
                self.name_into(index, &mut name);
                if name == b"." || name == b".." {
                    return Err(Malformed("name is . or .."));
                }
            }
        }
        Ok(())
    }

    /// Refuses rows whose numbers cannot be: links to later entries, extents beyond all positions.
    fn check_rows(&self) -> Parsed<()> {
        let mut cursor = RowCursor::new(self);
        while let Some(row) = cursor.row() {
            if row.primary > row.ordinal {
                return Err(Malformed("hard link leads before the first entry"));
            }
            let last = row
                .first_child
                .checked_add(row.children)
                .and_then(|n| n.checked_add(row.deeper));
            if row.kind == Kind::Directory
                && (last.is_none_or(|last| last >= 1 << 63)
                    || row.children > 0 && row.first_child <= row.ordinal
                    || row.subdirectories > row.children)
            {
                return Err(Malformed("directory has impossible children"));
            }
            if row.kind == Kind::File && row.size > 0 {
                let shape = Shape::new(row.data_length(), self.chunk_shift);
                let minimum = if shape.has_table() {
                    shape.table_length()
                } else {
                    shape.default_stored_length()
                };
                if row.stored < minimum
                    || row
                        .position
                        .checked_add(row.stored)
                        .is_none_or(|e| e >= 1 << 63)
                {
                    return Err(Malformed("file has an impossible extent"));
                }
            }
            cursor.advance();
        }
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Never true of a decoded page.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Bytes of memory that the decoded page takes.
    pub fn memory(&self) -> usize {
        let columns = [
            &self.attributes,
            &self.sizes,
            &self.seconds,
            &self.nanoseconds,
            &self.children,
            &self.subdirectories,
            &self.deeper,
            &self.bases,
            &self.saved,
            &self.places,
            &self.primaries,
            &self.links,
            &self.devices,
            &self.xattrs,
            &self.far_targets,
            &self.hole_bytes,
            &self.hole_maps,
        ];
        std::mem::size_of::<Self>()
            + self.runs.len() * std::mem::size_of::<Run>()
            + self.paths.len()
            + self.text.len()
            + self.ends.len() * 2
            + self.shared.len()
            + self.kinds.len()
            + columns.iter().map(|column| column.memory()).sum::<usize>()
            + self.times.memory()
    }

    /// The runs in the page, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Parent path of the entries of `run`; empty if the run is far.
    pub fn path_of(&self, run: &Run) -> &[u8] {
        self.paths.get(run.path.clone()).unwrap_or(&[])
    }

    /// The run that entry `index` belongs to.
    pub fn run_of(&self, index: usize) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.entries.start <= index);
        self.runs.get(after.checked_sub(1)?)
    }

    fn suffix(&self, index: usize) -> &[u8] {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(0, |&end| usize::from(end) + 1),
            None => 0,
        };
        let end = self.ends.get(index).map_or(start, |&end| usize::from(end));
        self.text.get(start..end).unwrap_or(&[])
    }

    /// Puts the name of entry `index` into `name`, given that it holds the name of the entry before, or
    /// anything if the entry begins a run.
    pub fn advance_name(&self, index: usize, name: &mut Vec<u8>) {
        name.truncate(self.shared.get(index).copied().map_or(0, usize::from));
        name.extend_from_slice(self.suffix(index));
    }

    /// Puts the name of entry `index` into `name`.
    pub fn name_into(&self, index: usize, name: &mut Vec<u8>) {
        let start = self.run_of(index).map_or(0, |run| run.entries.start);
        name.clear();
        for earlier in start..=index {
            self.advance_name(earlier, name);
        }
    }

    /// The entry among `entries`, all of one run, whose name is `name`.
    pub fn find_name(&self, entries: Range<usize>, name: &[u8]) -> Option<usize> {
        let run = self.run_of(entries.start)?;
        // Bytes that `name` has in common with the name before; names share bytes, so most need no comparison.
        let mut matched = 0;
        for index in run.entries.start..entries.end.min(run.entries.end) {
            let shared = self.shared.get(index).copied().map_or(0, usize::from);
            if index > run.entries.start && shared > matched {
                continue;
            }
            let suffix = self.suffix(index);
            let wanted = name.get(shared..)?;
            let common = suffix
                .iter()
                .zip(wanted)
                .take_while(|(a, b)| a == b)
                .count();
            if common == suffix.len() && common == wanted.len() {
                return (index >= entries.start).then_some(index);
            }
            if suffix.get(common..) > wanted.get(common..) {
                return None;
            }
            matched = shared + common;
        }
        None
    }

    /// The entry with key (`path`, `name`), for paths that a page spells out.
    pub fn find_key(&self, path: &[u8], name: &[u8]) -> Option<usize> {
        let run = self
            .runs
            .iter()
            .rev()
            .find(|run| run.far_parent.is_none() && self.path_of(run) == path)?;
        self.find_name(run.entries.clone(), name)
    }

    /// The entry at `index`.
    pub fn row(&self, index: usize) -> Option<LeafRow<'_>> {
        let mut cursor = RowCursor::new(self);
        for _ in 0..index {
            cursor.advance();
        }
        cursor.row()
    }
}

/// Whether every component of `path` is a name that a directory can hold.
fn is_possible_path(path: &[u8]) -> bool {
    let is_name =
        |name: &[u8]| (1..=MAX_NAME).contains(&name.len()) && name != b"." && name != b"..";
    path.is_empty() || path.split(|&byte| byte == b'/').all(is_name)
}

/// The runs of a page, and the paths that they refer to.
type Runs = (Box<[Run]>, Box<[u8]>);

fn decode_runs(
    stream: &[u8],
    path_ends: &[u16],
    count: usize,
    first_ordinal: u64,
    control: &mut ByteReader<'_>,
) -> Parsed<Runs> {
    let mut runs = Vec::with_capacity(path_ends.len());
    let mut paths: Vec<u8> = Vec::new();
    let (mut entry, mut start) = (0, 0);
    let mut path = 0..0;
    for &end in path_ends {
        let head = control.varint()?;
        let entries = head >> 1;
        if entries == 0 || entries > (count - entry) as u64 {
            return Err(Malformed("runs have more entries than the page"));
        }
        let entries = entry..entry + entries as usize;
        let rest = stream.get(start..usize::from(end)).unwrap_or(&[]);
        let number = control.varint()?;
        let far_parent = if head & 1 == 1 {
            let ordinal = first_ordinal + entries.start as u64;
            if number == 0 || number > ordinal || !rest.is_empty() {
                return Err(Malformed("far run has an impossible parent"));
            }
            path = paths.len()..paths.len();
            Some(ordinal - number)
        } else {
            if number > path.len() as u64 {
                return Err(Malformed(
                    "run path shares more bytes than the one before has",
                ));
            }
            let shared = path.start..path.start + number as usize;
            path = paths.len()..paths.len() + shared.len() + rest.len();
            if path.len() > MAX_INLINE_PATH {
                return Err(Malformed("run path is too long"));
            }
            paths.extend_from_within(shared);
            paths.extend_from_slice(rest);
            if !paths.get(path.clone()).is_some_and(is_possible_path) {
                return Err(Malformed("run path is not one that a directory can have"));
            }
            None
        };
        entry = entries.end;
        runs.push(Run {
            entries,
            far_parent,
            path: path.clone(),
        });
        start = usize::from(end) + 1;
    }
    if entry != count {
        return Err(Malformed("runs have fewer entries than the page"));
    }
    Ok((runs.into(), paths.into()))
}
