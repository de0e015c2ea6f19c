//! What lies outside the pages of the tree: header, sections, padding, and the copy of the index.

use super::Report;
use crate::format::blob::{self, BLOB_HEADER};
use crate::format::checksum::crc_append;
use crate::format::header::Section;
use crate::format::volume::Identity;
use crate::format::{PAGE_BYTES, PAGE_SIZE, page_dictionaries};
use crate::read::contents::Volume;
use crate::read::files::Part;
use crate::read::{Image, blobs, open};
use crate::{Error, Result};

/// Bytes read at once; a multiple of the page size.
const STEP: usize = 1 << 20;

/// Header against footer, sections, blobs, padding.
pub(super) fn check_index(image: &Image, report: &mut Report<'_>) {
    let header = image.header();
    let part = image.store.part();
    let footer = header.index_length - PAGE_BYTES;
    match (part.read_page(0), part.read_page(footer)) {
        (Ok(first), Ok(last)) if first == last => {}
        (Ok(_), Ok(_)) => report.page(0, "header and footer differ"),
        (Err(error), _) | (_, Err(error)) => report.add(None, error),
    }
    check_page_dictionaries(image, report);
    for section in &header.sections {
        let checked = match section.kind {
            blob::SECTION => check_blobs(image, section),
            // Looked at together.
            page_dictionaries::SECTION if header.has_segments() => Ok(()),
            _ => check_section(part, section),
        };
        if let Err(error) = checked {
            report.add(None, error);
        }
        let end = section.offset + section.length;
        if let Err(error) = check_zeros(part, end, end.next_multiple_of(PAGE_BYTES)) {
            report.add(None, error);
        }
    }
}

/// The sections of page dictionaries: each right, and all alike.
fn check_page_dictionaries(image: &Image, report: &mut Report<'_>) {
    let part = image.store.part();
    let mut first = None;
    for section in open::page_dictionary_sections(image.header()) {
        match open::read_page_dictionaries(part, section) {
            Ok(dictionaries)
                if first.get_or_insert_with(|| dictionaries.clone()) == &dictionaries => {}
            Ok(_) => report.add(
                None,
                Error::corrupt("copy of the page dictionaries differs from them")
                    .at_path(part.path())
                    .at_offset(section.offset),
            ),
            Err(error) => report.add(None, error),
        }
    }
}

/// Visits `length` bytes from `offset` on in steps; the first error ends it.
fn in_steps(
    part: &Part,
    offset: u64,
    length: u64,
    visit: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::new();
    for at in (0..length).step_by(STEP) {
        let step = usize::try_from(length - at).map_or(STEP, |left| left.min(STEP));
        buffer.resize(step, 0);
        part.read(&mut buffer, offset + at)?;
        visit(at, &buffer)?;
    }
    Ok(())
}

fn check_section(part: &Part, section: &Section) -> Result<()> {
    let mut sum = 0;
    in_steps(part, section.offset, section.length, &mut |_, bytes| {
        sum = crc_append(sum, bytes);
        Ok(())
    })?;
    if sum == section.crc {
        return Ok(());
    }
    Err(Error::corrupt("section checksum does not match")
        .at_path(part.path())
        .at_offset(section.offset))
}

/// Blobs stand one behind the other, each with its checksum.
fn check_blobs(image: &Image, section: &Section) -> Result<()> {
    let (mut at, mut count) = (0, 0u64);
    while at < section.length {
        at += blobs::read(&image.store, at)?.len() as u64 + BLOB_HEADER as u64;
        count += 1;
    }
    if count == section.rows {
        return Ok(());
    }
    let what = format!(
        "section has {count} blobs, the header says {}",
        section.rows
    );
    Err(Error::corrupt(what)
        .at_path(image.index_path())
        .at_offset(section.offset))
}

fn check_zeros(part: &Part, start: u64, end: u64) -> Result<()> {
    in_steps(
        part,
        start,
        end.saturating_sub(start),
        &mut |at, bytes| match bytes.iter().position(|&byte| byte != 0) {
            None => Ok(()),
            Some(index) => Err(Error::corrupt("padding is not zero")
                .at_path(part.path())
                .at_offset(start + at + index as u64)),
        },
    )
}

/// The volumes apart from contents.
pub(super) fn check_volumes(image: &Image, report: &mut Report<'_>) {
    let volumes = image.contents.volumes();
    let count = u32::try_from(volumes.len()).unwrap_or(u32::MAX);
    for (number, volume) in (0..count).zip(volumes) {
        let uuid = image.header().uuid;
        let identity = Identity {
            uuid,
            number,
            count,
        };
        let checked = if volume.absent {
            // Once more, for the reason.
            open::open_volume(volume.part.path(), &identity, volume.span).map(drop)
        } else {
            check_volume(image, volume, &identity, report)
        };
        if let Err(error) = checked {
            report.add(None, error);
        }
    }
}

fn check_volume(
    image: &Image,
    volume: &Volume,
    identity: &Identity,
    report: &mut Report<'_>,
) -> Result<()> {
    let part = &volume.part;
    let layout = open::check_wanted(part, identity, volume.span)?;
    let trailer = layout.file_length - PAGE_BYTES;
    if layout.index_length == 0 {
        return check_zeros(part, layout.extents_end, trailer);
    }
    check_zeros(part, layout.extents_end, layout.index_offset)?;
    let index = image.store.part();
    if layout.index_length != image.header().index_length {
        return Err(
            Error::corrupt("copy of the index has another length than the index")
                .at_path(part.path())
                .at_offset(layout.index_offset),
        );
    }
    // An image opened through its volume is that copy.
    if index.path() == part.path() {
        return Ok(());
    }
    let mut own = Vec::new();
    in_steps(
        part,
        layout.index_offset,
        layout.index_length,
        &mut |at, copy| {
            own.resize(copy.len(), 0);
            index.read(&mut own, at)?;
            let pages = copy.chunks(PAGE_SIZE).zip(own.chunks(PAGE_SIZE));
            for ((copy, own), number) in pages.zip(at / PAGE_BYTES..) {
                if copy != own {
                    let error = Error::corrupt("copy of the index differs from the index here")
                        .at_path(part.path())
                        .at_page(number)
                        .at_offset(layout.index_offset + number * PAGE_BYTES);
                    report.add(None, error);
                }
            }
            Ok(())
        },
    )
}
