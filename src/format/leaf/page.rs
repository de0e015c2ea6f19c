//! A leaf page: where its segments lie, and which of them an entry is in.

use super::context::LeafContext;
use super::segment::Segment;
use super::{FIRST_SEGMENT_OFFSET, KNOWN_COLUMNS, MAX_SEGMENTS};
use crate::format::bytes::ByteReader;
use crate::format::{MAX_LEAF_ENTRIES, MAX_NAME, Malformed, PAGE_SIZE, Parsed};
use std::ops::Range;

/// What a page says of a segment in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// Ordinal of its first entry.
    pub(super) first_ordinal: u64,
    /// Position where its first implicit extent begins.
    pub(super) position: u64,
    pub(super) entries: usize,
    pub(super) runs: usize,
    /// The optional columns, by bit.
    pub(super) present: u32,
    /// The bytes of the page that the separator, the frames and the bit area take.
    pub(super) separator: Range<usize>,
    pub(super) names: Range<usize>,
    pub(super) control: Range<usize>,
    pub(super) area: Range<usize>,
    /// Whether zeros may follow what columns take of the bit area.
    pub(super) is_padded: bool,
}

/// A leaf page, not decompressed.
#[derive(Debug)]
pub struct LeafPage {
    /// Ordinal of the first entry.
    pub first_ordinal: u64,
    /// Position where the first implicit extent of the page begins.
    pub position: u64,
    entries: usize,
    is_segmented: bool,
    heads: Box<[SegmentHead]>,
    bytes: Box<[u8; PAGE_SIZE]>,
}

impl LeafPage {
    /// Looks where the segments of a page lie whose checksum was found right.
    pub fn open(page: Box<[u8; PAGE_SIZE]>) -> Parsed<Self> {
        let mut reader = ByteReader::new(page.as_slice());
        reader.u32()?;
        if reader.u8()? != 0 {
            return Err(Malformed("not a leaf page"));
        }
        let segments = usize::from(reader.u8()?);
        let entries = usize::from(reader.u16()?);
        let (first_ordinal, position) = (reader.u64()?, reader.u64()?);
        if entries == 0 || entries > MAX_LEAF_ENTRIES {
            return Err(Malformed("leaf page has an impossible number of entries"));
        }
        if first_ordinal >= 1 << 62 || position >= 1 << 63 {
            return Err(Malformed("leaf page has an impossible ordinal or position"));
        }
        let first = SegmentHead {
            first_ordinal,
            position,
            entries,
            runs: 0,
            present: 0,
            separator: 0..0,
            names: 0..0,
            control: 0..0,
            area: FIRST_SEGMENT_OFFSET..FIRST_SEGMENT_OFFSET,
            is_padded: segments == 0,
        };
        let heads = match segments {
            0 => vec![sole_head(&mut reader, first)?],
            1..=MAX_SEGMENTS => heads(&page, segments, first)?,
            _ => return Err(Malformed("leaf page has too many segments")),
        };
        Ok(Self {
            first_ordinal,
            position,
            entries,
            is_segmented: segments > 0,
            heads: heads.into(),
            bytes: page,
        })
    }

    /// Opens a page whose checksum was found right and all its segments, and checks everything in them.
    pub fn decode(page: &[u8; PAGE_SIZE], context: &LeafContext) -> Parsed<Vec<Segment>> {
        Self::open(Box::new(*page))?.checked_segments(context)
    }

    /// All segments, at least one, and everything in them checked.
    pub fn checked_segments(&self, context: &LeafContext) -> Parsed<Vec<Segment>> {
        (0..self.segments())
            .map(|at| {
                let segment = self.segment(at, context)?;
                segment.check()?;
                Ok(segment)
            })
            .collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Never true of a page that was opened.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Ordinal behind the last entry.
    pub fn end(&self) -> u64 {
        self.first_ordinal + self.entries as u64
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.heads.len()
    }

    /// Whether the page is laid out as in version 1.5 and later; before, a page was one segment.
    pub fn is_segmented(&self) -> bool {
        self.is_segmented
    }

    /// The segment that the entry at `ordinal` is in, if the page has it.
    pub fn segment_of(&self, ordinal: u64) -> Option<usize> {
        if ordinal >= self.end() {
            return None;
        }
        self.heads
            .partition_point(|head| head.first_ordinal <= ordinal)
            .checked_sub(1)
    }

    /// The segment with the entry `name` if the children of one directory, which have the ordinals in `run`, have such a one.
    /// `None` if no segment has any of these.
    pub fn find_in_run(&self, run: &Range<u64>, name: &[u8]) -> Option<usize> {
        let first = self.segment_of(run.start.max(self.first_ordinal))?;
        if run.end <= self.first_ordinal {
            return None;
        }
        // Those behind the first begin inside the run, so their separators are names of it.
        let behind = self.heads.iter().skip(first + 1);
        let not_after =
            |head: &&SegmentHead| head.first_ordinal < run.end && self.separator(head) <= name;
        Some(first + behind.take_while(not_after).count())
    }

    fn separator(&self, head: &SegmentHead) -> &[u8] {
        self.bytes(&head.separator)
    }

    /// Of segment number `at`, a name that comes behind those of the run before it and not behind its first one; empty if it
    /// begins no page inside of a run.
    pub fn separator_of(&self, at: usize) -> &[u8] {
        self.heads.get(at).map_or(&[], |head| self.separator(head))
    }

    /// Decompresses segment number `at`. Rows, names and paths in it are checked when they are looked at.
    pub fn segment(&self, at: usize, context: &LeafContext) -> Parsed<Segment> {
        let head = self.heads.get(at);
        let head = head.ok_or(Malformed("leaf page lacks a segment"))?;
        let bytes = [&head.names, &head.control, &head.area].map(|range| self.bytes(range));
        Segment::open(head, bytes, context)
    }

    /// What the page says of each segment.
    pub(super) fn heads(&self) -> &[SegmentHead] {
        &self.heads
    }

    /// The bytes in `range`, which a head gave.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or(&[])
    }

