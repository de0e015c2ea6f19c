use super::*;
use crate::entry::{Kind, OtherTimes, Timestamp};
use crate::format::attributes::Attributes;
use crate::format::member::Member;
use crate::format::page_dictionaries::DictionaryBytes;
use crate::format::{PAGE_SIZE, Parsed, cut::Cut, extent::Shape};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

const CHUNK_SHIFT: u32 = 12;

fn table() -> Arc<[(Attributes, Kind)]> {
    [
        0o100_644, 0o040_755, 0o120_777, 0o020_600, 0o010_600, 0o060_600, 0o140_700, 0o100_755,
    ]
    .into_iter()
    .map(|mode| {
        (
            Attributes {
                mode,
                uid: 1,
                gid: 2,
            },
            Kind::from_mode(mode).unwrap(),
        )
    })
    .collect()
}

/// An entry that owns what [`NewEntry`] borrows.
#[derive(Debug, Clone)]
struct Sample {
    name: Vec<u8>,
    attribute: usize,
    size: u64,
    mtime: Timestamp,
    children: (u64, u64, u64),
    saved: bool,
    place: Option<u64>,
    links: u64,
    device: u64,
    xattrs: Option<u64>,
    target: Vec<u8>,
    holes: Holes,
    other_times: OtherTimes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    None,
    Some,
    Only,
}

impl Sample {
    fn hole_bytes(&self) -> u64 {
        match self.holes {
            Holes::None => 0,
            Holes::Some => self.size / 3,
            Holes::Only => self.size,
        }
    }
}

