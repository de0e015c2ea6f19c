//! Files with holes and the optional times: what goes in comes out, in the mount and from `extract`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one left out says so"
)]

mod packing;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use packing::{Scene, dgfs};
use rustix::fs::SeekFrom;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Makes a file of `size` bytes with data at `parts`: offset and length.
fn sparse(path: &Path, size: u64, parts: &[(u64, u64)]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for &(offset, length) in parts {
        let length = usize::try_from(length).unwrap();
        let bytes: Vec<u8> = (0..length)
            .map(|at| u8::try_from((at as u64 + (offset >> 12)) % 251).unwrap() + 1)
            .collect();
        file.write_all_at(&bytes, offset).unwrap();
    }
}

/// Where `path` has data, as the file system says.
fn segments(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) else {
            break;
        };
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        found.push((start, at - start));
    }
    found
}

fn some_files(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::write(at("no hole"), vec![7; 300_000]).unwrap();
    fs::write(at("zeros are data"), vec![0; 300_000]).unwrap();
    fs::write(at("empty"), b"").unwrap();
    sparse(&at("small hole"), 1000, &[]);
    sparse(&at("one hole"), 5 * MIB, &[]);
    sparse(
        &at("hole first"),
        MIB + 5,
        &[(64 * KIB, MIB + 5 - 64 * KIB)],
    );
    sparse(&at("hole last"), 3 * MIB, &[(0, 4 * KIB)]);
    sparse(
        &at("hole amid"),
        40 * KIB,
        &[(0, 8 * KIB), (32 * KIB, 8 * KIB)],
    );
    let comb: Vec<_> = (0..300).map(|n| (n * 8 * KIB, 4 * KIB)).collect();
    sparse(&at("comb"), 300 * 8 * KIB, &comb);
    sparse(
        &at("more than a table block"),
        600 * MIB,
        &[(100 * MIB, 70 * MIB), (500 * MIB, 4 * KIB)],
    );
    sparse(
        &at("huge"),
        8 * TIB,
        &[(5 * TIB, 8 * KIB), (8 * TIB - 4 * KIB, 4 * KIB)],
    );
    fs::hard_link(at("comb"), at("comb's other name")).unwrap();
}

