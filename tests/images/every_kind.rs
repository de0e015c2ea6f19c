//! A small tree with every kind of entry that an image can hold.

use super::Parts;
use dgfs::build::{BuildOptions, Builder, Compression, Contents, LogObserver, NewEntry};
use dgfs::entry::{Kind, Metadata, OtherTimes, Timestamp};
use std::fs;

/// Bytes of a chunk as the builder cuts contents.
const CHUNK: usize = 1 << dgfs::build::DEFAULT_CHUNK_SHIFT;

/// Numbers that look random and are the same each time (`SplitMix64`).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes that zstd cannot shorten and that a name can hold.
    pub(crate) fn name(&mut self, length: usize) -> Vec<u8> {
        let byte = |number: u64| match number as u8 {
            0 | b'/' => b'x',
            byte => byte,
        };
        (0..length).map(|_| byte(self.next())).collect()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

struct Tree {
    builder: Builder,
    numbers: Numbers,
}

impl Tree {
    fn metadata(&mut self, kind: Kind) -> Metadata {
        let number = self.numbers.next();
        Metadata {
            uid: [0, 0, 1000, u32::MAX - 1][number as usize % 4],
            gid: [0, 100][number as usize / 4 % 2],
            mtime: Timestamp {
                seconds: [1_700_000_000, -5, i64::MIN, i64::MAX][number as usize / 8 % 4],
                nanoseconds: (number >> 32) as u32 % 1_000_000_000,
            },
            other_times: number.is_multiple_of(5).then_some(OtherTimes {
                atime: Timestamp {
                    seconds: 1_800_000_000,
                    nanoseconds: 1,
                },
                ctime: Timestamp {
                    seconds: -1,
                    nanoseconds: 999_999_999,
                },
                btime: number.is_multiple_of(2).then_some(Timestamp {
                    seconds: 1,
                    nanoseconds: 2,
                }),
            }),
            ..Metadata::new(kind, [0o644, 0o4755, 0o1777][number as usize / 32 % 3])
        }
    }

    fn add(
        &mut self,
        path: &[u8],
        kind: Kind,
        bytes: &[u8],
        change: impl FnOnce(&mut NewEntry<'_>),
    ) {
        let is_link = kind == Kind::Symlink;
        let mut entry = NewEntry {
            path,
            metadata: self.metadata(kind),
            contents: match kind {
                Kind::File => Contents::Bytes(bytes),
                _ => Contents::None,
            },
            target: if is_link { bytes } else { b"" },
            identity: None,
        };
        change(&mut entry);
        self.builder.add(entry).unwrap();
    }

    fn file(&mut self, path: &[u8], bytes: &[u8]) {
        self.add(path, Kind::File, bytes, |_| {});
    }
}

/// The image, in two volumes and with an inner page; see [`super::compressed`] for frames. Its large files hardly have contents; see
/// [`super::chunks::chunks_and_holes`] for those.
pub(crate) fn every_kind() -> Parts {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let options = BuildOptions {
        uuid: Some(*b"every kind entry"),
        volumes: vec![at("data.0"), at("data.1")],
        threads: 1,
        compression: Compression::None,
        ..BuildOptions::default()
    };
    let mut tree = Tree {
        builder: Builder::new(&at("index"), options).unwrap(),
        numbers: Numbers(1),
    };
    fill(&mut tree);
    tree.builder.finish(&mut LogObserver).unwrap();
    let read = |name: &str| fs::read(at(name)).unwrap();
    Parts {
        index: read("index"),
        volumes: vec![read("data.0"), read("data.1")],
    }
}

fn fill(tree: &mut Tree) {
    tree.file(b"empty", b"");
    tree.file(b"one byte", b"1");
    tree.file(b"text", b"a small file of text\n".repeat(9).as_slice());
    tree.file(b"z/last", b"in the last volume");
    // Three chunks, two of them zeros, which are not stored.
    let mut sparse = vec![0; 2 * CHUNK];
    sparse.extend_from_slice(b"the end of it");
    tree.file(b"sparse", &sparse);
    tree.file(b"z/zeros", &vec![0; CHUNK + 1]);
    for name in [&b"a/first name"[..], b"a/second", b"b/c/third"] {
        tree.add(name, Kind::File, b"linked", |entry| {
            entry.identity = Some((1, 1));
            // One inode has one set of attributes.
            entry.metadata = Metadata::new(Kind::File, 0o600);
        });
    }
    tree.add(b"a/link", Kind::Symlink, b"../text", |_| {});
    let long = tree.numbers.name(1500);
    tree.add(b"b/long link", Kind::Symlink, &long, |_| {});
    tree.add(b"fifo", Kind::Fifo, b"", |_| {});
    tree.add(b"socket", Kind::Socket, b"", |_| {});
    tree.add(b"null", Kind::CharDevice, b"", |e| e.metadata.rdev = 0x103);
    tree.add(b"disk", Kind::BlockDevice, b"", |e| {
        e.metadata.rdev = u64::MAX;
    });
    tree.add(b"empty directory", Kind::Directory, b"", |_| {});
    let attributes = |count: u8| {
        let attribute = |n: u8| (format!("user.{n}").into_bytes(), vec![n; 40]);
        (0..count).map(attribute).collect::<Vec<_>>()
    };
    for (name, count) in [(&b"b/noted"[..], 1), (b"b/noted too", 1), (b"a/much", 3)] {
        tree.add(name, Kind::File, name, |e| {
            e.metadata.xattrs = attributes(count);
        });
    }
    tree.add(b"a/directory", Kind::Directory, b"", |e| {
        e.metadata.xattrs = attributes(2);
    });
    // A path too long for a page, so that runs name their parents by number.
    let component = |byte| vec![byte; 250];
    let deep = [b'p', b'q', b'r', b's', b't'].map(component).join(&b'/');
    for name in [&b"/far"[..], b"/below/farther", b"/far too"] {
        tree.file(&[&deep, name].concat(), name);
    }
    // Names that do not compress, so that one directory takes several pages.
    for number in 0..42u8 {
        let name = [&b"n/"[..], &[number + 48], &tree.numbers.name(240)].concat();
        match number % 7 {
            0 => tree.add(&name, Kind::Directory, b"", |_| {}),
            1 => tree.file(&[&name, &b"/below"[..]].concat(), &[number]),
            _ => {
                let bytes = tree.numbers.bytes(usize::from(number));
                tree.file(&name, &bytes);
            }
        }
    }
}
