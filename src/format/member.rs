//! Several small files in one frame: the frame is read and checked as a whole, and a member is a part of what it
//! decodes to.

use super::extent::CRC_BYTES;
use super::{Malformed, PAGE_SIZE, Parsed};

/// Most bytes that a shared frame takes, its checksum included: what a device reads for a byte in any case.
pub const MAX_SHARED_STORED: usize = PAGE_SIZE;

/// Most bytes that a shared frame decodes to.
pub const MAX_SHARED_DATA: usize = 1 << 16;

const IMPOSSIBLE: Malformed = Malformed("file has an impossible shared frame");

/// Where in a shared frame the data of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Bytes that the frame decodes to.
    pub data: u32,
    /// Where the file's begin among them.
    pub offset: u32,
}

impl Member {
    /// A member with `length` bytes from byte `offset` on of what a frame decodes to: `data` bytes, `stored` bytes in the
    /// volume. Refuses what no frame can be.
    pub fn new(data: u64, offset: u64, length: u64, stored: u64) -> Parsed<Self> {
        let end = offset.checked_add(length);
        let frame = stored.checked_sub(CRC_BYTES as u64);
        let is_frame = frame.is_some_and(|frame| (1..data).contains(&frame));
        if length == 0
            || stored > MAX_SHARED_STORED as u64
            || data > MAX_SHARED_DATA as u64
            || !is_frame
            || end.is_none_or(|end| end > data)
        {
            return Err(IMPOSSIBLE);
        }
        let number = |value| u32::try_from(value).map_err(|_| IMPOSSIBLE);
        Ok(Self {
            data: number(data)?,
            offset: number(offset)?,
        })
    }
}

/// What column `member` says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Membership {
    /// It has an extent of its own.
    #[default]
    None,
    /// It is in the open frame of its codec, behind the member before.
    Follows,
    /// It is in the frame that is described with it.
    Described {
        /// Where its data begin in what the frame decodes to.
        offset: u64,
        /// Whether that is the open frame of its codec from now on.
        opens: bool,
    },
}

impl Membership {
    /// What the value of the column says.
    pub fn from_column(value: u64) -> Self {
        match value {
            0 => Self::None,
            1 => Self::Follows,
            value => Self::Described {
                offset: (value - 2) >> 1,
                opens: value & 1 == 0,
            },
        }
    }

    /// The value of the column. Offsets are below [`MAX_SHARED_DATA`].
    pub fn column(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Follows => 1,
            Self::Described { offset, opens } => 2 + (offset << 1 | u64::from(!opens)),
        }
    }

    /// Whether the value of the column is one with a frame described.
    pub fn is_described(value: u64) -> bool {
        value > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_round_trip() {
        let described = |offset, opens| Membership::Described { offset, opens };
        for (value, told) in [
            (0, Membership::None),
            (1, Membership::Follows),
            (2, described(0, true)),
            (3, described(0, false)),
            (2002, described(1000, true)),
            (2003, described(1000, false)),
        ] {
            assert_eq!(Membership::from_column(value), told);
            assert_eq!(told.column(), value);
            assert_eq!(Membership::is_described(value), value > 1);
        }
        let most = Membership::from_column(u64::MAX);
        assert_eq!(most, described(u64::MAX / 2 - 1, false));
    }

    #[test]
    fn impossible_members_are_refused() {
        let right = Member {
            data: 100,
            offset: 30,
        };
        assert_eq!(Member::new(100, 30, 70, 103), Ok(right));
        for (data, offset, length, stored) in [
            (100, 30, 71, 50),
            (100, 30, 0, 50),
            (100, 0, 100, 104),
            (100, 0, 100, 4),
            (100, 0, 100, 3),
            (1 << 16, 0, 1, 4097),
            ((1 << 16) + 1, 0, 1, 4096),
            (100, u64::MAX, 2, 50),
            (0, 0, 0, 5),
        ] {
            assert_eq!(
                Member::new(data, offset, length, stored),
                Err(IMPOSSIBLE),
                "{data} {offset} {length} {stored}"
            );
        }
    }
}
