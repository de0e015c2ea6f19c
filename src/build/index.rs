//! Writes the index: leaf pages filled after compression, inner levels, sections, header.

use super::attribute_table::AttributeTable;
use super::blobs::BlobWriter;
use super::inner_levels::InnerLevels;
use super::leaf_filler::{FilledPage, LeafFiller};
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::attributes::{self, Attributes};
use crate::format::checksum::{crc, seal_page};
use crate::format::cut::Cut;
use crate::format::header::{
    self, FEATURE_ACLS, FEATURE_COMPRESSED, FEATURE_CUT, FEATURE_HOLES, FEATURE_MEMBERS,
    FEATURE_SEGMENTS, FEATURE_TIMES, Header, Section,
};
use crate::format::inner::Separator;
use crate::format::leaf::{NewEntry, NewMember, NewTarget};
use crate::format::member::Member;
use crate::format::page_dictionaries::{self, DictionaryBytes};
use crate::format::volume::{self, Span};
use crate::format::{MAX_INLINE_TARGET, PAGE_BYTES, PAGE_SIZE, Uuid, blob, codec};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the index says of one entry.
#[derive(Debug, Clone)]
pub struct IndexEntry<'a> {
    /// Last component of the path; empty for the root.
    pub name: &'a [u8],
    /// Mode and owners.
    pub attributes: Attributes,
    /// What the mode says.
    pub kind: Kind,
    /// Time of last modification.
    pub mtime: Timestamp,
    /// The other times, if they are kept.
    pub other_times: Option<OtherTimes>,
    /// Bytes of a regular file, else 0.
    pub size: u64,
    /// Bytes of the file in holes.
    pub hole_bytes: u64,
    /// The blob that says where they are, if there is data as well.
    pub hole_map: u64,
    /// Children of a directory, sub-directories among them, and entries deeper down.
    pub children: (u64, u64, u64),
    /// Where contents lie, if there are any.
    pub placement: Option<Placement>,
    /// Own ordinal minus that of the inode's first name, and number of names.
    pub link: (u64, u64),
    /// Device number, else 0.
    pub device: u64,
    /// Extended attributes, sorted by name.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
    /// Where a symbolic link leads, else empty.
    pub target: &'a [u8],
}

/// Where the contents of an entry lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Position of the extent.
    pub position: u64,
    /// Its stored length.
    pub stored: u64,
    /// Default stored length minus stored length.
    pub saved: u64,
    /// The codec of its frames, if it has any.
    pub codec: Option<u32>,
    /// How its chunks are found if it is cut by content.
    pub cut: Option<Cut>,
    /// Where in it the contents are if it is a frame that several files share.
    pub member: Option<Member>,
    /// Whose it is; of a shared frame, whose the contents are.
    pub usage: Usage,
}

impl Placement {
    /// Bytes of the volumes that are those of this entry, if it is the first that has them: of a shared frame all are
    /// those of the first file in it.
    fn taken(&self) -> u64 {
        match self.member {
            Some(Member { offset: 1.., .. }) => 0,
            _ => self.stored,
        }
    }

    /// The part of the extent that is that of a file with so many bytes of data.
    fn share(&self, data: u64) -> u64 {
        match self.member {
            // Both are small.
            Some(member) => self.stored * data / u64::from(member.data).max(1),
            None => self.stored,
        }
    }
}

/// Whose an extent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// The entry's own, where the extent of the entry before ends.
    Own,
    /// The entry's own, but stored ahead of those in key order.
    Ahead,
    /// Also that of a file stored before.
    Shared,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) symlinks: u64,
    pub(super) others: u64,
    pub(super) data_bytes: u64,
    pub(super) stored_bytes: u64,
    pub(super) shared_files: u64,
    pub(super) shared_bytes: u64,
    pub(super) shared_chunks: u64,
    pub(super) shared_chunk_bytes: u64,
    pub(super) shared_frames: u64,
    pub(super) frame_members: u64,
}

/// How pages are written.
#[derive(Debug, Clone)]
pub struct PageOptions {
    /// The level of zstd for leaf pages, 1 … 22.
    pub level: i32,
    /// What the frames of leaf pages refer to.
    pub dictionaries: DictionaryBytes,
    /// Whether there will be no other copy of the index. Then the dictionaries, without which no leaf page means anything,
    /// are written twice.
    pub is_only_copy: bool,
}

