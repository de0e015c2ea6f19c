//! The mount, from the inside of the process that serves it: what it shows, and with how few requests.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod mounting;

use dgfs::mount::{MountOptions, Mounted, Operation, RequestCounts, mount};
use dgfs::read::Image;
use mounting::{Scene, shell};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn mounted_with(scene: &Scene, options: &MountOptions) -> Mounted {
    let image = Arc::new(Image::open(scene.image()).unwrap());
    mount(image, &scene.mount_point(), options).unwrap()
}

fn mounted(scene: &Scene) -> Mounted {
    mounted_with(scene, &MountOptions::default())
}

/// The requests that `action` causes.
fn requests(mounted: &Mounted, action: impl FnOnce()) -> RequestCounts {
    let before = mounted.counters();
    action();
    mounted.counters().since(&before)
}

/// The requests of a kind that comes once a mount and is then declined for good are left out.
fn lasting(counts: &RequestCounts) -> BTreeMap<&'static str, u64> {
    let once = [
        Operation::Open,
        Operation::Opendir,
        Operation::Flush,
        Operation::Getxattr,
        Operation::Listxattr,
        Operation::Forget,
    ];
    counts
        .iter()
        .filter(|(operation, _)| !once.contains(operation))
        .map(|(operation, count)| (operation.name(), count))
        .collect()
}

fn thousand_files(tree: &Path) {
    fs::create_dir(tree.join("many")).unwrap();
    for number in 0..1000 {
        let path = tree.join(format!("many/a file with number {number:04}"));
        fs::write(path, format!("contents {number}\n").repeat(500)).unwrap();
    }
}

#[test]
fn a_cold_file_costs_a_lookup_and_a_read_and_then_nothing() {
    needs_mount!("a_cold_file_costs_a_lookup_and_a_read_and_then_nothing");
    let scene = Scene::packed(&["--small-frames", "none"], thousand_files);
    let mounted = mounted(&scene);
    let many = scene.mount_point().join("many");
    let read = |number: u32| {
        let path = many.join(format!("a file with number {number:04}"));
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, format!("contents {number}\n").repeat(500));
    };
    // The directory becomes known, and the kernel learns what it need not ask.
    read(0);
    for number in [700, 1, 999] {
        let data_reads = mounted.image().counters().data_reads;
        let cold = requests(&mounted, || read(number));
        assert_eq!(
            lasting(&cold),
            BTreeMap::from([("lookup", 1), ("read", 1)]),
            "file {number}"
        );
        assert_eq!(cold.total(), 2, "nothing comes more than once a mount");
        assert_eq!(mounted.image().counters().data_reads - data_reads, 1);
        assert_eq!(requests(&mounted, || read(number)).total(), 0);
    }
}

#[test]
fn files_that_share_chunks_are_read_in_any_order() {
    needs_mount!("files_that_share_chunks_are_read_in_any_order");
    let numbers = (0..800_000u32).map(|n| n.wrapping_mul(2_654_435_761));
    let mut old: Vec<u8> = numbers.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
    old.extend(b"one line of many\n".repeat(60_000));
    let new = [b"in front", &old[..]].concat();
    let scene = Scene::new(|root| {
        fs::write(root.join("new"), &new).unwrap();
        fs::write(root.join("old"), &old).unwrap();
    });
    let packed = Command::new(mounting::DGFS)
        .args(["pack", "-q", "--force", "--dedup", "chunks"])
        .args([scene.tree(), scene.image()])
        .status();
    assert!(packed.unwrap().success());
    let _mounted = mounted(&scene);
    for (name, contents) in [("old", &old), ("new", &new)] {
        let path = scene.mount_point().join(name);
        let file = fs::File::open(&path).unwrap();
        let mut part = vec![0; 5000];
        for n in (0..200).rev() {
            let at = n * (contents.len() - part.len()) / 200;
            file.read_exact_at(&mut part, at as u64).unwrap();
            assert!(part == contents[at..at + part.len()], "{name} at {at}");
        }
        assert!(fs::read(&path).unwrap() == *contents, "{name}");
    }
}

