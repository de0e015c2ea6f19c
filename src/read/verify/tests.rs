//! Images that are sound page by page but wrong, each in one way, and what verification says of them.

use super::sketch::{Inner, Sketch, separator, sound, told};
use crate::format::PAGE_SIZE;

/// The same with two levels of inner pages: 4 above the leaf pages 1 and 2, 5 above 3, 6 above both.
fn two_levels(sketch: &mut Sketch) {
    let leaf = sketch.inner[0].children.split_off(2);
    sketch.inner.push(Inner {
        level: 1,
        children: leaf,
    });
    sketch.inner.push(Inner {
        level: 2,
        children: vec![told(4, 0, 4096, "", ""), told(5, 6, 4134, "a/", "")],
    });
    sketch.header.levels = 2;
}

#[test]
fn a_sound_image_has_no_fault() {
    for change in [|_: &mut Sketch| {}, two_levels] {
        let mut sketch = sound();
        change(&mut sketch);
        let (verified, faults) = sketch.verify(false);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!((verified.entries, verified.bytes), (8, 35));
    }
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
        |s| s.inner[0].children[2].position += 1,
        &["leaf page contradicts the page above it (page 3)"],
    ),
    (
        "positions have a gap",
        |s| {
            s.pages[2].position += 1;
            s.inner[0].children[2].position += 1;
        },
        &[
            "contents of the last file end behind the volumes",
            "a/d/e: index: contents lie outside the volumes",
        ],
    ),
    (
        "a separator is too large",
        |s| s.inner[0].children[2].separator = separator("a/e", ""),
        &["separators lead past this page (page 3)"],
    ),
    (
        "a separator is too small",
        |s| s.inner[0].children[2].separator = separator("a", "x"),
        &["separators lead past this page (page 3)"],
    ),
    (
        "separators are not in order",
        |s| s.inner[0].children[1].separator = separator("b", ""),
        &[
            "separators of an inner page are not in order (page 4)",
            "separators lead past",
        ],
    ),
    (
        "the root page lies about a position",
        |s| {
            two_levels(s);
            s.inner[2].children[1].position -= 1;
        },
        &["inner page contradicts the page above it (page 5)"],
    ),
    (
        "the root page lies about an ordinal",
        |s| {
            two_levels(s);
            s.inner[2].children[1].first_ordinal = 5;
        },
        &["inner page contradicts the page above it (page 5)"],
    ),
    (
        "a separator of the root page is too large",
        |s| {
            two_levels(s);
            s.inner[2].children[1].separator = separator("a/e", "");
        },
        &["separators lead past this page (page 3)"],
    ),
    (
        "an inner page repeats a page",
        |s| {
            two_levels(s);
            s.inner[1].children[0].page = 2;
            s.inner[1].children.push(told(3, 7, 4134, "b", ""));
        },
        &["inner page skips or repeats pages (page 5)"],
    ),
    (
        "an inner page describes too many pages",
        |s| s.inner[0].children.push(told(4, 8, 4143, "c", "")),
        &["inner page describes pages that are not there (page 4)"],
    ),
    (
        "an inner page describes too few pages",
        |s| s.inner[0].children.truncate(2),
        &["no inner page describes this page (page 3)"],
    ),
    (
        "the root page is of a low level",
        |s| {
            two_levels(s);
            s.inner[2].level = 1;
        },
        &["inner page is at the wrong level (page 6)"],
    ),
    (
        "a level is left out",
        |s| {
            two_levels(s);
            s.inner[2].level = 3;
            s.header.levels = 3;
        },
        &["inner page stands among those of another level (page 6)"],
    ),
    (
        "a directory has a child too many",
        |s| {
            s.pages[0].rows[1].entry.children = 3;
            s.pages[0].rows[1].entry.deeper = 0;
        },
        &["a: index: directory says that its last child is entry 6, but it is 5"],
    ),
    (
        "contents lie among later ones",
        |s| s.pages[1].rows[1].entry.place = Some(4112),
        &["a/x: index: contents lie among those of later files"],
    ),
    (
        "a section of a later version is damaged",
        |s| s.unknown_crc ^= 1,
        &["index: section checksum does not match (offset 32768)"],
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
        &["a/d/e: index: contents lie outside the volumes"],
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
        &["a/x: bytes 0 to 20: volume 0: contents do not match their checksum (offset 4110)"],
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
