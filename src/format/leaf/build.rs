//! Collects entries and encodes segments of leaf pages.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts and lengths in a page fit into 16 bits, names into 8"
)]

use super::times::{TIME_COLUMNS, UNKNOWN, biased};
use super::{
    CODEC, CUT, DEVICE, FAR_TARGET, FRAME_DATA, FRAME_STORED, HOLE_BYTES, HOLE_MAP, LINKS, MEMBER,
    PLACE, PRIMARY, PageBuilder, SAVED, XATTRS,
};
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::MAX_INLINE_PATH;
use crate::format::bits::BitWriter;
use crate::format::bytes::put_varint;
use crate::format::column::ColumnEncoder;
use crate::format::cut::Cut;
use crate::format::frame::{FrameEncoder, MAX_FRAME};
use crate::format::member::{Member, Membership};
use crate::format::page_dictionaries::DictionaryBytes;

/// Target of a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTarget<'a> {
    /// In the leaf page; empty for entries that are no links.
    Inline(&'a [u8]),
    /// In the blob at this offset of the blob section.
    Blob(u64),
}

/// Where the data of a new entry are in a shared frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMember {
    /// The place in what the frame decodes to.
    pub member: Member,
    /// Position of the frame.
    pub position: u64,
    /// Its stored length.
    pub stored: u64,
    /// Whether it comes in the order of its frame: right behind the data of the member of the same codec before it, if
    /// that is in this frame. The first of these has the `place` of the entry, if it has one, the others none.
    pub in_order: bool,
}

/// An entry as the index writer hands it over.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Last component of the path.
    pub name: &'a [u8],
    /// Kind, as the attributes say it.
    pub kind: Kind,
    /// Row of the attribute section.
    pub attribute: u64,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The other times; where they equal `mtime` they take nothing.
    pub other_times: OtherTimes,
    /// Bytes of a regular file.
    pub size: u64,
    /// Children of a directory.
    pub children: u64,
    /// How many of them are directories.
    pub subdirectories: u64,
    /// Entries below a directory that are not its children.
    pub deeper: u64,
    /// Ordinal at which a directory's children begin (or would, if it had any).
    pub first_child: u64,
    /// How many of a regular file's bytes lie in holes.
    pub hole_bytes: u64,
    /// Offset of the blob that says where its holes are; taken if it has holes and data.
    pub hole_map: u64,
    /// Default stored length minus stored length of the extent.
    pub saved: u64,
    /// Row of the codec section for its frames.
    pub codec: u64,
    /// How its chunks are found if it is cut by content.
    pub cut: Option<Cut>,
    /// Position of the extent if it is not where the one before ends.
    pub place: Option<u64>,
    /// The frame that its data share with others; then it is the frame that has a `place`, and nothing is `saved`.
    pub member: Option<NewMember>,
    /// Own ordinal minus that of the inode's first name.
    pub primary: u64,
    /// Names of the inode, at least 1.
    pub links: u64,
    /// Device number.
    pub device: u64,
    /// Offset of the blob with the extended attributes.
    pub xattrs: Option<u64>,
    /// Where a symbolic link leads.
    pub target: NewTarget<'a>,
}

#[derive(Debug)]
struct PendingRun {
    first_entry: usize,
    path: Vec<u8>,
    parent: u64,
}

impl PendingRun {
    fn is_far(&self) -> bool {
        self.path.len() > MAX_INLINE_PATH
    }
}

/// How many entries of each domain stand before an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Ranks {
    files: usize,
    extents: usize,
    hole_maps: usize,
    directories: usize,
    parents: usize,
    nondirectories: usize,
    devices: usize,
    symlinks: usize,
    far_targets: usize,
}

impl Ranks {
    fn subtract(&mut self, other: &Self) {
        self.files -= other.files;
        self.extents -= other.extents;
        self.hole_maps -= other.hole_maps;
        self.directories -= other.directories;
        self.parents -= other.parents;
        self.nondirectories -= other.nondirectories;
        self.devices -= other.devices;
        self.symlinks -= other.symlinks;
        self.far_targets -= other.far_targets;
    }
}

