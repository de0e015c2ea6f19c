//! The Python reader in `tools/` knows `docs/format.md` and nothing of this crate. What the crate
//! packs it must read, and see the same as the crate does.
//!
//! Needs python3 with a Zstandard module; without them the tests print SKIPPED.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one that is skipped says so"
)]

mod images;

use images::segment_lies::{sole, two_files, two_segments, with_dictionaries, with_directory};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, makedev, mkdirat, mknodat, openat,
    utimensat,
};
use tempfile::TempDir;

/// Runs the Python reader with one interpreter.
fn run_with(python: &str, arguments: &[OsString]) -> std::io::Result<Output> {
    Command::new(python)
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/dgfs_reader.py"))
        .args(arguments)
        .output()
}

/// The interpreter that has what the Python reader needs: the first in the path, or else the
/// system's own, for which the distribution packs its modules. Without one, says which test does
/// not run.
fn python(test: &str) -> Option<&'static str> {
    let mut missing = Vec::new();
    for python in ["python3", "/usr/bin/python3"] {
        match run_with(python, &["--help".into()]) {
            Ok(output) if output.status.success() => return Some(python),
            Ok(output) => {
                let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                let expected = complaint.starts_with("dgfs_reader: no zstd module");
                assert!(expected, "{python}: {complaint}");
                missing.push(complaint);
            }
            Err(error) => missing.push(format!("{python}: {error}")),
        }
    }
    println!("SKIPPED {test}: {}", missing.join("; "));
    None
}

/// Standard output of a command that must succeed without a complaint.
fn output_of(output: &Output, what: &[OsString]) -> Vec<u8> {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what:?}: {complaint}");
    assert_eq!(complaint, "", "{what:?}");
    output.stdout.clone()
}

/// An image in a directory of its own.
struct Packed {
    python: &'static str,
    directory: TempDir,
    volumes: usize,
}

impl Packed {
    fn new(python: &'static str, source: &Path, volumes: usize) -> Self {
        Self::with(python, source, volumes, &[])
    }

