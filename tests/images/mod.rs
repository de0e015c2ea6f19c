//! Images in memory, for tests that damage them: a small one with every kind of entry, the same taken apart so that
//! it can be put together with right checksums, and what a reader says of one.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that fails says where"
)]

pub(crate) mod answers;
pub(crate) mod chunks;
pub(crate) mod compressed;
pub(crate) mod consistency;
pub(crate) mod cut;
pub(crate) mod every_kind;
pub(crate) mod handmade;
pub(crate) mod lies;
pub(crate) mod members;
pub(crate) mod segment_lies;
pub(crate) mod segments;
pub(crate) mod unpacked;

use dgfs::Result;
use dgfs::read::{Image, ReadAt};

/// The bytes of an image's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) index: Vec<u8>,
    pub(crate) volumes: Vec<Vec<u8>>,
}

impl Parts {
    pub(crate) fn open(self) -> Result<Image> {
        let volumes = self.volumes.into_iter();
        let volumes = volumes.map(|bytes| Box::new(bytes) as Box<dyn ReadAt>);
        let options = Image::options().cache_bytes(1 << 20);
        options.open_parts(Box::new(self.index), volumes.collect())
    }
}
