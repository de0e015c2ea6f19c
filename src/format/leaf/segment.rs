//! A segment of a leaf page, decompressed.

#![expect(
    clippy::cast_possible_truncation,
    reason = "decoded frames have at most 65,535 bytes; the rest was checked when the page was decoded"
)]

use super::columns::{Columns, Locator, count_kind};
use super::context::LeafContext;
use super::cursor::RowCursor;
use super::marks::Marks;
use super::page::SegmentHead;
use super::row::LeafRow;
use super::strings::Strings;
use crate::entry::{Kind, compare_paths};
use crate::format::attributes::Attributes;
use crate::format::bits::BitReader;
use crate::format::bytes::ByteReader;
use crate::format::column::Streams;
use crate::format::frame::PageFrame;
use crate::format::{MAX_INLINE_PATH, MAX_NAME, Malformed, Parsed};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// A run, whole or in part, in a segment.
#[derive(Debug, Clone)]
pub struct Run {
    /// The entries of the segment that belong to it.
    pub entries: Range<usize>,
    /// Ordinal of the parent directory if the run is far, that is if the segment does not spell its path.
    pub far_parent: Option<u64>,
    path: Range<usize>,
}

/// A segment of a leaf page, decompressed: entries that follow each other and need nothing of others to be read. Its columns
/// are read where they lie, so that opening one costs little more than decompressing it.
#[derive(Debug)]
pub struct Segment {
    /// Ordinal of the first entry.
    pub first_ordinal: u64,
    /// Position where the first implicit extent of the segment begins.
    pub position: u64,
    pub(super) chunk_shift: u32,
    pub(super) runs: Box<[Run]>,
    paths: Box<[u8]>,
    /// The names stream: run paths, name suffixes, targets.
    strings: Strings,
    control: Box<[u8]>,
    /// Where in `control` the shared lengths of the names lie.
    shared: Range<usize>,
    area: Box<[u8]>,
    dictionaries: Box<[u64]>,
    pub(super) kinds: Box<[Kind]>,
    pub(super) table: Arc<[(Attributes, Kind)]>,
    pub(super) columns: Columns,
    pub(super) marks: Marks,
}

impl Segment {
    /// Opens the segment that `head` describes, whose names frame, control frame and bit area are `bytes`. Rows, names and paths
    /// are to be checked when they are looked at: a [`RowCursor`] gives no row that cannot be, [`Self::check_name`] tells
    /// what no directory can hold, [`Self::checked_path_of`] gives no path that cannot be.
    pub(super) fn open(
        head: &SegmentHead,
        bytes: [&[u8]; 3],
        context: &LeafContext,
    ) -> Parsed<Self> {
        let [names, control, area] = bytes;
        let (count, first_ordinal) = (head.entries, head.first_ordinal);
        let dictionaries = &context.dictionaries;
        let stream = dictionaries.decode(PageFrame::Names, names)?;
        let whole = dictionaries.decode(PageFrame::Control, control)?;

        let mut control = ByteReader::new(&whole);
        let strings =
            Strings::new(stream).ok_or(Malformed("names stream goes on behind its last string"))?;
        if strings.len() < head.runs {
            return Err(Malformed("names stream ends early"));
        }
        let (runs, paths) = decode_runs(&strings, head.runs, count, first_ordinal, &mut control)?;
        let shared_at = whole.len() - control.rest().len();
        control.take(count)?;

        let mut locator = Locator::new(&whole, control, BitReader::new(area));
        let (attributes, kinds) = locator.attributes(count, &context.table)?;
        let first_target = head.runs + count;
        let symlinks = count_kind(&kinds, Kind::Symlink);
        match strings.len().cmp(&(first_target + symlinks)) {
            Ordering::Less => return Err(Malformed("names stream ends early")),
            Ordering::Equal => {}
            Ordering::Greater => {
                return Err(Malformed("names stream goes on behind its last string"));
            }
        }
        let targets = first_target..first_target + symlinks;
        let far_targets = targets.filter(|&target| strings.get(target).is_empty());
        let far_targets = far_targets.count();
        let columns = locator.others(attributes, &kinds, &runs, head.present, far_targets)?;
        if !head.is_padded && area.len() != locator.at.div_ceil(8) {
            return Err(Malformed("bit area is longer than its columns"));
        }
        Ok(Self {
            first_ordinal,
            position: head.position,
            chunk_shift: context.chunk_shift,
            runs,
            paths,
            strings,
            shared: shared_at..shared_at + count,
            area: area.into(),
            dictionaries: locator.dictionaries.into(),
            kinds: kinds.into(),
            table: Arc::clone(&context.table),
            columns,
            marks: Marks::default(),
            control: whole.into(),
        })
    }

