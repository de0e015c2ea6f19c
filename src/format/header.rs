//! The header page of an index, which is also its footer.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the page size and the number of sections fit into 32 bits"
)]

use super::bytes::ByteReader;
use super::checksum::crc;
use super::{
    MAX_LEVELS, Malformed, PAGE_BYTES, PAGE_SIZE, Parsed, Uuid, VERSION_MAJOR, VERSION_MINOR,
};

/// First bytes of an index: no text begins like this, and transfers that rewrite line ends break it.
pub const MAGIC: [u8; 8] = *b"\x89dgfs\r\n\x1a";

/// Most rows of the section table.
pub const MAX_SECTIONS: usize = 32;

/// Smallest and largest accepted chunk shift (4 KiB to 16 MiB a chunk).
pub const CHUNK_SHIFTS: std::ops::RangeInclusive<u32> = 12..=24;

/// Byte offset of the section table.
const SECTION_TABLE_OFFSET: usize = 160;

/// Byte offset of what does not fit before the section table.
const MORE_OFFSET: usize = SECTION_TABLE_OFFSET + 32 * MAX_SECTIONS;

/// Byte offset of the checksum, which covers all bytes before it.
const CRC_OFFSET: usize = PAGE_SIZE - 4;

/// Optional feature: some entry has a POSIX ACL, which who checks permissions has to look at.
pub const FEATURE_ACLS: u64 = 1 << 0;

/// Required feature: files may have holes (columns `hole bytes` and `hole map` of leaf pages).
pub const FEATURE_HOLES: u64 = 1 << 0;

/// Required feature: entries have times of access, change and birth.
pub const FEATURE_TIMES: u64 = 1 << 1;

/// Required feature: contents may be stored as zstd frames (section `codecs`, column `codec`).
pub const FEATURE_COMPRESSED: u64 = 1 << 2;

/// Required feature: contents may be cut by content (column `cut`).
pub const FEATURE_CUT: u64 = 1 << 3;

/// Required feature: several files may have one frame (columns `member`, `frame stored` and `frame data`).
pub const FEATURE_MEMBERS: u64 = 1 << 4;

/// Required feature: leaf pages are in segments, whose frames may refer to dictionaries (section `page dictionaries`).
pub const FEATURE_SEGMENTS: u64 = 1 << 5;

/// Features of the third class that this reader knows.
pub(crate) const KNOWN_FEATURES: u64 = FEATURE_HOLES
    | FEATURE_TIMES
    | FEATURE_COMPRESSED
    | FEATURE_CUT
    | FEATURE_MEMBERS
    | FEATURE_SEGMENTS;

/// The oldest minor version of the format, not below 2, that has these features of the third class: what does
/// not need the newest comes out as it did before.
pub fn minor_version(features_required: u64) -> u16 {
    if features_required & FEATURE_SEGMENTS != 0 {
        VERSION_MINOR
    } else if features_required & FEATURE_MEMBERS != 0 {
        4
    } else if features_required & FEATURE_CUT != 0 {
        3
    } else {
        2
    }
}

/// A part of the index behind its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: u32,
    /// CRC-32C of its bytes; 0 where the rows carry their own.
    pub crc: u32,
    /// Byte offset in the index.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Number of rows.
    pub rows: u64,
}

/// What an index says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Minor version of the writer.
    pub version_minor: u16,
    /// Features that a reader may ignore.
    pub features_optional: u64,
    /// Features that a reader may ignore after a warning.
    pub features_warn: u64,
    /// Features that a reader must know.
    pub features_required: u64,
    /// The image's identity, shared by all its parts.
    pub uuid: Uuid,
    /// Bytes of the index, header and footer included.
    pub index_length: u64,
    /// Names in the tree, the root included.
    pub entries: u64,
    /// Regular files, by name.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links, by name.
    pub symlinks: u64,
    /// Devices, fifos and sockets, by name.
    pub others: u64,
    /// Sum of the sizes of regular files in bytes, every inode once.
    pub data_bytes: u64,
    /// Sum of the stored lengths of all extents in bytes.
    pub stored_bytes: u64,
    /// Regular files, every inode once, that share the extent of an earlier one.
    pub shared_files: u64,
    /// Sum of the stored lengths that these would have taken.
    pub shared_bytes: u64,
    /// Chunks of files cut by content, every inode once, that were stored for an earlier chunk already.
    pub shared_chunks: u64,
    /// Sum of the stored lengths that these would have taken.
    pub shared_chunk_bytes: u64,
    /// Frames that several files share.
    pub shared_frames: u64,
    /// Regular files, every inode once, whose data were stored in these.
    pub frame_members: u64,
    /// Leaf pages; they are pages 1 to `leaf_pages`.
    pub leaf_pages: u64,
    /// Inner pages, behind the leaf pages.
    pub inner_pages: u64,
    /// Levels of inner pages.
    pub levels: u32,
    /// Contents are cut in chunks of 2 to the power of this many bytes.
    pub chunk_shift: u32,
    /// Sections in the order of the table.
    pub sections: Vec<Section>,
}

