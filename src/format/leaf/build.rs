//! Collects entries and encodes segments of leaf pages.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts and lengths in a page fit into 16 bits, names into 8"
)]

mod encode;

use super::new_entry::{NewEntry, NewMember, NewTarget};
use super::times::{TIME_COLUMNS, UNKNOWN, biased};
use crate::entry::{Kind, OtherTimes};
use crate::format::MAX_INLINE_PATH;
use crate::format::bits::BitWriter;
use crate::format::column::ColumnEncoder;
use crate::format::cut::Cut;
use crate::format::member::Membership;
pub use encode::LeafFrames;

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