fn other_times(mtime: Timestamp) -> impl Strategy<Value = OtherTimes> {
    let time = || {
        prop_oneof![
            Just(mtime),
            Just(Timestamp {
                seconds: mtime.seconds,
                nanoseconds: 7
            }),
            (1 - i64::MAX.., 0u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| Timestamp {
                seconds,
                nanoseconds
            }),
        ]
    };
    (time(), time(), proptest::option::of(time())).prop_map(|(atime, ctime, btime)| OtherTimes {
        atime,
        ctime,
        btime,
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    (
        (
            0usize..8,
            prop_oneof![Just(0u64), 1u64..9000, 1u64..1 << 50],
        ),
        prop_oneof![
            Just((1_700_000_000i64, 0u32)),
            (1 - i64::MAX.., 0u32..1_000_000_000)
        ]
        .prop_flat_map(|(seconds, nanoseconds)| {
            let mtime = Timestamp {
                seconds,
                nanoseconds,
            };
            (Just(mtime), other_times(mtime))
        }),
        (0u64..50, 0u64..1000),
        (
            any::<bool>(),
            proptest::option::of(0u64..1 << 40),
            1u64..4,
            any::<u64>(),
        ),
        proptest::option::weighted(0.1, 0u64..1 << 30),
        prop_oneof![Just(Vec::new()), proptest::collection::vec(1u8.., 1..60)],
        prop_oneof![Just(Holes::None), Just(Holes::Some), Just(Holes::Only)],
    )
        .prop_map(
            |((attribute, size), times, children, more, xattrs, target, holes)| Sample {
                name: Vec::new(),
                attribute,
                size,
                mtime: times.0,
                other_times: times.1,
                holes,
                children: (
                    children.0,
                    children.0 / 3,
                    if children.0 < 3 { 0 } else { children.1 },
                ),
                saved: more.0,
                place: more.1,
                links: more.2,
                device: more.3,
                xattrs,
                target,
            },
        )
}

/// Runs of samples with ascending names.
fn tree() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<Sample>)>> {
    let name = proptest::collection::btree_set("[a-c.]{3,9}", 1..40);
    let path = prop_oneof!["[a-c]{1,5}(/[ab]{1,4}){0,3}", "[a-c]{1025,1030}"];
    let run = (path, name, proptest::collection::vec(sample(), 40));
    proptest::collection::vec(run, 1..8).prop_map(|runs| {
        runs.into_iter()
            .map(|(path, names, mut samples)| {
                samples.truncate(names.len());
                for (sample, name) in samples.iter_mut().zip(names) {
                    sample.name = name.into_bytes();
                }
                (path.into_bytes(), samples)
            })
            .collect()
    })
}

/// Entries of one run, most of them files that are alike in some ways, and an order to look at some.
fn many_files() -> impl Strategy<Value = (Vec<Sample>, Vec<proptest::sample::Index>)> {
    let sizes = prop_oneof![
        Just(vec![700]),
        Just(vec![1 << CHUNK_SHIFT]),
        Just(vec![0, 5]),
        proptest::collection::vec(0u64..3000, 300),
        proptest::collection::vec(0u64..20_000, 300),
    ];
    let bits = proptest::collection::vec(any::<u64>(), 100..400);
    let allowed = (any::<bool>(), any::<bool>(), any::<bool>(), 0u8..8);
    let order = proptest::collection::vec(any::<proptest::sample::Index>(), 30);
    (sizes, bits, allowed, order).prop_map(|(sizes, bits, (saved, place, shares, rare), order)| {
        let sample = |(index, bits): (usize, &u64)| {
            let mtime = Timestamp {
                seconds: 7,
                nanoseconds: 0,
            };
            // Which of them shares a frame follows from the upper bits, and that none is cut from the lowest.
            let number = if shares { bits >> 40 } else { (bits >> 42) * 3 };
            Sample {
                name: format!("{index:04}").into_bytes(),
                attribute: match bits % 32 {
                    0 => 1,
                    1 => 2,
                    _ => 0,
                },
                size: sizes[index % sizes.len()],
                mtime,
                children: (1 + (bits >> 9) % 32, 1, (bits >> 20) % 256),
                saved: saved && bits & 4 > 0,
                place: (place && (bits >> 3).is_multiple_of(4)).then_some(bits >> 20),
                links: 1,
                device: number << 16 | (bits >> 8 & 2) | 1,
                xattrs: None,
                target: if rare == 1 {
                    Vec::new()
                } else {
                    b"there".to_vec()
                },
                holes: if rare == 2 && bits & 64 > 0 {
                    Holes::Some
                } else {
                    Holes::None
                },
                other_times: OtherTimes {
                    atime: mtime,
                    ctime: mtime,
                    btime: Some(mtime),
                },
            }
        };
        (bits.iter().enumerate().map(sample).collect(), order)
    })
}

const FIRST: u64 = 1000;
const POSITION: u64 = 1 << 30;

fn saved_bytes(sample: &Sample) -> u64 {
    let data = sample.size - sample.hole_bytes();
    let has_table = Shape::new(data, CHUNK_SHIFT).has_table() || cut(sample).is_some();
    match data {
        0 => 0,
        data if sample.saved && has_table => data / 2,
        data if sample.saved => data - 1,
        _ => 0,
    }
}

fn codec(sample: &Sample) -> u64 {
    if sample.size > 0 {
        sample.device % 3
    } else {
        0
    }
}

fn cut(sample: &Sample) -> Option<Cut> {
    let shift = (sample.device >> 8) % 20;
    let rows = 1 + sample.device % 200;
    let wanted = sample.size > 0 && sample.device.is_multiple_of(4);
    let column = 1 + ((12 + shift) << 8) + rows;
    Cut::from_column(column * u64::from(wanted)).unwrap()
}

/// Where the contents of a sample lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lies {
    position: u64,
    stored: u64,
    saved: u64,
    cut: Option<Cut>,
    place: Option<u64>,
    member: Option<NewMember>,
    /// Whether the next implicit extent lies behind it.
    is_implicit: bool,
}

/// Finds a place for samples, one after the other: some share frames, those of one codec one behind the other.
struct Placing {
    position: u64,
    open: HashMap<u64, NewMember>,
}

