//! The vocabulary every stage shares: what one entry of a tree is, before and after it is packed.

/// What an entry is, from the file type bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// The bits of a mode that hold the file type (`S_IFMT`).
pub const MODE_TYPE_MASK: u32 = 0o170_000;

impl Kind {
    /// The kind that the type bits of `mode` name, or `None` for a combination no system uses.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & MODE_TYPE_MASK {
            0o100_000 => Self::File,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            0o020_000 => Self::CharDevice,
            0o060_000 => Self::BlockDevice,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
            Self::Fifo => 0o010_000,
            Self::Socket => 0o140_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
        }
    }

    /// The letter that `ls -l` begins its line with.
    pub fn letter(self) -> char {
        match self {
            Self::File => '-',
            Self::Directory => 'd',
            Self::Symlink => 'l',
            Self::Fifo => 'p',
            Self::Socket => 's',
            Self::CharDevice => 'c',
            Self::BlockDevice => 'b',
        }
    }

    /// Whether entries of this kind carry a device number.
    pub fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// A point in time: seconds since 1970 (may be negative) and nanoseconds, below 10^9, after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// Which times of an entry a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeptTimes {
    /// That of its last modification.
    #[default]
    Modification,
    /// Those of access, change and birth as well.
    All,
}

/// The times of an inode besides that of its last modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtherTimes {
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Birth; `None` where the source does not know it.
    pub btime: Option<Timestamp>,
}

/// What a source knows of an entry besides its path and contents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// `st_mode`: file type bits and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The other times, if they are to be kept.
    pub other_times: Option<OtherTimes>,
    /// Device number of a character or block device (`makedev` encoding of Linux), else 0.
    pub rdev: u64,
    /// Extended attributes, sorted by name: (full name with its namespace, value).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    /// Metadata of a plain entry: `kind` with permission bits `permissions`, owned by root, of 1970.
    pub fn new(kind: Kind, permissions: u32) -> Self {
        Self {
            mode: kind.mode_bits() | (permissions & 0o7777),
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            other_times: None,
            rdev: 0,
            xattrs: Vec::new(),
        }
    }

    /// The entry's kind, or `None` if the type bits are not one of the seven.
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_mode(self.mode)
    }
}

/// An inode number of an image: ordinal of the entry + 1, so the root is 1. For a hard link it is
/// that of the first name in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(1);

    /// The inode of the entry at `ordinal`.
    pub fn from_ordinal(ordinal: u64) -> Self {
        Self(ordinal.saturating_add(1))
    }

    /// The ordinal of the entry, or `None` for inode 0, which no entry has.
    pub fn ordinal(self) -> Option<u64> {
        self.0.checked_sub(1)
    }
}

/// Compares two paths in key order: bytes, but `/` below every other byte, so that a directory's
/// subtree stands right behind it.
pub fn compare_paths(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let rank = |byte: Option<&u8>| match byte {
        None => 0u16,
        Some(b'/') => 1,
        Some(other) => u16::from(*other) + 2,
    };
    rank(a.get(common)).cmp(&rank(b.get(common)))
}

/// Compares two entries in key order: by parent path first, then by name.
///
/// Paths are relative to the root, without leading or trailing `/`; the root's children have the
/// parent path `""`.
pub fn compare_keys(a: (&[u8], &[u8]), b: (&[u8], &[u8])) -> std::cmp::Ordering {
    compare_paths(a.0, b.0).then_with(|| a.1.cmp(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    fn a_subtree_is_contiguous() {
        // '.' and '-' sort below '/' in bytes; in key order they may not come between `a` and `a/b`.
        let mut parents: Vec<&[u8]> =
            vec![b"a.x", b"b", b"a/b/c", b"", b"a-", b"a/b", b"a", b"a\x01"];
        parents.sort_by(|a, b| compare_paths(a, b));
        let expected: Vec<&[u8]> = vec![b"", b"a", b"a/b", b"a/b/c", b"a\x01", b"a-", b"a.x", b"b"];
        assert_eq!(parents, expected);
    }

    #[test]
    fn children_of_one_directory_stand_together() {
        assert_eq!(compare_keys((b"", b"zzz"), (b"a", b"0")), Ordering::Less);
        assert_eq!(compare_keys((b"a", b"x"), (b"a", b"y")), Ordering::Less);
    }

    #[test]
    fn kinds_round_trip_through_mode() {
        for mode in 0..16u32 {
            let mode = mode << 12;
            if let Some(kind) = Kind::from_mode(mode) {
                assert_eq!(kind.mode_bits(), mode);
            }
        }
    }
}