/// Whether both files have the same length, holes, space and data.
fn assert_same(source: &Path, copy: &Path) {
    let (a, b) = (fs::metadata(source).unwrap(), fs::metadata(copy).unwrap());
    let name = source.display();
    assert_eq!(a.len(), b.len(), "{name}");
    let parts = segments(source);
    assert_eq!(parts, segments(copy), "{name}");
    assert_eq!(a.blocks(), b.blocks(), "{name}");
    let (a, b) = (File::open(source).unwrap(), File::open(copy).unwrap());
    let read = |file: &File, at: u64, length: usize| {
        let mut bytes = vec![1; length];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    for (start, length) in parts {
        let length = usize::try_from(length).unwrap();
        assert!(
            read(&a, start, length) == read(&b, start, length),
            "{name} at {start}"
        );
        // Over the edge of the hole before.
        let before = usize::try_from(start.min(100)).unwrap();
        let edge = start - before as u64;
        assert_eq!(
            read(&a, edge, before + 1),
            read(&b, edge, before + 1),
            "{name}"
        );
    }
}

/// Whether the file system below `path` tells holes from data, to the block.
fn has_holes(path: &Path, test: &str) -> bool {
    let probe = path.join("probe");
    sparse(&probe, 64 * KIB, &[(32 * KIB, 4 * KIB)]);
    let found = segments(&probe);
    let space = fs::metadata(&probe).unwrap().blocks();
    fs::remove_file(probe).unwrap();
    let tells = found == [(32 * KIB, 4 * KIB)] && space == 8;
    if !tells {
        println!("SKIPPED {test}: temporary files have no exact holes");
    }
    tells
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn holes_are_not_stored_and_come_back() {
    let scene = Scene::packed(some_files);
    if !has_holes(&scene.at(""), "holes_are_not_stored_and_come_back") {
        return;
    }
    // 72 MiB of data, and nothing of eight terabytes of holes.
    let volume = fs::metadata(scene.volume()).unwrap().len();
    assert!(volume < 76 * MIB, "{volume} bytes");
    dgfs(&[&"verify", &"-q", &scene.image()]).fine();
    dgfs(&[&"extract", &"-q", &scene.image(), &scene.at("out")]).fine();
    for name in names(&scene.source()) {
        assert_same(&scene.source().join(&name), &scene.at("out").join(&name));
    }
    let stat = dgfs(&[&"stat", &"--json", &scene.image(), &"huge"]).fine();
    let stat: serde_json::Value = serde_json::from_str(stat.text()).unwrap();
    assert_eq!(
        (stat["size"].as_u64(), stat["blocks"].as_u64()),
        (Some(8 * TIB), Some(24))
    );
    let cat = dgfs(&[&"cat", &scene.image(), &"hole first"]).fine();
    assert!(cat.out == fs::read(scene.source().join("hole first")).unwrap());
}

#[test]
fn data_between_many_holes_is_one_read() {
    let scene = Scene::packed(some_files);
    if !has_holes(&scene.at(""), "data_between_many_holes_is_one_read") {
        return;
    }
    let image = dgfs::read::Image::open(scene.image()).unwrap();
    let node = image.lookup(b"comb").unwrap().unwrap();
    let before = image.counters().data_reads;
    let mut scratch = Vec::new();
    let length = usize::try_from(MIB).unwrap();
    let bytes = image.read_at(&node, 0, length, &mut scratch).unwrap();
    let expected = fs::read(scene.source().join("comb")).unwrap();
    assert!(bytes == &expected[..length]);
    // 128 segments: a block of the chunk table, and their chunks.
    assert_eq!(image.counters().data_reads - before, 2);
}

#[cfg(feature = "mount")]
#[test]
fn the_mount_shows_holes() {
    use dgfs::mount::{MountOptions, Operation, mount};

    if !packing::needs_root("the_mount_shows_holes") {
        return;
    }
    let scene = Scene::packed(some_files);
    if !has_holes(&scene.at(""), "the_mount_shows_holes") {
        return;
    }
    let directory = scene.at("mount");
    fs::create_dir(&directory).unwrap();
    let image = std::sync::Arc::new(dgfs::read::Image::open(scene.image()).unwrap());
    let mounted = mount(image, &directory, &MountOptions::default()).unwrap();
    for name in names(&scene.source()) {
        assert_same(&scene.source().join(&name), &directory.join(&name));
    }
    assert!(mounted.counters().get(Operation::Lseek) > 0);
    mounted.unmount().unwrap();
}

/// Where there is room for it: in memory, a file may be as long as the type allows.
#[test]
fn the_longest_files_pack() {
    let Ok(scratch) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED the_longest_files_pack: no /dev/shm");
        return;
    };
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    let most = i64::MAX as u64;
    let end = (most & !0xFFF) - 4 * KIB;
    for name in ["longest", "longest too", "and a third"] {
        if let Err(error) = File::create(source.join(name)).unwrap().set_len(most) {
            println!("SKIPPED the_longest_files_pack: {error}");
            return;
        }
    }
    let file = File::options()
        .write(true)
        .open(source.join("longest"))
        .unwrap();
    file.write_all_at(b"the end", end).unwrap();
    let image = scratch.path().join("image");
    dgfs(&[&"pack", &"-q", &source, &image]).fine();
    dgfs(&[&"verify", &"-q", &image]).fine();
    let out = scratch.path().join("out");
    dgfs(&[&"extract", &"-q", &image, &out]).fine();
    for name in names(&source) {
        assert_same(&source.join(&name), &out.join(&name));
    }
}

#[test]
fn all_times_are_kept_where_asked() {
    let scene = Scene::new(|root| {
        fs::write(root.join("file"), b"file").unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        for (name, atime, mtime) in [
            ("file", (-5, 7), (9, 1)),
            ("directory", (77, 0), (4_000_000_000, 2)),
        ] {
            let time = |(seconds, nanoseconds)| rustix::fs::Timespec {
                tv_sec: seconds,
                tv_nsec: nanoseconds,
            };
            let times = rustix::fs::Timestamps {
                last_access: time(atime),
                last_modification: time(mtime),
            };
            rustix::fs::utimensat(
                rustix::fs::CWD,
                root.join(name),
                &times,
                rustix::fs::AtFlags::empty(),
            )
            .unwrap();
        }
    });
    let plain = scene.at("plain.dgfs");
    dgfs(&[&"pack", &"-q", &scene.source(), &plain]).fine();
    dgfs(&[
        &"pack",
        &"-q",
        &"--times",
        &"all",
        &scene.source(),
        &scene.image(),
    ])
    .fine();
    let stat = |image: &Path, name: &str| -> serde_json::Value {
        let ran = dgfs(&[&"stat", &"--json", &image, &name]).fine();
        serde_json::from_str(ran.text()).unwrap()
    };
    dgfs(&[&"extract", &"-q", &scene.image(), &scene.at("out")]).fine();
    for name in ["file", "directory"] {
        let source = fs::metadata(scene.source().join(name)).unwrap();
        let shown = stat(&scene.image(), name);
        let seconds = |time: &str| shown[time]["seconds"].as_i64().unwrap();
        let nanoseconds = |time: &str| shown[time]["nanoseconds"].as_i64().unwrap();
        assert_eq!(
            (seconds("atime"), nanoseconds("atime")),
            (source.atime(), source.atime_nsec())
        );
        assert_eq!(
            (seconds("mtime"), nanoseconds("mtime")),
            (source.mtime(), source.mtime_nsec())
        );
        assert_eq!(
            (seconds("ctime"), nanoseconds("ctime")),
            (source.ctime(), source.ctime_nsec())
        );
        if let Ok(born) = source.created() {
            let born = born.duration_since(std::time::UNIX_EPOCH).unwrap();
            assert_eq!(seconds("btime"), i64::try_from(born.as_secs()).unwrap());
        }
        let copy = fs::metadata(scene.at("out").join(name)).unwrap();
        assert_eq!(
            (copy.atime(), copy.atime_nsec()),
            (source.atime(), source.atime_nsec())
        );
        assert!(stat(&plain, name)["atime"].is_null());
    }
    if !packing::needs_root("the mount in all_times_are_kept_where_asked") {
        return;
    }
    #[cfg(feature = "mount")]
    {
        let directory = scene.at("mount");
        fs::create_dir(&directory).unwrap();
        let image = std::sync::Arc::new(dgfs::read::Image::open(scene.image()).unwrap());
        let options = dgfs::mount::MountOptions::default();
        let mounted = dgfs::mount::mount(image, &directory, &options).unwrap();
        let times = |path: &Path| {
            let stat = fs::metadata(path).unwrap();
            let access = (stat.atime(), stat.atime_nsec());
            (
                access,
                (stat.mtime(), stat.mtime_nsec()),
                (stat.ctime(), stat.ctime_nsec()),
            )
        };
        for name in ["file", "directory"] {
            assert_eq!(
                times(&scene.source().join(name)),
                times(&directory.join(name))
            );
        }
        mounted.unmount().unwrap();
    }
}
