//! Extended attributes and long link targets.

use super::pages::PageStore;
use crate::format::MAX_TARGET;
use crate::format::blob::{self, BLOB_HEADER, Xattrs};
use crate::{Error, Result};

fn section(store: &PageStore, offset: u64) -> Result<(u64, u64)> {
    let section = store.header().section(blob::SECTION);
    section
        .filter(|section| offset.saturating_add(BLOB_HEADER as u64) <= section.length)
        .map(|section| (section.offset + offset, section.length - offset))
        .ok_or_else(|| {
            Error::corrupt("entry names a blob outside the blob section")
                .at_path(store.part().path())
                .at_offset(offset)
        })
}

fn header(store: &PageStore, offset: u64) -> Result<([u8; BLOB_HEADER], usize)> {
    let (at, room) = section(store, offset)?;
    let mut header = [0; BLOB_HEADER];
    store.part().read(&mut header, at)?;
    let malformed = |what: &str| {
        Error::corrupt(what)
            .at_path(store.part().path())
            .at_offset(at)
    };
    let length = blob::length(&header).map_err(|m| malformed(m.0))?;
    if (length + BLOB_HEADER) as u64 > room {
        return Err(malformed("blob ends outside the blob section"));
    }
    Ok((header, length))
}

/// The target of a symbolic link in the blob at `offset` of the section. All of it is read even for its length:
/// the checksum covers both.
pub(super) fn target(store: &PageStore, offset: u64) -> Result<Vec<u8>> {
    let impossible = || {
        Error::corrupt("symbolic link has an impossible target")
            .at_path(store.part().path())
            .at_offset(offset)
    };
    let (_, length) = header(store, offset)?;
    if length > MAX_TARGET {
        return Err(impossible());
    }
    let target = read(store, offset)?;
    if target.is_empty() || target.contains(&0) {
        return Err(impossible());
    }
    Ok(target)
}

/// The blob at `offset` of the section.
pub(super) fn read(store: &PageStore, offset: u64) -> Result<Vec<u8>> {
    let (header, length) = header(store, offset)?;
    let (at, _) = section(store, offset)?;
    let mut contents = vec![0; length];
    store.part().read(&mut contents, at + BLOB_HEADER as u64)?;
    blob::check(offset, &header, &contents).map_err(|m| {
        Error::corrupt(m.0)
            .at_path(store.part().path())
            .at_offset(at)
    })?;
    Ok(contents)
}

/// The extended attributes in the blob at `offset`.
pub(super) fn xattrs(store: &PageStore, offset: u64) -> Result<Xattrs> {
    blob::decode_xattrs(&read(store, offset)?).map_err(|m| {
        Error::corrupt(m.0)
            .at_path(store.part().path())
            .at_offset(offset)
    })
}
