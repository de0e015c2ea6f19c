#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "small numbers of a test"
)]

use super::*;
use crate::build::page_samples::PageSamples;
use crate::build::plan::{Plan, PlannedEntry};
use crate::entry::Metadata;
use crate::read::{Image, Node};
use crate::sort::{Content, Record, Sorter};
use proptest::prelude::*;
use std::collections::BTreeMap;

const UUID: Uuid = [7; 16];
const CHUNK_SHIFT: u32 = 17;

/// A model of a tree: what is at each path.
type Model = BTreeMap<Vec<u8>, Record>;

fn record(path: &[u8], mode: u32, size: u64) -> Record {
    let slash = path.iter().rposition(|&b| b == b'/');
    let mut metadata = Metadata::new(Kind::File, 0);
    metadata.mode = mode;
    metadata.mtime = Timestamp {
        seconds: path.len() as i64 * 1000 - 5000,
        nanoseconds: size as u32 % 1000,
    };
    Record {
        parent: slash.map_or(vec![], |at| path[..at].to_vec()),
        name: slash.map_or(path.to_vec(), |at| path[at + 1..].to_vec()),
        metadata,
        size,
        holes_hint: 0,
        target: Vec::new(),
        identity: None,
        content: Content::None,
    }
}

/// Adds a file and the directories above it.
fn add_file(model: &mut Model, path: &[u8], size: u64) {
    for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
        model
            .entry(path[..at].to_vec())
            .or_insert_with(|| record(&path[..at], 0o040_755, 0));
    }
    model
        .entry(path.to_vec())
        .or_insert_with(|| record(path, 0o100_644, size));
}

/// Writes the index of a model, whose files all have extents that no volume holds, and opens it.
fn index_of(model: &Model) -> (Image, Vec<u8>) {
    let scratch = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(scratch.path(), 1 << 20);
    sorter.add(&record(b"", 0o040_755, 0)).unwrap();
    for record in model.values() {
        sorter.add(record).unwrap();
    }
    let tree = sorter.finish().unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut pages = PageSamples::default();
    let plan = Plan::compute(
        &tree,
        scratch.path(),
        1 << 20,
        &mut |_| Ok(()),
        &mut |record, ordinal| pages.offer(record, ordinal),
    )
    .unwrap();
    let mut writer = IndexWriter::new(
        &file,
        Path::new("x"),
        scratch.path(),
        UUID,
        CHUNK_SHIFT,
        PageOptions {
            level: 3,
            dictionaries: pages.train(3).unwrap(),
            is_only_copy: true,
        },
    )
    .unwrap();
    let mut entries = plan.entries(&tree).unwrap();
    let mut entry = PlannedEntry::empty();
    let mut position = PAGE_BYTES;
    writer.begin_run(b"", 0, 1);
    while entries.next(&mut entry).unwrap() {
        let record = &entry.record;
        if let Some(run) = entry.run {
            writer.begin_run(&record.parent, run.directory, run.direct);
        }
        let children = entry.children.unwrap_or_default();
        let kind = record.metadata.kind().unwrap();
        let placement = (kind == Kind::File && record.size > 0).then(|| Placement {
            position,
            stored: crate::format::extent::Shape::new(record.size, CHUNK_SHIFT)
                .default_stored_length(),
            saved: 0,
            codec: None,
            cut: None,
            member: None,
            usage: Usage::Own,
        });
        position += placement.map_or(0, |p| p.stored);
        writer
            .push(&IndexEntry {
                name: &record.name,
                attributes: Attributes {
                    mode: record.metadata.mode,
                    uid: 3,
                    gid: 4,
                },
                kind,
                mtime: record.metadata.mtime,
                other_times: None,
                hole_bytes: 0,
                hole_map: 0,
                size: record.size,
                children: (children.direct, children.subdirs, children.deeper),
                placement,
                link: (0, 1),
                device: 0,
                xattrs: &record.metadata.xattrs,
                target: &record.target,
            })
            .unwrap();
    }
    let span = Span {
        start: 0,
        end: position,
    };
    let header = writer.finish(&[span]).unwrap();
    let mut bytes = vec![0; header.index_length as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), header.index_length);
    let image = Image::options()
        .index_only(true)
        .open_parts(Box::new(bytes.clone()), Vec::new())
        .unwrap();
    (image, bytes)
}

fn agrees(node: &Node, record: &Record) {
    assert_eq!(node.mode, record.metadata.mode);
    assert_eq!(node.mtime, record.metadata.mtime);
    if !node.is_directory() {
        assert_eq!(node.size, record.size);
    }
}

