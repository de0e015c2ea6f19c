//! Where the bytes of a read are: in the memory of the reader, or in a piece that was read ahead and is lent to him.

use super::decode_ahead::Ahead;
use super::pieces::Bytes;
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
