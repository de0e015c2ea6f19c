//! Encodes the first of the entries that a builder holds as a segment.

use super::{LeafBuilder, Ranks};
use crate::format::bytes::put_varint;
use crate::format::frame::{FrameEncoder, MAX_FRAME};
use crate::format::leaf::new_entry::NewMember;
use crate::format::leaf::times::TIME_COLUMNS;
use crate::format::leaf::{
    CODEC, CUT, DEVICE, FAR_TARGET, FRAME_DATA, FRAME_STORED, HOLE_BYTES, HOLE_MAP, LINKS, MEMBER,
    PLACE, PRIMARY, PageBuilder, SAVED, XATTRS,
};
use crate::format::member::Membership;
use crate::format::page_dictionaries::DictionaryBytes;

/// Compresses the frames of segments.
#[derive(Debug)]
pub struct LeafFrames {
    names: FrameEncoder,
    control: FrameEncoder,
}

impl LeafFrames {
    /// An encoder at zstd `level` (1 … 22) for frames that refer to `dictionaries`.
    pub fn new(level: i32, dictionaries: &DictionaryBytes) -> crate::Result<Self> {
        Ok(Self {
            names: FrameEncoder::with_dictionary(level, &dictionaries.names)?,
            control: FrameEncoder::with_dictionary(level, &dictionaries.control)?,
        })
    }
}

impl LeafBuilder {
    fn put_names(&mut self, count: usize, ranks: &Ranks) {
        self.stream.clear();
        let mut before: &[u8] = &[];
        for run in self.runs.iter().take_while(|run| run.first_entry < count) {
            let path: &[u8] = if run.is_far() { &[] } else { &run.path };
            let shared = common_prefix(before, path);
            self.stream
                .extend_from_slice(path.get(shared..).unwrap_or(&[]));
            self.stream.push(0);
            before = path;
        }
        let mut start = 0;
        for (index, (&end, &shared)) in self
            .name_ends
            .iter()
            .zip(&self.shared)
            .take(count)
            .enumerate()
        {
            let shared = if index == 0 { 0 } else { usize::from(shared) };
            self.stream
                .extend_from_slice(self.names.get(start + shared..end).unwrap_or(&[]));
            self.stream.push(0);
            start = end;
        }
        start = 0;
        for &end in self.target_ends.iter().take(ranks.symlinks) {
            self.stream
                .extend_from_slice(self.targets.get(start..end).unwrap_or(&[]));
            self.stream.push(0);
            start = end;
        }
    }

    fn put_runs(&mut self, count: usize, first_ordinal: u64) -> usize {
        let mut before: &[u8] = &[];
        let mut runs = 0;
        for (index, run) in self.runs.iter().enumerate() {
            if run.first_entry >= count {
                break;
            }
            runs += 1;
            let end = self
                .runs
                .get(index + 1)
                .map_or(count, |next| next.first_entry.min(count));
            let far = u64::from(run.is_far());
            put_varint(
                &mut self.control,
                ((end - run.first_entry) as u64) << 1 | far,
            );
            if run.is_far() {
                let ordinal = first_ordinal + run.first_entry as u64;
                put_varint(&mut self.control, ordinal.saturating_sub(run.parent));
                before = &[];
            } else {
                put_varint(&mut self.control, common_prefix(before, &run.path) as u64);
                before = &run.path;
            }
        }
        runs
    }

