//! The file system without a kernel, against a model of the tree that was packed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be prepared has failed"
)]

use dgfs::ErrorKind;
use dgfs::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
use dgfs::entry::{Ino, Kind, Metadata};
use dgfs::fs::{Attributes, DirEntry, DirSink, Options, PackFs};
use dgfs::read::Image;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a path of the model holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Directory,
    File(Vec<u8>),
    /// One of the names of a file with these contents.
    Linked(u8),
    Symlink(Vec<u8>),
}

impl Thing {
    fn kind(&self) -> Kind {
        match self {
            Self::Directory => Kind::Directory,
            Self::File(_) | Self::Linked(_) => Kind::File,
            Self::Symlink(_) => Kind::Symlink,
        }
    }

    fn contents(&self) -> Vec<u8> {
        match self {
            Self::File(contents) => contents.clone(),
            Self::Linked(group) => vec![*group; 10 + usize::from(*group)],
            _ => Vec::new(),
        }
    }
}

type Path = Vec<u8>;

/// A tree: what each path holds, the root excepted, with every directory above it.
type Model = BTreeMap<Path, Thing>;

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or(&[], |at| &path[..at])
}

fn name(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or(path, |at| &path[at + 1..])
}

fn joined(directory: &[u8], name: &[u8]) -> Path {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

fn pack(model: &Model) -> (tempfile::TempDir, Arc<Image>) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("image");
    let mut builder = Builder::new(&path, BuildOptions::default()).unwrap();
    for (path, thing) in model {
        let contents = thing.contents();
        let target = match thing {
            Thing::Symlink(target) => target.as_slice(),
            _ => b"",
        };
        let entry = NewEntry {
            path,
            metadata: Metadata::new(thing.kind(), 0o640),
            contents: if contents.is_empty() {
                Contents::None
            } else {
                Contents::Bytes(&contents)
            },
            target,
            identity: match thing {
                Thing::Linked(group) => Some((1, u64::from(*group))),
                _ => None,
            },
        };
        builder.add(entry).unwrap();
    }
    builder.finish(&mut LogObserver).unwrap();
    let image = Arc::new(Image::open(&path).unwrap());
    (scratch, image)
}

/// A sink with room for `room` entries.
struct Page {
    room: usize,
    entries: Vec<(Vec<u8>, u64, Attributes)>,
}

impl DirSink for Page {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        if self.entries.len() == self.room {
            return false;
        }
        let DirEntry {
            name,
            cookie,
            attributes,
            is_complete,
        } = *entry;
        assert!(is_complete);
        self.entries.push((name.to_vec(), cookie, attributes));
        true
    }
}

fn list(fs: &PackFs, dir: Ino, cookie: u64, room: usize) -> Vec<(Vec<u8>, u64, Attributes)> {
    let mut page = Page {
        room,
        entries: Vec::new(),
    };
    fs.list(dir, cookie, &mut page).unwrap();
    page.entries
}

