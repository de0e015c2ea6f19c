//! Builds that are killed or run out of space leave the old image or the new one, never half of one.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use packing::{DGFS, Ran, dgfs};

/// How many builds are killed. Their moments are spread evenly over the time that a whole one takes.
const KILLS: u32 = 40;

/// A tree that says `text` in each of so many files.
fn tree(root: &Path, text: &str, files: usize) {
    for number in 0..files {
        let directory = root.join(format!("d{}", number / 50));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), text.repeat(number)).unwrap();
    }
    fs::write(root.join("marker"), text).unwrap();
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Checks every byte of the image, and returns what its tree says.
fn text(image: &Path, volumes: &[PathBuf]) -> String {
    let run = |subcommand: &str, path: &[&str]| {
        let mut command = Command::new(DGFS);
        command.arg(subcommand);
        for volume in volumes {
            command.arg("--data").arg(volume);
        }
        let ran: Ran = command.arg(image).args(path).output().unwrap().into();
        ran.fine().text().to_owned()
    };
    run("verify", &[]);
    run("cat", &["marker"])
}

#[test]
fn a_killed_build_leaves_the_old_image_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Of different size, so that no part of one fits the other by chance.
    let sources = [("old", 400), ("new", 700)].map(|(text, files)| {
        tree(&at(text), text, files);
        (text, at(text))
    });
    fs::create_dir(at("disk")).unwrap();
    fs::create_dir(at("images")).unwrap();
    let image = at("images/i");
    let volumes = [at("images/i.data"), at("disk/v")];
    let command = |source: &Path| {
        let mut command = Command::new(DGFS);
        command
            .args(["pack", "-q", "--force", "--data"])
            .arg(&volumes[0]);
        command.arg("--data").arg(&volumes[1]);
        command.args([source, &image]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let begun = Instant::now();
    assert!(command(&sources[0].1).status().unwrap().success());
    let whole = begun.elapsed();
    let mut said = "old".to_owned();
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let (target, source) = &sources[usize::from(said == "old")];
        let mut child = command(source).spawn().unwrap();
        sleep(whole * kill / KILLS);
        child.kill().unwrap();
        interrupted += u32::from(!child.wait().unwrap().success());
        let found = text(&image, &volumes);
        assert!(found == said || found == *target, "kill {kill}: {found}");
        said = found;
    }
    assert!(interrupted > 0, "no build was killed before its end");
    // The next build that ends finds nothing that it does not clear.
    assert!(command(&sources[0].1).status().unwrap().success());
    assert_eq!(text(&image, &volumes), "old");
    assert_eq!(names(&at("images")), ["i", "i.data"]);
    assert_eq!(names(&at("disk")), ["v"]);
}

/// A file system of so many bytes, unmounted at the end; `None` if this user may not mount.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(directory))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_device_that_is_too_small_keeps_the_old_image() {
    let Some(small) = Small::new(4 << 20) else {
        return println!("SKIPPED a_device_that_is_too_small_keeps_the_old_image: cannot mount");
    };
    let sources = tempfile::tempdir().unwrap();
    let (old, large) = (sources.path().join("old"), sources.path().join("large"));
    tree(&old, "old", 100);
    tree(&large, "new", 100);
    let noise = (0..2u32 << 20).map(|n| n.wrapping_mul(2_654_435_761));
    let noise: Vec<u8> = noise.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
    fs::write(large.join("file"), noise).unwrap();
    let image = small.at("i");
    let volume = small.at("i.data").display().to_string();
    // What is not compressed is known to be too much beforehand, the rest when the device is full.
    let kinds = [
        ("none", [volume.as_str(), "needs", "free"]),
        ("zstd", [volume.as_str(), "write", "No space left"]),
    ];
    for (compress, all_said) in kinds {
        let ran = dgfs(&[&"pack", &"--compress", &compress, &large, &image]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(
            all_said.iter().all(|part| ran.err.contains(part)),
            "{ran:?}"
        );
        assert_eq!(names(small.0.path()), [""; 0]);
    }

    dgfs(&[&"pack", &"-q", &old, &image]).fine();
    for compress in ["none", "zstd"] {
        let ran = dgfs(&[
            &"pack",
            &"--force",
            &"--compress",
            &compress,
            &large,
            &image,
        ]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(names(small.0.path()), ["i", "i.data"]);
        assert_eq!(text(&image, &[]), "old");
    }
}

#[test]
fn an_index_that_does_not_fit_leaves_nothing() {
    let Some(small) = Small::new(128 << 10) else {
        return println!("SKIPPED an_index_that_does_not_fit_leaves_nothing: cannot mount");
    };
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    // Names that do not compress.
    for number in 0..3000u128 {
        let hash =
            |seed: u128| (number + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let [a, b, c] = [1, 2, 3].map(|seed| hash(seed << 64));
        let name = format!("{a:x}{b:x}{c:x}");
        fs::write(source.join(name), "x").unwrap();
    }
    let volume = scratch.path().join("volume");
    let image = small.at("i");
    let ran = dgfs(&[&"pack", &"--data", &volume, &source, &image]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("No space left"), "{ran:?}");
    assert_eq!(names(small.0.path()), [""; 0]);
    assert_eq!(names(scratch.path()), ["source"]);
}