#[test]
fn a_listing_with_attributes_costs_a_few_requests_and_then_nothing() {
    needs_mount!("a_listing_with_attributes_costs_a_few_requests_and_then_nothing");
    let scene = Scene::new(thousand_files);
    let mounted = mounted(&scene);
    let list = || {
        let lines = shell("ls -l many", &scene.mount_point());
        assert_eq!(lines.lines().count(), 1001);
    };
    let cold = requests(&mounted, list);
    let lasting = lasting(&cold);
    assert!(lasting.values().sum::<u64>() <= 4, "{lasting:?}");
    assert_eq!(requests(&mounted, list).total(), 0);
}

#[test]
fn a_walk_with_attributes_looks_up_no_file() {
    needs_mount!("a_walk_with_attributes_looks_up_no_file");
    let scene = Scene::new(|tree| {
        for directory in 0..20 {
            let directory = tree.join(format!("d{directory}"));
            fs::create_dir(&directory).unwrap();
            for file in 0..50 {
                fs::write(directory.join(format!("f{file}")), b"x").unwrap();
            }
        }
        // More entries than one reply holds.
        fs::create_dir(tree.join("long")).unwrap();
        for file in 0..12_000 {
            fs::write(tree.join(format!("long/{file}")), b"").unwrap();
        }
    });
    let mounted = mounted(&scene);
    let walk = || {
        let found = shell("find . -type f -size -2 | wc -l", &scene.mount_point());
        assert_eq!(found.trim(), "13000");
    };
    let cold = requests(&mounted, walk);
    // The directories are 22; `find` may look at its starting point once more.
    assert!(cold.get(Operation::Lookup) <= 1, "{cold:?}");
    assert!(cold.get(Operation::Getattr) <= 1, "{cold:?}");
    assert!(cold.total() <= 2 * 22 + 12, "{cold:?}");
    // `find` asks what kind of file system it is on.
    let again = requests(&mounted, walk);
    assert_eq!(again.total(), again.get(Operation::Statfs), "{again:?}");
}

#[test]
fn a_miss_is_asked_once() {
    needs_mount!("a_miss_is_asked_once");
    let scene = Scene::new(thousand_files);
    let mounted = mounted(&scene);
    let miss = || {
        let error = fs::metadata(scene.mount_point().join("none")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOENT.raw_os_error()));
    };
    assert_eq!(requests(&mounted, miss).get(Operation::Lookup), 1);
    for _ in 0..3 {
        assert_eq!(requests(&mounted, miss).total(), 0);
    }
    let long = scene.mount_point().join("n".repeat(256));
    let error = fs::metadata(long).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(Errno::NAMETOOLONG.raw_os_error())
    );
}

#[test]
fn links_are_read_once() {
    needs_mount!("links_are_read_once");
    let scene = Scene::new(|tree| symlink("some/where", tree.join("link")).unwrap());
    let mounted = mounted(&scene);
    let read = || {
        let target = fs::read_link(scene.mount_point().join("link")).unwrap();
        assert_eq!(target, Path::new("some/where"));
    };
    assert_eq!(requests(&mounted, read).get(Operation::Readlink), 1);
    assert_eq!(requests(&mounted, read).total(), 0);
}

#[test]
fn two_clients_read_every_file_once_between_them() {
    needs_mount!("two_clients_read_every_file_once_between_them");
    let scene = Scene::new(thousand_files);
    let mounted = mounted(&scene);
    let many = scene.mount_point().join("many");
    let counts = requests(&mounted, || {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for number in 0..1000 {
                        let path = many.join(format!("a file with number {number:04}"));
                        let text = fs::read_to_string(path).unwrap();
                        assert_eq!(text, format!("contents {number}\n").repeat(500));
                    }
                });
            }
        });
    });
    // Both may ask for the same page at the same moment, now and then.
    assert!(counts.get(Operation::Read) < 1100, "{counts:?}");
}