/// Compares what `fs` shows below its root with what the model has below `root`.
fn compare(fs: &PackFs, model: &Model, root: &[u8]) {
    let mut inos = BTreeSet::new();
    let mut linked = BTreeMap::new();
    let mut waiting = vec![(root.to_vec(), Ino::ROOT, Ino::ROOT)];
    while let Some((path, ino, above)) = waiting.pop() {
        assert!(inos.insert(ino), "{ino:?} twice");
        let own = fs.attributes(ino).unwrap();
        assert_eq!((own.ino, own.kind), (ino, Kind::Directory));
        let children: Vec<_> = model
            .iter()
            .filter(|(child, _)| parent(child) == path && !child.is_empty())
            .map(|(child, thing)| (name(child).to_vec(), thing))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        assert_eq!(own.size, children.len() as u64);
        let directories = children
            .iter()
            .filter(|(_, thing)| **thing == Thing::Directory)
            .count();
        assert_eq!(own.links as usize, 2 + directories);

        let listed = list(fs, ino, 0, usize::MAX);
        let names: Vec<_> = listed.iter().map(|(name, ..)| name.as_slice()).collect();
        let mut expected: Vec<&[u8]> = vec![b".", b".."];
        expected.extend(children.iter().map(|(name, _)| name.as_slice()));
        assert_eq!(names, expected);
        assert_eq!(listed[0].2, own);
        assert_eq!(listed[1].2.ino, above);
        assert_eq!(fs.lookup(ino, b".").unwrap(), Some(own));
        assert_eq!(fs.lookup(ino, b"..").unwrap().unwrap().ino, above);
        resume(fs, ino, &listed);

        for ((name, thing), (_, _, attributes)) in children.iter().zip(&listed[2..]) {
            let child = joined(&path, name);
            assert_eq!(fs.lookup(ino, name).unwrap(), Some(*attributes));
            assert_eq!(fs.attributes(attributes.ino).unwrap(), *attributes);
            assert_eq!(attributes.kind, thing.kind(), "{child:?}");
            let near = [name.as_slice(), b"~"].concat();
            if !model.contains_key(&joined(&path, &near)) {
                assert_eq!(fs.lookup(ino, &near).unwrap(), None);
            }
            match thing {
                Thing::Directory => waiting.push((child, attributes.ino, ino)),
                Thing::Symlink(target) => {
                    assert_eq!(fs.read_link(attributes.ino).unwrap(), *target);
                }
                Thing::File(_) | Thing::Linked(_) => {
                    read(fs, attributes, &thing.contents());
                    let wrong = fs.lookup(attributes.ino, b"x").unwrap_err();
                    assert_eq!(wrong.kind(), ErrorKind::NotADirectory);
                }
            }
            if let Thing::Linked(group) = thing {
                let first = linked.entry(*group).or_insert(attributes.ino);
                assert_eq!(*first, attributes.ino, "names of one file");
                let count = model.values().filter(|other| *other == *thing).count();
                assert_eq!(attributes.links as usize, count);
            } else if **thing != Thing::Directory {
                assert!(inos.insert(attributes.ino), "{attributes:?} twice");
            }
        }
    }
    let shown = model.keys().filter(|path| {
        root.is_empty() || (path.starts_with(root) && path.get(root.len()) == Some(&b'/'))
    });
    let links = model
        .iter()
        .filter(|(path, thing)| {
            let below = root.is_empty() || path.starts_with(&[root, b"/"].concat());
            below && matches!(thing, Thing::Linked(_))
        })
        .count();
    assert_eq!(inos.len(), 1 + shown.count() - links);
}

/// A listing goes on behind any entry, and in pieces of any size.
fn resume(fs: &PackFs, dir: Ino, listed: &[(Vec<u8>, u64, Attributes)]) {
    for (number, (_, cookie, _)) in listed.iter().enumerate() {
        let rest = list(fs, dir, *cookie, 3);
        let end = listed.len().min(number + 4);
        assert_eq!(rest, listed[number + 1..end]);
    }
    let mut pieces = Vec::new();
    for room in [1, 2, 5].into_iter().cycle() {
        let cookie = pieces.last().map_or(0, |(_, cookie, _)| *cookie);
        let piece = list(fs, dir, cookie, room);
        if piece.is_empty() {
            break;
        }
        pieces.extend(piece);
    }
    assert_eq!(pieces, listed);
    for beyond in [listed.len() as u64 + 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(list(fs, dir, beyond, 10), []);
    }
}

fn read(fs: &PackFs, file: &Attributes, contents: &[u8]) {
    assert_eq!(file.size, contents.len() as u64);
    let mut scratch = vec![0xaa; 7];
    let length = contents.len();
    for (offset, wanted) in [
        (0, length + 1),
        (0, length / 2),
        (length / 3, length),
        (length, 1),
        (length + 5, 1),
    ] {
        let bytes = fs
            .read(file.ino, offset as u64, wanted, &mut scratch)
            .unwrap();
        let end = length.min(offset + wanted);
        assert_eq!(*bytes, contents[offset.min(end)..end]);
    }
}

fn view(subdir: &[u8]) -> Options {
    Options {
        subdir: Some(subdir.to_vec()),
        ..Options::default()
    }
}