/// Everything the reader can be asked, against the model.
fn check(image: &Image, model: &Model) {
    let mut expected: Vec<&Record> = model.values().collect();
    expected.sort_by(|a, b| crate::entry::compare_keys((&a.parent, &a.name), (&b.parent, &b.name)));
    assert_eq!(image.header().entries, expected.len() as u64 + 1);
    let mut ordinal = 0;
    let mut positions = PAGE_BYTES;
    image
        .walk(0, &mut |parent, name, node| {
            assert_eq!(node.ordinal, ordinal);
            if let Some(at) = (ordinal as usize).checked_sub(1) {
                assert_eq!((parent, name), (&*expected[at].parent, &*expected[at].name));
                agrees(node, expected[at]);
                if node.extent.stored > 0 {
                    assert_eq!(node.extent.position, positions);
                    positions += node.extent.stored;
                }
            }
            ordinal += 1;
            true
        })
        .unwrap();
    assert_eq!(ordinal, image.header().entries);
    for (at, record) in expected.iter().enumerate() {
        let path = record.path();
        let node = image.lookup(&path).unwrap().expect("a path of the model");
        assert_eq!(node.ordinal, at as u64 + 1);
        agrees(&node, record);
        assert_eq!(image.node(node.ino).unwrap(), node);
        assert_eq!(image.path_of(node.ino).unwrap(), path);
        let parent = image.lookup(&record.parent).unwrap().unwrap();
        assert_eq!(image.parent_of(node.ino).unwrap(), parent.ino);
        assert_eq!(
            image.lookup_in(&parent, &record.name).unwrap(),
            Some(node.clone())
        );
        let mut missing = record.name.clone();
        missing.insert(0, b'!');
        missing.truncate(255);
        if !model.contains_key(&[record.parent.as_slice(), b"/", &missing].concat()) {
            assert_eq!(image.lookup_in(&parent, &missing).unwrap(), None);
        }
        if node.is_directory() {
            let children: Vec<&&Record> = expected.iter().filter(|r| r.parent == path).collect();
            assert_eq!(node.children.count, children.len() as u64);
            let dirs = children
                .iter()
                .filter(|r| r.metadata.kind() == Some(Kind::Directory));
            assert_eq!(node.links, 2 + dirs.count() as u64);
            let below = [path.as_slice(), b"/"].concat();
            let descendants = model
                .keys()
                .filter(|other| other.starts_with(&below))
                .count();
            assert_eq!(node.children.descendants, descendants as u64);
            for from in [0, children.len() / 2, children.len()] {
                let mut names = Vec::new();
                image
                    .list(&node, from as u64, &mut |listed| {
                        assert_eq!(listed.index, (from + names.len()) as u64);
                        names.push(listed.name.to_vec());
                        true
                    })
                    .unwrap();
                let wanted: Vec<Vec<u8>> =
                    children[from..].iter().map(|r| r.name.clone()).collect();
                assert_eq!(names, wanted);
            }
        }
    }
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        8 => "[a-d]{1,2}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(proptest::sample::select(&b"\x01\xff.-a\n"[..]), 1..5)
            .prop_filter("dots", |name| name != b"." && name != b".."),
        1 => proptest::collection::vec(Just(b'n'), 200..=255),
    ];
    proptest::collection::vec(component, 1..9).prop_map(|parts| parts.join(&b'/'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_random_tree_reads_back(files in proptest::collection::vec((path(), 0u64..1 << 20), 0..300)) {
        let mut model = Model::new();
        for (path, size) in &files {
            // A path below a file of the model, or above one, is not a path of a tree.
            let blocked = (1..path.len()).filter(|&at| path[at] == b'/').any(|at| {
                model.get(&path[..at]).is_some_and(|r: &Record| r.metadata.kind() == Some(Kind::File))
            });
            if !blocked {
                add_file(&mut model, path, *size);
            }
        }
        let (image, _) = index_of(&model);
        check(&image, &model);
    }
}

#[test]
fn many_pages_and_levels_read_back() {
    let mut model = Model::new();
    let mut state = 1u64;
    for number in 0..6000u64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(number | 1);
        // Random names do not compress: some 20 bytes an entry, 200 entries a page.
        let path = format!("{:02}/{:x}{:x}", state >> 60, state, state.rotate_left(17));
        add_file(&mut model, path.as_bytes(), state >> 50);
    }
    let (image, _) = index_of(&model);
    assert!(image.header().leaf_pages > 20 && image.header().levels >= 1);
    check(&image, &model);
}

#[test]
fn paths_beyond_every_limit_read_back() {
    let mut model = Model::new();
    for depth in 0..40usize {
        let path = vec![vec![b'd'; 200]; depth].join(&b'/');
        for leaf in ["x", "y", "z"] {
            let file = if depth == 0 {
                leaf.into()
            } else {
                [&path, leaf.as_bytes()].join(&b'/')
            };
            add_file(&mut model, &file, depth as u64);
        }
    }
    let (image, _) = index_of(&model);
    check(&image, &model);
}

#[test]
fn a_cold_lookup_reads_one_page() {
    let mut model = Model::new();
    for number in 0..60_000u64 {
        add_file(
            &mut model,
            format!("{:03}/{number:09}", number / 100).as_bytes(),
            number,
        );
    }
    let (_, bytes) = index_of(&model);
    let open = || {
        Image::options()
            .index_only(true)
            .open_parts(Box::new(bytes.clone()), Vec::new())
            .unwrap()
    };
    let image = open();
    let inner = u64::from(image.header().levels);
    assert!(inner >= 1);
    let before = image.counters().index_reads;
    image.lookup(b"123/000012345").unwrap().unwrap();
    assert_eq!(image.counters().index_reads - before, inner + 1);
    // Inner pages are there now, so any other path costs its leaf page alone.
    for number in [0u64, 20_000, 59_999] {
        let before = image.counters().index_reads;
        let path = format!("{:03}/{number:09}", number / 100);
        image.lookup(path.as_bytes()).unwrap().unwrap();
        assert!(image.counters().index_reads - before <= 1);
    }
    assert!(image.counters().index_bytes % PAGE_BYTES < PAGE_BYTES);
}