/// Everything a tree can hold, with attributes that are easy to get wrong.
fn odd_tree(tree: &Path) {
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/empty"), b"").unwrap();
    fs::write(tree.join("a/b/page"), vec![7; 4096]).unwrap();
    let large: Vec<u8> = (0..3_000_001u32).flat_map(u32::to_le_bytes).collect();
    fs::write(tree.join("large"), large).unwrap();
    fs::write(tree.join("a/b/twice"), b"linked").unwrap();
    fs::hard_link(tree.join("a/b/twice"), tree.join("a/b/c/again")).unwrap();
    symlink("../b/page", tree.join("a/b/to page")).unwrap();
    symlink("nowhere", tree.join("dangling")).unwrap();
    fs::write(tree.join("set-id"), b"#!/bin/sh\n").unwrap();
    let modes = [("set-id", 0o6755), ("a/empty", 0o000), ("a/b", 0o1777)];
    for (path, mode) in modes {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::chown(tree.join("large"), Some(12345), Some(54321)).unwrap();
    for (name, kind, device) in [
        ("fifo", rustix::fs::FileType::Fifo, 0),
        ("socket", rustix::fs::FileType::Socket, 0),
        (
            "char",
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::makedev(10, 229),
        ),
        (
            "block",
            rustix::fs::FileType::BlockDevice,
            rustix::fs::makedev(259, 70_000),
        ),
    ] {
        let mode = Mode::from_bits_retain(0o640);
        rustix::fs::mknodat(CWD, tree.join(name), kind, mode, device).unwrap();
    }
    for (path, seconds, nanoseconds) in [
        ("a/empty", -86_400, 123_456_789),
        ("a/b/page", 0, 0),
        ("large", 4_000_000_000, 999_999_999),
    ] {
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, tree.join(path), &times, AtFlags::empty()).unwrap();
    }
}

/// What `stat` says of every entry below `root`, by relative path; inode numbers as the path that has
/// the same number first.
fn stats(root: &Path) -> BTreeMap<String, String> {
    let format = "%n\t%f %u %g %s %h %.9Y %t:%T";
    let listing = shell(
        &format!(
            "find . -mindepth 1 -exec stat -c '{format}' {{}} +; find . -printf '%p -> %l\\n'"
        ),
        root,
    );
    let mut stats: BTreeMap<String, String> = listing
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(path, stat)| {
            let mut stat = stat.to_owned();
            // Directories have the size that their file system gives them.
            if stat.starts_with('4') {
                let mut fields: Vec<_> = stat.split(' ').collect();
                fields.remove(3);
                stat = fields.join(" ");
            }
            (path.to_owned(), stat)
        })
        .collect();
    for line in listing.lines().filter(|line| line.contains(" -> ")) {
        stats.insert(format!("link {line}"), String::new());
    }
    stats
}

#[test]
fn the_mount_shows_the_tree_that_was_packed() {
    needs_mount!("the_mount_shows_the_tree_that_was_packed", "diff", "find");
    let scene = Scene::new(odd_tree);
    let mounted = mounted(&scene);
    assert_eq!(stats(&scene.mount_point()), stats(&scene.tree()));
    shell(
        "diff -r --no-dereference --exclude=fifo --exclude=socket --exclude=char --exclude=block tree 'mount point, odd'",
        &scene.path("."),
    );
    let linked = |path: &str| fs::metadata(scene.mount_point().join(path)).unwrap().ino();
    assert_eq!(linked("a/b/twice"), linked("a/b/c/again"));
    assert_ne!(linked("a/b/twice"), linked("a/b/page"));
    mounted.unmount().unwrap();
    assert!(!scene.is_mounted());
}

#[test]
fn any_range_of_a_file_reads_as_in_the_source() {
    needs_mount!("any_range_of_a_file_reads_as_in_the_source");
    let scene = Scene::new(odd_tree);
    let _mounted = mounted(&scene);
    let source = fs::read(scene.tree().join("large")).unwrap();
    let file = fs::File::open(scene.mount_point().join("large")).unwrap();
    let end = source.len();
    for (offset, length) in [
        (0, 1),
        (4095, 2),
        (131_071, 131_074),
        (5_000_000, 2_000_000),
        (end - 1, 10),
        (end, 10),
        (end + 5000, 10),
    ] {
        let mut bytes = vec![0; length];
        let mut read = 0;
        loop {
            let more = file
                .read_at(&mut bytes[read..], (offset + read) as u64)
                .unwrap();
            if more == 0 {
                break;
            }
            read += more;
        }
        let expected = &source[offset.min(end)..(offset + length).min(end)];
        assert_eq!(&bytes[..read], expected, "{length} bytes at {offset}");
    }
    // Without holes, all is data up to the end.
    let end = end as u64;
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(5)),
        Ok(end)
    );
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(5)),
        Ok(5)
    );
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(end)),
        Err(Errno::NXIO)
    );
}

