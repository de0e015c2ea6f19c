//! The library from outside: what a builder is given, a reader gives back.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test that fails says where"
)]

use dgfs::build::{
    BuildOptions, Builder, Compression, Contents, Dedup, LogObserver, NewEntry, Observer, Phase,
    Progress, Report,
};
use dgfs::entry::{Kind, Metadata, Timestamp};
use dgfs::format::{Uuid, page_dictionaries};
use dgfs::read::Image;
use dgfs::{ErrorKind, Result};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const UUID: Uuid = *b"0123456789abcdef";

/// A tree by path: what each entry is, and its contents or target.
type Model = BTreeMap<String, (Metadata, Vec<u8>)>;

fn options() -> BuildOptions {
    BuildOptions {
        uuid: Some(UUID),
        ..BuildOptions::default()
    }
}

fn build(model: &Model, index: &Path, options: BuildOptions) -> Result<Report> {
    let mut builder = Builder::new(index, options)?;
    // Backwards, so that nothing comes in the order it is stored in.
    for (path, (metadata, bytes)) in model.iter().rev() {
        let is_link = metadata.kind() == Some(Kind::Symlink);
        let mut reader = bytes.as_slice();
        builder.add(NewEntry {
            path: path.as_bytes(),
            metadata: metadata.clone(),
            contents: match metadata.kind() {
                Some(Kind::File) if bytes.len() % 2 == 0 => Contents::Bytes(bytes),
                Some(Kind::File) => Contents::Reader(&mut reader),
                _ => Contents::None,
            },
            target: if is_link { bytes } else { b"" },
            identity: None,
        })?;
    }
    builder.finish(&mut LogObserver)
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let kind = prop_oneof![
        6 => Just(Kind::File),
        2 => Just(Kind::Symlink),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::CharDevice),
        1 => Just(Kind::Directory),
    ];
    let xattrs = proptest::collection::btree_map(
        "user\\.[a-z]{1,3}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..50),
        0..3,
    );
    let ids = (
        any::<u32>(),
        prop_oneof![Just(0u32), any::<u32>()],
        0u32..0o10000,
    );
    let time = (any::<i64>(), 0u32..1_000_000_000);
    (
        kind,
        ids,
        time,
        any::<u64>(),
        proptest::option::weighted(0.2, xattrs),
    )
        .prop_map(
            |(kind, (uid, gid, permissions), (seconds, nanoseconds), rdev, xattrs)| Metadata {
                uid,
                gid,
                mtime: Timestamp {
                    seconds,
                    nanoseconds,
                },
                rdev: if kind.is_device() { rdev } else { 0 },
                xattrs: xattrs.unwrap_or_default().into_iter().collect(),
                ..Metadata::new(kind, permissions)
            },
        )
}

/// Contents of all sizes: some with long runs of zeros, some of several chunks.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..600),
        1 => (1usize..400_000).prop_map(|length| vec![0; length]),
        1 => (1usize..400_000, any::<u8>()).prop_map(|(length, seed)| {
            (0..length).map(|at| (at.wrapping_mul(31) >> 3) as u8 ^ seed).collect()
        }),
    ];
    proptest::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
}

fn model() -> impl Strategy<Value = Model> {
    let path = proptest::collection::vec("[a-cß\n.-]{1,4}z", 1..5);
    proptest::collection::vec((path, metadata(), contents()), 0..40).prop_map(|entries| {
        let mut model = Model::new();
        for (components, metadata, mut bytes) in entries {
            let path = components.join("/");
            let above = |path: &str| -> Vec<String> {
                path.match_indices('/')
                    .map(|(at, _)| path[..at].to_owned())
                    .collect()
            };
            let is_directory = |path: &String| {
                model
                    .get(path)
                    .is_none_or(|(m, _): &(Metadata, _)| m.kind() == Some(Kind::Directory))
            };
            let has_children = model
                .keys()
                .any(|other| other.starts_with(&format!("{path}/")));
            if !above(&path).iter().all(is_directory) || has_children {
                continue;
            }
            if metadata.kind() == Some(Kind::Symlink) {
                bytes.retain(|&byte| byte != 0);
                bytes.truncate(4000);
                bytes.push(b't');
            } else if metadata.kind() != Some(Kind::File) {
                bytes.clear();
            }
            for directory in above(&path) {
                model
                    .entry(directory)
                    .or_insert_with(|| (Metadata::new(Kind::Directory, 0o755), vec![]));
            }
            model.insert(path, (metadata, bytes));
        }
        model
    })
}