/// Takes entries in key order and writes the index behind them.
#[derive(Debug)]
pub struct IndexWriter<'f> {
    out: BufWriter<&'f File>,
    path: PathBuf,
    uuid: Uuid,
    chunk_shift: u32,
    leaf: LeafFiller,
    pages: PageOptions,
    next_position: u64,
    next_child: u64,
    leaf_pages: u64,
    levels: InnerLevels,
    attributes: AttributeTable,
    blobs: BlobWriter,
    counts: Counts,
    more_sections: Vec<codec::Section>,
    /// Features of the first class that the entries use.
    features_optional: u64,
    /// Features of the third class that the entries use.
    features: u64,
}

impl<'f> IndexWriter<'f> {
    /// Writes to `file`, which is at `path`; scratch goes to `scratch_dir`.
    pub fn new(
        file: &'f File,
        path: &Path,
        scratch_dir: &Path,
        uuid: Uuid,
        chunk_shift: u32,
        pages: PageOptions,
    ) -> Result<Self> {
        let mut writer = Self {
            out: BufWriter::with_capacity(1 << 18, file),
            path: path.to_path_buf(),
            uuid,
            chunk_shift,
            leaf: LeafFiller::new(pages.level, &pages.dictionaries)?,
            pages,
            next_position: PAGE_BYTES,
            next_child: 0,
            leaf_pages: 0,
            levels: InnerLevels::new(scratch_dir),
            attributes: AttributeTable::default(),
            blobs: BlobWriter::new(scratch_dir),
            counts: Counts::default(),
            more_sections: Vec::new(),
            features_optional: 0,
            features: FEATURE_SEGMENTS,
        };
        writer.write(&[0; PAGE_SIZE])?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|error| Error::io(&self.path, "write", error))
    }

    /// The entries that follow are the `children` children of the directory at `path`, whose ordinal is
    /// `directory`. Called before the first child of each directory, and before the root.
    pub fn begin_run(&mut self, path: &[u8], directory: u64, children: u64) {
        self.leaf.begin_run(path, directory);
        self.next_child = self.counts.entries + children;
    }

    /// The first implicit extent will be at `position`; extents before it were stored ahead. Called before the first
    /// entry.
    pub fn begin_at(&mut self, position: u64) {
        self.next_position = position;
    }

    /// Adds a blob for an entry to come and returns its offset.
    pub fn add_blob(&mut self, contents: &[u8]) -> Result<u64> {
        self.blobs.add(contents)
    }

    /// So many chunks of a file to come were stored already; they would have taken `bytes`.
    pub fn count_shared_chunks(&mut self, chunks: u64, bytes: u64) {
        let counts = &mut self.counts;
        counts.shared_chunks += chunks;
        counts.shared_chunk_bytes = counts.shared_chunk_bytes.saturating_add(bytes);
    }

    /// Adds the next entry.
    pub fn push(&mut self, entry: &IndexEntry<'_>) -> Result<()> {
        self.count(entry);
        let (implicit, position) = self.place(entry)?;
        let (children, subdirectories, deeper) = entry.children;
        let first_child = self.next_child;
        if entry.kind == Kind::Directory {
            self.next_child += children + deeper;
        }
        let xattrs = match entry.xattrs {
            [] => None,
            xattrs => {
                if xattrs.iter().any(|(name, _)| blob::is_acl(name)) {
                    self.features_optional |= FEATURE_ACLS;
                }
                Some(self.blobs.add_xattrs(xattrs)?)
            }
        };
        let target = if entry.target.len() > MAX_INLINE_TARGET {
            NewTarget::Blob(self.blobs.add(entry.target)?)
        } else {
            NewTarget::Inline(entry.target)
        };
        if entry.hole_bytes > 0 {
            self.features |= FEATURE_HOLES;
        }
        let codec = entry.placement.and_then(|placement| placement.codec);
        if codec.is_some() {
            self.features |= FEATURE_COMPRESSED;
        }
        let cut = entry.placement.and_then(|placement| placement.cut);
        if cut.is_some() {
            self.features |= FEATURE_CUT;
        }
        let member = entry.placement.and_then(|placement| {
            Some(NewMember {
                member: placement.member?,
                position: placement.position,
                stored: placement.stored,
                in_order: implicit,
            })
        });
        if member.is_some() {
            self.features |= FEATURE_MEMBERS;
        }
        let other_times = match entry.other_times {
            Some(times) => {
                self.features |= FEATURE_TIMES;
                times
            }
            None => OtherTimes {
                atime: entry.mtime,
                ctime: entry.mtime,
                btime: Some(entry.mtime),
            },
        };
        let new = NewEntry {
            name: entry.name,
            kind: entry.kind,
            attribute: self.attributes.id(entry.attributes)?,
            mtime: entry.mtime,
            other_times,
            size: entry.size,
            hole_bytes: entry.hole_bytes,
            hole_map: entry.hole_map,
            children,
            subdirectories,
            deeper,
            first_child,
            saved: entry.placement.map_or(0, |placement| placement.saved),
            codec: codec.map_or(0, u64::from),
            cut,
            member,
            place: entry
                .placement
                .filter(|_| !implicit)
                .map(|placement| placement.position),
            primary: entry.link.0,
            links: entry.link.1,
            device: entry.device,
            xattrs,
            target,
        };
        self.leaf.push(&new, position);
        while let Some(page) = self.leaf.next_page(false)? {
            self.emit(page)?;
        }
        Ok(())
    }

    fn count(&mut self, entry: &IndexEntry<'_>) {
        let counts = &mut self.counts;
        counts.entries += 1;
        *match entry.kind {
            Kind::File => &mut counts.files,
            Kind::Directory => &mut counts.directories,
            Kind::Symlink => &mut counts.symlinks,
            _ => &mut counts.others,
        } += 1;
        if entry.link.0 == 0 && entry.kind == Kind::File {
            counts.data_bytes = counts.data_bytes.saturating_add(entry.size);
            match entry.placement {
                Some(placement) if placement.usage == Usage::Shared => {
                    counts.shared_files += 1;
                    let bytes = placement.share(entry.size - entry.hole_bytes);
                    counts.shared_bytes = counts.shared_bytes.saturating_add(bytes);
                }
                Some(placement) => {
                    counts.stored_bytes += placement.taken();
                    if placement.member.is_some() {
                        counts.frame_members += 1;
                        counts.shared_frames += u64::from(placement.taken() > 0);
                    }
                }
                None => {}
            }
        }
    }

    /// Says whether the entry's extent is where the one before ends, and where the next implicit extent begins before the
    /// entry.
    fn place(&mut self, entry: &IndexEntry<'_>) -> Result<(bool, u64)> {
        let own = |placement: &Placement| entry.link.0 == 0 && placement.usage == Usage::Own;
        let Some(placement) = entry.placement.filter(own) else {
            return Ok((false, self.next_position));
        };
        if placement.taken() == 0 {
            return Ok((true, self.next_position));
        }
        if placement.position != self.next_position {
            // Only the step to the next volume leads here. No page spans it.
            self.flush()?;
        }
        self.next_position = placement.position + placement.stored;
        Ok((true, placement.position))
    }

    /// Turns all pending entries into pages.
    fn flush(&mut self) -> Result<()> {
        while let Some(page) = self.leaf.next_page(true)? {
            self.emit(page)?;
        }
        Ok(())
    }

    fn emit(&mut self, filled: FilledPage) -> Result<()> {
        let number = self.leaf_pages + 1;
        let FilledPage {
            mut page,
            first_ordinal,
            position,
            mut separator,
        } = filled;
        seal_page(&self.uuid, number, &mut page);
        self.write(&page)?;
        if self.leaf_pages == 0 {
            separator = Separator::default();
        }
        self.levels
            .push(number, first_ordinal, position, &separator)?;
        self.leaf_pages = number;
        Ok(())
    }

    /// Adds sections of the index, to be written behind the others.
    pub fn add_sections(&mut self, sections: Vec<codec::Section>) {
        self.more_sections.extend(sections);
    }

    /// Whether any contents are frames.
    pub fn is_compressed(&self) -> bool {
        self.features & FEATURE_COMPRESSED != 0
    }

    /// Writes what is left, inner pages, sections, footer and header, and returns the header. `spans` are the
    /// volumes.
    pub fn finish(mut self, spans: &[Span]) -> Result<Header> {
        self.flush()?;
        let (inner_pages, levels) = {
            let (uuid, out, path) = (self.uuid, &mut self.out, &self.path);
            self.levels
                .finish(self.leaf_pages, &mut |number, mut page| {
                    seal_page(&uuid, number, &mut page);
                    out.write_all(&page)
                        .map_err(|error| Error::io(path, "write", error))
                })?
        };
        let mut at = (1 + self.leaf_pages + inner_pages) * PAGE_BYTES;
        let mut sections = Vec::new();
        self.write_dictionaries(&mut at, &mut sections)?;
        let (rows, bytes) = self.attributes.encode();
        self.write_section(attributes::SECTION, rows, &bytes, &mut at, &mut sections)?;
        let mut bytes = Vec::new();
        for span in spans {
            span.encode_into(&mut bytes);
        }
        self.write_section(
            volume::SECTION,
            spans.len() as u64,
            &bytes,
            &mut at,
            &mut sections,
        )?;
        if self.blobs.count() > 0 {
            let rows = self.blobs.count();
            let length = self.blobs.copy_into(&mut self.out, &self.path)?;
            sections.push(Section {
                kind: blob::SECTION,
                crc: 0,
                offset: at,
                length,
                rows,
            });
            at += length;
            self.pad(&mut at)?;
        }
        for section in std::mem::take(&mut self.more_sections) {
            let codec::Section { kind, rows, bytes } = section;
            self.write_section(kind, rows, &bytes, &mut at, &mut sections)?;
        }
        if self.pages.is_only_copy {
            self.write_dictionaries(&mut at, &mut sections)?;
        }
        let counts = self.counts;
        let header = Header {
            version_minor: header::minor_version(self.features),
            features_optional: self.features_optional,
            features_warn: 0,
            features_required: self.features,
            uuid: self.uuid,
            index_length: at + PAGE_BYTES,
            entries: counts.entries,
            files: counts.files,
            directories: counts.directories,
            symlinks: counts.symlinks,
            others: counts.others,
            data_bytes: counts.data_bytes,
            stored_bytes: counts.stored_bytes,
            shared_files: counts.shared_files,
            shared_bytes: counts.shared_bytes,
            shared_chunks: counts.shared_chunks,
            shared_chunk_bytes: counts.shared_chunk_bytes,
            shared_frames: counts.shared_frames,
            frame_members: counts.frame_members,
            leaf_pages: self.leaf_pages,
            inner_pages,
            levels,
            chunk_shift: self.chunk_shift,
            sections,
        };
        let page = header.encode();
        self.write(&page)?;
        let seek = self.out.seek(SeekFrom::Start(0));
        seek.and_then(|_| self.out.write_all(&page))
            .and_then(|()| self.out.flush())
            .map_err(|error| Error::io(&self.path, "write", error))?;
        Ok(header)
    }

    /// Writes the page dictionaries, if there are any.
    fn write_dictionaries(&mut self, at: &mut u64, sections: &mut Vec<Section>) -> Result<()> {
        if self.pages.dictionaries.is_empty() {
            return Ok(());
        }
        let bytes = self.pages.dictionaries.encode()?;
        let (kind, rows) = (page_dictionaries::SECTION, page_dictionaries::ROWS);
        self.write_section(kind, rows, &bytes, at, sections)
    }

    fn write_section(
        &mut self,
        kind: u32,
        rows: u64,
        bytes: &[u8],
        at: &mut u64,
        sections: &mut Vec<Section>,
    ) -> Result<()> {
        let length = bytes.len() as u64;
        sections.push(Section {
            kind,
            crc: crc(bytes),
            offset: *at,
            length,
            rows,
        });
        self.write(bytes)?;
        *at += length;
        self.pad(at)
    }

    fn pad(&mut self, at: &mut u64) -> Result<()> {
        let end = at.next_multiple_of(PAGE_BYTES);
        let zeros = [0; PAGE_SIZE];
        let missing = usize::try_from(end - *at).unwrap_or(0);
        self.write(zeros.get(..missing).unwrap_or(&[]))?;
        *at = end;
        Ok(())
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