impl Header {
    /// Whether files of the image may have holes.
    pub fn has_holes(&self) -> bool {
        self.features_required & FEATURE_HOLES != 0
    }

    /// Whether any entry may have a POSIX ACL.
    pub fn has_acls(&self) -> bool {
        self.features_optional & FEATURE_ACLS != 0
    }

    /// Whether the image keeps times of access, change and birth.
    pub fn has_other_times(&self) -> bool {
        self.features_required & FEATURE_TIMES != 0
    }

    /// Whether contents may be compressed.
    pub fn is_compressed(&self) -> bool {
        self.features_required & FEATURE_COMPRESSED != 0
    }

    /// Whether contents may be cut by content.
    pub fn is_cut(&self) -> bool {
        self.features_required & FEATURE_CUT != 0
    }

    /// Whether several files may have one frame.
    pub fn has_members(&self) -> bool {
        self.features_required & FEATURE_MEMBERS != 0
    }

    /// Whether leaf pages are in segments.
    pub fn has_segments(&self) -> bool {
        self.features_required & FEATURE_SEGMENTS != 0
    }

    /// Page number of the root of the tree.
    pub fn root_page(&self) -> u64 {
        self.leaf_pages + self.inner_pages
    }

    /// The section of `kind`, if there is one.
    pub fn section(&self, kind: u32) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    /// The header page.
    pub fn encode(&self) -> [u8; PAGE_SIZE] {
        let mut out = Vec::with_capacity(PAGE_SIZE);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
        let minor = minor_version(self.features_required);
        out.extend_from_slice(&minor.to_le_bytes());
        out.extend_from_slice(&(PAGE_SIZE as u32).to_le_bytes());
        for features in [
            self.features_optional,
            self.features_warn,
            self.features_required,
        ] {
            out.extend_from_slice(&features.to_le_bytes());
        }
        out.extend_from_slice(&self.uuid);
        for number in [
            self.index_length,
            self.entries,
            self.files,
            self.directories,
            self.symlinks,
            self.others,
            self.data_bytes,
            self.stored_bytes,
            self.leaf_pages,
            self.inner_pages,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.levels.to_le_bytes());
        out.extend_from_slice(&self.chunk_shift.to_le_bytes());
        out.extend_from_slice(&self.root_page().to_le_bytes());
        out.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        debug_assert_eq!(out.len(), SECTION_TABLE_OFFSET);
        for section in self.sections.iter().take(MAX_SECTIONS) {
            out.extend_from_slice(&section.kind.to_le_bytes());
            out.extend_from_slice(&section.crc.to_le_bytes());
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.length.to_le_bytes());
            out.extend_from_slice(&section.rows.to_le_bytes());
        }
        out.resize(MORE_OFFSET, 0);
        out.extend_from_slice(&self.shared_files.to_le_bytes());
        out.extend_from_slice(&self.shared_bytes.to_le_bytes());
        out.extend_from_slice(&self.shared_chunks.to_le_bytes());
        out.extend_from_slice(&self.shared_chunk_bytes.to_le_bytes());
        out.extend_from_slice(&self.shared_frames.to_le_bytes());
        out.extend_from_slice(&self.frame_members.to_le_bytes());
        seal(out)
    }

    /// Parses a header or footer page. `length` is the length of the index in bytes as its file tells it,
    /// so that truncation is found here.
    pub fn decode(page: &[u8; PAGE_SIZE], length: u64) -> crate::Result<Self> {
        let mut reader = ByteReader::new(page);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(crate::Error::new(
                crate::ErrorKind::NotAnImage,
                "not a dgfs image: the first bytes are not those of an index",
            ));
        }
        // The version comes before the checksum: a later format may place its checksum elsewhere.
        let major = reader.u16()?;
        let version_minor = reader.u16()?;
        check_version(major, version_minor)?;
        check_seal(page)?;
        if reader.u32()? != PAGE_SIZE as u32 {
            return Err(Malformed("page size is not 4096").into());
        }
        let features_optional = reader.u64()?;
        let features_warn = reader.u64()?;
        let features_required = reader.u64()?;
        check_features(features_required & !KNOWN_FEATURES)?;
        let uuid = reader.uuid()?;
        let mut numbers = [0u64; 10];
        for number in &mut numbers {
            *number = reader.u64()?;
        }
        let [
            index_length,
            entries,
            files,
            directories,
            symlinks,
            others,
            data_bytes,
            stored_bytes,
            leaf_pages,
            inner_pages,
        ] = numbers;
        let levels = reader.u32()?;
        let chunk_shift = reader.u32()?;
        let root_page = reader.u64()?;
        let section_count = reader.u32()? as usize;
        reader.u32()?;
        if section_count > MAX_SECTIONS {
            return Err(Malformed("header has too many sections").into());
        }
        let mut sections = Vec::with_capacity(section_count);
        for _ in 0..section_count {
            sections.push(Section {
                kind: reader.u32()?,
                crc: reader.u32()?,
                offset: reader.u64()?,
                length: reader.u64()?,
                rows: reader.u64()?,
            });
        }
        let mut more = ByteReader::new(page.get(MORE_OFFSET..).unwrap_or(&[]));
        let header = Self {
            version_minor,
            features_optional,
            features_warn,
            features_required,
            uuid,
            index_length,
            entries,
            files,
            directories,
            symlinks,
            others,
            data_bytes,
            stored_bytes,
            shared_files: more.u64()?,
            shared_bytes: more.u64()?,
            shared_chunks: more.u64()?,
            shared_chunk_bytes: more.u64()?,
            shared_frames: more.u64()?,
            frame_members: more.u64()?,
            leaf_pages,
            inner_pages,
            levels,
            chunk_shift,
            sections,
        };
        header.check_counts(root_page)?;
        if length < index_length {
            return Err(crate::Error::corrupt(format!(
                "index is truncated: {length} bytes of {index_length}; `dgfs reindex` recovers it from volume 0"
            )));
        }
        if length > index_length {
            return Err(crate::Error::corrupt(format!(
                "index has {length} bytes where its header says {index_length}"
            )));
        }
        Ok(header)
    }

    fn check_counts(&self, root_page: u64) -> Parsed<()> {
        let end_of_pages = self
            .leaf_pages
            .checked_add(self.inner_pages)
            .and_then(|pages| pages.checked_add(1))
            .and_then(|pages| pages.checked_mul(PAGE_BYTES))
            .ok_or(Malformed("header counts more pages than a file can have"))?;
        if self.leaf_pages == 0 || root_page != self.root_page() {
            return Err(Malformed(
                "header names a root page that is not the last page",
            ));
        }
        let one_leaf = self.leaf_pages == 1;
        if (self.inner_pages == 0) != one_leaf || (self.levels == 0) != one_leaf {
            return Err(Malformed("header's levels contradict its pages"));
        }
        if self.levels > MAX_LEVELS || u64::from(self.levels) > self.inner_pages {
            return Err(Malformed("header has too many levels"));
        }
        if !self.index_length.is_multiple_of(PAGE_BYTES)
            || end_of_pages > self.index_length.saturating_sub(PAGE_BYTES)
            || self.index_length >= 1 << 63
        {
            return Err(Malformed("header's page counts exceed the index"));
        }
        if !CHUNK_SHIFTS.contains(&self.chunk_shift) {
            return Err(Malformed("header has an impossible chunk size"));
        }
        let kinds = [self.directories, self.symlinks, self.others];
        let sum = kinds
            .iter()
            .try_fold(self.files, |sum, &n| sum.checked_add(n));
        if sum != Some(self.entries) || self.entries >= 1 << 63 || self.directories == 0 {
            return Err(Malformed(
                "header's counts of entries contradict each other",
            ));
        }
        for section in &self.sections {
            let end = section.offset.checked_add(section.length);
            if section.offset < end_of_pages
                || !section.offset.is_multiple_of(PAGE_BYTES)
                || end.is_none_or(|end| end > self.index_length - PAGE_BYTES)
            {
                return Err(Malformed("a section lies outside the index"));
            }
        }
        Ok(())
    }
}