    fn with(python: &'static str, source: &Path, volumes: usize, options: &[&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let packed = Self {
            python,
            directory,
            volumes,
        };
        let mut arguments: Vec<&OsStr> = vec!["-q".as_ref()];
        arguments.extend(options.iter().map(OsStr::new));
        arguments.push(source.as_os_str());
        packed.dgfs("pack", &arguments);
        packed
    }

    /// COMMAND, OPTIONS, `--data` for each volume if there are several, IMAGE.
    fn arguments(&self, command: &str, options: &[&OsStr]) -> Vec<OsString> {
        let mut arguments = vec![OsString::from(command)];
        arguments.extend(options.iter().map(OsString::from));
        for number in (0..self.volumes).filter(|_| self.volumes > 1) {
            arguments.push("--data".into());
            arguments.push(
                self.directory
                    .path()
                    .join(format!("volume {number}"))
                    .into(),
            );
        }
        arguments.push(self.directory.path().join("tree.dgfs").into());
        arguments
    }

    fn dgfs(&self, command: &str, options: &[&OsStr]) -> Vec<u8> {
        let arguments = self.arguments(command, options);
        let mut dgfs = Command::new(env!("CARGO_BIN_EXE_dgfs"));
        output_of(&dgfs.args(&arguments).output().unwrap(), &arguments)
    }

    fn reader(&self, command: &str, options: &[&OsStr], path: Option<&OsStr>) -> Vec<u8> {
        let mut arguments = self.arguments(command, options);
        arguments.extend(path.map(OsString::from));
        output_of(&run_with(self.python, &arguments).unwrap(), &arguments)
    }

    fn cat(&self, path: impl AsRef<OsStr>) -> Vec<u8> {
        self.reader("cat", &[], Some(path.as_ref()))
    }

    /// Compares both listings and returns one.
    fn compare_listings(&self) -> String {
        let ours = String::from_utf8(self.dgfs("ls", &["-lRi".as_ref()])).unwrap();
        let theirs = String::from_utf8(self.reader("ls", &["-i".as_ref()], None)).unwrap();
        // Line by line, because whole listings are too long to print.
        for (our, their) in ours.lines().zip(theirs.lines()) {
            assert_eq!(our, their);
        }
        assert_eq!(ours.len(), theirs.len(), "one listing is longer");
        ours
    }

    /// Compares both listings and has the Python reader check everything. Returns the listing.
    fn compare(&self) -> String {
        let listing = self.compare_listings();
        let verdict = String::from_utf8(self.reader("verify", &[], None)).unwrap();
        let expected = format!("{} entries, 0 faults\n", listing.lines().count());
        assert_eq!(verdict, expected);
        listing
    }
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn odd_names(root: &Path) {
    let names: [&[u8]; 9] = [
        b"tab\there",
        b"back\\slash",
        b"not utf-8 \xff\xc3",
        b"new\nline",
        b"\x7f",
        "déjà vu \u{85}".as_bytes(),
        &[b'n'; 255],
        b"-",
        b"...",
    ];
    for name in names {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for target in [&b"x"[..], b"odd \xfe \\ \n", &[b't'; 4095]] {
        let link = root.join(format!("link of {}", target.len()));
        symlink(OsStr::from_bytes(target), link).unwrap();
    }
}

fn odd_modes_and_times(root: &Path) {
    for mode in [0o4755, 0o2644, 0o1666, 0o7000, 0o000] {
        let path = root.join(format!("mode {mode:o}"));
        fs::write(&path, b"mode").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for seconds in [-1, 0, -2_000_000_000, 4_102_444_800] {
        let path = root.join(format!("time {seconds}"));
        fs::write(&path, b"time").unwrap();
        set_mtime(&path, seconds, 999_999_999);
    }
}

/// Hard links of two kinds, special files, and the empty ones.
fn odd_kinds(root: &Path) {
    fs::write(root.join("empty"), b"").unwrap();
    fs::create_dir(root.join("empty directory")).unwrap();
    fs::create_dir_all(root.join("some/where")).unwrap();
    fs::write(root.join("some/where/first"), b"three names").unwrap();
    fs::hard_link(root.join("some/where/first"), root.join("other name")).unwrap();
    fs::hard_link(root.join("some/where/first"), root.join("some/third name")).unwrap();
    symlink("target", root.join("a link")).unwrap();
    fs::hard_link(root.join("a link"), root.join("some/link")).unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for (name, kind, device) in [
        ("character", FileType::CharacterDevice, makedev(1, 3)),
        ("block", FileType::BlockDevice, makedev(4000, 70_000)),
    ] {
        if let Err(error) = mknodat(CWD, root.join(name), kind, Mode::RUSR, device) {
            println!("SKIPPED {name} device: {error}");
        }
    }
}

/// A directory of `count` files and as many sub-directories, every second of them with a child.
fn wide(root: &Path, count: usize) {
    fs::create_dir(root).unwrap();
    for number in 0..count {
        fs::write(root.join(format!("file {number}")), number.to_string()).unwrap();
        let directory = root.join(format!("sub {number}"));
        fs::create_dir(&directory).unwrap();
        if number % 2 == 0 {
            fs::create_dir(directory.join("below")).unwrap();
        }
    }
}

/// A chain of directories that leads to a path of about `length` bytes, each with a file.
fn deep(root: &Path, name: &str, length: usize) {
    fs::create_dir(root).unwrap();
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let mut at: OwnedFd = openat(CWD, root, flags, Mode::empty()).unwrap();
    for level in 1..=length / (name.len() + 1) {
        mkdirat(&at, name, Mode::RWXU).unwrap();
        at = openat(at.as_fd(), name, flags, Mode::empty()).unwrap();
        let mut file = File::from(openat(&at, "file", create, Mode::RUSR).unwrap());
        write!(file, "level {level}").unwrap();
    }
}

#[test]
fn odd_wide_and_deep_trees_read_alike() {
    let Some(python) = python("odd_wide_and_deep_trees_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let root = source.path();
    odd_names(root);
    odd_modes_and_times(root);
    odd_kinds(root);
    wide(&root.join("wide"), 5000);
    deep(&root.join("deep"), "a name of some length", 9000);
    deep(&root.join("very deep"), "d", 3000);
    let packed = Packed::new(python, root, 1);
    let listing = packed.compare();
    let all_times = Packed::with(python, root, 1, &["--times", "all"]);
    assert_eq!(all_times.compare(), listing);

    let longest = listing.lines().map(str::len).max().unwrap();
    assert!(longest > 9000, "the longest line has {longest} bytes");
    assert!(listing.contains("not utf-8 \\377\\303"));
    assert_eq!(packed.cat("some/third name"), b"three names");
    assert_eq!(packed.cat("wide/file 4321"), b"4321");
    // On both sides of 1024 bytes of parent path, and past PATH_MAX.
    for level in [1, 45, 46, 47, 48, 400] {
        let path = format!("deep/{}file", "a name of some length/".repeat(level));
        assert_eq!(packed.cat(path), format!("level {level}").as_bytes());
    }
}

#[test]
fn chunked_files_with_holes_in_several_volumes_read_alike() {
    const MIB: u64 = 1 << 20;

    let Some(python) = python("chunked_files_with_holes_in_several_volumes_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    // Chunks have at most 16 MiB. A table block takes 510 rows.
    for (name, size) in [("small", 1), ("two", 16 * MIB + 1), ("large", 40 * MIB)] {
        let file = File::create(source.path().join(name)).unwrap();
        file.set_len(size).unwrap();
        if size > MIB {
            file.write_all_at(&[7; 10], 9 * MIB - 5).unwrap();
            file.write_all_at(b"!", size - 1).unwrap();
        }
    }
    // A comb of data and holes, and a terabyte that must not be read.
    let comb = File::create(source.path().join("comb")).unwrap();
    for tooth in 0..100 {
        comb.write_all_at(&[tooth + 1; 4096], u64::from(tooth) * 12_288)
            .unwrap();
    }
    File::create(source.path().join("huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    fs::write(source.path().join("zeros"), vec![0; 300_000]).unwrap();
    let packed = Packed::new(python, source.path(), 2);
    packed.compare();
    let options = ["--compress", "zstd:3", "--chunk", "32K"];
    let compressed = Packed::with(python, source.path(), 2, &options);
    compressed.compare();
    for name in ["small", "two", "large", "comb", "zeros"] {
        let expected = fs::read(source.path().join(name)).unwrap();
        assert!(packed.cat(name) == expected, "contents of {name}");
        assert!(compressed.cat(name) == expected, "contents of {name}");
    }
}

#[test]
fn shared_contents_read_alike() {
    let Some(python) = python("shared_contents_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let contents = [
        b"a".to_vec(),
        b"some text".to_vec(),
        vec![7; 200_000],
        vec![9; 700_000],
    ];
    let (head, tail) = contents[2].split_at(1 << 17);
    for copy in 0..3 {
        let directory = source.path().join(format!("copy {copy}"));
        fs::create_dir(&directory).unwrap();
        for (number, bytes) in contents.iter().enumerate() {
            fs::write(directory.join(number.to_string()), bytes).unwrap();
        }
    }
    let first = source.path().join("copy 0/1");
    fs::hard_link(source.path().join("copy 1/1"), source.path().join("linked")).unwrap();
    let sparse = File::create(source.path().join("sparse")).unwrap();
    sparse.write_all_at(head, 1 << 20).unwrap();
    sparse.write_all_at(tail, 3 << 20).unwrap();
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), "sparse\ncopy 2/3\ncopy 1/1\ncopy 2/0\n").unwrap();
    let order: &str = format!("list:{}", list.path().display()).leak();
    for (volumes, compress, order) in [
        (1, "none", "path"),
        (3, "none", order),
        (3, "zstd", "path"),
        (1, "zstd", order),
    ] {
        let options = ["--compress", compress, "--order", order];
        let packed = Packed::with(python, source.path(), volumes, &options);
        packed.compare();
        let info = packed.dgfs("info", &["--json".as_ref()]);
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        assert!(info["duplicate_files"].as_u64() >= Some(8), "{info}");
        assert_eq!(packed.cat("linked"), fs::read(&first).unwrap());
        assert!(packed.cat("copy 2/2") == contents[2]);
    }
}

#[test]
fn packed_chunks_read_alike() {
    let Some(python) = python("packed_chunks_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let numbers = (0..150_000u32).map(|n| n.wrapping_mul(2_654_435_761));
    let mut old: Vec<u8> = numbers.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
    old.extend(b"a line of text\n".repeat(20_000));
    old.extend(vec![0; 100_000]);
    for (name, contents) in [
        ("new", [b"new", &old[..]].concat()),
        ("old", old.clone()),
        ("part", old[300_000..700_000].to_vec()),
        ("small", old[..5000].to_vec()),
    ] {
        fs::write(source.path().join(name), contents).unwrap();
    }
    let sparse = File::create(source.path().join("sparse")).unwrap();
    sparse.write_all_at(&old[..200_000], 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    for (volumes, compress, chunk) in [(1, "none", "4K"), (3, "zstd", "16K"), (1, "zstd", "128K")] {
        let options = [
            "--dedup",
            "chunks",
            "--compress",
            compress,
            "--chunk",
            chunk,
        ];
        let packed = Packed::with(python, source.path(), volumes, &options);
        packed.compare();
        let info = packed.dgfs("info", &["--json".as_ref()]);
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        assert!(info["shared_chunks"].as_u64() > Some(2), "{info}");
        for name in ["new", "old", "part", "small", "sparse"] {
            let contents = fs::read(source.path().join(name)).unwrap();
            assert!(packed.cat(name) == contents, "{name}");
        }
    }
}

/// Chunks that files share, frames of several codecs, extents in another order: more than one packing makes of a small tree.
#[test]
fn an_image_with_shared_chunks_reads_alike() {
    reads_alike(
        "an_image_with_shared_chunks_reads_alike",
        &images::cut::cut_and_moved(),
        9,
    );
}

/// Frames that files share, in all the ways in which an entry can say so.
#[test]
fn an_image_with_shared_frames_reads_alike() {
    reads_alike(
        "an_image_with_shared_frames_reads_alike",
        &images::members::members(),
        13,
    );
}

/// Pages of one segment and of several, as of version 1.4 and of today, and frames that refer to dictionaries.
#[test]
fn handmade_segments_read_alike() {
    for (image, files) in [
        (two_segments(), 4),
        (with_directory(), 1),
        (two_files(), 2),
        (sole(), 4),
        (with_dictionaries(), 90),
    ] {
        reads_alike("handmade_segments_read_alike", &image.write(), files);
    }
}

/// What one reader refuses or finds, the other must, too.
#[test]
fn lies_are_found() {
    let Some(python) = python("lies_are_found") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("lie");
    let mut wrong = Vec::new();
    for (story, lie, _) in images::lies::cases() {
        let parts = lie().write();
        fs::write(&image, &parts.index).unwrap();
        fs::write(
            dgfs::image::volume_path(&image, 0),
            parts.volumes.first().unwrap(),
        )
        .unwrap();
        let output = run_with(python, &["verify".into(), image.clone().into()]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let is_refusal = matches!(output.status.code(), Some(1 | 2));
        if !is_refusal || !said.starts_with("dgfs_reader: ") || said.contains("Traceback") {
            wrong.push(format!("{story}: {output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares all that both readers say of an image of one directory of `files`.
fn reads_alike(test: &str, parts: &images::Parts, files: usize) {
    let Some(python) = python(test) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("tree.dgfs");
    fs::write(&image, &parts.index).unwrap();
    fs::write(
        dgfs::image::volume_path(&image, 0),
        parts.volumes.first().unwrap(),
    )
    .unwrap();
    let packed = Packed {
        python,
        directory,
        volumes: 1,
    };
    packed.compare();
    let image = dgfs::read::Image::open(&image).unwrap();
    let root = image.root().unwrap();
    let mut names = Vec::new();
    image
        .list(&root, 0, &mut |child| {
            names.push(child.name.to_vec());
            true
        })
        .unwrap();
    assert_eq!(names.len(), files);
    let mut scratch = Vec::new();
    for name in names {
        let node = image.lookup(&name).unwrap().unwrap();
        if node.is_directory() {
            continue;
        }
        let length = usize::try_from(node.size).unwrap();
        let contents = image.read_at(&node, 0, length, &mut scratch).unwrap();
        assert_eq!(contents.len(), length);
        assert!(packed.cat(OsStr::from_bytes(&name)) == contents, "{name:?}");
    }
}

/// What packing makes of small files: pages that end inside of frames, duplicates, names of one file.
#[test]
fn small_files_in_shared_frames_read_alike() {
    let Some(python) = python("small_files_in_shared_frames_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    for number in 0..900u32 {
        let name = source.path().join(format!("{number:03}.conf"));
        let number = if number % 50 == 49 {
            number / 3
        } else {
            number
        };
        let text = format!("name = {number}\nsquare = {}\n", number * number);
        fs::write(&name, text).unwrap();
        if number % 100 == 7 {
            fs::hard_link(&name, source.path().join(format!("{number} again"))).unwrap();
        }
    }
    let packed = Packed::with(python, source.path(), 1, &["--compress", "zstd:5"]);
    packed.compare();
    let info = String::from_utf8(packed.dgfs("info", &[])).unwrap();
    assert!(info.contains("frames"), "{info}");
    for name in ["7 again", "099.conf", "333.conf", "899.conf"] {
        let expected = fs::read(source.path().join(name)).unwrap();
        assert_eq!(packed.cat(name), expected, "{name}");
    }
}

#[test]
fn documentation_of_this_machine_reads_alike() {
    let source = Path::new("/usr/share/doc");
    let Some(python) = python("documentation_of_this_machine_reads_alike") else {
        return;
    };
    if !source.is_dir() {
        println!(
            "SKIPPED documentation_of_this_machine_reads_alike: no {}",
            source.display()
        );
        return;
    }
    // Checksums of so many contents would take plain Python a minute.
    Packed::new(python, source, 1).compare_listings();
}

#[test]
fn dictionaries_read_alike() {
    let Some(python) = python("dictionaries_read_alike") else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    for number in 0..1200u32 {
        let text = format!(
            "name = {number}\nwhat all of these files have in common = a long sentence\nsquare = {}\n",
            number * number
        );
        fs::write(source.path().join(format!("{number}.conf")), text).unwrap();
    }
    let alone = ["--compress", "zstd:5", "--small-frames", "none"];
    let packed = Packed::with(python, source.path(), 1, &alone);
    packed.compare();
    let info = String::from_utf8(packed.dgfs("info", &[])).unwrap();
    assert!(info.contains("dictionary"), "{info}");
    let expected = fs::read(source.path().join("77.conf")).unwrap();
    assert_eq!(packed.cat("77.conf"), expected);
}