impl Placing {
    fn place(&mut self, sample: &Sample) -> Lies {
        let data = sample.size - sample.hole_bytes();
        let number = sample.device >> 16;
        if data == 0 || data > 1 << CHUNK_SHIFT || number.is_multiple_of(3) {
            let (stored, saved) = (stored_length(sample), saved_bytes(sample));
            let lies = Lies {
                position: sample.place.unwrap_or(self.position),
                stored,
                saved,
                cut: cut(sample),
                place: sample.place,
                member: None,
                is_implicit: sample.place.is_none(),
            };
            if lies.is_implicit {
                self.position += stored;
            }
            return lies;
        }
        let short = u32::try_from(data).unwrap();
        let mut lies = Lies {
            position: self.position,
            stored: 5 + number % 4000,
            saved: 0,
            cut: None,
            place: None,
            member: None,
            is_implicit: false,
        };
        let mut frame = NewMember {
            member: Member {
                data: 5000 + short * 4,
                offset: 0,
            },
            position: lies.position,
            stored: lies.stored,
            in_order: true,
        };
        let codec = codec(sample);
        let before = self.open.get(&codec).filter(|before| {
            let Member { data: all, offset } = before.member;
            u64::from(offset) + data <= all.into()
        });
        if number % 3 == 1 && number % 7 == 1 {
            // That of another page.
            frame.in_order = false;
            frame.member.offset = u32::try_from(number % 5000).unwrap();
            lies.position = sample.place.unwrap_or(77);
            (frame.position, lies.place) = (lies.position, Some(lies.position));
        } else if let Some(before) = before {
            frame = *before;
            (lies.position, lies.stored) = (frame.position, frame.stored);
        } else {
            lies.place = sample.place;
            lies.is_implicit = lies.place.is_none();
            lies.position = lies.place.unwrap_or(lies.position);
            frame.position = lies.position;
            if lies.is_implicit {
                self.position += lies.stored;
            }
        }
        if frame.in_order {
            let mut next = frame;
            next.member.offset += short;
            self.open.insert(codec, next);
        }
        lies.member = Some(frame);
        lies
    }
}

/// Stored length of the extent of a sample with data.
fn stored_length(sample: &Sample) -> u64 {
    let data = sample.size - sample.hole_bytes();
    let default = match cut(sample) {
        Some(cut) => cut.default_stored_length(data),
        None => Shape::new(data, CHUNK_SHIFT).default_stored_length(),
    };
    default - saved_bytes(sample)
}

/// What a page should say of an entry.
struct Expected {
    run: usize,
    sample: Sample,
    child: u64,
    /// Where the next implicit extent before it begins.
    position: u64,
    lies: Option<Lies>,
}

fn push_all(builder: &mut LeafBuilder, tree: &[(Vec<u8>, Vec<Sample>)]) -> Vec<Expected> {
    let table = table();
    let mut flat = Vec::new();
    let mut placing = Placing {
        position: POSITION,
        open: HashMap::new(),
    };
    for (run, (path, samples)) in tree.iter().enumerate() {
        builder.begin_run(path, run as u64);
        let mut child = 1_000_000 * (run as u64 + 1);
        for sample in samples {
            let kind = table[sample.attribute].1;
            let position = placing.position;
            let lies = (kind == Kind::File && sample.size > 0).then(|| placing.place(sample));
            builder.push(&NewEntry {
                name: &sample.name,
                kind,
                attribute: sample.attribute as u64,
                mtime: sample.mtime,
                other_times: sample.other_times,
                size: sample.size,
                hole_bytes: sample.hole_bytes(),
                hole_map: sample.device >> 2,
                children: sample.children.0,
                subdirectories: sample.children.1,
                deeper: sample.children.2,
                first_child: child,
                saved: lies.map_or(0, |lies| lies.saved),
                codec: codec(sample),
                cut: lies.and_then(|lies| lies.cut),
                place: lies.and_then(|lies| lies.place),
                member: lies.and_then(|lies| lies.member),
                primary: sample.links - 1,
                links: sample.links,
                device: sample.device,
                xattrs: sample.xattrs,
                target: if sample.target.is_empty() {
                    NewTarget::Blob(sample.device >> 1)
                } else {
                    NewTarget::Inline(&sample.target)
                },
            });
            flat.push(Expected {
                run,
                sample: sample.clone(),
                child,
                position,
                lies,
            });
            if kind == Kind::Directory {
                child += sample.children.0 + sample.children.2;
            }
        }
    }
    flat
}

