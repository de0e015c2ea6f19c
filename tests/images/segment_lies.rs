//! Lies about segments of leaf pages and about what their frames refer to, and images that are odd in these but true.

use super::handmade::{Entry, Handmade};
use super::lies::{Case, file, named};
use super::segments::{SegmentBytes, change, make_sole};
use dgfs::format::PAGE_BYTES;
use dgfs::format::checksum::crc;
use dgfs::format::header::FEATURE_SEGMENTS;
use dgfs::format::page_dictionaries::DictionaryBytes;
use std::fmt::Write as _;

/// Message for a separator that does not separate.
const SEPARATOR: &[&str] = &["separator"];

/// A directory in two segments of one page.
pub(crate) fn two_segments() -> Handmade {
    let mut image = named(&[b"a", b"b", b"m", b"n"]);
    image.split(3, b"c");
    image
}

/// The same with something changed in the page.
fn changed(change_page: fn(u64, &mut [u8; 4096])) -> Handmade {
    let mut image = two_segments();
    image.change_page = change_page;
    image
}

/// Three segments: the second begins a run, and the third is inside of it.
pub(crate) fn with_directory() -> Handmade {
    let directory = Entry::directory(b"d", 2, 3, 0, 0);
    let entries = vec![
        directory,
        file(b"a").first_of(b"d", 1),
        file(b"b"),
        file(b"m"),
    ];
    let mut image = Handmade::new(entries, Vec::new());
    image.split(2, b"");
    image.split(4, b"c");
    image
}

/// Two files of 5 bytes in two segments, the second of which begins at the position of its contents.
pub(crate) fn two_files() -> Handmade {
    let mut contents = b"12345".to_vec();
    contents.extend_from_slice(&crc(b"12345").to_le_bytes());
    let both = contents.repeat(2);
    let mut image = Handmade::new(vec![Entry::file(b"a", 5), Entry::file(b"b", 5)], both);
    image.split(2, b"b");
    image.pages[0].further[0].position = PAGE_BYTES + 9;
    image
}

/// Names that one page has no room for unless frames refer to a dictionary with all of them.
pub(crate) fn with_dictionaries() -> Handmade {
    let names: Vec<String> = (0..90u64).map(long_name).collect();
    let mut sorted: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    sorted.sort_unstable();
    let mut image = named(&sorted);
    image.refer_to(DictionaryBytes {
        names: sorted.concat(),
        control: (0..=255).collect(),
    });
    image
}

/// A name of 120 digits that no compressor makes less of than half of it.
fn long_name(number: u64) -> String {
    let mut state = number + 1;
    let mut digits = String::new();
    while digits.len() < 120 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        write!(digits, "{:08x}", state >> 32).unwrap();
    }
    digits
}

/// The same with another section of dictionaries, whose checksum in the section table is right.
fn other_section(change: impl FnOnce(&mut Vec<u8>)) -> Handmade {
    let mut image = with_dictionaries();
    change(&mut image.sections[0].bytes);
    image
}

/// The same with two sections of dictionaries, the second of which is a copy of the first.
pub(crate) fn with_copies() -> Handmade {
    let mut image = with_dictionaries();
    let copy = image.sections[0].clone();
    image.sections.push(copy);
    image
}

/// The same with one of these damaged behind a right checksum in the section table.
pub(crate) fn with_damaged_copy(number: usize) -> Handmade {
    let mut image = with_copies();
    image.sections[number].bytes[40] ^= 1;
    image
}

/// Changes a number of the section, and makes its own checksum right.
fn other_number(at: usize, value: u32) -> Handmade {
    other_section(|bytes| {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(bytes);
    })
}

