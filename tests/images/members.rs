//! A small image with frames that files share: of two codecs among each other, of a frame that lies in another place, by
//! later names and by files with holes, beside files with extents of their own.

use super::Parts;
use super::handmade::{Entry, Handmade};
use dgfs::format::PAGE_BYTES;
use dgfs::format::checksum::crc;
use dgfs::format::codec::{Codec, Note, Section};
use dgfs::format::frame::ContentEncoder;
use dgfs::format::holes::HoleMap;
use dgfs::format::leaf::NewMember;
use dgfs::format::member::Member;
use zstd_safe::CDict;

/// What the files of the second codec share.
const SHARED: &[u8] = b"{\"kind\": \"record\", \"comment\": \"what all of them have in common\", ";

/// Appends the frame of `parts`, one behind the other; returns where each of them is in it.
pub(crate) fn store(
    parts: &[&[u8]],
    dictionary: Option<&CDict<'static>>,
    contents: &mut Vec<u8>,
) -> Vec<NewMember> {
    let data = parts.concat();
    let mut encoder = ContentEncoder::new(9).unwrap();
    let frame = encoder.encode(&data, dictionary).unwrap();
    assert!(frame.len() < data.len());
    let position = PAGE_BYTES + contents.len() as u64;
    contents.extend_from_slice(frame);
    contents.extend_from_slice(&crc(frame).to_le_bytes());
    let mut offset = 0;
    let member = |part: &&[u8]| {
        let member = Member {
            data: data.len() as u32,
            offset,
        };
        offset += part.len() as u32;
        NewMember {
            member,
            position,
            stored: frame.len() as u64 + 4,
            in_order: true,
        }
    };
    parts.iter().map(member).collect()
}

/// A file in a shared frame.
fn member(name: &[u8], data: &[u8], codec: u64, member: NewMember) -> Entry {
    Entry {
        codec,
        member: Some(member),
        ..Entry::file(name, data.len() as u64)
    }
}

/// The same, apart from the order of the frame.
fn apart(entry: Entry) -> Entry {
    let member = entry.member.map(|member| NewMember {
        in_order: false,
        ..member
    });
    Entry {
        place: member.map(|member| member.position),
        member,
        ..entry
    }
}

/// An image of one file, which is said to be `length` bytes from `offset` on of `frame`, which is said to decode to `data`
/// bytes.
pub(crate) fn one_member((data, offset, length): (u32, u32, u64), frame: &[u8]) -> Handmade {
    let contents = [frame, &crc(frame).to_le_bytes()].concat();
    let entry = Entry {
        place: (offset > 0).then_some(PAGE_BYTES),
        member: Some(NewMember {
            member: Member { data, offset },
            position: PAGE_BYTES,
            stored: frame.len() as u64 + 4,
            in_order: true,
        }),
        ..Entry::file(b"member", length)
    };
    let mut image = Handmade::new(vec![entry], contents);
    image.sections = Section::of_codecs(&[Codec::default()], Vec::new(), &[Note::default()]);
    image
}

/// The image.
pub(crate) fn members() -> Parts {
    let dictionary = SHARED.repeat(3);
    let prepared = CDict::create(&dictionary, 9);
    let records: Vec<Vec<u8>> = (0..4)
        .map(|number| [SHARED, format!("\"value\": {}}}\n", number * 77).as_bytes()].concat())
        .collect();
    let texts: Vec<Vec<u8>> = (2..6usize)
        .map(|count| {
            format!("a text of {count} lines, and one of them\n")
                .repeat(count)
                .into_bytes()
        })
        .collect();
    let mut contents = Vec::new();
    let early = store(&[&texts[2], &texts[3]], None, &mut contents);
    let first = PAGE_BYTES + contents.len() as u64;
    let records_refs: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let a = store(&records_refs, Some(&prepared), &mut contents);
    let b = store(&[&texts[0], &texts[1]], None, &mut contents);
    let single = b"alone";
    contents.extend_from_slice(single);
    contents.extend_from_slice(&crc(single).to_le_bytes());
    let mut map = HoleMap::empty(9_000);
    map.push(3_000, texts[1].len() as u64);

    let linked = Entry {
        links: 2,
        ..member(b"c", &texts[1], 0, b[1])
    };
    let entries = vec![
        member(b"a", &records[0], 1, a[0]),
        member(b"a of another codec", &texts[0], 0, b[0]),
        member(b"b", &records[1], 1, a[1]),
        Entry::file(b"b, empty", 0),
        Entry::file(b"b, single", single.len() as u64),
        linked.clone(),
        member(b"d", &records[2], 1, a[2]),
        apart(member(b"d, as b", &records[1], 1, a[1])),
        member(b"e", &records[3], 1, a[3]),
        Entry {
            place: Some(early[0].position),
            ..member(b"f", &texts[2], 0, early[0])
        },
        member(b"g", &texts[3], 0, early[1]),
        Entry {
            name: b"h, as c".to_vec(),
            primary: 6,
            ..apart(linked.clone())
        },
        Entry {
            name: b"i, as c with holes".to_vec(),
            links: 1,
            size: 9_000,
            hole_bytes: 9_000 - texts[1].len() as u64,
            hole_map: 0,
            ..apart(linked)
        },
    ];
    let mut image = Handmade::new(entries, contents);
    image.pages[0].position = first;
    image.dictionary(&dictionary, b".json");
    image.blob(&map.encode());
    image.write()
}
