//! The entries of a decoded leaf page, one after the other.

#![expect(
    clippy::cast_possible_truncation,
    reason = "checked when the page was decoded"
)]

use super::page::LeafPage;
use super::times::unbiased;
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::attributes::Attributes;
use crate::format::extent::Shape;

/// Where a symbolic link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Here; empty for entries that are no links.
    Inline(&'a [u8]),
    /// In the blob at this offset of the blob section.
    Blob(u64),
}

/// One entry of a page.
#[derive(Debug, Clone, Copy)]
pub struct LeafRow<'a> {
    /// Position of the entry in key order.
    pub ordinal: u64,
    /// Kind of the entry.
    pub kind: Kind,
    /// Mode, owner and group.
    pub attributes: Attributes,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The other times; as `mtime` where the page has none.
    pub other_times: OtherTimes,
    /// Bytes of a regular file.
    pub size: u64,
    /// Children of a directory.
    pub children: u64,
    /// How many of them are directories.
    pub subdirectories: u64,
    /// Entries below a directory that are not its children.
    pub deeper: u64,
    /// Ordinal of a directory's first child.
    pub first_child: u64,
    /// How many of a regular file's bytes lie in holes.
    pub hole_bytes: u64,
    /// Offset of the blob that says where its holes are, if it has holes and data.
    pub hole_map: Option<u64>,
    /// Position of the extent of a regular file of size > 0.
    pub position: u64,
    /// Stored length of that extent.
    pub stored: u64,
    /// Own ordinal minus that of the inode's first name.
    pub primary: u64,
    /// Names of the inode; meaningless for directories.
    pub links: u64,
    /// Device number.
    pub device: u64,
    /// Offset of the blob with the extended attributes.
    pub xattrs: Option<u64>,
    /// Where a symbolic link leads.
    pub target: Target<'a>,
}

impl LeafRow<'_> {
    /// Bytes of a regular file that lie outside of holes.
    pub fn data_length(&self) -> u64 {
        self.size.saturating_sub(self.hole_bytes)
    }
}

/// Goes through the rows of a page; each step costs the same, wherever it is.
#[derive(Debug)]
pub struct RowCursor<'a> {
    page: &'a LeafPage,
    index: usize,
    run: usize,
    files: usize,
    extents: usize,
    hole_maps: usize,
    directories: usize,
    parents: usize,
    bases: usize,
    devices: usize,
    symlinks: usize,
    far_targets: usize,
    position: u64,
    next_child: Option<u64>,
}

impl<'a> RowCursor<'a> {
    /// A cursor at the first row.
    pub fn new(page: &'a LeafPage) -> Self {
        Self {
            page,
            index: 0,
            run: 0,
            files: 0,
            extents: 0,
            hole_maps: 0,
            directories: 0,
            parents: 0,
            bases: 0,
            devices: 0,
            symlinks: 0,
            far_targets: 0,
            position: page.position,
            next_child: None,
        }
    }

    /// Index of the row in the page.
    pub fn index(&self) -> usize {
        self.index
    }

    fn extent(&self, size: u64) -> (u64, u64, bool) {
        let data = size.saturating_sub(self.page.hole_bytes.get(self.extents));
        let default = Shape::new(data, self.page.chunk_shift).default_stored_length();
        let stored = default.saturating_sub(self.page.saved.get(self.extents));
        match self.page.places.get(self.extents).checked_sub(1) {
            Some(place) => (place, stored, false),
            None => (self.position, stored, true),
        }
    }

    fn child_base(&self) -> u64 {
        self.next_child.unwrap_or_else(|| {
            self.page
                .first_ordinal
                .saturating_add(self.page.bases.get(self.bases))
        })
    }