fn check(page: &Segment, tree: &[(Vec<u8>, Vec<Sample>)], expected: &[Expected]) {
    let mut cursor = RowCursor::new(page);
    let mut name = Vec::new();
    for (index, expected) in expected.iter().enumerate() {
        let Expected {
            run, sample, child, ..
        } = expected;
        let row = cursor.row().unwrap();
        // Entered here, the page says the same, here and one further.
        let mut entered = RowCursor::at(page, index);
        assert_eq!(entered.row(), Some(row));
        assert_eq!(page.row(index), Ok(row));
        entered.advance();
        assert_eq!(entered.read(), page.row(index + 1));
        let kind = table()[sample.attribute].1;
        assert_eq!(
            (row.kind, row.attributes.mode),
            (kind, table()[sample.attribute].0.mode)
        );
        assert_eq!(row.ordinal, page.first_ordinal + index as u64);
        assert_eq!((row.mtime, row.xattrs), (sample.mtime, sample.xattrs));
        assert_eq!(row.other_times, sample.other_times);
        page.name_into(index, &mut name);
        assert_eq!(name, sample.name);
        let in_page = page.run_of(index).unwrap();
        if tree[*run].0.len() > 1024 {
            assert_eq!(in_page.far_parent, Some(*run as u64));
            assert_eq!(page.path_of(in_page), b"");
        } else {
            assert_eq!(page.path_of(in_page), tree[*run].0);
        }
        assert_eq!(
            page.find_name(in_page.entries.clone(), &sample.name),
            Some(index)
        );
        let mut missing = sample.name.clone();
        missing.push(b'!');
        assert_eq!(page.find_name(in_page.entries.clone(), &missing), None);
        match kind {
            Kind::Directory => {
                assert_eq!(row.first_child, *child);
                assert_eq!(row.children, sample.children.0);
                assert_eq!(
                    (row.subdirectories, row.deeper),
                    (sample.children.1, sample.children.2)
                );
            }
            Kind::File if sample.size > 0 => {
                let data = sample.size - sample.hole_bytes();
                assert_eq!(row.hole_bytes, sample.hole_bytes());
                let mapped = data > 0 && data < sample.size;
                assert_eq!(row.hole_map, mapped.then_some(sample.device >> 2));
                let lies = expected.lies.unwrap();
                assert_eq!((row.size, row.stored), (sample.size, lies.stored));
                assert_eq!((row.codec, row.cut), (codec(sample), lies.cut));
                assert_eq!(row.position, lies.position, "{lies:?}");
                assert_eq!(row.member, lies.member.map(|frame| frame.member));
                // Behind a border of pages no frame is implicit that began before it.
                assert_eq!(row.is_implicit, lies.is_implicit);
            }
            Kind::Symlink if sample.target.is_empty() => {
                assert_eq!(row.target, Target::Blob(sample.device >> 1));
            }
            Kind::Symlink => assert_eq!(row.target, Target::Inline(&sample.target)),
            Kind::CharDevice | Kind::BlockDevice => assert_eq!(row.device, sample.device),
            _ => {}
        }
        if kind != Kind::Directory {
            assert_eq!((row.primary, row.links), (sample.links - 1, sample.links));
        }
        cursor.advance();
    }
    assert!(cursor.row().is_none());
}

/// Adds the longest prefix of at most `wish` entries that fits to `page` as a segment; gives how many that were, if any.
fn add_segment(
    builder: &mut LeafBuilder,
    page: &mut PageBuilder,
    wish: usize,
    position: u64,
) -> Option<usize> {
    let mut frames = LeafFrames::new(3, &dictionaries()).unwrap();
    let mut count = wish.min(builder.len());
    while count > 0 {
        let used = builder.encode(count, position, SEPARATOR, page, &mut frames);
        if used.unwrap() <= page.room() {
            page.add(builder.segment(), count, position);
            return Some(count);
        }
        count = count * 3 / 4;
    }
    None
}

/// Encodes the longest prefix of at most `wish` entries that fits as a page of one segment.
fn encode_some(
    builder: &mut LeafBuilder,
    wish: usize,
    first: u64,
    position: u64,
) -> (usize, [u8; PAGE_SIZE]) {
    let mut page = PageBuilder::new(first);
    let count = add_segment(builder, &mut page, wish, position);
    (count.expect("a single entry always fits"), page.finish())
}

/// What pages do not look into.
const SEPARATOR: &[u8] = b"between";