    /// First child ordinals of the first directory of each run that has one, relative to the page.
    fn bases(&self, count: usize, first_ordinal: u64) -> Vec<u64> {
        let rank = |entry: usize| self.ranks.get(entry).map_or(0, |ranks| ranks.directories);
        let mut bases = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            if run.first_entry >= count {
                break;
            }
            let end = self
                .runs
                .get(index + 1)
                .map_or(count, |next| next.first_entry.min(count));
            let first = rank(run.first_entry);
            if rank(end) > first {
                let child = self.first_children.get(first).copied().unwrap_or(0);
                bases.push(child.saturating_sub(first_ordinal));
            }
        }
        bases
    }

    fn put_columns(&mut self, count: usize, ranks: &Ranks, first_ordinal: u64) -> u32 {
        let bases = self.bases(count, first_ordinal);
        let control = &mut self.control;
        let bits = &mut self.bits;
        let columns = &mut self.columns;
        let mut put = |values: &[u64], domain: usize| {
            columns.encode(values.get(..domain).unwrap_or(values), control, bits);
        };
        put(&self.attributes, count);
        put(&self.sizes, ranks.files);
        put(&self.seconds, count);
        put(&self.nanoseconds, count);
        put(&self.children, ranks.directories);
        put(&self.subdirectories, ranks.directories);
        put(&self.deeper, ranks.parents);
        put(&bases, bases.len());
        let mut present = 0;
        for (bit, values, domain) in [
            (SAVED, &self.saved, ranks.extents),
            (PLACE, &self.places, ranks.extents),
            (PRIMARY, &self.primaries, ranks.nondirectories),
            (LINKS, &self.links, ranks.nondirectories),
            (DEVICE, &self.devices, ranks.devices),
            (XATTRS, &self.xattrs, count),
            (FAR_TARGET, &self.far_targets, ranks.far_targets),
            (HOLE_BYTES, &self.hole_bytes, ranks.extents),
            (HOLE_MAP, &self.hole_maps, ranks.hole_maps),
        ] {
            if values.iter().take(domain).any(|&value| value != 0) {
                present |= bit;
                put(values, domain);
            }
        }
        for ((bit, nanoseconds), values) in TIME_COLUMNS.into_iter().zip(&self.times) {
            let same_as_mtime = if nanoseconds {
                &self.nanoseconds
            } else {
                &self.seconds
            };
            if values
                .iter()
                .zip(same_as_mtime)
                .take(count)
                .any(|(a, b)| a != b)
            {
                present |= bit;
                put(values, count);
            }
        }
        for (bit, values) in [(CODEC, &self.codecs), (CUT, &self.cuts)] {
            let values = values.get(..ranks.extents).unwrap_or(values);
            if values.iter().any(|&value| value != 0) {
                present |= bit;
                put(values, ranks.extents);
            }
        }
        let members = self.members.get(..ranks.extents).unwrap_or(&self.members);
        if members.iter().any(|&member| member != 0) {
            present |= MEMBER;
            put(members, ranks.extents);
            let described = members.iter().zip(&self.frames);
            let described = described.filter(|(member, _)| Membership::is_described(**member));
            let frames: Vec<_> = described.filter_map(|(_, frame)| *frame).collect();
            // A member that follows has its frame described in the same page, so these are never empty.
            for (bit, of_frame) in [
                (
                    FRAME_STORED,
                    (|frame| frame.stored) as fn(&NewMember) -> u64,
                ),
                (FRAME_DATA, |frame| frame.member.data.into()),
            ] {
                let values: Vec<u64> = frames.iter().map(of_frame).collect();
                present |= bit;
                put(&values, values.len());
            }
        }
        present
    }

    /// Puts the first `count` entries into the streams and the bit area. Returns runs and optional columns; `None` if
    /// a stream would be too long.
    fn lay_out(&mut self, count: usize, first_ordinal: u64) -> Option<(usize, u32)> {
        let ranks = self.ranks.get(count).copied().unwrap_or_default();
        self.put_names(count, &ranks);
        self.control.clear();
        self.bits.clear();
        let runs = self.put_runs(count, first_ordinal);
        if let Some(first) = self.shared.first_mut() {
            *first = 0;
        }
        self.control.extend(self.shared.iter().take(count));
        let present = self.put_columns(count, &ranks, first_ordinal);
        let fits = self.stream.len() <= MAX_FRAME && self.control.len() <= MAX_FRAME;
        fits.then_some((runs, present))
    }

    /// The names stream and the control stream of the first `count` entries, if they were a segment.
    pub fn streams(&mut self, count: usize) -> (&[u8], &[u8]) {
        self.lay_out(count, 0);
        (&self.stream, &self.control)
    }

    /// Encodes the first `count` entries as the next segment of `page`; their implicit extents begin at `position`.
    /// `separator` is a name between the last entry of `page` and these, if both are in one run, else empty.
    /// Returns the bytes it takes; where they are more than there is room for, or a frame would be too long, there is
    /// no segment to [`add`](PageBuilder::add).
    pub fn encode(
        &mut self,
        count: usize,
        position: u64,
        separator: &[u8],
        page: &PageBuilder,
        frames: &mut LeafFrames,
    ) -> crate::Result<usize> {
        self.segment.clear();
        let Some((runs, present)) = self.lay_out(count, page.next_ordinal()) else {
            return Ok(usize::MAX);
        };
        let area = self.bits.bit_length().div_ceil(8);
        self.out.clear();
        let names = frames.names.encode(&self.stream, &mut self.out)?;
        if self.out.len() + area > page.room() {
            return Ok(self.out.len() + area);
        }
        let control = frames.control.encode(&self.control, &mut self.out)?;
        self.bits.copy_into(&mut self.out);
        for number in [count, runs, names, control, area] {
            put_varint(&mut self.segment, number as u64);
        }
        put_varint(&mut self.segment, present.into());
        put_varint(&mut self.segment, page.step(position));
        put_varint(&mut self.segment, separator.len() as u64);
        self.segment.extend_from_slice(separator);
        self.segment.extend_from_slice(&self.out);
        Ok(self.segment.len())
    }

    /// Bytes of the frames of the segment that was encoded last.
    pub fn frame_bytes(&self) -> usize {
        self.out.len() - self.bits.bit_length().div_ceil(8)
    }

    /// The segment that was encoded last.
    pub fn segment(&self) -> &[u8] {
        &self.segment
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
