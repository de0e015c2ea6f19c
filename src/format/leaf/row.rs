//! One entry of a leaf page.

use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::attributes::Attributes;
use crate::format::codec::MAX_CODECS;
use crate::format::cut::Cut;
use crate::format::extent::{CRC_BYTES, Shape};
use crate::format::member::Member;
use crate::format::{Malformed, Parsed};

/// Where a symbolic link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// Here; empty for entries that are no links.
    Inline(&'a [u8]),
    /// In the blob at this offset of the blob section.
    Blob(u64),
}

/// One entry of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Row of the codec section that its frames are of.
    pub codec: u64,
    /// How its chunks are found if it is cut by content.
    pub cut: Option<Cut>,
    /// Where in its frame its data are if it shares one; the extent is the frame then.
    pub member: Option<Member>,
    /// Whether the extent lies where that of the entry before ends, and not at a place of its own or in a
    /// frame that began before.
    pub is_implicit: bool,
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

    /// Refuses numbers that cannot be: links to later entries, extents beyond all positions.
    pub(super) fn check(&self, chunk_shift: u32) -> Parsed<()> {
        if self.primary > self.ordinal {
            return Err(Malformed("hard link leads before the first entry"));
        }
        match self.kind {
            Kind::Directory => {
                let last = self
                    .first_child
                    .checked_add(self.children)
                    .and_then(|n| n.checked_add(self.deeper));
                if last.is_none_or(|last| last >= 1 << 63)
                    || self.children > 0 && self.first_child <= self.ordinal
                    || self.subdirectories > self.children
                {
                    return Err(Malformed("directory has impossible children"));
                }
            }
            Kind::File if self.size >= 1 << 63 => {
                return Err(Malformed("file has an impossible size"));
            }
            Kind::File if self.hole_bytes > self.size => {
                return Err(Malformed("file has more bytes of holes than bytes"));
            }
            Kind::File if self.size > 0 => {
                let shape = Shape::new(self.data_length(), chunk_shift);
                // Whether frames may be shorter than their data is for the image to say.
                let minimum = match (self.data_length(), self.cut) {
                    (0, _) => 0,
                    // Checked when it was made.
                    _ if self.member.is_some() => 0,
                    (size, Some(cut)) => cut.table_length(size),
                    _ if shape.has_table() => shape.table_length(),
                    _ => CRC_BYTES as u64 + 1,
                };
                if self.codec >= MAX_CODECS as u64 {
                    return Err(Malformed("file names a codec that there cannot be"));
                }
                let end = self.position.checked_add(self.stored);
                if self.stored < minimum || end.is_none_or(|end| end >= 1 << 63) {
                    return Err(Malformed("file has an impossible extent"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
