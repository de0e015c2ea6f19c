//! Images that are sound page by page but wrong, each in one way, and what verification says of them.

use super::{Verified, VerifyOptions};
use crate::entry::{Kind, Timestamp};
use crate::format::attributes::{self, Attributes};
use crate::format::checksum::{crc, seal_page};
use crate::format::frame::FrameEncoder;
use crate::format::header::{Header, Section};
use crate::format::inner::{InnerBuilder, Separator};
use crate::format::leaf::{LeafBuilder, NewEntry, NewTarget};
use crate::format::volume::{self, Identity, Layout, Span};
use crate::format::{PAGE_BYTES, PAGE_SIZE, blob};
use crate::read::Image;

const UUID: [u8; 16] = [7; 16];

/// An entry, with the run that begins with it if one does: path and ordinal of the directory.
#[derive(Clone, Copy)]
struct Row {
    run: Option<(&'static str, u64)>,
    entry: NewEntry<'static>,
}

/// A leaf page with what the page above says of it.
#[derive(Clone)]
struct Page {
    first_ordinal: u64,
    position: u64,
    described_position: u64,
    separator: Separator,
    rows: Vec<Row>,
}

/// An image about to be made.
#[derive(Clone)]
struct Sketch {
    pages: Vec<Page>,
    header: Header,
    blobs: Vec<u8>,
    blob_rows: u64,
    contents: Vec<u8>,
    /// Changes bytes of the finished parts: index, volume 0.
    damage: fn(&mut Vec<u8>, &mut Vec<u8>),
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
        size: 0,
        children: 0,
        subdirectories: 0,
        deeper: 0,
        first_child: 0,
        saved: 0,
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

fn in_run(path: &'static str, parent: u64, row: Row) -> Row {
    Row {
        run: Some((path, parent)),
        ..row
    }
}

fn separator(path: &str, name: &str) -> Separator {
    Separator {
        path: path.into(),
        cut: false,
        name: name.into(),
    }
}

/// ```text
/// 0 .   1 a/   2 b/   3 c (10 bytes)   |   4 a/d/   5 a/x (20)   |   6 a/d/e (5)   7 b/h, a link to c
/// ```
fn sound() -> Sketch {
    let page = |first_ordinal, position, separator, rows| Page {
        first_ordinal,
        position,
        described_position: position,
        separator,
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
            Separator::default(),
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
            separator("a", ""),
            vec![
                in_run("a", 1, directory(b"d", (1, 0, 0), 6)),
                file(b"x", 20),
            ],
        ),
        page(
            6,
            4134,
            separator("a/", ""),
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
    Sketch {
        pages,
        header: Header {
            version_minor: 0,
            features_optional: 0,
            features_warn: 0,
            features_required: 0,
            uuid: UUID,
            index_length: 0,
            entries: 8,
            files: 4,
            directories: 4,
            symlinks: 0,
            others: 0,
            data_bytes: 35,
            stored_bytes: 47,
            leaf_pages: 3,
            inner_pages: 1,
            levels: 1,
            chunk_shift: 12,
            sections: Vec::new(),
        },
        blobs,
        blob_rows: 1,
        contents,
        damage: |_, _| {},
    }
}

fn sealed(number: u64, mut page: [u8; PAGE_SIZE]) -> [u8; PAGE_SIZE] {
    seal_page(&UUID, number, &mut page);
    page
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
        let mut out = [0; PAGE_SIZE];
        let mut frames = FrameEncoder::new(3).unwrap();
        let used = builder.encode(
            page.rows.len(),
            page.first_ordinal,
            page.position,
            &mut frames,
            &mut out,
        );
        assert!(used.unwrap() <= PAGE_SIZE);
        out
    }

    fn index(&self) -> Vec<u8> {
        let mut index = vec![0; PAGE_SIZE];
        let mut inner = InnerBuilder::new(1);
        for (page, number) in self.pages.iter().zip(1..) {
            index.extend_from_slice(&sealed(number, Self::leaf(page)));
            let ordinal = page.first_ordinal;
            assert!(inner.push(number, ordinal, page.described_position, &page.separator));
        }
        index.extend_from_slice(&sealed(self.pages.len() as u64 + 1, inner.finish()));
        let mut table = Vec::new();
        for mode in [0o040_755, 0o100_644] {
            let (uid, gid) = (0, 0);
            Attributes { mode, uid, gid }.encode_into(&mut table);
        }
        let mut spans = Vec::new();
        let end = PAGE_BYTES + self.contents.len() as u64;
        Span { start: 0, end }.encode_into(&mut spans);
        let mut header = self.header.clone();
        for (kind, rows, bytes) in [
            (attributes::SECTION, 2, &table),
            (volume::SECTION, 1, &spans),
            (blob::SECTION, self.blob_rows, &self.blobs),
        ] {
            header.sections.push(Section {
                kind,
                crc: if kind == blob::SECTION { 0 } else { crc(bytes) },
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

    fn verify(&self, quick: bool) -> (Verified, Vec<String>) {
        let mut index = self.index();
        let mut volume = self.volume(&index);
        (self.damage)(&mut index, &mut volume);
        let image = Image::options().open_parts(Box::new(index), vec![Box::new(volume)]);
        let mut faults = Vec::new();
        let options = VerifyOptions { quick };
        let verified = image
            .unwrap()
            .verify(&options, &mut |fault| faults.push(fault.to_string()));
        assert_eq!(verified.faults, faults.len() as u64);
        (verified, faults)
    }
}

#[test]
fn a_sound_image_has_no_fault() {
    let (verified, faults) = sound().verify(false);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((verified.entries, verified.bytes), (8, 35));
    let (verified, faults) = sound().verify(true);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((verified.entries, verified.bytes), (8, 0));
}

type Case = (&'static str, fn(&mut Sketch), &'static [&'static str]);

/// What is done to the sound image, and parts of each of the faults that must be reported, in order.
const CASES: &[Case] = &[
    (
        "the root counts an entry too many",
        |s| s.pages[0].rows[0].entry.deeper += 1,
        &[".: index: root miscounts the entries below it"],
    ),
    (
        "a directory counts too few entries deeper down",
        |s| {
            s.pages[0].rows[1].entry.deeper = 0;
            s.pages[0].rows[2].entry.first_child = 6;
        },
        &[
            "a/d: index: directory counts entries that are not below it",
            "a: index: directory says that the last entry below it is 5, but it is 6",
            "b: index: entry 7 and those behind it are not where their directory says",
        ],
    ),
    (
        "a directory miscounts its sub-directories",
        |s| s.pages[0].rows[1].entry.subdirectories = 2,
        &["a: index: directory miscounts its sub-directories"],
    ),
    (
        "names are not in order",
        |s| s.pages[0].rows[3].entry.name = b"B",
        &["B: index: names of a directory are not in order"],
    ),
    (
        "runs are not in order",
        |s| s.pages[2].rows.swap(0, 1),
        &["a/d: index: directories are not in order"],
    ),
    (
        "a directory is missing",
        |s| s.pages[2].rows[1].run = Some(("bb", 2)),
        &[
            "bb: index: directory of entries is missing",
            "4 directories have children, but 3",
        ],
    ),
    (
        "a run is not where its directory says",
        |s| s.pages[1].rows[0].entry.first_child = 7,
        &[
            "a/d: index: entry 6 and those behind it are not where",
            "directories have children, but",
        ],
    ),
    (
        "ordinals have a gap",
        |s| s.pages[2].first_ordinal = 7,
        &["page begins with entry 7, but entry 6 comes next (page 3)"],
    ),
    (
        "an inner page lies about a position",
        |s| s.pages[2].described_position += 1,
        &["leaf page contradicts the page above it (page 3)"],
    ),
    (
        "positions have a gap",
        |s| {
            s.pages[2].position += 1;
            s.pages[2].described_position += 1;
        },
        &[
            "contents of a page do not begin where",
            "a/d/e: index: contents lie outside the volumes",
        ],
    ),
    (
        "a separator is too large",
        |s| s.pages[2].separator = separator("a/e", ""),
        &["separators lead past this page (page 3)"],
    ),
    (
        "a separator is too small",
        |s| s.pages[2].separator = separator("a", "x"),
        &["separators lead past this page (page 3)"],
    ),
    (
        "separators are not in order",
        |s| s.pages[1].separator = separator("b", ""),
        &[
            "separators of an inner page are not in order (page 4)",
            "separators lead past",
        ],
    ),
    (
        "a file has more names than its links",
        |s| {
            s.pages[0].rows[3].entry.links = 1;
            s.pages[2].rows[1].entry.links = 1;
        },
        &["link counts of hard-linked files"],
    ),
    (
        "a hard link differs from its first name",
        |s| s.pages[2].rows[1].entry.mtime.seconds = 1,
        &["b/h: index: hard link differs from the first name of inode 4"],
    ),
    (
        "contents lie outside the volume",
        |s| s.pages[2].rows[0].entry.place = Some(1 << 40),
        &[
            "a/d/e: index: contents lie outside the volumes",
            "volumes do not end with",
        ],
    ),
    (
        "the header miscounts",
        |s| {
            s.header.files -= 1;
            s.header.others += 1;
        },
        &["header's counts are not those of the entries"],
    ),
    (
        "the header has other bytes",
        |s| s.header.data_bytes += 1,
        &["header's counts are not those of the entries"],
    ),
    (
        "the header has one blob too many",
        |s| s.blob_rows = 2,
        &["section has 1 blobs, the header says 2"],
    ),
    (
        "a blob is damaged",
        |s| *s.blobs.last_mut().unwrap() ^= 1,
        &[
            "blob checksum",
            "c: index: blob checksum",
            "b/h: index: blob checksum",
        ],
    ),
    (
        "contents are damaged",
        |s| s.contents[14] ^= 1,
        &["a/x: volume 0: contents do not match their checksum (offset 4110)"],
    ),
    (
        "a leaf page is damaged",
        |s| {
            s.damage = |index, _| index[2 * PAGE_SIZE + 100] ^= 1;
        },
        &[
            "a/: index: page checksum does not match (page 2)",
            "copy of the index differs",
        ],
    ),
    (
        "the inner page is damaged",
        |s| {
            s.damage = |index, _| index[4 * PAGE_SIZE + 100] ^= 1;
        },
        &[
            "page checksum does not match (page 4)",
            "copy of the index differs",
        ],
    ),
    (
        "the header is damaged",
        |s| {
            s.damage = |index, _| index[100] ^= 1;
        },
        &["header and footer differ", "copy of the index differs"],
    ),
    (
        "the footer is damaged",
        |s| {
            s.damage = |index, _| *index.last_mut().unwrap() ^= 1;
        },
        &["header and footer differ", "copy of the index differs"],
    ),
    (
        "padding of a section is not zero",
        |s| {
            s.damage = |index, _| index[5 * PAGE_SIZE + 4000] = 1;
        },
        &[
            "padding is not zero (offset 24480)",
            "copy of the index differs",
        ],
    ),
    (
        "padding of the volume is not zero",
        |s| {
            s.damage = |_, volume| volume[2 * PAGE_SIZE - 1] = 1;
        },
        &["volume 0: padding is not zero (offset 8191)"],
    ),
    (
        "the copy of the index is damaged",
        |s| {
            s.damage = |_, volume| volume[3 * PAGE_SIZE + 7] ^= 1;
        },
        &["volume 0: copy of the index differs from the index here (page 1, offset 12288)"],
    ),
];

#[test]
fn every_kind_of_fault_is_reported() {
    let mut missing = Vec::new();
    for (story, change, expected) in CASES {
        let mut sketch = sound();
        change(&mut sketch);
        let (_, faults) = sketch.verify(false);
        for part in *expected {
            if !faults.iter().any(|fault| fault.contains(part)) {
                missing.push(format!("{story}: {part:?} is not among {faults:#?}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
