//! Extraction of images that want to write elsewhere, and extraction that is cut short: nothing outside of the
//! destination changes, and nothing half-written stays.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod images;
mod packing;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dgfs::ErrorKind;
use dgfs::extract::{Existing, ExtractOptions, extract_tree};
use dgfs::read::{Image, ReadAt};
use images::handmade::{Entry, Handmade};
use packing::{Scene, dgfs, needs_root};

/// A file named `child` in a run whose directory is told as `path`, behind the entries `before`.
fn child_of(path: &[u8], before: Vec<Entry>) -> Handmade {
    let mut contents = b"12345".to_vec();
    contents.extend_from_slice(&dgfs::format::checksum::crc(b"12345").to_le_bytes());
    let mut entries = before;
    let last = entries.len() as u64;
    entries.push(Entry::file(b"child", 5).first_of(path, last));
    Handmade::new(entries, contents)
}

/// The same behind a symbolic link `x` that leads to `target`, and perhaps a directory of that name.
fn behind_link(target: &[u8], with_directory: bool) -> Handmade {
    let mut before = vec![Entry::link(b"x", 0)];
    if with_directory {
        before.push(Entry::directory(b"x", 3, 1, 0, 0));
    }
    let mut image = child_of(b"x", before);
    image.blob(target);
    image
}

fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_leaves_the_destination() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("child"), "precious").unwrap();
    let away = outside.to_str().unwrap().as_bytes();
    let mut images = Vec::new();
    for target in [away, b"../outside", b"/", b".."] {
        images.push(behind_link(target, false));
        images.push(behind_link(target, true));
    }
    for path in [
        away,
        b"../outside",
        b"..",
        b"/",
        b"a/../../outside",
        b"./../outside",
        b"x/../../outside",
    ] {
        images.push(child_of(path, vec![Entry::file(b"file", 0)]));
        images.push(child_of(path, vec![Entry::directory(b"a", 2, 1, 0, 0)]));
    }
    // A file where a link has just been made.
    let mut twice = Handmade::new(vec![Entry::link(b"x", 0), Entry::file(b"x", 0)], Vec::new());
    twice.blob(&[away, b"/child"].concat());
    images.push(twice);
    let before = files_below(&outside);
    for (number, image) in images.into_iter().enumerate() {
        let Ok(image) = image.write().open() else {
            continue;
        };
        for existing in [Existing::Keep, Existing::Skip, Existing::Replace] {
            for threads in [1, 3] {
                // Once into an empty directory, once into one in which links lie ready.
                for planted in [false, true] {
                    let to = scratch.path().join("to");
                    fs::create_dir(&to).unwrap();
                    if planted {
                        for name in ["a", "d", "x", "file"] {
                            std::os::unix::fs::symlink(&outside, to.join(name)).unwrap();
                        }
                    }
                    let options = ExtractOptions {
                        existing,
                        threads,
                        ..ExtractOptions::default()
                    };
                    let _ = extract_tree(&image, &to, &[], &options, &mut |_| {});
                    assert_eq!(files_below(&outside), before, "image {number}");
                    let precious = fs::read(outside.join("child")).unwrap();
                    assert_eq!(precious, b"precious", "image {number}");
                    let beside = fs::read_dir(scratch.path()).unwrap().count();
                    assert_eq!(beside, 2, "image {number}");
                    fs::remove_dir_all(&to).unwrap();
                }
            }
        }
    }
}

/// A volume whose reader asks to stop when byte `at` is read.
struct StopsAt {
    bytes: Vec<u8>,
    at: u64,
    stop: Arc<AtomicBool>,
}

impl ReadAt for StopsAt {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if (offset..offset + buffer.len() as u64).contains(&self.at) {
            self.stop.store(true, Ordering::Relaxed);
        }
        ReadAt::read_exact_at(&self.bytes, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

fn noise(length: usize) -> Vec<u8> {
    let words = (0u32..).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    words.flatten().take(length).collect()
}

#[test]
fn an_extraction_that_is_stopped_leaves_no_half_file() {
    let scene = Scene::packed(|root| {
        fs::write(root.join("a"), "whole").unwrap();
        fs::write(root.join("b"), noise(5 << 20)).unwrap();
        fs::write(root.join("c"), "never").unwrap();
    });
    for threads in [1, 2] {
        let stop = Arc::new(AtomicBool::new(false));
        let volume = StopsAt {
            bytes: fs::read(scene.volume()).unwrap(),
            // In the middle of the second file.
            at: 3 << 20,
            stop: Arc::clone(&stop),
        };
        let index = fs::read(scene.image()).unwrap();
        let image = Image::options().open_parts(Box::new(index), vec![Box::new(volume)]);
        let options = ExtractOptions {
            threads,
            stop,
            ..ExtractOptions::default()
        };
        let to = scene.at(&format!("to{threads}"));
        let stopped = extract_tree(&image.unwrap(), &to, &[], &options, &mut |_| {});
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
        assert!(!to.join("b").exists());
        assert_eq!(fs::read(to.join("a")).unwrap(), b"whole");
    }
}

#[test]
fn a_full_disk_ends_an_extraction_without_half_a_file() {
    let test = "a_full_disk_ends_an_extraction_without_half_a_file";
    if !needs_root(test) {
        return;
    }
    let scene = Scene::packed(|root| {
        fs::write(root.join("a"), "whole").unwrap();
        fs::write(root.join("b"), noise(5 << 20)).unwrap();
    });
    let disk = scene.at("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=2m", "none"])
        .arg(&disk);
    if !mount.status().is_ok_and(|status| status.success()) {
        println!("SKIPPED {test}: no tmpfs can be mounted");
        return;
    }
    let rans = ["1", "2"].map(|threads| {
        let to = disk.join(threads);
        let ran = dgfs(&[&"extract", &"--threads", &threads, &scene.image(), &to]);
        let left = (fs::read(to.join("a")).ok(), to.join("b").exists());
        fs::remove_dir_all(to).unwrap();
        (ran, left)
    });
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.unwrap().success());
    for (ran, left) in rans {
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(
            ran.err.contains("b: ") && ran.err.contains("No space left"),
            "{ran:?}"
        );
        assert_eq!(left, (Some(b"whole".to_vec()), false), "{ran:?}");
    }
}