/// Collects entries in key order and encodes segments from the front of what it holds.
///
/// Columns are kept as they are pushed, so that trying another number of entries costs no rebuild.
#[derive(Debug, Default)]
pub struct LeafBuilder {
    runs: Vec<PendingRun>,
    names: Vec<u8>,
    name_ends: Vec<usize>,
    shared: Vec<u8>,
    targets: Vec<u8>,
    target_ends: Vec<usize>,
    /// `ranks[i]` counts the entries before entry i; one more than there are entries.
    ranks: Vec<Ranks>,
    attributes: Vec<u64>,
    sizes: Vec<u64>,
    seconds: Vec<u64>,
    nanoseconds: Vec<u64>,
    children: Vec<u64>,
    subdirectories: Vec<u64>,
    deeper: Vec<u64>,
    first_children: Vec<u64>,
    saved: Vec<u64>,
    places: Vec<u64>,
    primaries: Vec<u64>,
    links: Vec<u64>,
    devices: Vec<u64>,
    xattrs: Vec<u64>,
    far_targets: Vec<u64>,
    hole_bytes: Vec<u64>,
    hole_maps: Vec<u64>,
    codecs: Vec<u64>,
    cuts: Vec<u64>,
    members: Vec<u64>,
    /// The frames of those for which `members` is not 0.
    frames: Vec<Option<NewMember>>,
    /// Codec and position of the frame that members of the codec held last came in, in order.
    open: Vec<(u64, u64)>,
    /// In the order of [`TIME_COLUMNS`].
    times: [Vec<u64>; TIME_COLUMNS.len()],
    columns: ColumnEncoder,
    bits: BitWriter,
    stream: Vec<u8>,
    control: Vec<u8>,
    /// Frames and bit area.
    out: Vec<u8>,
    segment: Vec<u8>,
}

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
    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty()
    }

    /// Whether any of the files held lie in a frame together.
    pub fn share_frames(&self) -> bool {
        !self.open.is_empty()
    }

    /// The entries that follow are children of the directory at `path`, whose own ordinal is `parent`.
    pub fn begin_run(&mut self, path: &[u8], parent: u64) {
        let run = PendingRun {
            first_entry: self.len(),
            path: path.to_vec(),
            parent,
        };
        match self.runs.last_mut() {
            Some(last) if last.first_entry == run.first_entry => *last = run,
            _ => self.runs.push(run),
        }
    }

    /// Name of entry `index`.
    pub fn name(&self, index: usize) -> &[u8] {
        let start = match index.checked_sub(1) {
            Some(before) => self.name_ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.name_ends.get(index).copied().unwrap_or(start);
        self.names.get(start..end).unwrap_or(&[])
    }

    /// Parent path of entry `index`.
    pub fn path_of(&self, index: usize) -> &[u8] {
        let after = self.runs.partition_point(|run| run.first_entry <= index);
        after
            .checked_sub(1)
            .and_then(|at| self.runs.get(at))
            .map_or(&[], |run| &run.path)
    }

    /// Adds the next entry of the run.
    pub fn push(&mut self, entry: &NewEntry<'_>) {
        let index = self.len();
        if self.ranks.is_empty() {
            self.ranks.push(Ranks::default());
        }
        let mut ranks = self.ranks.last().copied().unwrap_or_default();
        let starts_run = self.runs.last().is_some_and(|run| run.first_entry == index);
        let shared = match index.checked_sub(1) {
            Some(before) if !starts_run => {
                let before = self.name(before);
                before
                    .iter()
                    .zip(entry.name)
                    .take_while(|(a, b)| a == b)
                    .count()
            }
            _ => 0,
        };
        self.names.extend_from_slice(entry.name);
        self.name_ends.push(self.names.len());
        self.shared.push(shared as u8);
        self.attributes.push(entry.attribute);
        self.seconds.push(biased(entry.mtime.seconds));
        self.nanoseconds.push(u64::from(entry.mtime.nanoseconds));
        self.xattrs
            .push(entry.xattrs.map_or(0, |offset| offset + 1));
        self.push_times(&entry.other_times);
        if entry.kind == Kind::Directory {
            ranks.directories += 1;
            self.children.push(entry.children);
            self.subdirectories.push(entry.subdirectories);
            self.first_children.push(entry.first_child);
            if entry.subdirectories > 0 {
                ranks.parents += 1;
                self.deeper.push(entry.deeper);
            }
        } else {
            ranks.nondirectories += 1;
            self.primaries.push(entry.primary);
            self.links.push(entry.links.saturating_sub(1));
        }
        match entry.kind {
            Kind::File => {
                ranks.files += 1;
                self.sizes.push(entry.size);
                if entry.size > 0 {
                    ranks.extents += 1;
                    self.hole_bytes.push(entry.hole_bytes);
                    if entry.hole_bytes > 0 && entry.hole_bytes < entry.size {
                        ranks.hole_maps += 1;
                        self.hole_maps.push(entry.hole_map);
                    }
                    self.saved.push(entry.saved);
                    self.codecs.push(entry.codec);
                    self.cuts.push(entry.cut.map_or(0, Cut::column));
                    self.places
                        .push(entry.place.map_or(0, |position| position + 1));
                    self.members.push(0);
                    self.frames.push(entry.member);
                    self.describe_frames(self.frames.len() - 1);
                }
            }
            Kind::Symlink => {
                ranks.symlinks += 1;
                match entry.target {
                    NewTarget::Inline(target) => self.targets.extend_from_slice(target),
                    NewTarget::Blob(offset) => {
                        ranks.far_targets += 1;
                        self.far_targets.push(offset);
                    }
                }
                self.target_ends.push(self.targets.len());
            }
            Kind::CharDevice | Kind::BlockDevice => {
                ranks.devices += 1;
                self.devices.push(entry.device);
            }
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        self.ranks.push(ranks);
    }

    fn push_times(&mut self, times: &OtherTimes) {
        let birth = times.btime.map_or((UNKNOWN, 0), |birth| {
            (biased(birth.seconds), birth.nanoseconds)
        });
        let values = [
            biased(times.atime.seconds),
            u64::from(times.atime.nanoseconds),
            biased(times.ctime.seconds),
            u64::from(times.ctime.nanoseconds),
            birth.0,
            u64::from(birth.1),
        ];
        for (column, value) in self.times.iter_mut().zip(values) {
            column.push(value);
        }
    }

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

    /// Decides for extents from number `first` on which members follow in a frame, and which describe theirs: those
    /// before which no member of it is held, too.
    fn describe_frames(&mut self, first: usize) {
        let columns = self.members.iter_mut().zip(&mut self.places);
        let columns = columns.zip(self.frames.iter().zip(&self.codecs));
        for ((value, place), (frame, &codec)) in columns.skip(first) {
            let Some(frame) = frame else { continue };
            let is_open = frame.in_order && self.open.contains(&(codec, frame.position));
            let offset = frame.member.offset.into();
            *value = match frame.in_order {
                true if is_open => Membership::Follows,
                opens => Membership::Described { offset, opens },
            }
            .column();
            if !is_open && offset > 0 {
                *place = frame.position + 1;
            }
            if frame.in_order && !is_open {
                self.open.retain(|(of, _)| *of != codec);
                self.open.push((codec, frame.position));
            }
        }
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

    /// Forgets the first `count` entries, which have become a segment.
    pub fn drain(&mut self, count: usize) {
        let ranks = self.ranks.get(count).copied().unwrap_or_default();
        drain_text(&mut self.names, &mut self.name_ends, count);
        drain_text(&mut self.targets, &mut self.target_ends, ranks.symlinks);
        self.shared.drain(..count);
        if let Some(first) = self.shared.first_mut() {
            *first = 0;
        }
        for (column, domain) in [
            (&mut self.attributes, count),
            (&mut self.sizes, ranks.files),
            (&mut self.seconds, count),
            (&mut self.nanoseconds, count),
            (&mut self.children, ranks.directories),
            (&mut self.subdirectories, ranks.directories),
            (&mut self.deeper, ranks.parents),
            (&mut self.first_children, ranks.directories),
            (&mut self.saved, ranks.extents),
            (&mut self.places, ranks.extents),
            (&mut self.primaries, ranks.nondirectories),
            (&mut self.links, ranks.nondirectories),
            (&mut self.devices, ranks.devices),
            (&mut self.xattrs, count),
            (&mut self.far_targets, ranks.far_targets),
            (&mut self.hole_bytes, ranks.extents),
            (&mut self.hole_maps, ranks.hole_maps),
            (&mut self.codecs, ranks.extents),
            (&mut self.cuts, ranks.extents),
            (&mut self.members, ranks.extents),
        ] {
            column.drain(..domain);
        }
        self.frames.drain(..ranks.extents);
        self.open.clear();
        self.describe_frames(0);
        for column in &mut self.times {
            column.drain(..count);
        }
        self.ranks.drain(..count);
        for later in &mut self.ranks {
            later.subtract(&ranks);
        }
        // The run that the segment ended in goes on in the next one.
        let gone = self.runs.partition_point(|run| run.first_entry <= count);
        self.runs.drain(..gone.saturating_sub(1));
        for run in &mut self.runs {
            run.first_entry = run.first_entry.saturating_sub(count);
        }
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Removes the first `count` strings, given by their ends.
fn drain_text(text: &mut Vec<u8>, ends: &mut Vec<usize>, count: usize) {
    let cut = match count.checked_sub(1) {
        Some(last) => ends.get(last).copied().unwrap_or(0),
        None => 0,
    };
    text.drain(..cut);
    ends.drain(..count);
    for end in ends {
        *end -= cut;
    }
}