/// Checks everything the image says of the model's entries, and that it says nothing else.
fn check(image: &Image, model: &Model) {
    assert_eq!(image.header().entries, model.len() as u64 + 1);
    let mut scratch = Vec::new();
    for (path, (metadata, bytes)) in model {
        let node = image
            .lookup(path.as_bytes())
            .unwrap()
            .unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(
            (node.mode, node.uid, node.gid, node.mtime, node.rdev),
            (
                metadata.mode,
                metadata.uid,
                metadata.gid,
                metadata.mtime,
                metadata.rdev
            )
        );
        assert_eq!(image.xattrs(&node).unwrap(), metadata.xattrs);
        match node.kind() {
            Kind::File => {
                assert_eq!(node.size, bytes.len() as u64);
                let whole = image
                    .read_at(&node, 0, bytes.len() + 10, &mut scratch)
                    .unwrap();
                assert!(whole == bytes, "{path}");
                // Around every chunk border, and in between.
                for border in (0..=bytes.len()).step_by(1 << 16) {
                    for (back, length) in [(0, 1), (1, 2), (7, 4096), (0, 300_000)] {
                        let from = border.saturating_sub(back);
                        let wanted = &bytes[from..bytes.len().min(from + length)];
                        let read = image
                            .read_at(&node, from as u64, length, &mut scratch)
                            .unwrap();
                        assert!(read == wanted, "{path} from {from}, {length} bytes");
                    }
                }
            }
            Kind::Symlink => {
                assert_eq!(&image.read_link(&node).unwrap(), bytes);
                assert_eq!(node.size, bytes.len() as u64);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_packed_is_read(model in model(), volumes in 1usize..4) {
        let scratch = tempfile::tempdir().unwrap();
        let index = scratch.path().join("image.dgfs");
        let paths: Vec<_> = (0..volumes).map(|n| scratch.path().join(format!("v{n}"))).collect();
        let report =
            build(&model, &index, BuildOptions { volumes: paths.clone(), ..options() }).unwrap();
        prop_assert_eq!(report.problems, 0);
        prop_assert_eq!(report.volume_bytes.len(), volumes);
        let image = Image::options().data(paths.clone()).open(&index).unwrap();
        check(&image, &model);
        // The copy of the index in volume 0 is an image as good as the first.
        check(&Image::options().data(paths.clone()).open(&paths[0]).unwrap(), &model);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(model in model()) {
        let scratch = tempfile::tempdir().unwrap();
        let bytes = |name: &str, threads: usize, memory: usize| {
            let index = scratch.path().join(name);
            build(&model, &index, BuildOptions { threads, memory, ..options() }).unwrap();
            let volume = dgfs::image::volume_path(&index, 0);
            (std::fs::read(index).unwrap(), std::fs::read(volume).unwrap())
        };
        let once = bytes("once", 1, 256 << 20);
        prop_assert!(once == bytes("again", 7, 16 << 20));
    }
}

fn small_tree() -> Model {
    let file = |permissions, text: &str| (Metadata::new(Kind::File, permissions), text.into());
    let mut model = Model::from([
        ("README".to_owned(), file(0o644, "a small tree\n")),
        ("bin/run".to_owned(), file(0o755, "#!/bin/sh\necho run\n")),
        ("bin/empty".to_owned(), file(0o600, "")),
        (
            "large".to_owned(),
            (Metadata::new(Kind::File, 0o444), vec![0x5A; 300_000]),
        ),
        (
            "link".to_owned(),
            (Metadata::new(Kind::Symlink, 0o777), b"bin/run".to_vec()),
        ),
        (
            "none".to_owned(),
            (Metadata::new(Kind::Directory, 0o700), vec![]),
        ),
        (
            "null".to_owned(),
            (
                Metadata {
                    rdev: 0x103,
                    ..Metadata::new(Kind::CharDevice, 0o666)
                },
                vec![],
            ),
        ),
    ]);
    for number in 0..300 {
        let mut entry = file(0o644, &format!("entry {number}"));
        entry.0.mtime = Timestamp {
            seconds: 1_700_000_000 + number,
            nanoseconds: 42,
        };
        entry.0.xattrs = vec![(b"user.class".to_vec(), vec![b'0' + (number % 3) as u8])];
        model.insert(format!("many/{number:04}"), entry);
    }
    model
}

/// A tree that dictionaries and common contents pay for.
fn records() -> Model {
    let file = |text: String| (Metadata::new(Kind::File, 0o644), text.into_bytes());
    let mut model = Model::new();
    for number in 0..900u64 {
        let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let text = format!(
            "{{\"kind\": \"measurement\", \"station\": {}, \"value\": {random}, \"unit\": \"kelvin\", \"valid\": {}}}\n",
            number % 40,
            number % 3 == 0,
        );
        model.insert(format!("{number:03}.json"), file(text));
    }
    model.insert("copy".to_owned(), file("the same twice, ".repeat(500)));
    model.insert("original".to_owned(), file("the same twice, ".repeat(500)));
    model.insert(
        "large.txt".to_owned(),
        file("one line of many\n".repeat(30_000)),
    );
    model
}

fn raw() -> BuildOptions {
    BuildOptions {
        compression: Compression::None,
        ..options()
    }
}

fn compressed() -> BuildOptions {
    BuildOptions {
        compression: Compression::Zstd(9),
        small_frames: None,
        ..options()
    }
}

/// As [`compressed`], with small files in shared frames.
fn shared_frames() -> BuildOptions {
    BuildOptions {
        small_frames: Some(8 << 10),
        ..compressed()
    }
}

/// Files that have parts in common.
fn versions() -> Model {
    let file = |contents: Vec<u8>| (Metadata::new(Kind::File, 0o644), contents);
    let numbers = (0..6000u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29));
    let noise: Vec<u8> = numbers.flat_map(|n| (n ^ n >> 17).to_le_bytes()).collect();
    let text = "one line of many\n".repeat(2000).into_bytes();
    let old = [&noise[..30_000], &text, &vec![0; 40_000], &noise[30_000..]].concat();
    Model::from([
        ("copy".to_owned(), file(old.clone())),
        ("new".to_owned(), file([b"a new line\n", &old[..]].concat())),
        ("old".to_owned(), file(old.clone())),
        ("part".to_owned(), file(old[10_000..50_000].to_vec())),
        ("small".to_owned(), file(old[..4096].to_vec())),
    ])
}

fn cut() -> BuildOptions {
    BuildOptions {
        dedup: Dedup::Chunks,
        chunk_shift: 12,
        ..compressed()
    }
}

/// Names that dictionaries of leaf pages pay for.
fn sources() -> Model {
    const WORDS: [&str; 12] = [
        "buffer", "cache", "device", "driver", "frame", "init", "memory", "queue", "register",
        "table", "timer", "vector",
    ];
    let word = |number: usize| WORDS[number % WORDS.len()];
    let mut model = Model::new();
    for directory in 0..90 {
        let above = format!("{}-{directory}/{}", word(directory), word(directory / 7));
        for number in 0..60 {
            let mut metadata = Metadata::new(Kind::File, 0o644);
            metadata.mtime.seconds = 1_700_000_000;
            let end = ["c", "h", "S"][number % 3];
            let random = (number * 60 + directory).wrapping_mul(0x9E37_79B9) >> 7;
            let name = format!("{}_{}{number}.{end}", word(random), word(random / 12));
            model.insert(format!("{above}/{name}"), (metadata, Vec::new()));
        }
    }
    model
}

fn golden(version: &str, name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(version).join(name)
}

/// Pins the bytes of images. If this fails after a change that was not meant to alter the format, the change is
/// wrong; if it was meant, every old image must still be read: keep the old fixtures, add new ones.
#[test]
fn the_golden_images_keep_their_bytes() {
    for (version, name, model, options) in [
        ("v1.5", "small.dgfs", small_tree(), raw()),
        ("v1.5", "alone.dgfs", records(), compressed()),
        ("v1.5", "cut.dgfs", versions(), cut()),
        ("v1.5", "members.dgfs", records(), shared_frames()),
        ("v1.5", "sources.dgfs", sources(), raw()),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let index = scratch.path().join(name);
        build(&model, &index, options).unwrap();
        let kept = golden(version, name);
        for (path, kept) in [
            (&index, &kept),
            (
                &dgfs::image::volume_path(&index, 0),
                &dgfs::image::volume_path(&kept, 0),
            ),
        ] {
            if std::env::var_os("DGFS_WRITE_GOLDEN").is_some() {
                std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
                std::fs::copy(path, kept).unwrap();
            }
            let same = std::fs::read(path).unwrap() == std::fs::read(kept).unwrap();
            assert!(same, "the bytes of {} have changed", kept.display());
        }
    }
}

#[test]
fn images_of_every_version_are_read() {
    for version in ["v1.0", "v1.2", "v1.5"] {
        let image = Image::open(golden(version, "small.dgfs")).unwrap();
        check(&image, &with_parents(small_tree()));
    }
    // Each by a builder that compresses in another way; what is called `tried` by one that tries dictionaries of several sizes.
    for (version, name) in [
        ("v1.2", "compressed.dgfs"),
        ("v1.3", "records.dgfs"),
        ("v1.3", "tried.dgfs"),
        ("v1.4", "members.dgfs"),
        ("v1.4", "tried.dgfs"),
        ("v1.5", "alone.dgfs"),
        ("v1.5", "members.dgfs"),
    ] {
        let image = Image::open(golden(version, name)).unwrap();
        assert!(
            image.codecs().unwrap().len() > 1,
            "there should be a dictionary"
        );
        check(&image, &records());
        let place = |name: &[u8]| image.lookup(name).unwrap().unwrap().extent;
        assert_eq!(place(b"copy"), place(b"original"));
    }
    for (version, minor) in [("v1.4", 4), ("v1.5", 5)] {
        let members = Image::open(golden(version, "members.dgfs")).unwrap();
        assert_eq!(members.header().version_minor, minor);
        assert!(
            members.header().frame_members > 100,
            "{:?}",
            members.header()
        );
    }
    for (version, minor) in [("v1.3", 3), ("v1.5", 5)] {
        let cut = Image::open(golden(version, "cut.dgfs")).unwrap();
        assert_eq!(cut.header().version_minor, minor);
        assert!(cut.header().shared_chunks > 10, "{:?}", cut.header());
        check(&cut, &versions());
    }
    let sources = Image::open(golden("v1.5", "sources.dgfs")).unwrap();
    let section = sources.header().section(page_dictionaries::SECTION);
    assert!(section.is_some(), "{:?}", sources.header());
    check(&sources, &with_parents(self::sources()));
}

/// The same with the directories that it leaves out.
fn with_parents(mut model: Model) -> Model {
    let paths: Vec<_> = model.keys().cloned().collect();
    for path in paths {
        for (at, _) in path.match_indices('/') {
            model
                .entry(path[..at].to_owned())
                .or_insert_with(|| (Metadata::new(Kind::Directory, 0o755), vec![]));
        }
    }
    model
}

/// Packed by version 1.1 of the format with `--times all`: a file of a terabyte with three segments of data, one that is all
/// hole, an ACL.
#[test]
fn holes_and_times_of_version_1_1_are_read() {
    let image = Image::open(golden("v1.1", "small.dgfs")).unwrap();
    assert!(image.has_acls());
    assert_eq!(image.header().entries, 6);
    let node = |path: &[u8]| image.lookup(path).unwrap().unwrap();
    let time = |seconds, nanoseconds| Timestamp {
        seconds,
        nanoseconds,
    };

    let plain = node(b"plain");
    assert_eq!(plain.mtime, time(1_700_000_000, 123_456_789));
    let others = plain.other_times.unwrap();
    assert_eq!(others.atime, time(-6, 999_999_999));
    assert_eq!(others.ctime, time(1_795_273_815, 239_106_345));
    assert_eq!(others.btime, Some(time(1_795_273_815, 216_546_287)));
    let names: Vec<_> = image
        .xattrs(&plain)
        .unwrap()
        .into_iter()
        .map(|x| x.0)
        .collect();
    assert_eq!(names, [b"system.posix_acl_access".to_vec()]);

    let sparse = node(b"d/sparse");
    let end = 1u64 << 40;
    let segments: Vec<_> = image
        .holes(&sparse)
        .unwrap()
        .segments()
        .iter()
        .map(|segment| (segment.offset, segment.length))
        .collect();
    assert_eq!(segments, [(0, 4096), (1 << 20, 8192), (end - 4096, 4096)]);
    assert_eq!((sparse.size, sparse.blocks()), (end, 32));
    let mut scratch = Vec::new();
    for (offset, byte) in [(0, 1), ((1 << 20) + 8191, 2), (5 << 20, 0), (end - 1, 3)] {
        let read = image.read_at(&sparse, offset, 1, &mut scratch).unwrap();
        assert_eq!(read, [byte], "at {offset}");
    }
    let hole = node(b"hole");
    assert_eq!((hole.size, hole.blocks()), (1 << 33, 0));
    let mut faults = 0;
    image.verify(&dgfs::read::VerifyOptions::default(), &mut |_| faults += 1);
    assert_eq!(faults, 0);
}

#[test]
fn hard_links_share_an_inode_and_contents() {
    let scratch = tempfile::tempdir().unwrap();
    let index = scratch.path().join("links.dgfs");
    let mut builder = Builder::new(&index, raw()).unwrap();
    for (path, identity) in [
        ("b/two", 7),
        ("a/one", 7),
        ("c", 7),
        ("alone", 8),
        ("d", 9),
        ("e", 9),
    ] {
        builder
            .add(NewEntry {
                path: path.as_bytes(),
                metadata: Metadata::new(Kind::File, 0o644),
                contents: Contents::Bytes(&[identity as u8; 5000]),
                target: b"",
                identity: Some((1, identity)),
            })
            .unwrap();
    }
    let report = builder.finish(&mut LogObserver).unwrap();
    assert_eq!(
        (report.header.files, report.header.data_bytes),
        (6, 3 * 5000)
    );
    assert_eq!(report.header.stored_bytes, 3 * 5004);
    let image = Image::open(&index).unwrap();
    let node = |path: &str| image.lookup(path.as_bytes()).unwrap().unwrap();
    let first = node("c");
    for path in ["a/one", "b/two"] {
        let other = node(path);
        assert_eq!(
            (other.ino, other.links, other.extent),
            (first.ino, 3, first.extent)
        );
        let mut scratch = Vec::new();
        assert_eq!(
            image.read_at(&other, 0, 9000, &mut scratch).unwrap(),
            [7; 5000]
        );
    }
    assert_eq!((node("alone").links, node("d").links), (1, 2));
    assert_eq!(image.path_of(first.ino).unwrap(), b"c");
}

#[test]
fn zeros_that_are_not_stored_cover_what_was_read_before() {
    let scratch = tempfile::tempdir().unwrap();
    let index = scratch.path().join("image.dgfs");
    let file = Metadata::new(Kind::File, 0o644);
    let chunk = 1 << raw().chunk_shift;
    let noise: Vec<u8> = (0..4 * chunk)
        .map(|n: usize| ((n * 7919) >> 3) as u8 | 1)
        .collect();
    let mut mixed = noise.clone();
    mixed[chunk..3 * chunk].fill(0);
    let model: Model = [("", Metadata::new(Kind::Directory, 0o755), Vec::new())]
        .into_iter()
        .chain([("mixed", file.clone(), mixed), ("noise", file, noise)])
        .map(|(path, metadata, bytes)| (path.to_owned(), (metadata, bytes)))
        .collect();
    for options in [raw(), compressed()] {
        let _ = std::fs::remove_file(&index);
        let _ = std::fs::remove_file(scratch.path().join("image.dgfs.data"));
        build(&model, &index, options).unwrap();
        let image = Image::open(&index).unwrap();
        let mut buffer = Vec::new();
        for name in ["noise", "mixed", "noise", "mixed"] {
            let node = image.lookup(name.as_bytes()).unwrap().unwrap();
            let bytes = &model[name].1;
            // In whole chunks, and so that the first and the last are read in part.
            for (start, length) in [(0, bytes.len()), (1, bytes.len() - 2)] {
                let read = image.read_at(&node, start as u64, length, &mut buffer);
                assert!(read.unwrap() == &bytes[start..start + length], "{name}");
            }
        }
    }
}

#[test]
fn what_cannot_be_packed_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let long = "n".repeat(256);
    for (path, kind) in [
        ("a//b", ErrorKind::InvalidInput),
        ("/a", ErrorKind::InvalidInput),
        ("a/", ErrorKind::InvalidInput),
        ("a/./b", ErrorKind::InvalidInput),
        ("a/..", ErrorKind::InvalidInput),
        ("a\0b", ErrorKind::InvalidInput),
        (long.as_str(), ErrorKind::Limit),
    ] {
        let index = scratch.path().join("refused.dgfs");
        let mut builder = Builder::new(&index, options()).unwrap();
        let entry = NewEntry {
            path: path.as_bytes(),
            metadata: Metadata::new(Kind::File, 0o644),
            contents: Contents::None,
            target: b"",
            identity: None,
        };
        assert_eq!(builder.add(entry).unwrap_err().kind(), kind, "{path:?}");
    }
    let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_directory_of_a_hundred_thousand_is_found_and_listed_from_anywhere() {
    let scratch = tempfile::tempdir().unwrap();
    let index = scratch.path().join("wide.dgfs");
    let mut builder = Builder::new(&index, options()).unwrap();
    let count = 100_000u64;
    let name = |number: u64| format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for number in 0..count {
        builder
            .add(NewEntry {
                path: format!("wide/{}", name(number)).as_bytes(),
                metadata: Metadata::new(Kind::File, 0o644),
                contents: Contents::None,
                target: b"",
                identity: None,
            })
            .unwrap();
    }
    builder.finish(&mut LogObserver).unwrap();
    let mut names: Vec<Vec<u8>> = (0..count).map(|number| name(number).into_bytes()).collect();
    names.sort();
    let image = Image::open(&index).unwrap();
    let wide = image.lookup(b"wide").unwrap().unwrap();
    assert_eq!(wide.children.count, count);
    for (place, name) in (0..).zip(&names).step_by(97) {
        let before = image.counters().index_reads;
        let child = image.lookup_in(&wide, name).unwrap().unwrap();
        let levels = u64::from(image.header().levels);
        assert!(image.counters().index_reads - before <= 1 + levels);
        assert_eq!(child.ordinal, wide.children.first + place);
        let missing = [name.as_slice(), b"!"].concat();
        assert!(image.lookup_in(&wide, &missing).unwrap().is_none());
        let mut listed = Vec::new();
        image
            .list(&wide, place, &mut |child| {
                listed.push(child.name.to_vec());
                listed.len() < 3
            })
            .unwrap();
        let rest = &names[place as usize..];
        assert_eq!(listed, rest[..rest.len().min(3)]);
    }
    let mut all = 0;
    image
        .list(&wide, 0, &mut |child| {
            assert_eq!(child.name, names[all]);
            all += 1;
            true
        })
        .unwrap();
    assert_eq!(all, names.len());
}

/// Wants no more as soon as a phase begins.
struct Impatient(Phase);

impl Observer for Impatient {
    fn problem(&mut self, error: &dgfs::Error) {
        panic!("{error}");
    }

    fn progress(&mut self, progress: Progress) -> bool {
        progress.phase != self.0
    }
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    for phase in [Phase::Sorting, Phase::Packing, Phase::Publishing] {
        let scratch = tempfile::tempdir().unwrap();
        let index = scratch.path().join("never.dgfs");
        let builder = Builder::new(&index, options()).unwrap();
        let error = builder.finish(&mut Impatient(phase)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{phase:?}");
        let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
        assert!(left.is_empty(), "{phase:?}: {left:?}");
    }
}

#[test]
fn an_empty_tree_is_an_image() {
    let scratch = tempfile::tempdir().unwrap();
    let index = scratch.path().join("empty.dgfs");
    build(&Model::new(), &index, options()).unwrap();
    let image = Image::open(&index).unwrap();
    let root = image.root().unwrap();
    assert_eq!((root.children.count, root.links), (0, 2));
    assert!(image.lookup(b"anything").unwrap().is_none());
    check(&image, &Model::new());
}
