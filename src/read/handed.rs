//! Where the bytes of a read are: in the memory of the reader, or in a piece that was read ahead and is lent to him.

use super::contents::{Contents, too_short};
use super::decode_ahead::Ahead;
use super::node::Node;
use super::pieces::Bytes;
use crate::Result;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Where the bytes of a read are.
#[derive(Debug)]
pub(super) enum Handed {
    /// There in the reader's memory.
    InScratch(Range<usize>),
    /// In a piece, from this byte on, so many.
    InPiece(Arc<Bytes>, usize, usize),
}

/// Bytes of a file, in memory of the reader or of the image. Memory of the image is used for others as soon as this is dropped.
#[derive(Debug)]
pub struct FileBytes<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Own(&'a [u8]),
    Lent {
        /// `None` when it was given back.
        piece: Option<Arc<Bytes>>,
        skip: usize,
        length: usize,
        ahead: &'a Ahead,
    },
}

impl Contents {
    /// Reads `length` bytes of the file's data, as it is without holes, from `offset` on into `scratch` and returns them; fewer only at its end.
    pub(super) fn read_at<'s>(
        &self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        match self.read_handed(node, offset, length, scratch)? {
            Handed::InScratch(place) => scratch.get(place).ok_or_else(too_short),
            Handed::InPiece(piece, skip, length) => {
                scratch.resize(length, 0);
                self.ahead().copy_out(piece, skip, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// As [`Self::read_at`], but what was read ahead is lent and not copied.
    pub(super) fn read_lent<'a>(
        &'a self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<FileBytes<'a>> {
        match self.read_handed(node, offset, length, scratch)? {
            Handed::InScratch(place) => {
                let bytes = scratch.get(place).ok_or_else(too_short)?;
                Ok(FileBytes::own(bytes))
            }
            Handed::InPiece(piece, skip, length) => {
                Ok(FileBytes::lent(piece, skip, length, self.ahead()))
            }
        }
    }

    fn read_handed(
        &self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Handed> {
        let end = node.data_length().min(offset.saturating_add(length as u64));
        if offset >= end {
            return Ok(Handed::InScratch(0..0));
        }
        if self.is_read_ahead(node, end - offset) {
            return self.read_pieces(node, offset..end, scratch);
        }
        let place = self.read_somewhere(node, offset..end, scratch)?;
        Ok(Handed::InScratch(place))
    }
}

impl<'a> FileBytes<'a> {
    /// Bytes in the reader's memory.
    pub(super) fn own(bytes: &'a [u8]) -> Self {
        Self(Held::Own(bytes))
    }

    /// Bytes in a piece of `ahead`, if it has them.
    pub(super) fn lent(piece: Arc<Bytes>, skip: usize, length: usize, ahead: &'a Ahead) -> Self {
        Self(Held::Lent {
            piece: Some(piece),
            skip,
            length,
            ahead,
        })
    }
}

impl Deref for FileBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Own(bytes) => bytes,
            Held::Lent {
                piece,
                skip,
                length,
                ..
            } => {
                let bytes = piece.as_ref().and_then(|piece| piece.get(*skip, *length));
                bytes.unwrap_or(&[])
            }
        }
    }
}

impl Drop for FileBytes<'_> {
    fn drop(&mut self) {
        if let Held::Lent { piece, ahead, .. } = &mut self.0 {
            if let Some(piece) = piece.take() {
                ahead.give_back(piece);
            }
        }
    }
}
