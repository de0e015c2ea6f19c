//! One file of a damaged image, and what its pages say of themselves.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::checksum::crc;
use crate::format::header::{self, Header};
use crate::format::volume::{self, Identity, Layout};
use crate::format::{PAGE_BYTES, PAGE_SIZE};
use crate::read::ReadAt;
use crate::{Error, ErrorKind, Result};

/// A file with its name.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) bytes: Arc<dyn ReadAt>,
}

/// What first and last page of a volume say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sealed {
    pub(super) header: Option<Identity>,
    pub(super) trailer: Option<(Identity, Layout)>,
}

impl Sealed {
    pub(super) fn identity(&self) -> Option<Identity> {
        self.header.or(self.trailer.map(|(identity, _)| identity))
    }
}

impl Part {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let what = "not a dgfs image: it is a directory";
            return Err(Error::new(ErrorKind::NotAnImage, what).at_path(path));
        }
        Ok(Self {
            path: path.to_path_buf(),
            bytes: Arc::new(file),
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.length().unwrap_or(0)
    }

    pub(super) fn page_at(&self, offset: u64) -> Option<Box<[u8; PAGE_SIZE]>> {
        let mut page = Box::new([0; PAGE_SIZE]);
        let read = self.bytes.read_exact_at(page.as_mut_slice(), offset);
        read.ok().map(|()| page)
    }

    /// What the volume says of itself.
    pub(super) fn sealed(&self) -> Sealed {
        let length = self.length();
        let header = self.page_at(0);
        let trailer = length.checked_sub(PAGE_BYTES).and_then(|o| self.page_at(o));
        Sealed {
            header: header.and_then(|page| volume::decode_header(&page).ok()),
            trailer: trailer.and_then(|page| volume::decode_trailer(&page, length).ok()),
        }
    }

    pub(super) fn is_volume(&self) -> bool {
        let magic = self.page_at(0).and_then(|page| page.first_chunk().copied());
        magic == Some(volume::HEADER_MAGIC) || self.sealed().identity().is_some()
    }
}

/// A header or footer page, whatever the length of the file is. An error is one that no other page can heal.
pub(super) fn decode_header(page: &[u8; PAGE_SIZE]) -> Result<Option<Header>> {
    let length = page.get(56..64).and_then(|field| field.first_chunk());
    let length = length.map_or(0, |field| u64::from_le_bytes(*field));
    match Header::decode(page, length) {
        Ok(header) => Ok(Some(header)),
        // Of another version, if it is no damage that makes it look so.
        Err(error) if error.kind() == ErrorKind::Version => {
            let (covered, sum) = page.split_at(PAGE_SIZE - 4);
            let sealed = crc(covered).to_le_bytes() == sum && page.starts_with(&header::MAGIC);
            if sealed { Err(error) } else { Ok(None) }
        }
        Err(_) => Ok(None),
    }
}
