//! Puts an index together from what is left of it: the same bytes as before if everything is left somewhere.

use std::path::Path;

use super::Repairs;
use super::blobs::{self, Blobs};
use super::codecs;
use super::copies::Copies;
use super::leaves::Leaves;
use super::skeleton::Skeleton;
use crate::Result;
use crate::build::output::Output;
use crate::format::checksum::{crc, page_is_sound, seal_page};
use crate::format::codec::MAX_DICTIONARIES;
use crate::format::header::{self, Header, Section};
use crate::format::inner::InnerPage;
use crate::format::volume::{self, Span};
use crate::format::{PAGE_BYTES, attributes, blob, page_dictionaries};

/// Bytes of a section copied at once.
const STEP: usize = 1 << 20;

/// Bytes of a section that is held in memory to compare it with its checksum: that of dictionaries.
const MOST_AT_ONCE: u64 = MAX_DICTIONARIES;

struct Assembly<'a> {
    copies: &'a Copies,
    skeleton: &'a Skeleton,
    out: &'a Output,
    at: u64,
    sections: Vec<Section>,
}

/// Writes the index to `out`, which is empty, and returns its header. Scratch goes to the directory `scratch`.
pub(super) fn assemble(
    copies: &Copies,
    skeleton: &Skeleton,
    out: &Output,
    scratch: &Path,
    repairs: &mut Repairs,
) -> Result<Header> {
    let mut leaves = Leaves::new(copies, skeleton, out, scratch);
    leaves.copy()?;
    let counts = leaves.counts;
    repairs.leaf_pages = skeleton.leaf_pages;
    repairs.lost_leaf_pages = leaves.lost;
    repairs.mended_pages = leaves.mended;
    let mut assembly = Assembly {
        copies,
        skeleton,
        out,
        at: 0,
        sections: Vec::new(),
    };
    let (inner_pages, levels) = if let Some(inner) = assembly.copy_inner_pages(repairs)? {
        inner
    } else {
        repairs.inner_pages_rebuilt = true;
        let levels = &mut leaves.levels;
        levels.finish(skeleton.leaf_pages, &mut |number, mut page| {
            seal_page(&skeleton.uuid, number, &mut page);
            out.write_at(&page, number * PAGE_BYTES)
        })?
    };
    assembly.at = (1 + skeleton.leaf_pages + inner_pages) * PAGE_BYTES;
    let blobs = assembly.add_sections()?;
    repairs.lost_blobs = blobs.lost;
    let header = Header {
        index_length: assembly.at + PAGE_BYTES,
        leaf_pages: skeleton.leaf_pages,
        inner_pages,
        levels,
        sections: assembly.sections,
        ..skeleton.header.clone().unwrap_or_else(|| {
            let lost = counts.entries() - counts.end.min(counts.entries());
            let found = counts.files + counts.directories + counts.symlinks + counts.others;
            let entries = counts.entries().max(found + lost);
            Header {
                version_minor: header::minor_version(header::KNOWN_FEATURES),
                // To look for ACLs in vain is slow; not to look for them lets people in.
                features_optional: header::FEATURE_ACLS,
                features_warn: 0,
                // What the pages use is not known; what this writer knows it can read.
                features_required: header::KNOWN_FEATURES,
                uuid: skeleton.uuid,
                index_length: 0,
                entries,
                // Of lost entries, the kind is lost; a header has to count them somewhere.
                files: entries - counts.directories.max(1) - counts.symlinks - counts.others,
                directories: counts.directories.max(1),
                symlinks: counts.symlinks,
                others: counts.others,
                data_bytes: counts.data_bytes,
                stored_bytes: stored_bytes(&skeleton.spans).unwrap_or(counts.stored_bytes),
                // Which files share the extent of another cannot be told from those in another order.
                shared_files: 0,
                shared_bytes: 0,
                shared_chunks: 0,
                shared_chunk_bytes: 0,
                shared_frames: 0,
                frame_members: 0,
                leaf_pages: 0,
                inner_pages: 0,
                levels: 0,
                chunk_shift: skeleton.context.chunk_shift,
                sections: Vec::new(),
            }
        })
    };
    let page = header.encode();
    out.write_at(&page, 0)?;
    out.write_at(&page, assembly.at)?;
    Ok(header)
}

/// What all extents take together, if the volumes are known.
fn stored_bytes(spans: &[Span]) -> Option<u64> {
    let extents = |span: &Span| {
        span.end
            .saturating_sub(span.start)
            .saturating_sub(PAGE_BYTES)
    };
    (!spans.is_empty()).then(|| spans.iter().map(extents).fold(0, u64::saturating_add))
}