#[test]
fn a_program_runs_from_the_mount() {
    needs_mount!("a_program_runs_from_the_mount");
    let scene = Scene::new(|tree| {
        fs::copy("/bin/sh", tree.join("shell")).unwrap();
        fs::write(tree.join("script"), "#!/bin/sh\necho $1\n").unwrap();
        fs::set_permissions(tree.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    let mounted = mounted(&scene);
    let said = shell(
        "./shell -c 'echo hello'; ./script there",
        &scene.mount_point(),
    );
    assert_eq!(said, "hello\nthere\n");
    drop(mounted);
    let options = MountOptions {
        exec: false,
        ..MountOptions::default()
    };
    let _mounted = mounted_with(&scene, &options);
    let error = std::process::Command::new(scene.mount_point().join("shell"))
        .output()
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
}

#[test]
fn a_mapping_shows_the_contents() {
    needs_mount!("a_mapping_shows_the_contents", "python3");
    let scene = Scene::new(odd_tree);
    let _mounted = mounted(&scene);
    let program = "import mmap, sys\n\
        files = [open(p, 'rb') for p in sys.argv[1:]]\n\
        a, b = (mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) for f in files)\n\
        assert a[5000000:5000100] == b[5000000:5000100] and a[:] == b[:]\n";
    let script = scene.path("compare.py");
    fs::write(&script, program).unwrap();
    shell(
        "python3 compare.py tree/large 'mount point, odd/large'",
        &scene.path("."),
    );
}

#[test]
fn totals_are_those_of_the_image() {
    needs_mount!("totals_are_those_of_the_image");
    let scene = Scene::new(thousand_files);
    let mounted = mounted(&scene);
    let totals = rustix::fs::statvfs(scene.mount_point()).unwrap();
    let header = mounted.image().header();
    assert_eq!(totals.f_files, 1002);
    assert_eq!(totals.f_blocks, header.stored_bytes.div_ceil(4096));
    assert!(totals.f_blocks > 0);
    assert_eq!((totals.f_bfree, totals.f_bavail, totals.f_ffree), (0, 0, 0));
    assert_eq!((totals.f_frsize, totals.f_namemax), (4096, 255));
    let flags = totals.f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::NOSUID));
}

/// Every way to change something below `root`, and what came of it.
fn attempts(root: &Path) -> Vec<(&'static str, Result<(), Errno>)> {
    let file = root.join("a/b/page");
    let new = root.join("new");
    let mode = Mode::from_bits_retain(0o644);
    let open = |path: &Path, flags| rustix::fs::open(path, flags, mode).map(drop);
    let now = rustix::fs::Timespec {
        tv_sec: 1,
        tv_nsec: 1,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    let none = rustix::fs::XattrFlags::empty();
    vec![
        ("create", open(&new, OFlags::CREATE | OFlags::WRONLY)),
        ("mkdir", rustix::fs::mkdir(&new, mode)),
        ("unlink", rustix::fs::unlink(&file)),
        ("rmdir", rustix::fs::rmdir(root.join("a/b/c"))),
        ("rename", rustix::fs::rename(&file, &new)),
        ("symlink", rustix::fs::symlink("target", &new)),
        ("link", rustix::fs::link(&file, &new)),
        ("chmod", rustix::fs::chmod(&file, mode)),
        (
            "chown",
            rustix::fs::chown(&file, Some(rustix::fs::Uid::from_raw(7)), None),
        ),
        (
            "truncate",
            fs::OpenOptions::new()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_len(5))
                .map_err(|error| Errno::from_io_error(&error).unwrap()),
        ),
        (
            "utimens",
            rustix::fs::utimensat(CWD, &file, &times, AtFlags::empty()),
        ),
        (
            "setxattr",
            rustix::fs::setxattr(&file, "user.a", b"b", none),
        ),
        ("removexattr", rustix::fs::removexattr(&file, "user.a")),
        (
            "mknod",
            rustix::fs::mknodat(CWD, &new, rustix::fs::FileType::Fifo, mode, 0),
        ),
    ]
}

#[test]
fn every_change_is_refused_also_on_a_mount_made_writable() {
    needs_mount!("every_change_is_refused_also_on_a_mount_made_writable");
    let scene = Scene::new(odd_tree);
    let mounted = mounted(&scene);
    let before = stats(&scene.mount_point());
    let counts = requests(&mounted, || {
        for (attempt, outcome) in attempts(&scene.mount_point()) {
            assert_eq!(outcome, Err(Errno::ROFS), "{attempt}");
        }
        let file = scene.mount_point().join("a/b/page");
        for flags in [OFlags::RDWR, OFlags::WRONLY, OFlags::RDONLY | OFlags::TRUNC] {
            let opened = rustix::fs::open(&file, flags, Mode::empty());
            assert_eq!(opened.map(drop), Err(Errno::ROFS), "{flags:?}");
        }
    });
    assert_eq!(
        counts.get(Operation::Setattr),
        0,
        "the kernel refuses by itself"
    );

    let flags = rustix::mount::MountFlags::NODEV;
    rustix::mount::mount_remount(scene.mount_point(), flags, c"").unwrap();
    let counts = requests(&mounted, || {
        for (attempt, outcome) in attempts(&scene.mount_point()) {
            assert_eq!(outcome, Err(Errno::ROFS), "{attempt}");
        }
        let file = scene.mount_point().join("a/b/page");
        let write = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|file| {
                file.write_all_at(b"changed", 0)?;
                file.sync_all()
            });
        assert_eq!(
            write.unwrap_err().raw_os_error(),
            Some(Errno::ROFS.raw_os_error())
        );
    });
    assert!(counts.get(Operation::Setattr) > 0, "{counts:?}");
    assert_eq!(stats(&scene.mount_point()), before);
}

