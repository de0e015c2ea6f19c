//! Small images made by hand, so that each of their numbers can be made wrong.

use super::{Verified, VerifyOptions};
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::attributes::{self, Attributes};
use crate::format::checksum::{crc, seal_page};
use crate::format::header::{FEATURE_SEGMENTS, Header, Section};
use crate::format::inner::{InnerBuilder, Separator};
use crate::format::leaf::{LeafBuilder, LeafFrames, NewEntry, NewTarget, PageBuilder};
use crate::format::page_dictionaries::DictionaryBytes;
use crate::format::volume::{self, Identity, Layout, Span};
use crate::format::{PAGE_BYTES, PAGE_SIZE, blob};
use crate::read::Image;

const UUID: [u8; 16] = [7; 16];

/// A section of a later version.
const UNKNOWN_SECTION: u32 = 99;
const UNKNOWN: &[u8] = b"whatever";

/// An entry, with the run that begins with it if one does: path and ordinal of the directory.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) run: Option<(&'static str, u64)>,
    pub(super) entry: NewEntry<'static>,
}

/// A leaf page.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) first_ordinal: u64,
    pub(super) position: u64,
    pub(super) rows: Vec<Row>,
}

/// What an inner page says of a page below.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) page: u64,
    pub(super) first_ordinal: u64,
    pub(super) position: u64,
    pub(super) separator: Separator,
}

/// An inner page.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) level: u8,
    pub(super) children: Vec<Told>,
}

/// An image about to be made.
#[derive(Clone)]
pub(super) struct Sketch {
    pub(super) pages: Vec<Page>,
    pub(super) inner: Vec<Inner>,
    pub(super) header: Header,
    pub(super) blobs: Vec<u8>,
    pub(super) blob_rows: u64,
    /// Checksum of a section of a kind that readers do not know.
    pub(super) unknown_crc: u32,
    pub(super) contents: Vec<u8>,
    /// Changes bytes of the finished parts: index, volume 0.
    pub(super) damage: fn(&mut Vec<u8>, &mut Vec<u8>),
}

fn entry(name: &'static [u8], kind: Kind) -> NewEntry<'static> {
    NewEntry {
        name,
        kind,
        attribute: match kind {
            Kind::Directory => 0,
            _ => 1,
        },
        mtime: Timestamp::default(),
        other_times: OtherTimes {
            atime: Timestamp::default(),
            ctime: Timestamp::default(),
            btime: Some(Timestamp::default()),
        },
        hole_bytes: 0,
        hole_map: 0,
        size: 0,
        children: 0,
        subdirectories: 0,
        deeper: 0,
        first_child: 0,
        saved: 0,
        codec: 0,
        cut: None,
        member: None,
        place: None,
        primary: 0,
        links: 1,
        device: 0,
        xattrs: None,
        target: NewTarget::Inline(b""),
    }
}

fn directory(name: &'static [u8], children: (u64, u64, u64), first_child: u64) -> Row {
    let entry = NewEntry {
        children: children.0,
        subdirectories: children.1,
        deeper: children.2,
        first_child,
        ..entry(name, Kind::Directory)
    };
    Row { run: None, entry }
}

fn file(name: &'static [u8], size: u64) -> Row {
    let entry = NewEntry {
        size,
        ..entry(name, Kind::File)
    };
    Row { run: None, entry }
}

#[expect(
    clippy::large_types_passed_by_value,
    reason = "it is passed on, three times"
)]
fn in_run(path: &'static str, parent: u64, row: Row) -> Row {
    Row {
        run: Some((path, parent)),
        ..row
    }
}

pub(super) fn told(page: u64, first_ordinal: u64, position: u64, path: &str, name: &str) -> Told {
    Told {
        page,
        first_ordinal,
        position,
        separator: separator(path, name),
    }
}

pub(super) fn separator(path: &str, name: &str) -> Separator {
    Separator {
        path: path.into(),
        cut: false,
        name: name.into(),
    }
}

/// ```text
/// 0 .   1 a/   2 b/   3 c (10 bytes)   |   4 a/d/   5 a/x (20)   |   6 a/d/e (5)   7 b/h, a link to c
/// ```
pub(super) fn sound() -> Sketch {
    let page = |first_ordinal, position, rows| Page {
        first_ordinal,
        position,
        rows,
    };
    let mut c = file(b"c", 10);
    c.entry.links = 2;
    c.entry.xattrs = Some(0);
    let mut h = file(b"h", 10);
    h.entry.links = 2;
    h.entry.primary = 4;
    h.entry.place = Some(4096);
    h.entry.xattrs = Some(0);
    let pages = vec![
        page(
            0,
            4096,
            vec![
                in_run("", 0, directory(b"", (3, 2, 4), 1)),
                in_run("", 0, directory(b"a", (2, 1, 1), 4)),
                directory(b"b", (1, 0, 0), 7),
                c,
            ],
        ),
        page(
            4,
            4110,
            vec![
                in_run("a", 1, directory(b"d", (1, 0, 0), 6)),
                file(b"x", 20),
            ],
        ),
        page(
            6,
            4134,
            vec![in_run("a/d", 4, file(b"e", 5)), in_run("b", 2, h)],
        ),
    ];
    let mut contents = Vec::new();
    for (byte, size) in [(b'c', 10), (b'x', 20), (b'e', 5)] {
        let bytes = vec![byte; size];
        contents.extend_from_slice(&bytes);
        contents.extend_from_slice(&crc(&bytes).to_le_bytes());
    }
    let xattrs = blob::encode_xattrs(&[(b"user.a".to_vec(), b"1".to_vec())]).unwrap();
    let mut blobs = Vec::new();
    blob::encode_into(0, &xattrs, &mut blobs);
    let children = [
        told(1, 0, 4096, "", ""),
        told(2, 4, 4110, "a", ""),
        told(3, 6, 4134, "a/", ""),
    ];
    Sketch {
        pages,
        inner: vec![Inner {
            level: 1,
            children: children.to_vec(),
        }],
        header: Header {
            version_minor: 0,
            features_optional: 0,
            features_warn: 0,
            features_required: FEATURE_SEGMENTS,
            uuid: UUID,
            index_length: 0,
            entries: 8,
            files: 4,
            directories: 4,
            symlinks: 0,
            others: 0,
            data_bytes: 35,
            stored_bytes: 47,
            shared_files: 0,
            shared_bytes: 0,
            shared_chunks: 0,
            shared_chunk_bytes: 0,
            shared_frames: 0,
            frame_members: 0,
            leaf_pages: 3,
            inner_pages: 1,
            levels: 1,
            chunk_shift: 12,
            sections: Vec::new(),
        },
        blobs,
        blob_rows: 1,
        unknown_crc: crc(UNKNOWN),
        contents,
        damage: |_, _| {},
    }
}

