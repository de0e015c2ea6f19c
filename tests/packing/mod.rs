//! What the tests of the command share: running it, and trees to run it on.

#![allow(dead_code, reason = "each test program uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one left out says so"
)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{AtFlags, CWD, FileType, Mode, XattrFlags};

/// The program under test.
pub(crate) const DGFS: &str = env!("CARGO_BIN_EXE_dgfs");

/// Identity of the images that are compared byte by byte.
pub(crate) const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A user without rights on all systems.
const NOBODY: u32 = 65534;

/// What a run of the command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// Asserts that nothing went wrong.
    pub(crate) fn fine(self) -> Self {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self
    }
}

/// Runs the command.
pub(crate) fn dgfs(arguments: &[&dyn AsRef<OsStr>]) -> Ran {
    let mut command = Command::new(DGFS);
    command.args(arguments.iter().map(AsRef::as_ref));
    command.output().unwrap().into()
}

/// Runs the command as a user without rights; only root can.
pub(crate) fn dgfs_as_nobody(arguments: &[&dyn AsRef<OsStr>]) -> Ran {
    let mut command = Command::new(DGFS);
    command.args(arguments.iter().map(AsRef::as_ref));
    command.uid(NOBODY).gid(NOBODY).output().unwrap().into()
}

/// Makes `path` a directory of the user without rights.
pub(crate) fn give_to_nobody(path: &Path) {
    fs::create_dir(path).unwrap();
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test is left out, unless root runs it.
pub(crate) fn needs_root(test: &str) -> bool {
    if !is_root() {
        println!("SKIPPED {test}: needs root");
    }
    is_root()
}

/// A directory for a test, with a source tree and room for images.
pub(crate) struct Scene {
    scratch: tempfile::TempDir,
}

impl Scene {
    /// A scene whose source tree is what `fill` makes.
    pub(crate) fn new(fill: impl FnOnce(&Path)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        // The user without rights has to get in.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let scene = Self { scratch };
        fs::create_dir(scene.source()).unwrap();
        fill(&scene.source());
        scene
    }

    /// A scene whose tree is packed already.
    pub(crate) fn packed(fill: impl FnOnce(&Path)) -> Self {
        let scene = Self::new(fill);
        pack(&scene.source(), &scene.image());
        scene
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.at("source")
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.at("image.dgfs")
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.at("image.dgfs.data")
    }
}

/// Packs `source` with a fixed identity.
pub(crate) fn pack(source: &Path, image: &Path) {
    dgfs(&[
        &"pack",
        &"-q",
        &"--allow-empty",
        &"--uuid",
        &UUID,
        &source,
        &image,
    ])
    .fine();
}

/// A tree with one of everything that an image can hold and this user can make.
pub(crate) fn one_of_everything(root: &Path) {
    let at = |name: &str| root.join(name);
    let write = |name: &str, bytes: &[u8]| fs::write(at(name), bytes).unwrap();
    write("empty", b"");
    write("small", b"some text\n");
    let noise: Vec<u8> = (0u32..700_000)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    write("large", &noise);
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(b"end", 3 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    File::create(at("zeros")).unwrap().set_len(5_000).unwrap();
    for directory in ["a", "a/b", "a/b/c", "empty_directory", "read_only", "z"] {
        fs::create_dir(at(directory)).unwrap();
    }
    write("a/b/c/deep", b"1");
    write("a/first", b"linked");
    for name in ["a/second", "z/third", "a.x"] {
        fs::hard_link(at("a/first"), at(name)).unwrap();
    }
    symlink("a/first", at("symlink")).unwrap();
    symlink("x".repeat(2_000), at("long_symlink")).unwrap();
    fs::hard_link(at("symlink"), at("symlink_twice")).unwrap();
    for name in [
        &b"line\nfeed"[..],
        b"back\\slash",
        b"not\xffutf8",
        b"\x01\x7f",
        "gr\u{fc}n".as_bytes(),
    ] {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
    UnixListener::bind(at("socket")).unwrap();
    for (name, bits) in [
        ("small", 0o604),
        ("large", 0o4755),
        ("z", 0o1777),
        ("a/b", 0o2750),
    ] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(bits)).unwrap();
    }
    // Not every file system has attributes.
    for name in ["large", "a", "read_only"] {
        let _ = rustix::fs::setxattr(at(name), "user.note", b"v\0\xff", XattrFlags::empty());
    }
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, mode, device).unwrap();
        let device = rustix::fs::makedev(259, 1_048_575);
        rustix::fs::mknodat(CWD, at("disk"), FileType::BlockDevice, mode, device).unwrap();
        std::os::unix::fs::chown(at("small"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::lchown(at("symlink"), Some(77), Some(88)).unwrap();
    }
    write("read_only/file", b"in a directory that nobody may write to");
    fs::set_permissions(at("read_only"), fs::Permissions::from_mode(0o555)).unwrap();
    for (name, seconds) in [
        ("small", -500_000_000),
        ("empty", 0),
        ("zeros", 4_102_444_800),
        ("a/b", 1),
    ] {
        set_mtime(&at(name), seconds, 123_456_789);
    }
}

/// Sets the time of last modification, of a link itself.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], offset).unwrap();
}

/// Asserts that two trees are the same: packed with one identity, they are the same bytes.
pub(crate) fn assert_same_tree(scene: &Scene, a: &Path, b: &Path) {
    let images = [scene.at("first.dgfs"), scene.at("second.dgfs")];
    pack(a, &images[0]);
    pack(b, &images[1]);
    let listings = images
        .each_ref()
        .map(|image| dgfs(&[&"ls", &"-lR", image]).fine());
    assert_eq!(listings[0].text(), listings[1].text());
    let bytes = images.each_ref().map(|image| fs::read(image).unwrap());
    assert!(bytes[0] == bytes[1], "extended attributes or links differ");
    for name in ["first.dgfs", "second.dgfs"] {
        fs::remove_file(scene.at(name)).unwrap();
    }
    let volumes = ["first.dgfs.data", "second.dgfs.data"];
    let bytes = volumes.map(|name| fs::read(scene.at(name)).unwrap());
    assert!(bytes[0] == bytes[1], "contents differ");
    for name in volumes {
        fs::remove_file(scene.at(name)).unwrap();
    }
}
