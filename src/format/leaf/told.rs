//! What the columns of a page tell of the contents of one file, and where these lie by that.

use super::open_frames::OpenFrames;
use crate::format::cut::Cut;
use crate::format::extent::Shape;
use crate::format::member::{Member, Membership};

/// Where the contents of a file lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) position: u64,
    pub(super) stored: u64,
    pub(super) cut: Option<Cut>,
    pub(super) member: Option<Member>,
    pub(super) is_implicit: bool,
}

/// What the columns tell of the contents of a file.
#[derive(Debug)]
pub(super) struct Told {
    /// Bytes outside of holes.
    pub(super) data: u64,
    pub(super) saved: u64,
    pub(super) place: u64,
    pub(super) codec: u64,
    pub(super) membership: Membership,
    /// Stored length of the frame that is described here, and what it decodes to.
    pub(super) frame: Option<(u64, u64)>,
}

impl Told {
    /// The extent; `position` is that of the next implicit one, `open` are the frames that a member may follow in.
    pub(super) fn extent(
        &self,
        cut: Option<Cut>,
        chunk_shift: u32,
        position: Option<u64>,
        open: &OpenFrames,
    ) -> Option<Extent> {
        let place = self.place.checked_sub(1);
        let (offset, opens) = match self.membership {
            Membership::None => {
                // Larger ones are refused with the row.
                let data = self.data.min(i64::MAX.unsigned_abs());
                let default = match cut {
                    None => Shape::new(data, chunk_shift).default_stored_length(),
                    Some(cut) => cut.default_stored_length(data),
                };
                return Some(Extent {
                    position: place.or(position)?,
                    stored: default.checked_sub(self.saved)?,
                    cut,
                    member: None,
                    is_implicit: place.is_none(),
                });
            }
            _ if self.saved > 0 || cut.is_some() || self.data > 1 << chunk_shift => return None,
            Membership::Follows => {
                let frame = open.of(self.codec).filter(|_| place.is_none())?;
                let member = Member::new(frame.data, frame.next, self.data, frame.stored);
                return Some(Extent {
                    position: frame.position,
                    stored: frame.stored,
                    cut,
                    member: Some(member.ok()?),
                    is_implicit: false,
                });
            }
            Membership::Described { offset, opens } => (offset, opens),
        };
        let (stored, data) = self.frame.filter(|_| opens || place.is_some())?;
        Some(Extent {
            position: place.or(position)?,
            stored,
            cut,
            member: Some(Member::new(data, offset, self.data, stored).ok()?),
            is_implicit: place.is_none(),
        })
    }
}

impl Extent {
    /// Where the next implicit extent begins behind this one, of which the columns tell `told`, if it would begin at
    /// `position` here. Notes what frames are open.
    pub(super) fn pass(
        &self,
        told: &Told,
        position: Option<u64>,
        open: &mut OpenFrames,
    ) -> Option<u64> {
        match (told.membership, self.member) {
            (Membership::Follows, _) => open.follow(told.codec, told.data),
            (Membership::Described { opens: true, .. }, Some(member)) => {
                open.open(told.codec, (self.position, self.stored), member, told.data);
            }
            _ => {}
        }
        if self.is_implicit {
            self.position.checked_add(self.stored)
        } else {
            position
        }
    }
}
