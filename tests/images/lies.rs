//! Images that lie, each with a story.

use super::cut::put_table;
use super::every_kind::Numbers;
use super::handmade::{Entry, Handmade, Page};
use super::members::one_member;
use super::segment_lies;
use super::segments::change;
use dgfs::entry::Kind;
use dgfs::format::cut::{Cut, CutChunk, encode_block};
use dgfs::format::extent::{Chunk, TableBlock};
use dgfs::format::frame::ContentEncoder;
use dgfs::format::header::{FEATURE_COMPRESSED, FEATURE_CUT, FEATURE_MEMBERS};
use dgfs::format::inner::Separator;
use dgfs::format::{PAGE_BYTES, PAGE_SIZE};

/// A story, the image of it, and parts of messages that its reader must come to.
pub(crate) type Case = (&'static str, fn() -> Handmade, &'static [&'static str]);

pub(crate) fn file(name: &[u8]) -> Entry {
    Entry::file(name, 0)
}

/// The root with one file of 5 bytes, and what a test makes of that file.
fn one_file(change: impl FnOnce(&mut Entry)) -> Handmade {
    let mut entry = Entry::file(b"file", 5);
    change(&mut entry);
    let mut contents = b"12345".to_vec();
    contents.extend_from_slice(&dgfs::format::checksum::crc(b"12345").to_le_bytes());
    Handmade::new(vec![entry], contents)
}

pub(crate) fn named(names: &[&[u8]]) -> Handmade {
    Handmade::new(names.iter().map(|name| file(name)).collect(), Vec::new())
}

/// The root with one directory, and a file in that.
fn one_directory(change: impl FnOnce(&mut Entry, &mut Entry)) -> Handmade {
    let mut directory = Entry::directory(b"d", 2, 1, 0, 0);
    let mut child = file(b"child").first_of(b"d", 1);
    change(&mut directory, &mut child);
    Handmade::new(vec![directory, child], Vec::new())
}

/// A file with a table of `chunks` chunks of zeros, each of `1 << shift` bytes.
pub(crate) fn zeros(chunks: u64, shift: u32) -> Handmade {
    let mut table = Vec::new();
    for first in (0..chunks).step_by(510) {
        let rows = (chunks - first).min(510) as usize;
        let block = TableBlock {
            first,
            offset: 0,
            chunks: vec![Chunk { stored: 0, crc: 0 }; rows],
        };
        block.encode_into(&mut table);
    }
    let size = chunks << shift;
    let entry = Entry {
        saved: size,
        ..Entry::file(b"zeros", size)
    };
    let mut image = Handmade::new(vec![entry], table);
    image.chunk_shift = shift;
    image
}

/// The root with a file that has this blob of extended attributes.
pub(crate) fn with_xattrs(blob: &[u8]) -> Handmade {
    let mut image = one_file(|entry| entry.xattrs = Some(0));
    image.blob(blob);
    image
}

pub(crate) fn with_link(target: &[u8]) -> Handmade {
    let mut image = Handmade::new(vec![Entry::link(b"link", 0)], Vec::new());
    image.blob(target);
    image
}

/// `levels` levels of two directories each, both with the pair below as their children: 2^levels paths to the last pair.
/// Each pair lies in two pages, since one page could not say so of both.
pub(crate) fn shared(levels: u64) -> Handmade {
    let directory = |name: &[u8], level: u64| {
        let deeper = 2 * (levels - level).saturating_sub(2);
        let children = if level + 1 < levels { 2 } else { 0 };
        Entry::directory(name, 2 * level + 3, children, children, deeper)
    };
    let mut image = Handmade::new(vec![directory(b"a", 0)], Vec::new());
    image.pages[0].entries[0] = Entry::directory(b"", 1, 2, 2, 2 * (levels - 1)).first_of(b"", 0);
    let mut told = vec![(1, 0, PAGE_BYTES, Separator::default())];
    let mut path = Vec::new();
    for level in 0..levels {
        let above = (2 * level).saturating_sub(1);
        let mut entries = vec![directory(b"b", level).first_of(&path, above)];
        let separator = Separator {
            path: path.clone(),
            cut: false,
            name: b"b".to_vec(),
        };
        told.push((level + 2, 2 * level + 2, PAGE_BYTES, separator));
        if level > 0 {
            path.push(b'/');
        }
        path.push(b'a');
        if level + 1 < levels {
            entries.push(directory(b"a", level + 1).first_of(&path, 2 * level + 1));
        }
        image.pages.push(Page {
            first_ordinal: 2 * level + 2,
            position: PAGE_BYTES,
            entries,
            further: Vec::new(),
        });
    }
    image.inner.push((1, told));
    image
}

/// A root of two pages, with names that do not compress, under inner pages of `levels` levels of one child each.
pub(crate) fn tall(levels: u8) -> Handmade {
    let mut image = two_pages();
    let separator = |name: &[u8]| Separator {
        path: Vec::new(),
        cut: false,
        name: name.to_vec(),
    };
    let second = image.pages[1].entries[0].name.clone();
    let first = image.pages[1].first_ordinal;
    let told = vec![
        (1, 0, PAGE_BYTES, separator(b"")),
        (2, first, PAGE_BYTES, separator(&second)),
    ];
    image.inner.push((1, told));
    for level in 2..=levels {
        let below = u64::from(level) + 1;
        image
            .inner
            .push((level, vec![(below, 0, PAGE_BYTES, separator(b""))]));
    }
    image
}

/// A root of two leaf pages without pages above them.
fn two_pages() -> Handmade {
    let mut numbers = Numbers(7);
    let mut names: Vec<_> = (0..24).map(|_| numbers.name(250)).collect();
    names.sort();
    let mut image = Handmade::new(names.iter().map(|name| file(name)).collect(), Vec::new());
    let mut entries = image.pages[0].entries.split_off(13);
    entries[0].run = Some((Vec::new(), 0));
    image.pages.push(Page {
        first_ordinal: 13,
        position: PAGE_BYTES,
        entries,
        further: Vec::new(),
    });
    image
}

/// The frame of 600 bytes.
fn text_frame() -> Vec<u8> {
    let mut encoder = ContentEncoder::new(3).unwrap();
    encoder.encode(&[b't'; 600], None).unwrap().to_vec()
}

/// Writes a leaf page whose frame of names is `frame`.
fn put_frame(page: &mut [u8; PAGE_SIZE], frame: &[u8]) {
    change(page, |segments| {
        let segment = &mut segments[0];
        segment.names = frame.len() as u64;
        (segment.control, segment.area) = (0, 0);
        segment.bytes = frame.to_vec();
    });
}

/// A frame that decodes to 64 MiB, of run-length blocks of 128 KiB.
fn bomb() -> Vec<u8> {
    // No content size, a window of 128 KiB; then blocks of type 1.
    let mut frame = vec![0x00, 0x38];
    for block in 0..512u32 {
        let last = u32::from(block == 511);
        let header = last | 1 << 1 | (128 << 10) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'x');
    }
    frame
}

/// What the chunks of [`cut_file`] hold.
fn cut_data() -> Vec<u8> {
    (0..6000u32).map(|n| (n % 251) as u8).collect()
}

/// So many bytes of that from `at` on as a chunk.
fn cut_chunk(length: u32, at: usize) -> CutChunk {
    CutChunk {
        length,
        stored: length,
        crc: dgfs::format::checksum::crc(&cut_data()[at..at + length as usize]),
        codec: 0,
        position: PAGE_BYTES + at as u64,
    }
}

/// One file that is cut by content, and what a test makes of its chunks.
fn cut_file(change: impl FnOnce(&mut Vec<CutChunk>), span_shift: u32) -> Handmade {
    let mut contents = cut_data();
    let mut chunks = vec![
        cut_chunk(1000, 0),
        cut_chunk(2000, 1000),
        cut_chunk(3000, 3000),
    ];
    change(&mut chunks);
    let cut = put_table(&chunks, PAGE_BYTES, span_shift, &mut contents);
    let size = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let entry = Entry {
        saved: cut
            .default_stored_length(size)
            .saturating_sub(contents.len() as u64),
        cut: Some(cut),
        ..Entry::file(b"cut", size)
    };
    Handmade::new(vec![entry], contents)
}

/// All of them.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(segment_lies::CASES)
}