    fn target(&self) -> Target<'a> {
        let page = self.page;
        let end_of = |string: usize| page.ends.get(string).map_or(0, |&end| usize::from(end));
        let string = page.len() + self.symlinks;
        let text = page
            .text
            .get(end_of(string - 1) + 1..end_of(string))
            .unwrap_or(&[]);
        if text.is_empty() {
            Target::Blob(page.far_targets.get(self.far_targets))
        } else {
            Target::Inline(text)
        }
    }

    /// The row, or `None` behind the last.
    pub fn row(&self) -> Option<LeafRow<'a>> {
        let page = self.page;
        let kind = *page.kinds.get(self.index)?;
        let attribute = usize::try_from(page.attributes.get(self.index)).ok()?;
        let attributes = page.table.get(attribute)?.0;
        let nondirectories = self.index - self.directories;
        let mtime = Timestamp {
            seconds: unbiased(page.seconds.get(self.index)),
            nanoseconds: page.nanoseconds.get(self.index) as u32,
        };
        let mut row = LeafRow {
            ordinal: page.first_ordinal + self.index as u64,
            kind,
            attributes,
            mtime,
            other_times: page.times.get(self.index, mtime),
            size: 0,
            children: 0,
            subdirectories: 0,
            deeper: 0,
            first_child: 0,
            hole_bytes: 0,
            hole_map: None,
            position: 0,
            stored: 0,
            primary: 0,
            links: 1,
            device: 0,
            xattrs: page.xattrs.get(self.index).checked_sub(1),
            target: Target::Inline(&[]),
        };
        if kind == Kind::Directory {
            row.children = page.children.get(self.directories);
            row.subdirectories = page.subdirectories.get(self.directories);
            if row.subdirectories > 0 {
                row.deeper = page.deeper.get(self.parents);
            }
            row.first_child = self.child_base();
        } else {
            row.primary = page.primaries.get(nondirectories);
            row.links = page.links.get(nondirectories).saturating_add(1);
        }
        match kind {
            Kind::File => {
                row.size = page.sizes.get(self.files);
                if row.size > 0 {
                    row.hole_bytes = page.hole_bytes.get(self.extents);
                    row.hole_map = (row.hole_bytes > 0 && row.hole_bytes < row.size)
                        .then(|| page.hole_maps.get(self.hole_maps));
                    (row.position, row.stored, _) = self.extent(row.size);
                }
            }
            Kind::Symlink => row.target = self.target(),
            Kind::CharDevice | Kind::BlockDevice => row.device = page.devices.get(self.devices),
            Kind::Directory | Kind::Fifo | Kind::Socket => {}
        }
        Some(row)
    }

    /// Goes to the next row.
    pub fn advance(&mut self) {
        let page = self.page;
        let Some(&kind) = page.kinds.get(self.index) else {
            return;
        };
        match kind {
            Kind::Directory => {
                let mut below = page.children.get(self.directories);
                if page.subdirectories.get(self.directories) > 0 {
                    below = below.saturating_add(page.deeper.get(self.parents));
                    self.parents += 1;
                }
                if self.next_child.is_none() {
                    self.next_child = Some(self.child_base());
                    self.bases += 1;
                }
                self.next_child = self.next_child.map(|child| child.saturating_add(below));
                self.directories += 1;
            }
            Kind::File => {
                let size = page.sizes.get(self.files);
                if size > 0 {
                    let (_, stored, implicit) = self.extent(size);
                    if implicit {
                        self.position = self.position.saturating_add(stored);
                    }
                    let hole_bytes = page.hole_bytes.get(self.extents);
                    self.hole_maps += usize::from(hole_bytes > 0 && hole_bytes < size);
                    self.extents += 1;
                }
                self.files += 1;
            }
            Kind::Symlink => {
                self.far_targets += usize::from(matches!(self.target(), Target::Blob(_)));
                self.symlinks += 1;
            }
            Kind::CharDevice | Kind::BlockDevice => self.devices += 1,
            Kind::Fifo | Kind::Socket => {}
        }
        self.index += 1;
        if page
            .runs
            .get(self.run)
            .is_some_and(|run| run.entries.end == self.index)
        {
            self.run += 1;
            self.next_child = None;
        }
    }
}