    /// Checks everything that [`LeafPage::segment`](super::LeafPage::segment) leaves for later.
    pub(super) fn check(&self) -> Parsed<()> {
        self.check_names()?;
        self.check_rows()
    }

    /// What the columns are read from.
    pub(super) fn streams(&self) -> Streams<'_> {
        Streams {
            control: &self.control,
            bits: BitReader::new(&self.area),
            dictionaries: &self.dictionaries,
        }
    }

    fn shared(&self) -> &[u8] {
        self.control.get(self.shared.clone()).unwrap_or(&[])
    }

    /// Refuses a name that the entry at `ordinal` cannot have.
    pub fn check_name(ordinal: u64, name: &[u8]) -> Parsed<()> {
        if name.len() > MAX_NAME || name.is_empty() != (ordinal == 0) {
            Err(Malformed("name has an impossible length"))
        } else if name.contains(&b'/') {
            Err(Malformed("name contains a slash"))
        } else if name == b"." || name == b".." {
            Err(Malformed("name is . or .."))
        } else {
            Ok(())
        }
    }

    /// Refuses names that no directory can hold. (That they ascend is for verification to check.)
    fn check_names(&self) -> Parsed<()> {
        let mut name = Vec::with_capacity(MAX_NAME);
        for run in &self.runs {
            self.checked_path_of(run)?;
            name.clear();
            for index in run.entries.clone() {
                let shared = self.shared().get(index).copied().map_or(0, usize::from);
                if shared > name.len() {
                    return Err(Malformed("name shares more bytes than the one before has"));
                }
                self.advance_name(index, &mut name);
                Self::check_name(self.first_ordinal + index as u64, &name)?;
            }
        }
        Ok(())
    }

    /// Refuses rows whose numbers cannot be.
    fn check_rows(&self) -> Parsed<()> {
        let mut cursor = RowCursor::new(self);
        while cursor.index() < self.len() {
            cursor.read()?;
            cursor.advance();
        }
        Ok(())
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Ordinal behind the last entry.
    pub fn end(&self) -> u64 {
        self.first_ordinal + self.len() as u64
    }

    /// Never true of a segment that was opened.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Bytes of memory that the segment takes.
    pub fn memory(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.runs.len() * std::mem::size_of::<Run>()
            + self.paths.len()
            + self.strings.memory()
            + self.control.len()
            + self.area.len()
            + self.dictionaries.len() * 8
            + self.kinds.len()
            + Marks::memory(self.kinds.len(), !self.columns.members.is_zero())
    }

    /// The runs in the segment, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Parent path of the entries of `run`; empty if the run is far.
    pub fn path_of(&self, run: &Run) -> &[u8] {
        self.paths.get(run.path.clone()).unwrap_or(&[])
    }

    /// As [`Self::path_of`]; refuses a path that no directory can have.
    pub fn checked_path_of(&self, run: &Run) -> Parsed<&[u8]> {
        let path = self.path_of(run);
        if is_possible_path(path) {
            Ok(path)
        } else {
            Err(Malformed("run path is not one that a directory can have"))
        }
    }

    /// The run that entry `index` belongs to.
    pub fn run_of(&self, index: usize) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.entries.start <= index);
        self.runs.get(after.checked_sub(1)?)
    }

    #[inline]
    fn suffix(&self, index: usize) -> &[u8] {
        self.strings.get(self.runs.len() + index)
    }

    /// The target of the symbolic link that is the segment's number `index` among them; empty if it is a blob.
    pub(super) fn target(&self, index: usize) -> &[u8] {
        self.strings.get(self.runs.len() + self.len() + index)
    }

    /// Puts the name of entry `index` into `name`, given that it holds the name of the entry before, or
    /// anything if the entry begins a run.
    pub fn advance_name(&self, index: usize, name: &mut Vec<u8>) {
        name.truncate(self.shared().get(index).copied().map_or(0, usize::from));
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
        let first = run.entries.start;
        let shared = self.shared().get(first..entries.end.min(run.entries.end))?;
        let mut suffixes = self.strings.walk(self.runs.len() + first);
        // Bytes that `name` has in common with the name before; names share bytes, so most need no comparison.
        let mut matched = 0;
        for (index, &shared) in (first..).zip(shared) {
            let shared = usize::from(shared);
            if index > first && shared > matched {
                continue;
            }
            // A suffix and what follows it: its NUL ends it, which comes before all that a name can have.
            let suffix = suffixes.tail(self.runs.len() + index);
            let wanted = name.get(shared..)?;
            let is_common = |(a, b): &(&u8, &u8)| a == b && **a != 0;
            let common = suffix.iter().zip(wanted).take_while(is_common).count();
            match (suffix.get(common), wanted.get(common)) {
                (Some(0), None) => return (index >= entries.start).then_some(index),
                (Some(0), Some(_)) => {}
                (here, there) if here > there => return None,
                _ => {}
            }
            matched = shared + common;
        }
        None
    }

    /// The entry with key (`path`, `name`), for paths that a segment spells out.
    pub fn find_key(&self, path: &[u8], name: &[u8]) -> Option<usize> {
        let run = self
            .runs
            .iter()
            .rev()
            .find(|run| run.far_parent.is_none() && self.path_of(run) == path)?;
        self.find_name(run.entries.clone(), name)
    }

    /// Whether the key of the first entry is (`path`, `name`) or comes before it; `None` if its run is far, so that the
    /// segment does not say.
    pub fn begins_by(&self, path: &[u8], name: &[u8]) -> Option<bool> {
        let run = self.runs.first().filter(|run| run.far_parent.is_none())?;
        Some(match compare_paths(self.path_of(run), path) {
            Ordering::Less => true,
            Ordering::Equal => self.suffix(0) <= name,
            Ordering::Greater => false,
        })
    }

    /// The entry at `index`; refuses one that is not there or cannot be.
    pub fn row(&self, index: usize) -> Parsed<LeafRow<'_>> {
        RowCursor::row_at(self, index)
    }
}