fn seal(bytes: &mut [u8]) {
    let sum = crc(&bytes[12..]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// A number of the second segment is another one.
fn second(segments: &mut [SegmentBytes]) -> &mut SegmentBytes {
    &mut segments[1]
}

/// As of version 1.4: a page that is one segment.
pub(crate) fn sole() -> Handmade {
    let mut image = named(&[b"a", b"b", b"m", b"n"]);
    image.change_page = |_, page| make_sole(page);
    image.change_header = |header| header.features_required &= !FEATURE_SEGMENTS;
    image
}

pub(crate) const CASES: &[Case] = &[
    (
        "segments of no feature",
        || {
            let mut image = two_segments();
            image.change_header = |header| header.features_required &= !FEATURE_SEGMENTS;
            image
        },
        &["segments in an image that says it has none"],
    ),
    (
        "17 segments",
        || changed(|_, page| page[5] = 17),
        &["leaf page has too many segments"],
    ),
    (
        "255 segments",
        || changed(|_, page| page[5] = 255),
        &["leaf page has too many segments"],
    ),
    (
        "more segments than there are",
        || changed(|_, page| page[5] = 3),
        &["leaf page has an impossible"],
    ),
    (
        "fewer segments than there are",
        || changed(|_, page| page[5] = 1),
        &["segments have fewer entries than the leaf page"],
    ),
    (
        "more entries than those of the segments",
        || changed(|_, page| page[6] += 1),
        &["segments have fewer entries than the leaf page"],
    ),
    (
        "fewer entries than those of the segments",
        || changed(|_, page| page[6] -= 1),
        &["leaf page has an impossible segment"],
    ),
    (
        "a segment of 2^64 - 1 entries",
        || changed(|_, page| change(page, |all| second(all).entries = u64::MAX)),
        &["leaf page has an impossible segment"],
    ),
    (
        "a segment of no entries",
        || {
            changed(|_, page| {
                change(page, |all| {
                    all.insert(1, SegmentBytes::default());
                });
                page[5] = 3;
            })
        },
        &["leaf page has an impossible number of entries"],
    ),
    (
        "a segment of no runs",
        || changed(|_, page| change(page, |all| second(all).runs = 0)),
        &["leaf page has an impossible number of entries"],
    ),
    (
        "a segment of more runs than entries",
        || changed(|_, page| change(page, |all| second(all).runs = 3)),
        &["leaf page has an impossible segment"],
    ),
    (
        "a names frame longer than the page",
        || changed(|_, page| change(page, |all| second(all).names = 4090)),
        &["longer than the leaf page"],
    ),
    (
        "a names frame of 2^64 - 1 bytes",
        || changed(|_, page| change(page, |all| second(all).names = u64::MAX)),
        &["leaf page has an impossible segment"],
    ),
    (
        "a control frame longer than the page",
        || changed(|_, page| change(page, |all| second(all).control = 4090)),
        &["longer than the leaf page"],
    ),
    (
        "a control frame of 2^63 bytes",
        || changed(|_, page| change(page, |all| second(all).control = 1 << 63)),
        &["leaf page has an impossible segment"],
    ),
    (
        "a bit area longer than the page",
        || changed(|_, page| change(page, |all| second(all).area = 4090)),
        &["longer than the leaf page"],
    ),
    (
        "a bit area of 2^64 - 1 bytes",
        || changed(|_, page| change(page, |all| second(all).area = u64::MAX)),
        &["leaf page has an impossible segment"],
    ),
    (
        "a bit area with a byte that nothing accounts for",
        || {
            changed(|_, page| {
                change(page, |all| {
                    second(all).area += 1;
                    second(all).bytes.push(0);
                });
            })
        },
        &["bit area"],
    ),
    (
        "a column of a later version in a segment",
        || changed(|_, page| change(page, |all| second(all).present |= 1 << 20)),
        &["leaf page has columns of a later version"],
    ),
    (
        "columns of 33 bits",
        || changed(|_, page| change(page, |all| second(all).present |= 1 << 32)),
        &["leaf page has columns of a later version"],
    ),
    (
        "a number that is not in its shortest form",
        || {
            changed(|_, page| {
                page[4000] = 0;
                page.copy_within(25..4000, 26);
                page[24] |= 0x80;
                page[25] = 0;
            })
        },
        &["varint is longer than need be"],
    ),
    (
        "bytes behind the last segment",
        || changed(|_, page| page[4095] = 1),
        &["leaf page goes on behind its last segment"],
    ),
    (
        "a first segment that begins elsewhere than its page",
        || changed(|_, page| change(page, |all| all[0].step = 9)),
        &["position"],
    ),
    (
        "a segment that begins behind all positions",
        || changed(|_, page| change(page, |all| second(all).step = 1 << 63)),
        &["leaf page has an impossible ordinal or position"],
    ),
    (
        "a segment whose position is more than a number holds",
        || changed(|_, page| change(page, |all| second(all).step = u64::MAX)),
        &["leaf page has an impossible ordinal or position"],
    ),
    (
        "a segment that begins behind the contents of the one before",
        || {
            let mut image = two_files();
            image.pages[0].further[0].position += 9;
            image.contents.extend_from_slice(&[0; 9]);
            image
        },
        &["begin"],
    ),
    (
        "a segment that begins before the contents of the one before end",
        || {
            let mut image = two_files();
            image.pages[0].further[0].position -= 9;
            image
        },
        &["begin"],
    ),
    (
        "a separator of 256 bytes",
        || changed(|_, page| change(page, |all| second(all).separate(&[b'c'; 256]))),
        &["separator of a segment is too long"],
    ),
    (
        "a separator of 2^64 - 1 bytes",
        || changed(|_, page| change(page, |all| second(all).length = u64::MAX)),
        &["separator of a segment is too long"],
    ),
    (
        "a separator that the page ends in",
        || {
            changed(|_, page| {
                change(page, |all| {
                    let used: usize = all.iter().map(SegmentBytes::size).sum();
                    // The third of three segments, of one entry and one run.
                    let mut last = SegmentBytes {
                        entries: 1,
                        runs: 1,
                        ..SegmentBytes::default()
                    };
                    second(all).area += (4096 - 24 - used - 20) as u64;
                    let area = second(all).area as usize;
                    let frames = (second(all).names + second(all).control) as usize;
                    second(all).bytes.resize(frames + area, 0);
                    last.length = 255;
                    all.push(last);
                });
                page[5] = 3;
                page[6] += 1;
            })
        },
        &["bytes end early"],
    ),
    (
        "no separator inside of a run",
        || changed(|_, page| change(page, |all| second(all).separate(b""))),
        SEPARATOR,
    ),
    (
        "a separator that is the last name before",
        || changed(|_, page| change(page, |all| second(all).separate(b"b"))),
        SEPARATOR,
    ),
    (
        "a separator behind the first name",
        || changed(|_, page| change(page, |all| second(all).separate(b"m\x01"))),
        SEPARATOR,
    ),
    (
        "a separator before all names",
        || changed(|_, page| change(page, |all| second(all).separate(b"\x01"))),
        SEPARATOR,
    ),
    (
        "a separator in the first segment",
        || changed(|_, page| change(page, |all| all[0].separate(b"a"))),
        SEPARATOR,
    ),
    (
        "a separator where a run begins",
        || {
            let mut image = with_directory();
            image.change_page = |_, page| change(page, |all| second(all).separate(b"a"));
            image
        },
        SEPARATOR,
    ),
    (
        "a page of version 1.4 with a byte that must be zero",
        || {
            let mut image = sole();
            image.change_page = |_, page| {
                make_sole(page);
                page[34] = 1;
            };
            image
        },
        &["leaf page has columns of a later version"],
    ),
    (
        "a page of version 1.4 with bytes behind its bits",
        || {
            let mut image = sole();
            image.change_page = |_, page| {
                make_sole(page);
                page[4095] = 1;
            };
            image
        },
        &["bytes that must be zero are not"],
    ),
    (
        "a page of version 1.4 with frames longer than it",
        || {
            let mut image = sole();
            image.change_page = |_, page| {
                make_sole(page);
                page[30..32].fill(0xff);
            };
            image
        },
        &["frames are longer than the leaf page"],
    ),
    (
        "frames that refer to dictionaries which are not there",
        || {
            let mut image = with_dictionaries();
            image.sections.clear();
            image
        },
        &["frame does not decode"],
    ),
    (
        "page dictionaries that do not match their checksum in the section table",
        || {
            let mut image = with_dictionaries();
            image.change_header = |header| header.sections[3].crc ^= 1;
            image
        },
        &["section checksum does not match"],
    ),
    (
        "page dictionaries that do not match their own checksum",
        || other_section(|bytes| bytes[40] ^= 1),
        &["dictionaries of leaf pages do not match their checksum"],
    ),
    (
        "page dictionaries without their magic number",
        || {
            other_section(|bytes| {
                bytes[0] ^= 1;
                seal(bytes);
            })
        },
        &["dictionaries of leaf pages are none"],
    ),
    (
        "page dictionaries of no bytes",
        || other_section(Vec::clear),
        &["bytes end early"],
    ),
    (
        "page dictionaries that say that they are longer",
        || {
            other_section(|bytes| {
                bytes[12] = bytes[12].wrapping_add(1);
                seal(bytes);
            })
        },
        &["dictionaries of leaf pages"],
    ),
    (
        "page dictionaries that say that they are 4 GiB",
        || other_number(12, u32::MAX),
        &["dictionaries of leaf pages have an impossible length"],
    ),
    (
        "page dictionaries in a section of more bytes",
        || other_section(|bytes| bytes.push(0)),
        &["dictionaries of leaf pages"],
    ),
    (
        "page dictionaries with bytes behind the second",
        || {
            other_section(|bytes| {
                bytes.push(0);
                let length = bytes.len() as u32;
                bytes[12..16].copy_from_slice(&length.to_le_bytes());
                seal(bytes);
            })
        },
        &["dictionaries of leaf pages go on behind their end"],
    ),
    (
        "a section of page dictionaries that is too long",
        || other_section(|bytes| bytes.resize(200_000, 0)),
        &["section is too long"],
    ),
    (
        "page dictionaries of 2^60 bytes",
        || {
            let mut image = with_dictionaries();
            image.change_header = |header| header.sections[3].length = 1 << 60;
            image
        },
        &["a section lies outside the index"],
    ),
    (
        "three page dictionaries",
        || {
            let mut image = with_dictionaries();
            image.sections[0].rows = 3;
            image
        },
        &["dictionaries"],
    ),
    (
        "a copy of the page dictionaries that is damaged",
        || with_damaged_copy(1),
        &["dictionaries of leaf pages do not match their checksum"],
    ),
    (
        "a copy of the page dictionaries that is another",
        || {
            let mut image = with_copies();
            let mut dictionaries = image.page_dictionaries.clone();
            dictionaries.names.truncate(100);
            image.sections[1].bytes = dictionaries.encode().unwrap();
            image
        },
        &["dictionaries"],
    ),
    (
        "a page dictionary of 65,537 bytes",
        || other_number(16, (1 << 16) + 1),
        &["dictionary of leaf pages has an impossible length"],
    ),
    (
        "a page dictionary that decodes to more",
        || other_number(16, 9000),
        &["compressed contents do not decode"],
    ),
    (
        "a page dictionary that decodes to less",
        || other_number(16, 20_000),
        &["compressed contents are shorter"],
    ),
    (
        "a page dictionary that nothing stands for",
        || other_number(20, 0),
        &["dictionary of leaf pages has an impossible length"],
    ),
    (
        "a page dictionary that 4 GiB stand for",
        || other_number(28, u32::MAX),
        &["dictionary of leaf pages has an impossible length"],
    ),
    (
        "a page dictionary whose tables are none",
        || {
            let mut image = with_dictionaries();
            let dictionaries = DictionaryBytes {
                names: [&[0x37, 0xa4, 0x30, 0xec][..], &[0xff; 300]].concat(),
                control: Vec::new(),
            };
            image.sections[0].bytes = dictionaries.encode().unwrap();
            image
        },
        &["dictionary of leaf pages is none"],
    ),
];
