use super::*;
use crate::entry::{Kind, Timestamp};
use crate::format::bytes::put_varint;
use crate::format::leaf::{LeafBuilder, LeafFrames, NewEntry, PageBuilder};
use crate::format::page_dictionaries::DictionaryBytes;

const FIRST: u64 = 1000;
const POSITION: u64 = 4096;

fn file(name: &[u8]) -> NewEntry<'_> {
    let mtime = Timestamp {
        seconds: 7,
        nanoseconds: 0,
    };
    NewEntry {
        size: 10,
        ..NewEntry::plain(name, Kind::File, mtime)
    }
}

/// A page of `parts` segments of `each` files called 000, 001 and so on, all in one directory.
fn numbered(parts: usize, each: usize) -> [u8; PAGE_SIZE] {
    let mut builder = LeafBuilder::default();
    builder.begin_run(b"d", 3);
    let mut page = PageBuilder::new(FIRST);
    let mut frames = LeafFrames::new(3, &DictionaryBytes::default()).unwrap();
    for part in 0..parts {
        let first = part * each;
        for number in first..first + each {
            builder.push(&file(format!("{number:03}").as_bytes()));
        }
        let separator = match part {
            0 => String::new(),
            _ => format!("{first:03}"),
        };
        let position = POSITION + 14 * first as u64;
        let used = builder.encode(each, position, separator.as_bytes(), &page, &mut frames);
        assert!(used.unwrap() <= page.room());
        page.add(builder.segment(), each, position);
        builder.drain(each);
    }
    page.finish()
}

#[test]
fn a_name_is_sought_in_one_segment() {
    let page = LeafPage::open(Box::new(numbered(4, 20))).unwrap();
    let all = FIRST..FIRST + 80;
    for number in 0..80 {
        let name = format!("{number:03}");
        assert_eq!(page.find_in_run(&all, name.as_bytes()), Some(number / 20));
        // A run may begin in an earlier page, and go on in a later one.
        assert_eq!(
            page.find_in_run(&(5..5000), name.as_bytes()),
            Some(number / 20)
        );
    }
    assert_eq!(page.find_in_run(&all, b"!"), Some(0));
    assert_eq!(page.find_in_run(&all, b"999"), Some(3));
    // Of a run that ends in the second segment, nothing is in those behind.
    assert_eq!(page.find_in_run(&(FIRST..FIRST + 30), b"999"), Some(1));
    assert_eq!(page.find_in_run(&(FIRST + 45..FIRST + 79), b"!"), Some(2));
    assert_eq!(page.find_in_run(&(5..FIRST), b"000"), None);
    assert_eq!(page.find_in_run(&(FIRST + 80..FIRST + 90), b"000"), None);
}

/// The page with one segment's head in front of the frames and bit area of another; `numbers` is the head.
fn with_head(page: &[u8; PAGE_SIZE], numbers: &[u64]) -> [u8; PAGE_SIZE] {
    let opened = LeafPage::open(Box::new(*page)).unwrap();
    let head = &opened.heads()[0];
    let mut bytes = page[..FIRST_SEGMENT_OFFSET].to_vec();
    for &number in numbers {
        put_varint(&mut bytes, number);
    }
    bytes.extend_from_slice(&page[head.names.start..head.area.end]);
    bytes.resize(PAGE_SIZE, 0);
    bytes.try_into().unwrap()
}

#[test]
fn heads_that_cannot_be_are_refused() {
    let page = numbered(1, 40);
    let opened = LeafPage::open(Box::new(page)).unwrap();
    let head = &opened.heads()[0];
    let [names, control, area] =
        [&head.names, &head.control, &head.area].map(|range| range.len() as u64);
    let right = [40, 1, names, control, area, 0, 0, 0];
    assert_eq!(with_head(&page, &right), page);
    for (field, value) in [
        (0, 39),
        (0, 41),
        (0, 0),
        (1, 0),
        (1, 41),
        (2, 4096),
        (2, u64::MAX),
        (3, 4096),
        (4, 4096),
        // The bytes of the area would follow the segment.
        (4, area.wrapping_sub(1)),
        (5, 1 << 20),
        (5, u64::MAX),
        // The first segment begins where the page does.
        (6, 1),
        (7, 256),
        (7, u64::MAX),
    ] {
        let mut lying = right;
        lying[field] = value;
        let lying = with_head(&page, &lying);
        assert!(
            LeafPage::open(Box::new(lying)).is_err(),
            "{value} in field {field}"
        );
    }
    let mut many = page;
    many[5] = u8::try_from(MAX_SEGMENTS).unwrap() + 1;
    assert!(LeafPage::open(Box::new(many)).is_err());
    let mut behind = page;
    behind[PAGE_SIZE - 1] = 1;
    assert!(LeafPage::open(Box::new(behind)).is_err());
}

#[test]
fn positions_of_segments_that_overflow_are_refused() {
    let page = numbered(2, 3);
    let opened = LeafPage::open(Box::new(page)).unwrap();
    assert_eq!(opened.heads()[1].position, POSITION + 42);
    let mut far = page;
    far[16..24].copy_from_slice(&((1u64 << 63) - 20).to_le_bytes());
    assert!(LeafPage::open(Box::new(far)).is_err());
}