/// Whether every component of `path` is a name that a directory can hold.
fn is_possible_path(path: &[u8]) -> bool {
    let is_name =
        |name: &[u8]| (1..=MAX_NAME).contains(&name.len()) && name != b"." && name != b"..";
    path.is_empty() || path.split(|&byte| byte == b'/').all(is_name)
}

/// The runs of a segment, and the paths that they refer to.
type Runs = (Box<[Run]>, Box<[u8]>);

fn decode_runs(
    strings: &Strings,
    run_count: usize,
    count: usize,
    first_ordinal: u64,
    control: &mut ByteReader<'_>,
) -> Parsed<Runs> {
    let mut runs = Vec::with_capacity(run_count);
    let mut paths: Vec<u8> = Vec::new();
    let mut entry = 0;
    let mut path = 0..0;
    for index in 0..run_count {
        let head = control.varint()?;
        let entries = head >> 1;
        if entries == 0 || entries > (count - entry) as u64 {
            return Err(Malformed("runs have more entries than the leaf page"));
        }
        let entries = entry..entry + entries as usize;
        let rest = strings.get(index);
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
            None
        };
        entry = entries.end;
        runs.push(Run {
            entries,
            far_parent,
            path: path.clone(),
        });
    }
    if entry != count {
        return Err(Malformed("runs have fewer entries than the leaf page"));
    }
    Ok((runs.into(), paths.into()))
}