/// The whole tree, and each directory of it as a root of its own.
fn check(model: &Model) {
    let (_scratch, image) = pack(model);
    let whole = PackFs::new(image.clone(), Options::default()).unwrap();
    compare(&whole, model, b"");
    for (path, thing) in model {
        let part = PackFs::new(image.clone(), view(path));
        if *thing != Thing::Directory {
            assert_eq!(part.unwrap_err().kind(), ErrorKind::NotADirectory);
            continue;
        }
        let part = part.unwrap();
        compare(&part, model, path);
        let own = image.lookup(path).unwrap().unwrap().ino;
        let hidden = part.attributes(own).unwrap_err();
        assert_eq!(hidden.kind(), ErrorKind::NotFound);
    }
    let missing = PackFs::new(image.clone(), view(b"no/such")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    for beyond in [0, image.header().entries + 1, u64::MAX] {
        let error = whole.attributes(Ino(beyond)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "inode {beyond}");
    }
}

/// The things at these paths, and the directories above them. A thing in the way of another yields.
fn model_of(things: Vec<(Vec<Vec<u8>>, Thing)>) -> Model {
    let mut model = Model::new();
    for (names, thing) in things {
        let mut path = Vec::new();
        let (last, above) = names.split_last().unwrap();
        for name in above {
            path = joined(&path, name);
            model.insert(path.clone(), Thing::Directory);
        }
        path = joined(&path, last);
        model.entry(path).or_insert(thing);
    }
    model
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ab]{1,2}".prop_map(String::into_bytes),
        "[a-c.\\-]{1,3}"
            .prop_map(String::into_bytes)
            .prop_filter("names of their own", |name| name != b"." && name != b".."),
        prop::collection::vec(
            (1..=255u8).prop_filter("no slash", |byte| *byte != b'/'),
            1..4
        )
        .prop_filter("names of their own", |name| name != b"." && name != b".."),
        Just(vec![b'n'; 255]),
    ]
}

fn things() -> impl Strategy<Value = Thing> {
    prop_oneof![
        Just(Thing::Directory),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Thing::File),
        (0..3u8).prop_map(Thing::Linked),
        "[a-z/]{1,20}".prop_map(|target| Thing::Symlink(target.into_bytes())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_tree_is_shown_as_it_was_packed(
        things in prop::collection::vec((prop::collection::vec(names(), 1..5), things()), 0..40)
    ) {
        check(&model_of(things));
    }
}

#[test]
fn directories_longer_than_a_page_are_shown_whole() {
    let mut things = Vec::new();
    for number in 0..3000 {
        let names = vec![b"long".to_vec(), format!("{number:x}").into_bytes()];
        things.push((names, Thing::File(vec![1; number % 5])));
    }
    things.push((vec![b"z".to_vec()], Thing::Directory));
    check_without_parts(&model_of(things));
}

/// [`check`], but with only one directory as a root: for large trees.
fn check_without_parts(model: &Model) {
    let (_scratch, image) = pack(model);
    let whole = PackFs::new(image.clone(), Options::default()).unwrap();
    compare(&whole, model, b"");
    let part = PackFs::new(image, view(b"long")).unwrap();
    compare(&part, model, b"long");
}

#[test]
fn a_lookup_in_a_known_directory_reads_one_page_at_most() {
    let things = (0..20_000).map(|number| {
        let names = vec![
            format!("directory {}", number % 20).into_bytes(),
            format!("{:08x}", number * 2_654_435_761_u64 % (1 << 32)).into_bytes(),
        ];
        (names, Thing::File(Vec::new()))
    });
    let model = model_of(things.collect());
    let (_scratch, image) = pack(&model);
    let fs = PackFs::new(image.clone(), Options::default()).unwrap();
    let directory = fs.lookup(Ino::ROOT, b"directory 7").unwrap().unwrap().ino;
    let children: Vec<_> = model
        .keys()
        .filter(|path| parent(path) == b"directory 7")
        .collect();
    assert_eq!(children.len(), 1000);
    for path in children.into_iter().step_by(97) {
        let before = image.counters();
        assert!(fs.lookup(directory, name(path)).unwrap().is_some());
        let after = image.counters();
        assert!(after.pages_decoded - before.pages_decoded <= 1);
        assert!(after.index_reads - before.index_reads <= 1);
    }
}