fn dictionaries() -> DictionaryBytes {
    DictionaryBytes {
        names: b"a/b\0a\0b\0ab\0ba\0".to_vec(),
        control: vec![0, 1, 0, 2, 1, 1, 0, 3],
    }
}

fn context() -> LeafContext {
    LeafContext {
        dictionaries: Arc::new(dictionaries().load().unwrap()),
        ..LeafContext::plain(&table(), CHUNK_SHIFT)
    }
}

/// The only segment of a page, with everything in it checked.
fn decode_one(page: &[u8; PAGE_SIZE]) -> Parsed<Segment> {
    let mut segments = LeafPage::decode(page, &context())?;
    assert_eq!(segments.len(), 1);
    Ok(segments.remove(0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pages_round_trip_wherever_they_are_cut(
        tree in tree(),
        wish in 1usize..150,
        most in 1..=MAX_SEGMENTS,
    ) {
        let mut builder = LeafBuilder::default();
        let expected = push_all(&mut builder, &tree);
        let mut done = 0;
        while !builder.is_empty() {
            let first = FIRST + done as u64;
            let mut page = PageBuilder::new(first);
            let mut parts = Vec::new();
            while !builder.is_empty() && parts.len() < most {
                let position = expected[done].position;
                let Some(count) = add_segment(&mut builder, &mut page, wish, position) else {
                    break;
                };
                builder.drain(count);
                parts.push(done..done + count);
                done += count;
            }
            let page = page.finish();
            let opened = LeafPage::open(Box::new(page)).unwrap();
            prop_assert!(opened.is_segmented() && opened.end() == FIRST + done as u64);
            prop_assert_eq!(opened.first_ordinal, first);
            let segments = LeafPage::decode(&page, &context()).unwrap();
            prop_assert_eq!(segments.len(), parts.len());
            for (at, (segment, part)) in segments.iter().zip(parts).enumerate() {
                prop_assert_eq!(segment.len(), part.len());
                prop_assert_eq!(opened.separator_of(at), SEPARATOR);
                for ordinal in segment.first_ordinal..segment.end() {
                    prop_assert_eq!(opened.segment_of(ordinal), Some(at));
                }
                check(segment, &tree, &expected[part]);
            }
        }
        prop_assert_eq!(done, expected.len());
    }

    #[test]
    fn files_far_into_a_page_are_found_from_anywhere(
        (samples, order) in many_files(),
    ) {
        let tree = vec![(b"a".to_vec(), samples)];
        let mut builder = LeafBuilder::default();
        let expected = push_all(&mut builder, &tree);
        let (count, bytes) = encode_some(&mut builder, expected.len(), FIRST, POSITION);
        let page = decode_one(&bytes).unwrap();
        check(&page, &tree, &expected[..count]);
        // What earlier ones have left there helps, and changes nothing.
        let other = LeafPage::open(Box::new(bytes)).unwrap().segment(0, &context()).unwrap();
        for index in order {
            let index = index.index(count);
            prop_assert_eq!(other.row(index), page.row(index));
            let mut cursor = RowCursor::at(&other, index);
            cursor.advance();
            prop_assert_eq!(cursor.read(), page.row(index + 1));
        }
    }

    #[test]
    fn damaged_pages_do_not_panic(tree in tree(), at in 0usize..PAGE_SIZE, flip in 1u8..) {
        let mut builder = LeafBuilder::default();
        push_all(&mut builder, &tree);
        let mut page = PageBuilder::new(FIRST);
        for _ in 0..3 {
            if builder.is_empty() {
                break;
            }
            let Some(count) = add_segment(&mut builder, &mut page, 40, POSITION) else {
                break;
            };
            builder.drain(count);
        }
        let mut page = page.finish();
        page[at] ^= flip;
        for segment in LeafPage::decode(&page, &context()).unwrap_or_default() {
            let mut name = Vec::new();
            for index in 0..segment.len() {
                segment.name_into(index, &mut name);
                let _ = segment.row(index);
                segment.find_key(b"a/b", &name);
            }
            prop_assert!(segment.memory() < 1 << 20);
        }
        let _ = Outline::decode(&page, &context().dictionaries);
    }
}