#[test]
fn every_flipped_byte_of_an_index_is_noticed_or_harmless() {
    let mut model = Model::new();
    for number in 0..1500u64 {
        add_file(
            &mut model,
            format!("{}/{number:x}", number % 7).as_bytes(),
            number,
        );
    }
    let (image, bytes) = index_of(&model);
    let tree = |image: &Image| -> crate::Result<Vec<(Vec<u8>, Node)>> {
        let mut all = Vec::new();
        image.walk(0, &mut |parent, name, node| {
            all.push(([parent, b"/", name].concat(), node.clone()));
            true
        })?;
        Ok(all)
    };
    let sound = tree(&image).unwrap();
    let mut errors = 0;
    // Each eleventh byte meets every place of a page and every bit; the whole sweep is a tool's work.
    for at in (0..bytes.len()).step_by(11) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let opened = Image::options()
            .index_only(true)
            .open_parts(Box::new(damaged), Vec::new());
        match opened.and_then(|image| tree(&image)) {
            Ok(read) => assert!(read == sound, "byte {at} silently changed the tree"),
            Err(_) => errors += 1,
        }
    }
    let pages = (image.header().leaf_pages + image.header().inner_pages) as usize;
    assert!(errors >= pages * PAGE_SIZE / 11, "only {errors} errors");
}

/// The path of a file: names that have something in common, and something that has no order.
fn volume(number: u64) -> String {
    let shelf = number / 200;
    let mark = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    format!("library/shelf_{shelf:02}/volume_{number:05}.{mark:x}.text")
}

/// An index of some thousand files, whose pages use dictionaries.
fn index_with_dictionaries() -> (Image, Vec<u8>) {
    let mut model = Model::new();
    for number in 0..20_000u64 {
        let path = volume(number);
        add_file(&mut model, path.as_bytes(), number * 37 % 4099);
    }
    let (image, bytes) = index_of(&model);
    check(&image, &model);
    (image, bytes)
}

#[test]
fn dictionaries_of_pages_are_read_from_their_copy_if_they_are_damaged() {
    let (image, bytes) = index_with_dictionaries();
    let sections = &image.header().sections;
    let places: Vec<usize> = sections
        .iter()
        .filter(|section| section.kind == page_dictionaries::SECTION)
        .map(|section| section.offset as usize)
        .collect();
    assert_eq!(places.len(), 2, "pages use no dictionaries");
    assert_eq!(
        sections.last().unwrap().kind,
        page_dictionaries::SECTION,
        "the copy comes last"
    );
    let open = |damaged: &[usize]| {
        let mut bytes = bytes.clone();
        for &place in damaged {
            bytes[place + 40] ^= 1;
        }
        let image = Image::options()
            .index_only(true)
            .open_parts(Box::new(bytes), Vec::new())?;
        image.lookup(volume(1444).as_bytes())
    };
    let found = open(&[]).unwrap().unwrap();
    for &place in &places {
        assert_eq!(open(&[place]).unwrap().as_ref(), Some(&found));
    }
    assert_eq!(open(&places).unwrap_err().kind(), crate::ErrorKind::Corrupt);
}

#[test]
fn pages_have_segments_and_are_full() {
    let (image, bytes) = index_with_dictionaries();
    let pages = image.header().leaf_pages as usize;
    assert!(pages > 4);
    for page in bytes.chunks(PAGE_SIZE).skip(1).take(pages - 1) {
        let free = page.iter().rev().take_while(|&&byte| byte == 0).count();
        let opened =
            crate::format::leaf::LeafPage::open(Box::new(page.try_into().unwrap())).unwrap();
        assert!(
            (2..=4).contains(&opened.segments()),
            "{}",
            opened.segments()
        );
        assert!(free < 100, "{free} bytes are free");
    }
}

#[test]
fn a_lookup_decodes_one_segment() {
    let (_, bytes) = index_with_dictionaries();
    let image = Image::options()
        .index_only(true)
        .open_parts(Box::new(bytes), Vec::new())
        .unwrap();
    let shelf = image.lookup(b"library/shelf_07").unwrap().unwrap();
    let begun = image.counters().pages_decoded;
    for number in (1400..1600).step_by(3) {
        let path = volume(number);
        let name = path.rsplit('/').next().unwrap();
        let before = image.counters().pages_decoded;
        image.lookup_in(&shelf, name.as_bytes()).unwrap().unwrap();
        assert!(image.counters().pages_decoded - before <= 1);
    }
    // The directory lies in a few segments of a page or two.
    assert!((1..8).contains(&(image.counters().pages_decoded - begun)));
}
