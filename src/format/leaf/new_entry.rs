//! What a builder of leaf pages is told of an entry.

use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::cut::Cut;
use crate::format::member::Member;

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

impl<'a> NewEntry<'a> {
    /// An entry without contents, children and links, which has `mtime` for all its times and the first attributes.
    pub fn plain(name: &'a [u8], kind: Kind, mtime: Timestamp) -> Self {
        Self {
            name,
            kind,
            attribute: 0,
            mtime,
            other_times: OtherTimes {
                atime: mtime,
                ctime: mtime,
                btime: Some(mtime),
            },
            size: 0,
            children: 0,
            subdirectories: 0,
            deeper: 0,
            first_child: 0,
            hole_bytes: 0,
            hole_map: 0,
            saved: 0,
            codec: 0,
            cut: None,
            place: None,
            member: None,
            primary: 0,
            links: 1,
            device: 0,
            xattrs: None,
            target: NewTarget::Inline(&[]),
        }
    }
}