    /// Bytes of memory that the page takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.heads.len() * size_of::<SegmentHead>()
    }
}

/// The head of a page of version 1.4 or before, which is one segment, and whose bit area goes on to its end.
fn sole_head(reader: &mut ByteReader<'_>, mut head: SegmentHead) -> Parsed<SegmentHead> {
    head.present = reader.u32()?;
    head.runs = reader.u16()?.into();
    let (names, control) = (usize::from(reader.u16()?), usize::from(reader.u16()?));
    if reader.u16()? != 0 {
        return Err(Malformed("leaf page has columns of a later version"));
    }
    lay(&mut head, PAGE_SIZE - reader.rest().len(), [names, control])?;
    head.area = head.control.end..PAGE_SIZE;
    check(&head)?;
    Ok(head)
}

/// The heads of `count` segments; `head` says where the first begins.
fn heads(page: &[u8; PAGE_SIZE], count: usize, mut head: SegmentHead) -> Parsed<Vec<SegmentHead>> {
    let mut heads = Vec::with_capacity(count);
    let mut left = head.entries;
    for _ in 0..count {
        let mut reader = ByteReader::new(page.get(head.area.end..).unwrap_or(&[]));
        let mut number = |most: usize| {
            let number = usize::try_from(reader.varint()?).ok();
            number
                .filter(|&number| number <= most)
                .ok_or(Malformed("leaf page has an impossible segment"))
        };
        head.entries = number(left)?;
        head.runs = number(head.entries)?;
        let lengths = [number(PAGE_SIZE)?, number(PAGE_SIZE)?];
        let area = number(PAGE_SIZE)?;
        head.present = u32::try_from(reader.varint()?).unwrap_or(u32::MAX);
        let step = reader.varint()?;
        let position = head.position.checked_add(step);
        head.position = position
            .filter(|&position| position < 1 << 63 && (step == 0 || !heads.is_empty()))
            .ok_or(Malformed("leaf page has an impossible ordinal or position"))?;
        let separator = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        if separator > MAX_NAME {
            return Err(Malformed("separator of a segment is too long"));
        }
        reader.take(separator)?;
        let at = PAGE_SIZE - reader.rest().len();
        head.separator = at - separator..at;
        lay(&mut head, at, lengths)?;
        head.area = head.control.end..head.control.end + area;
        if head.area.end > PAGE_SIZE {
            return Err(Malformed("segments are longer than the leaf page"));
        }
        check(&head)?;
        heads.push(head.clone());
        left -= head.entries;
        head.first_ordinal += head.entries as u64;
    }
    if left > 0 {
        return Err(Malformed("segments have fewer entries than the leaf page"));
    }
    let behind = page.get(head.area.end..).unwrap_or(&[]);
    if behind.iter().any(|&byte| byte != 0) {
        return Err(Malformed("leaf page goes on behind its last segment"));
    }
    Ok(heads)
}

/// Puts frames of these lengths from byte `at` on.
fn lay(head: &mut SegmentHead, at: usize, [names, control]: [usize; 2]) -> Parsed<()> {
    head.names = at..at + names;
    head.control = head.names.end..head.names.end + control;
    if head.control.end > PAGE_SIZE {
        return Err(Malformed("frames are longer than the leaf page"));
    }
    Ok(())
}

fn check(head: &SegmentHead) -> Parsed<()> {
    if head.present & !KNOWN_COLUMNS != 0 {
        return Err(Malformed("leaf page has columns of a later version"));
    }
    if head.entries == 0 || head.runs == 0 || head.runs > head.entries {
        return Err(Malformed("leaf page has an impossible number of entries"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