impl Assembly<'_> {
    /// Copies the inner pages, if every one of them is whole somewhere; how many there are, and levels of them.
    fn copy_inner_pages(&self, repairs: &mut Repairs) -> Result<Option<(u64, u32)>> {
        let header = self.skeleton.header.as_ref();
        let Some(header) = header.filter(|h| h.leaf_pages == self.skeleton.leaf_pages) else {
            return Ok(None);
        };
        for number in header.leaf_pages + 1..=header.root_page() {
            let page = self.copies.page(number, |page| {
                let sound = page_is_sound(&header.uuid, number, page);
                let whole = sound && InnerPage::decode(page).is_ok();
                whole.then(|| Box::new(*page))
            });
            let Some((place, page)) = page else {
                return Ok(None);
            };
            repairs.mended_pages += u64::from(place > 0);
            self.out.write_at(page.as_slice(), number * PAGE_BYTES)?;
        }
        Ok(Some((header.inner_pages, header.levels)))
    }

    fn add_sections(&mut self) -> Result<Blobs> {
        let mut rows = Vec::new();
        for (row, _) in self.skeleton.table.rows.iter() {
            row.encode_into(&mut rows);
        }
        let mut spans = Vec::new();
        for span in &self.skeleton.spans {
            span.encode_into(&mut spans);
        }
        let header = self.skeleton.header.as_ref();
        let old: Vec<Section> = header.map_or_else(Vec::new, |header| header.sections.clone());
        let kinds = old.iter().map(|section| section.kind);
        let dictionaries = kinds.filter(|&kind| kind == page_dictionaries::SECTION);
        let is_twice = dictionaries.count() > 1;
        self.add_dictionaries()?;
        self.add(attributes::SECTION, &rows, attributes::ROW)?;
        self.add(volume::SECTION, &spans, volume::ROW)?;
        let mut found = Blobs::default();
        if let Some((start, length)) = self.skeleton.blobs {
            let told = old.iter().find(|section| section.kind == blob::SECTION);
            found = blobs::copy(
                self.copies,
                start,
                length,
                told.is_some(),
                self.out,
                self.at,
            )?;
            if found.length > 0 {
                self.push(Section {
                    kind: blob::SECTION,
                    crc: 0,
                    offset: self.at,
                    length: found.length,
                    rows: told.map_or(found.whole, |section| section.rows),
                });
            }
        }
        let known = [
            page_dictionaries::SECTION,
            attributes::SECTION,
            volume::SECTION,
            blob::SECTION,
        ];
        for section in old
            .into_iter()
            .filter(|section| !known.contains(&section.kind))
        {
            self.copy_section(section)?;
        }
        if header.is_none() {
            let behind = self
                .skeleton
                .blobs
                .map_or(0, |(start, _)| start + found.length);
            for section in codecs::find(self.copies, behind) {
                self.out.write_at(&section.bytes, self.at)?;
                self.push(Section {
                    kind: section.kind,
                    crc: crc(&section.bytes),
                    offset: self.at,
                    length: section.bytes.len() as u64,
                    rows: section.rows,
                });
            }
        }
        if is_twice {
            self.add_dictionaries()?;
        }
        Ok(found)
    }

    /// Adds the page dictionaries, if there are any.
    fn add_dictionaries(&mut self) -> Result<()> {
        let dictionaries = &self.skeleton.dictionaries;
        if dictionaries.is_empty() {
            return Ok(());
        }
        let bytes = dictionaries.encode()?;
        let (kind, rows) = (page_dictionaries::SECTION, page_dictionaries::ROWS);
        self.write(kind, &bytes, rows)
    }

    fn add(&mut self, kind: u32, bytes: &[u8], row: usize) -> Result<()> {
        self.write(kind, bytes, (bytes.len() / row) as u64)
    }

    fn write(&mut self, kind: u32, bytes: &[u8], rows: u64) -> Result<()> {
        self.out.write_at(bytes, self.at)?;
        self.push(Section {
            kind,
            crc: crc(bytes),
            offset: self.at,
            length: bytes.len() as u64,
            rows,
        });
        Ok(())
    }

    fn push(&mut self, section: Section) {
        self.at = (self.at + section.length).next_multiple_of(PAGE_BYTES);
        self.sections.push(section);
    }

    fn right_section(&self, section: &Section) -> Option<Vec<u8>> {
        let length = usize::try_from(section.length).ok()?;
        let right = |bytes: &[u8]| crc(bytes) == section.crc;
        let is_short = section.length <= MOST_AT_ONCE;
        is_short.then(|| self.copies.right(section.offset, length, &right))?
    }

    /// Copies a section as it is, from the place where its checksum is right if there is one.
    fn copy_section(&mut self, mut section: Section) -> Result<()> {
        let room = (self.copies.pages() * PAGE_BYTES).saturating_sub(section.offset);
        section.length = section.length.min(room);
        if let Some(bytes) = self.right_section(&section) {
            self.out.write_at(&bytes, self.at)?;
            self.push(Section {
                offset: self.at,
                ..section
            });
            return Ok(());
        }
        for done in (0..section.length).step_by(STEP) {
            let step = usize::try_from(section.length - done).map_or(STEP, |left| left.min(STEP));
            let offset = section.offset.saturating_add(done);
            if let Some(bytes) = self.copies.versions(offset, step).first() {
                self.out.write_at(bytes, self.at + done)?;
            }
        }
        self.push(Section {
            offset: self.at,
            ..section
        });
        Ok(())
    }
}