/// Pads `out` to a page and adds the checksum that headers and trailers end with.
pub(super) fn seal(mut out: Vec<u8>) -> [u8; PAGE_SIZE] {
    out.resize(CRC_OFFSET, 0);
    let sum = crc(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    let mut page = [0; PAGE_SIZE];
    page.copy_from_slice(&out);
    page
}

/// Checks what [`seal`] added.
pub(super) fn check_seal(page: &[u8; PAGE_SIZE]) -> Parsed<()> {
    let (covered, sum) = page.split_at(CRC_OFFSET);
    if crc(covered).to_le_bytes() == sum {
        Ok(())
    } else {
        Err(Malformed("header checksum does not match"))
    }
}

/// Refuses other major versions.
pub(super) fn check_version(major: u16, minor: u16) -> crate::Result<()> {
    if major == VERSION_MAJOR {
        return Ok(());
    }
    Err(crate::Error::new(
        crate::ErrorKind::Version,
        format!(
            "image has format version {major}.{minor}, this dgfs reads version {VERSION_MAJOR}; use a newer dgfs"
        ),
    ))
}

/// Refuses required features that are not known.
pub(super) fn check_features(unknown: u64) -> crate::Result<()> {
    if unknown == 0 {
        return Ok(());
    }
    Err(crate::Error::new(
        crate::ErrorKind::Version,
        format!("image uses features this dgfs does not know ({unknown:#x}); use a newer dgfs"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn sample() -> Header {
        Header {
            version_minor: 2,
            features_optional: 1 << 40,
            features_warn: 0,
            features_required: 0,
            uuid: *b"0123456789abcdef",
            index_length: 20 * PAGE_BYTES,
            entries: 1000,
            files: 900,
            directories: 90,
            symlinks: 7,
            others: 3,
            data_bytes: 12345,
            stored_bytes: 20000,
            shared_files: 3,
            shared_bytes: 3000,
            shared_chunks: 4,
            shared_chunk_bytes: 4000,
            shared_frames: 5,
            frame_members: 50,
            leaf_pages: 10,
            inner_pages: 1,
            levels: 1,
            chunk_shift: 17,
            sections: vec![Section {
                kind: 1,
                crc: 99,
                offset: 12 * PAGE_BYTES,
                length: 24,
                rows: 2,
            }],
        }
    }

    #[test]
    fn round_trips_and_every_flipped_byte_is_noticed() {
        let header = sample();
        let page = header.encode();
        assert_eq!(Header::decode(&page, header.index_length).unwrap(), header);
        for at in 0..PAGE_SIZE {
            let mut damaged = page;
            damaged[at] ^= 0xff;
            assert!(
                Header::decode(&damaged, header.index_length).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let kind =
            |page: &[u8; PAGE_SIZE], length| Header::decode(page, length).unwrap_err().kind();
        let page = sample().encode();
        assert_eq!(
            kind(&[b'x'; PAGE_SIZE], 20 * PAGE_BYTES),
            ErrorKind::NotAnImage
        );
        assert_eq!(kind(&page, 19 * PAGE_BYTES), ErrorKind::Corrupt);
        assert_eq!(kind(&page, 21 * PAGE_BYTES), ErrorKind::Corrupt);
        let mut newer = page;
        newer[8] = 2;
        assert_eq!(kind(&newer, 20 * PAGE_BYTES), ErrorKind::Version);
        let unknown = Header {
            features_required: 1 << 6,
            ..sample()
        }
        .encode();
        assert_eq!(kind(&unknown, 20 * PAGE_BYTES), ErrorKind::Version);
    }

    #[test]
    fn refuses_counts_that_contradict_each_other() {
        let wrong = [
            Header {
                leaf_pages: 0,
                ..sample()
            },
            Header {
                leaf_pages: u64::MAX - 1,
                ..sample()
            },
            Header {
                leaf_pages: 1,
                ..sample()
            },
            Header {
                inner_pages: 9,
                ..sample()
            },
            Header {
                levels: 0,
                ..sample()
            },
            Header {
                levels: 25,
                ..sample()
            },
            Header {
                files: 901,
                ..sample()
            },
            Header {
                entries: u64::MAX,
                files: u64::MAX,
                ..sample()
            },
            Header {
                chunk_shift: 60,
                ..sample()
            },
            Header {
                sections: vec![Section {
                    offset: 0,
                    ..sample().sections[0]
                }],
                ..sample()
            },
            Header {
                sections: vec![Section {
                    length: u64::MAX,
                    ..sample().sections[0]
                }],
                ..sample()
            },
        ];
        for header in wrong {
            let result = Header::decode(&header.encode(), 20 * PAGE_BYTES);
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt, "{header:?}");
        }
    }
}