const CASES: &[Case] = &[
    (
        "a name with a slash",
        || named(&[b"a/b"]),
        &["name contains a slash"],
    ),
    (
        "a name that leads upwards",
        || named(&[b"../up"]),
        &["name contains a slash"],
    ),
    (
        "an absolute name",
        || named(&[b"/etc"]),
        &["name contains a slash"],
    ),
    ("the name .", || named(&[b"."]), &["name is . or .."]),
    ("the name ..", || named(&[b".."]), &["name is . or .."]),
    (
        "a name with a NUL",
        || named(&[b"a\0b", b"c"]),
        &["names stream goes on"],
    ),
    (
        "an empty name",
        || named(&[b"a", b""]),
        &["name has an impossible length"],
    ),
    (
        "a name of 256 bytes",
        || named(&[&[b'x'; 256]]),
        &["name has an impossible length"],
    ),
    (
        "one name twice",
        || named(&[b"a", b"a", b"b"]),
        &["names of a directory are not in order"],
    ),
    (
        "names backwards",
        || named(&[b"c", b"b", b"a"]),
        &["names of a directory are not in order"],
    ),
    (
        "a run of another directory's path",
        || one_directory(|_, child| child.run = Some((b"../etc".to_vec(), 1))),
        &["run path is not one that a directory can have"],
    ),
    (
        "a run of a directory that is not there",
        || one_directory(|_, child| child.run = Some((b"c".to_vec(), 1))),
        &["directory of entries is missing"],
    ),
    (
        "a run path with empty components",
        || one_directory(|_, child| child.run = Some((b"d//".to_vec(), 1))),
        &["run path is not one that a directory can have"],
    ),
    (
        "a run path that is absolute",
        || one_directory(|_, child| child.run = Some((b"/d".to_vec(), 1))),
        &["run path is not one that a directory can have"],
    ),
    (
        "a directory that is its own child",
        || one_directory(|directory, _| directory.first_child = 1),
        &["directory has impossible children"],
    ),
    (
        "a directory that holds the root",
        || one_directory(|directory, _| directory.first_child = 0),
        &["directory has impossible children"],
    ),
    (
        "a far run whose parent comes later",
        || one_directory(|_, child| child.run = Some((vec![b'd'; 1100], 3))),
        &["far run has an impossible parent"],
    ),
    (
        "a far run of a file",
        || {
            let mut image = one_directory(|_, child| child.run = Some((vec![b'd'; 1100], 1)));
            image.pages[0].entries[1].kind = Kind::File;
            image
        },
        &["not where their directory says"],
    ),
    (
        "children outside the tree",
        || one_directory(|directory, _| directory.first_child = 1 << 40),
        &["directory has children beyond the last entry"],
    ),
    (
        "more children than entries",
        || one_directory(|directory, _| directory.children = 1 << 60),
        &["directory has children beyond the last entry"],
    ),
    (
        "a number of children near 2^64",
        || one_directory(|directory, _| directory.children = u64::MAX),
        &["directory has impossible children"],
    ),
    (
        "descendants near 2^64",
        || {
            one_directory(|directory, _| {
                directory.subdirectories = 1;
                directory.deeper = u64::MAX - 1;
            })
        },
        &["directory has impossible children"],
    ),
    (
        "two directories with the same children",
        || {
            let first = Entry::directory(b"a", 3, 1, 0, 0);
            let second = Entry::directory(b"b", 3, 1, 0, 0).first_of(b"", 0);
            let child = file(b"child").first_of(b"a", 1);
            let mut image = Handmade::new(vec![first], Vec::new());
            image.pages[0].entries[0] = Entry::directory(b"", 1, 2, 2, 1).first_of(b"", 0);
            image.pages.push(Page {
                first_ordinal: 2,
                position: PAGE_BYTES,
                entries: vec![second, child],
                further: Vec::new(),
            });
            image.inner = tall(1).inner;
            image.inner[0].1[1].1 = 2;
            image.inner[0].1[1].3.name = b"b".to_vec();
            image
        },
        &["3 directories have children, but 2"],
    ),
    (
        "directories that share their children, and those theirs",
        || shared(20),
        &[
            "children are those of another directory",
            "directories have children, but",
        ],
    ),
    (
        "contents before the first",
        || one_file(|entry| entry.place = Some(100)),
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "contents that begin in the header",
        || one_file(|entry| entry.place = Some(4090)),
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "contents that end outside the volume",
        || one_file(|entry| entry.place = Some(4097)),
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "contents far outside the volume",
        || one_file(|entry| entry.place = Some(1 << 60)),
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "contents at the end of all positions",
        || one_file(|entry| entry.place = Some(u64::MAX - 9)),
        &["file has an impossible extent"],
    ),
    (
        "a size of 2^63",
        || one_file(|entry| entry.size = 1 << 63),
        &["file has an impossible size"],
    ),
    (
        "a size of 2^64 - 1",
        || one_file(|entry| entry.size = u64::MAX),
        &["file has an impossible size"],
    ),
    (
        "a size of 2^63 - 1",
        || one_file(|entry| entry.size = (1 << 63) - 1),
        &["file has an impossible extent"],
    ),
    (
        "a huge size with everything saved",
        || {
            one_file(|entry| {
                entry.size = 1 << 62;
                entry.saved = u64::MAX;
            })
        },
        &["file has an impossible extent"],
    ),
    (
        "a table larger than the volume",
        || {
            one_file(|entry| {
                entry.size = 1 << 50;
                entry.saved = 1 << 50;
            })
        },
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "a small file that saves bytes",
        || one_file(|entry| entry.saved = 3),
        &["file has an impossible stored length"],
    ),
    (
        "two files of different sizes in one place",
        || {
            let mut image = zeros(2, 12);
            // The table of five chunks takes 24 bytes more.
            image.contents.extend_from_slice(&[0; 24]);
            let longer = Entry {
                place: Some(PAGE_BYTES),
                saved: 5 << 12,
                ..Entry::file(b"zeros, more", 5 << 12)
            };
            image.pages[0].entries.push(longer);
            image.pages[0].entries[0].children = 2;
            image
        },
        &["chunk table checksum does not match"],
    ),
    (
        "a table of chunks larger than the volume",
        || one_file(|entry| entry.cut = Cut::new(62, 203)),
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "chunks of no feature",
        || {
            let mut image = cut_file(|_| {}, 12);
            image.change_header = |header| header.features_required &= !FEATURE_CUT;
            image
        },
        &["says it has none of these"],
    ),
    (
        "a chunk outside the volumes",
        || cut_file(|chunks| chunks[1].position = 1 << 50, 12),
        &["lies outside the volumes"],
    ),
    (
        "a chunk at the end of all positions",
        || cut_file(|chunks| chunks[1].position = u64::MAX - 9, 12),
        &["chunk lies beyond all positions"],
    ),
    (
        "a chunk in the header of the volume",
        || cut_file(|chunks| chunks[1].position = 4000, 12),
        &["lies outside the volumes"],
    ),
    (
        "a chunk that begins within another",
        || cut_file(|chunks| chunks[1].position += 5, 12),
        &["contents do not match their checksum"],
    ),
    (
        "a chunk that is the table",
        || cut_file(|chunks| chunks[1].position = PAGE_BYTES + 6000, 12),
        &["contents do not match their checksum"],
    ),
    (
        "a chunk longer than any",
        || cut_file(|chunks| *chunks = vec![CutChunk::zeros(1 << 24)], 62),
        &["chunk has an impossible length"],
    ),
    (
        "a chunk that is longer as stored",
        || cut_file(|chunks| chunks[1].stored += 1, 12),
        &["chunk has an impossible length"],
    ),
    (
        "a frame in an image without frames",
        || cut_file(|chunks| chunks[1].stored -= 1, 12),
        &["chunk has an impossible length"],
    ),
    (
        "chunks in another order than they say",
        || cut_file(|chunks| chunks.swap(0, 1), 12),
        &["chunk table does not agree with the extent"],
    ),
    (
        "a table with fewer chunks than its own bytes",
        || cut_file(|chunks| chunks[2] = CutChunk::zeros(3000), 12),
        &["chunk table does not agree with the extent"],
    ),
    (
        "blocks of a table that contradict each other",
        || {
            // The second block, too, begins with a chunk across the border, but with another one.
            let mut image = cut_file(|_| {}, 12);
            let table = image.contents.len() - 4096 - 24 - 20;
            let rows = [cut_chunk(2999, 3001)];
            let mut block = Vec::new();
            encode_block(1, 3001, 3001, &rows, true, &mut block);
            image.contents[table + 4096..].copy_from_slice(&block);
            image
        },
        &["out of step"],
    ),
    (
        "a bomb in a page",
        || {
            let mut image = named(&[b"a"]);
            image.change_page = |_, page| put_frame(page, &bomb());
            image
        },
        &["frame does not decode"],
    ),
    (
        "a frame with a window of 3.75 TiB",
        || {
            let mut image = named(&[b"a"]);
            // A raw block of no bytes behind the largest window that the format of frames can say.
            image.change_page = |_, page| put_frame(page, &[0x00, 0xff, 0x01, 0x00, 0x00]);
            image
        },
        &["(page 1)"],
    ),
    (
        "a frame that claims 2^63 bytes",
        || {
            let mut image = named(&[b"a"]);
            image.change_page = |_, page| {
                put_frame(page, &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x01, 0x00, 0x00]);
            };
            image
        },
        &["frame does not decode"],
    ),
    (
        "a page of 65,535 entries",
        || {
            let mut image = named(&[b"a"]);
            image.change_page = |_, page| page[6..8].fill(0xff);
            image
        },
        &["leaf page has an impossible number of entries"],
    ),
    (
        "a shared frame of no feature",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.change_header = |header| header.features_required &= !FEATURE_MEMBERS;
            image
        },
        &["shares a frame in an image that says it has none"],
    ),
    (
        "a shared frame in an image that is not compressed",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.change_header = |header| header.features_required &= !FEATURE_COMPRESSED;
            image
        },
        &["contents are of codec 0, which is not there"],
    ),
    (
        "a member of a frame of 65,537 bytes",
        || one_member((65_537, 0, 600), &text_frame()),
        &["file has an impossible extent"],
    ),
    (
        "a shared frame of 4097 bytes",
        || one_member((60_000, 0, 600), &[0; 4093]),
        &["file has an impossible extent"],
    ),
    (
        "a shared frame that is no shorter than its data",
        || one_member((9, 0, 9), &[0; 9]),
        &["file has an impossible extent"],
    ),
    (
        "a member behind the end of its frame",
        || one_member((600, 1, 600), &text_frame()),
        &["file has an impossible extent"],
    ),
    (
        "a member at the end of all offsets",
        || one_member((600, u32::MAX, 1), &text_frame()),
        &["file has an impossible extent"],
    ),
    (
        "a member of more than a chunk",
        || one_member((6000, 0, 5000), &text_frame()),
        &["file has an impossible extent"],
    ),
    (
        "a member without data",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.pages[0].entries[1].hole_bytes = 600;
            image
        },
        &["file has an impossible extent"],
    ),
    (
        "a member that is shortened besides",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.pages[0].entries[1].saved = 1;
            image
        },
        &["file has an impossible extent"],
    ),
    (
        "a member that is cut by content besides",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.pages[0].entries[1].cut = Cut::new(12, 1);
            image
        },
        &["file has an impossible extent"],
    ),
    (
        "a shared frame that decodes to less",
        || one_member((700, 0, 600), &text_frame()),
        &["compressed contents are shorter than the file"],
    ),
    (
        "a shared frame that decodes to more",
        || one_member((599, 0, 599), &text_frame()),
        &["compressed contents do not decode"],
    ),
    (
        "a shared frame outside of the volumes",
        || {
            let mut image = one_member((600, 0, 600), &text_frame());
            image.pages[0].entries[1].place = Some(1 << 50);
            image
        },
        &[
            "lies outside the volumes",
            "contents lie outside the volumes",
        ],
    ),
    (
        "2^60 entries in the header",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| {
                header.entries += 1 << 60;
                header.files += 1 << 60;
            };
            image
        },
        &["index ends before its last entry"],
    ),
    (
        "2^60 entries, all of them children of the root",
        || {
            let mut image = named(&[b"a"]);
            image.pages[0].entries[0].children = 1 << 60;
            image.change_header = |header| {
                header.entries = (1 << 60) + 1;
                header.files = 1 << 60;
            };
            image
        },
        &[
            "page number is not that of a leaf page",
            "index ends before its last entry",
        ],
    ),
    (
        "an inner page that is its own child",
        || {
            let mut image = tall(1);
            image.inner[0].1[0].0 = 3;
            image
        },
        &["page number is not that of a leaf page"],
    ),
    (
        "a root page that is its own child",
        || {
            let mut image = tall(2);
            image.inner[1].1[0].0 = 4;
            image
        },
        &["inner page contradicts the page above it"],
    ),
    (
        "a page that is described twice",
        || {
            let mut image = tall(1);
            image.inner[0].1.push((
                3,
                25,
                PAGE_BYTES,
                Separator {
                    name: vec![0xff],
                    ..Separator::default()
                },
            ));
            image
        },
        &["inner page describes pages that are not there"],
    ),
    (
        "25 levels",
        || {
            let mut image = tall(24);
            image.change_header = |header| header.levels = 25;
            image
        },
        &["header has too many levels"],
    ),
    (
        "an attribute section as long as the index",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| header.sections[0].length = header.index_length;
            image
        },
        &["a section lies outside the index"],
    ),
    (
        "a section of 2^64 - 1 bytes",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| header.sections[2].length = u64::MAX;
            image
        },
        &["a section lies outside the index"],
    ),
    (
        "2^64 - 1 attributes",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| header.sections[0].rows = u64::MAX;
            image
        },
        &["attribute section has an impossible size"],
    ),
    (
        "2^64 - 1 volumes",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| header.sections[1].rows = u64::MAX;
            image
        },
        &["volume section has an impossible size"],
    ),
    (
        "two attribute sections",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| header.sections[2].kind = 1;
            image
        },
        &["no section of kind 1, or several"],
    ),
    (
        "attributes that are not there",
        || {
            let mut image = named(&[b"a"]);
            image.change_header = |header| {
                header.sections[0].rows = 1;
                header.sections[0].length = 12;
                header.sections[0].crc =
                    dgfs::format::checksum::crc(&[0xed, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            };
            image
        },
        &["entry names attributes that are not there"],
    ),
    (
        "a blob outside the section",
        || one_file(|entry| entry.xattrs = Some(1 << 40)),
        &["entry names a blob outside the blob section"],
    ),
    (
        "a blob at the end of all offsets",
        || one_file(|entry| entry.xattrs = Some(u64::MAX - 1)),
        &["entry names a blob outside the blob section"],
    ),
    (
        "a blob in the middle of another",
        || {
            let mut image = one_file(|entry| entry.xattrs = Some(5));
            image.blob(&[0; 60]);
            image
        },
        &["blob checksum does not match"],
    ),
    (
        "a blob longer than its section",
        || {
            let mut image = with_xattrs(b"");
            image.blobs[4..8].copy_from_slice(&(1u32 << 24).to_le_bytes());
            image
        },
        &["blob ends outside the blob section"],
    ),
    (
        "a blob of 4 GiB",
        || {
            let mut image = with_xattrs(b"");
            image.blobs[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
            image
        },
        &["blob is too long"],
    ),
    (
        "an ACL that the header does not tell of",
        || {
            let mut blob = b"\x01\x00\x17\x04\x00\x00\x00system.posix_acl_access".to_vec();
            blob.extend_from_slice(&[2, 0, 0, 0]);
            with_xattrs(&blob)
        },
        &["ACL in an image that says it has none"],
    ),
    (
        "no attributes in the blob",
        || with_xattrs(&[0, 0]),
        &["list of extended attributes is empty"],
    ),
    (
        "65,535 attributes of nothing",
        || with_xattrs(&[0xff, 0xff]),
        &["bytes end early"],
    ),
    (
        "an attribute of 4 GiB",
        || with_xattrs(b"\x01\x00\x06\xff\xff\xff\xffuser.a"),
        &["bytes end early"],
    ),
    (
        "an attribute without a name",
        || with_xattrs(b"\x01\x00\x00\x00\x00\x00\x00"),
        &["extended attribute has an impossible name"],
    ),
    (
        "an attribute with a NUL in its name",
        || with_xattrs(b"\x01\x00\x06\x00\x00\x00\x00user\0a"),
        &["extended attribute has an impossible name"],
    ),
    (
        "one attribute twice",
        || with_xattrs(b"\x02\x00\x06\x00\x00\x00\x00user.a\x06\x00\x00\x00\x00user.a"),
        &["extended attributes are not in order"],
    ),
    (
        "bytes behind the attributes",
        || with_xattrs(b"\x01\x00\x06\x00\x00\x00\x00user.aX"),
        &["extended attributes are followed by bytes"],
    ),
    (
        "an empty target",
        || with_link(b""),
        &["symbolic link has an impossible target"],
    ),
    (
        "a target with a NUL",
        || with_link(b"a\0b"),
        &["symbolic link has an impossible target"],
    ),
    (
        "a target of 65,536 bytes",
        || with_link(&vec![b't'; 65_536]),
        &["symbolic link has an impossible target"],
    ),
    (
        "a link to itself before the root",
        || one_file(|entry| entry.primary = 2),
        &["hard link leads before the first entry"],
    ),
    (
        "a file that is a name of the root",
        || one_file(|entry| entry.primary = 1),
        &["hard link differs from the first name"],
    ),
    (
        "2^64 - 1 names of a file",
        || one_file(|entry| entry.links = u64::MAX),
        &["link counts of hard-linked files"],
    ),
];