#[test]
fn a_listing_resumes_at_any_entry() {
    needs_mount!("a_listing_resumes_at_any_entry");
    let scene = Scene::new(thousand_files);
    let _mounted = mounted(&scene);
    let many = scene.mount_point().join("many");
    let directory = rustix::fs::open(&many, OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = Vec::new();
    let mut list = rustix::fs::RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = list.next() {
        let entry = entry.unwrap();
        entries.push((entry.file_name().to_owned(), entry.next_entry_cookie()));
    }
    assert_eq!(entries.len(), 1002);
    assert_eq!(entries[0].0.as_c_str(), c".");
    assert_eq!(entries[1].0.as_c_str(), c"..");
    assert!(entries[2..].is_sorted());
    for (number, (_, cookie)) in entries.iter().enumerate() {
        rustix::fs::seek(&directory, rustix::fs::SeekFrom::Start(*cookie)).unwrap();
        let mut list = rustix::fs::RawDir::new(&directory, buffer.spare_capacity_mut());
        let next = list
            .next()
            .map(|entry| entry.unwrap().file_name().to_owned());
        let expected = entries.get(number + 1).map(|(name, _)| name.clone());
        assert_eq!(next, expected, "behind entry {number}");
    }
}

#[test]
fn a_sub_directory_can_be_the_root() {
    needs_mount!("a_sub_directory_can_be_the_root");
    let scene = Scene::new(odd_tree);
    for subdir in ["a/b", "/a//./b/"] {
        let mut options = MountOptions::default();
        options.view.subdir = Some(subdir.into());
        options.view.uid = Some(4711);
        let _mounted = mounted_with(&scene, &options);
        let root = scene.mount_point();
        assert_eq!(fs::metadata(&root).unwrap().ino(), 1);
        assert_eq!(fs::metadata(root.join("c/..")).unwrap().ino(), 1);
        let names = shell("ls -a", &root);
        assert_eq!(names, ".\n..\nc\npage\nto page\ntwice\n");
        assert_eq!(fs::read(root.join("page")).unwrap(), vec![7; 4096]);
        assert_eq!(fs::read(root.join("c/again")).unwrap(), b"linked");
        let owner = fs::symlink_metadata(root.join("to page")).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (4711, 0));
        // The numbers that a listing gives are those that stat gives.
        for (name, ino) in [(".", 1), ("..", 1)] {
            let listed = shell("ls -aif1 c", &root);
            let line = listed
                .lines()
                .find(|line| line.trim().ends_with(&format!(" {name}")))
                .unwrap()
                .trim()
                .to_owned();
            let expected = match name {
                "." => fs::metadata(root.join("c")).unwrap().ino(),
                _ => ino,
            };
            assert!(line.starts_with(&format!("{expected} ")), "{line}");
        }
    }
    for (subdir, message) in [
        ("a/none", "no such directory"),
        ("large", "only a directory"),
    ] {
        let mut options = MountOptions::default();
        options.view.subdir = Some(subdir.into());
        let image = Arc::new(Image::open(scene.image()).unwrap());
        let error = mount(image, &scene.mount_point(), &options).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(!scene.is_mounted());
    }
}

