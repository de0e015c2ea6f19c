//! What the tests of the mount share: trees, images of them, mount points.

#![allow(dead_code, reason = "each test program uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one left out says so"
)]

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const DGFS: &str = env!("CARGO_BIN_EXE_dgfs");

/// What says which transport the tests are about: `uring`, or nothing if any will do. `tools/with_rings` sets it.
const TRANSPORT: &str = "DGFS_TEST_TRANSPORT";

/// Whether this machine lets us mount, and over the transport that is asked for; if not, says which test was left out.
pub(crate) fn can_mount(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let has_device = Path::new("/dev/fuse").exists();
    if !is_root || !has_device {
        println!("SKIPPED {test}: needs root and /dev/fuse");
        return false;
    }
    let wants_rings = std::env::var(TRANSPORT).is_ok_and(|transport| transport == "uring");
    if wants_rings && !offers_rings() {
        println!("SKIPPED {test}: the kernel does not offer FUSE over io_uring");
        return false;
    }
    true
}

/// Whether the kernel takes rings for FUSE, as `tools/with_rings` makes it.
pub(crate) fn offers_rings() -> bool {
    fs::read("/sys/module/fuse/parameters/enable_uring").is_ok_and(|value| value.starts_with(b"Y"))
}

/// Whether `program` is installed; if not, says which test was left out.
pub(crate) fn has(program: &str, test: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()));
    if !found {
        println!("SKIPPED {test}: needs {program}");
    }
    found
}

/// Leaves the test out where it cannot run.
#[macro_export]
macro_rules! needs_mount {
    ($test:literal $(, $program:literal)*) => {
        if !mounting::can_mount($test) $(|| !mounting::has($program, $test))* {
            return;
        }
    };
}

/// A source tree, its image, and a directory to mount on.
pub(crate) struct Scene {
    scratch: tempfile::TempDir,
}

impl Scene {
    /// Packs what `fill` puts into an empty directory.
    pub(crate) fn new(fill: impl FnOnce(&Path)) -> Self {
        Self::packed(&[], fill)
    }

    /// Packs it with `options`.
    pub(crate) fn packed(options: &[&str], fill: impl FnOnce(&Path)) -> Self {
        let scene = Self {
            scratch: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(scene.tree()).unwrap();
        fs::create_dir(scene.mount_point()).unwrap();
        fill(&scene.tree());
        let output = Command::new(DGFS)
            .args(["pack", "--allow-empty"])
            .arg("-q")
            .args(options)
            .arg(scene.tree())
            .arg(scene.image())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        scene
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.scratch.path().join("tree.dgfs")
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.scratch.path().join("tree.dgfs.data")
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.scratch.path().join("mount point, odd")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Whether an image is mounted on the mount point.
    pub(crate) fn is_mounted(&self) -> bool {
        let outside = fs::metadata(self.scratch.path()).unwrap();
        // What does not answer is a mount, too: one without its server.
        fs::metadata(self.mount_point()).map_or(true, |inside| outside.dev() != inside.dev())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A failed test may leave a mount behind, which would keep the directory from going.
        if self.is_mounted() {
            let _ = rustix::mount::unmount(self.mount_point(), rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// The process that serves an image from the background.
pub(crate) struct Server {
    id: Pid,
}

impl Server {
    /// The one that serves the image at `image`. One that served it before may need a moment to end.
    pub(crate) fn of(image: &Path) -> Self {
        let mut ids = Self::all_of(image);
        eventually("one process serves the image", || {
            ids = Self::all_of(image);
            ids.len() == 1
        });
        Self {
            id: ids.first().copied().and_then(Pid::from_raw).unwrap(),
        }
    }

    fn all_of(image: &Path) -> Vec<i32> {
        let source = image.file_name().unwrap().to_str().unwrap();
        let inside = image.parent().unwrap();
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id: i32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let words = fs::read(format!("/proc/{id}/cmdline")).ok()?;
            let words: Vec<_> = words.split(|byte| *byte == 0).collect();
            let is_ours = words.contains(&b"--detached".as_slice())
                && words.iter().any(|word| word.ends_with(source.as_bytes()))
                && fs::read_dir(format!("/proc/{id}/fd")).ok()?.any(|fd| {
                    fd.is_ok_and(|fd| {
                        fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(inside))
                    })
                });
            is_ours.then_some(id)
        });
        ids.collect()
    }

    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_pid()
    }

    /// A file of the process in `/proc`.
    pub(crate) fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.id.as_raw_pid()).into()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id, signal).unwrap();
    }

    pub(crate) fn is_alive(&self) -> bool {
        // Whoever inherits the process may take his time to collect it.
        fs::read_to_string(self.proc("stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Waits until the mount and the process are gone.
    pub(crate) fn ended(&self, scene: &Scene) {
        eventually("unmounted", || !scene.is_mounted());
        eventually("the server has ended", || !self.is_alive());
    }
}

/// Waits until `done`, for at most ten seconds.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "not yet: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a shell command; its standard output, or a panic with what it complained about.
pub(crate) fn shell(command: &str, directory: &Path) -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
