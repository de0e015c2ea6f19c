//! The shared frames that members of a page follow each other in.

use crate::format::codec::MAX_CODECS;
use crate::format::member::Member;

/// A frame that further members may follow in.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenFrame {
    codec: u64,
    pub(super) position: u64,
    pub(super) stored: u64,
    /// Bytes that it decodes to.
    pub(super) data: u64,
    /// Where the data of the next member begin among these.
    pub(super) next: u64,
}

/// For each codec the frame that a member of the page opened last.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenFrames(Vec<OpenFrame>);

impl OpenFrames {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The open frame of a codec.
    pub(super) fn of(&self, codec: u64) -> Option<&OpenFrame> {
        self.0.iter().find(|frame| frame.codec == codec)
    }

    /// A member with `length` bytes of data opens its frame.
    pub(super) fn open(
        &mut self,
        codec: u64,
        (position, stored): (u64, u64),
        member: Member,
        length: u64,
    ) {
        let count = self.0.len();
        let frame = OpenFrame {
            codec,
            position,
            stored,
            data: member.data.into(),
            next: u64::from(member.offset).saturating_add(length),
        };
        match self.0.iter_mut().find(|frame| frame.codec == codec) {
            Some(known) => *known = frame,
            // More codecs there cannot be, so their members have no frame to follow in.
            None if count >= MAX_CODECS => {}
            None => self.0.push(frame),
        }
    }

    /// As [`Self::follow`] if there is such a frame and `length` bytes are left in it; says whether.
    pub(super) fn follow_within(&mut self, codec: u64, length: u64) -> bool {
        let Some(frame) = self.0.iter_mut().find(|frame| frame.codec == codec) else {
            return false;
        };
        let next = frame.next.checked_add(length);
        match next.filter(|&next| next <= frame.data) {
            Some(next) => {
                frame.next = next;
                true
            }
            None => false,
        }
    }

    /// The next member of the open frame of a codec has `length` bytes of data.
    pub(super) fn follow(&mut self, codec: u64, length: u64) {
        if let Some(frame) = self.0.iter_mut().find(|frame| frame.codec == codec) {
            frame.next = frame.next.saturating_add(length);
        }
    }
}