#[test]
fn extended_attributes_are_those_of_the_source() {
    needs_mount!("extended_attributes_are_those_of_the_source");
    let long = vec![b'v'; 3000];
    let scene = Scene::new(|tree| {
        odd_tree(tree);
        let none = rustix::fs::XattrFlags::empty();
        let page = tree.join("a/b/page");
        rustix::fs::setxattr(&page, "user.short", b"value", none).unwrap();
        rustix::fs::setxattr(&page, "user.long", &long, none).unwrap();
        rustix::fs::setxattr(&page, "user.empty", b"", none).unwrap();
    });
    let _mounted = mounted(&scene);
    let page = scene.mount_point().join("a/b/page");
    let get = |path: &Path, name: &str, size: usize| {
        let mut buffer = vec![0; size];
        rustix::fs::getxattr(path, name, &mut buffer[..]).map(|length| {
            buffer.truncate(length);
            buffer
        })
    };
    assert_eq!(get(&page, "user.short", 100), Ok(b"value".to_vec()));
    assert_eq!(get(&page, "user.short", 5), Ok(b"value".to_vec()));
    assert_eq!(get(&page, "user.short", 4), Err(Errno::RANGE));
    assert_eq!(rustix::fs::getxattr_query(&page, "user.short"), Ok(5));
    assert_eq!(get(&page, "user.long", 4000), Ok(long));
    assert_eq!(get(&page, "user.empty", 10), Ok(Vec::new()));
    assert_eq!(get(&page, "user.none", 10), Err(Errno::NODATA));
    let other = scene.mount_point().join("large");
    assert_eq!(get(&other, "user.short", 10), Err(Errno::NODATA));
    let mut names = [0; 100];
    let length = rustix::fs::listxattr(&page, &mut names[..]).unwrap();
    assert_eq!(&names[..length], b"user.empty\0user.long\0user.short\0");
    assert_eq!(
        rustix::fs::listxattr(&page, &mut names[..10]),
        Err(Errno::RANGE)
    );
}

#[test]
fn a_damaged_file_fails_alone() {
    needs_mount!("a_damaged_file_fails_alone");
    let marker = b"the bytes that will be damaged";
    let scene = Scene::packed(&["--small-frames", "none"], |tree| {
        thousand_files(tree);
        fs::write(tree.join("many/b"), marker).unwrap();
    });
    let mut volume = fs::read(scene.volume()).unwrap();
    let place = volume
        .windows(marker.len())
        .position(|window| window == marker)
        .expect("short contents are stored as they are");
    volume[place + 3] ^= 1;
    fs::write(scene.volume(), volume).unwrap();
    let _mounted = mounted(&scene);
    let mut damaged = fs::File::open(scene.mount_point().join("many/b")).unwrap();
    let error = damaged.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    // Nor does asking again help.
    damaged.seek(SeekFrom::Start(4)).unwrap();
    assert!(damaged.read(&mut [0; 4]).is_err());
    shell(
        "diff -r --exclude=b tree 'mount point, odd'",
        &scene.path("."),
    );
}

#[test]
fn a_mount_in_use_outlives_its_owner_for_the_user() {
    needs_mount!("a_mount_in_use_outlives_its_owner_for_the_user");
    let scene = Scene::new(thousand_files);
    let mounted = mounted(&scene);
    let path = scene.mount_point().join("many/a file with number 0007");
    let mut file = fs::File::open(path).unwrap();
    let error = mounted.unmount().unwrap_err();
    assert!(error.to_string().contains("busy"), "{error}");
    assert!(!scene.is_mounted(), "hidden at once");
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "contents 7\n".repeat(500));
}

#[test]
fn mount_points_are_checked() {
    needs_mount!("mount_points_are_checked");
    let scene = Scene::new(odd_tree);
    let image = Arc::new(Image::open(scene.image()).unwrap());
    let options = MountOptions::default();
    let first = mounted(&scene);
    let error = mount(image.clone(), &scene.mount_point(), &options).unwrap_err();
    assert!(error.to_string().contains("busy"), "{error}");
    drop(first);
    // A directory with files is as good as an empty one, and shows them again afterwards.
    fs::write(scene.mount_point().join("hidden"), b"").unwrap();
    let mounted = mount(image, &scene.mount_point(), &options).unwrap();
    assert!(!scene.mount_point().join("hidden").exists());
    mounted.unmount().unwrap();
    assert!(scene.mount_point().join("hidden").exists());
}
