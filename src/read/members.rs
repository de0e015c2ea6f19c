//! Contents of small files that share a frame with others. What a frame decodes to is kept, so that its other members
//! cost neither a read nor a decoding.

use super::contents::{Contents, DAMAGED, in_memory, part_of, with_packed};
use super::node::{Extent, Node};
use crate::format::checksum::crc;
use crate::format::extent::CRC_BYTES;
use crate::format::member::Member;
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

impl Contents {
    /// As [`Contents::read_range`], of a file that shares a frame.
    pub(super) fn read_member<'s>(
        &self,
        node: &Node,
        member: Member,
        range: &Range<u64>,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let frame = self.shared_frame(node, member)?;
        let start = range.start.saturating_add(member.offset.into());
        let bytes = part_of(&frame, start, range.end.saturating_sub(range.start))?;
        scratch.clear();
        scratch.extend_from_slice(bytes);
        Ok(scratch)
    }

    /// What the frame decodes to that `node` is a member of: now, by one read, or at another time.
    pub(super) fn shared_frame(&self, node: &Node, member: Member) -> Result<Arc<[u8]>> {
        if !self.has_members {
            return Err(Error::corrupt(
                "file shares a frame in an image that says it has none of these",
            ));
        }
        // The key of all members.
        let frame = Extent {
            member: Some(Member {
                offset: 0,
                ..member
            }),
            ..node.extent
        };
        let key = (frame, member.data.into(), 0);
        self.decoded()
            .get_or_decode(&key, || self.decode_frame(&frame, member.data))
    }

    fn decode_frame(&self, extent: &Extent, length: u32) -> Result<Vec<u8>> {
        let (volume, at) = self.place(extent.position, extent.stored)?;
        let wrong = |error: Error| {
            if error.path().is_some() {
                return error;
            }
            error.at_path(volume.part.path()).at_offset(at)
        };
        with_packed(in_memory(extent.stored), |packed| {
            // Its pages hold its neighbours, too, so they are left to the page cache.
            volume.part.read(packed, at)?;
            let (frame, sum) = packed.split_at(packed.len().saturating_sub(CRC_BYTES));
            if crc(frame).to_le_bytes() != sum {
                return Err(wrong(Error::corrupt(DAMAGED)));
            }
            let mut bytes = vec![0; in_memory(length.into())];
            self.codecs()
                .decode(extent.codec, frame, &mut bytes)
                .map_err(wrong)?;
            Ok(bytes)
        })
    }
}