fn sealed(number: u64, mut page: [u8; PAGE_SIZE]) -> [u8; PAGE_SIZE] {
    seal_page(&UUID, number, &mut page);
    page
}

impl Inner {
    fn page(&self) -> [u8; PAGE_SIZE] {
        let mut builder = InnerBuilder::new(self.level);
        for told in &self.children {
            let Told {
                page,
                first_ordinal,
                position,
                separator,
            } = told;
            assert!(builder.push(*page, *first_ordinal, *position, separator));
        }
        builder.finish()
    }
}

impl Sketch {
    fn leaf(page: &Page) -> [u8; PAGE_SIZE] {
        let mut builder = LeafBuilder::default();
        for row in &page.rows {
            if let Some((path, parent)) = row.run {
                builder.begin_run(path.as_bytes(), parent);
            }
            builder.push(&row.entry);
        }
        let mut out = PageBuilder::new(page.first_ordinal);
        let mut frames = LeafFrames::new(3, &DictionaryBytes::default()).unwrap();
        let count = page.rows.len();
        let used = builder.encode(count, page.position, b"", &out, &mut frames);
        assert!(used.unwrap() <= out.room());
        out.add(builder.segment(), count, page.position);
        out.finish()
    }

    fn index(&self) -> Vec<u8> {
        let mut index = vec![0; PAGE_SIZE];
        let leaves = self.pages.iter().map(Self::leaf);
        let inner = self.inner.iter().map(Inner::page);
        for (page, number) in leaves.chain(inner).zip(1..) {
            index.extend_from_slice(&sealed(number, page));
        }
        let mut table = Vec::new();
        for mode in [0o040_755, 0o100_644] {
            let (uid, gid) = (0, 0);
            Attributes { mode, uid, gid }.encode_into(&mut table);
        }
        let mut spans = Vec::new();
        let end = PAGE_BYTES + self.contents.len() as u64;
        Span { start: 0, end }.encode_into(&mut spans);
        let mut header = self.header.clone();
        header.inner_pages = self.inner.len() as u64;
        for (kind, rows, bytes) in [
            (attributes::SECTION, 2, &table),
            (volume::SECTION, 1, &spans),
            (blob::SECTION, self.blob_rows, &self.blobs),
            (UNKNOWN_SECTION, 1, &UNKNOWN.to_vec()),
        ] {
            header.sections.push(Section {
                kind,
                crc: match kind {
                    blob::SECTION => 0,
                    UNKNOWN_SECTION => self.unknown_crc,
                    _ => crc(bytes),
                },
                offset: index.len() as u64,
                length: bytes.len() as u64,
                rows,
            });
            index.extend_from_slice(bytes);
            index.resize(index.len().next_multiple_of(PAGE_SIZE), 0);
        }
        header.index_length = (index.len() + PAGE_SIZE) as u64;
        let page = header.encode();
        index[..PAGE_SIZE].copy_from_slice(&page);
        index.extend_from_slice(&page);
        index
    }

    fn volume(&self, index: &[u8]) -> Vec<u8> {
        let identity = Identity {
            uuid: UUID,
            number: 0,
            count: 1,
        };
        let mut volume = volume::encode_header(&identity).to_vec();
        volume.extend_from_slice(&self.contents);
        let extents_end = volume.len() as u64;
        volume.resize(volume.len().next_multiple_of(PAGE_SIZE), 0);
        let index_offset = volume.len() as u64;
        volume.extend_from_slice(index);
        let layout = Layout {
            extents_end,
            index_offset,
            index_length: index.len() as u64,
            file_length: (volume.len() + PAGE_SIZE) as u64,
        };
        volume.extend_from_slice(&volume::encode_trailer(&identity, &layout));
        volume
    }

    pub(super) fn verify(&self, quick: bool) -> (Verified, Vec<String>) {
        let mut index = self.index();
        let mut volume = self.volume(&index);
        (self.damage)(&mut index, &mut volume);
        let image = Image::options().open_parts(Box::new(index), vec![Box::new(volume)]);
        let image = image.unwrap();
        let verify = |threads| {
            let mut faults = Vec::new();
            let options = VerifyOptions { quick, threads };
            let verified = image.verify(&options, &mut |fault| faults.push(fault.to_string()));
            assert_eq!(verified.faults, faults.len() as u64);
            (verified, faults)
        };
        let (verified, faults) = verify(1);
        assert_eq!(verify(3), (verified, faults.clone()));
        (verified, faults)
    }
}
