//! What reading through a mount leaves in memory.

use super::mounting::{self, Scene};
use dgfs::mount::{MountOptions, mount};
use dgfs::read::{Image, Keeping};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const LARGE: usize = 96 << 20;
const SMALL: usize = 1000;

fn tree(directory: &Path) {
    // Noise, which takes as much of the volume as of the tree.
    let chance = |seed: u32| {
        let mixed = (seed ^ seed >> 15).wrapping_mul(0x9E37_79B1);
        (mixed ^ mixed >> 13)
            .wrapping_mul(0x85EB_CA6B)
            .to_le_bytes()
    };
    let large: Vec<u8> = (0u32..).flat_map(chance).take(LARGE).collect();
    fs::write(directory.join("large"), &large).unwrap();
    fs::create_dir(directory.join("small")).unwrap();
    for number in 0..SMALL {
        // Sizes of all kinds, so that files begin anywhere in a page.
        let size = 4096 + number * 7919 % 8193;
        let at = number * 13_000;
        fs::write(small(directory, number), &large[at..at + size]).unwrap();
    }
}

fn small(directory: &Path, number: usize) -> std::path::PathBuf {
    directory.join(format!("small/{number:04}"))
}

/// Bytes of a file that are in the page cache.
fn resident(path: &Path) -> usize {
    let output = Command::new("fincore")
        .args(["--bytes", "--noheadings", "--output", "RES"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Bytes of the volume that are in the page cache after `read` has read through a mount, which began with none.
fn left_by(scene: &Scene, keeping: Keeping, read: impl FnOnce(&Path)) -> usize {
    let volume = File::open(scene.volume()).unwrap();
    fadvise(&volume, 0, None, Advice::DontNeed).unwrap();
    let image = Image::options().many_readers(keeping).open(&scene.image());
    let options = MountOptions::default();
    let mounted = mount(Arc::new(image.unwrap()), &scene.mount_point(), &options).unwrap();
    read(mounted.directory());
    resident(&scene.volume())
}

#[test]
fn contents_are_in_memory_once() {
    needs_mount!("contents_are_in_memory_once", "fincore");
    let scene = Scene::new(tree);
    let volume = File::open(scene.volume()).unwrap();
    fadvise(&volume, 0, None, Advice::DontNeed).unwrap();
    if resident(&scene.volume()) > 0 {
        println!("SKIPPED contents_are_in_memory_once: needs a file system on a disk");
        return;
    }
    let all: usize = usize::try_from(volume.metadata().unwrap().len()).unwrap();
    let read_large = |mount: &Path| {
        let same =
            fs::read(mount.join("large")).unwrap() == fs::read(scene.tree().join("large")).unwrap();
        assert!(same);
        assert!(resident(&mount.join("large")) >= LARGE * 9 / 10);
    };
    let read_small = |mount: &Path, step: usize| {
        for number in 0..SMALL {
            let number = number * step % SMALL;
            let found = fs::read(small(mount, number)).unwrap();
            assert_eq!(found, fs::read(small(&scene.tree(), number)).unwrap());
        }
    };
    let left = left_by(&scene, Keeping::WithReaders, read_large);
    // What is read ahead at once depends on the disk: up to 16 MiB.
    assert!(
        left < LARGE / 3,
        "{left} bytes after reading the large file"
    );
    let left = left_by(&scene, Keeping::WithReaders, |mount| read_small(mount, 619));
    let small = all - LARGE;
    assert!(
        left < small / 8,
        "{left} bytes after reading small files here and there"
    );

    let left = left_by(&scene, Keeping::Here, |mount| {
        read_large(mount);
        read_small(mount, 619);
    });
    assert!(left >= all * 9 / 10, "{left} of {all} bytes are kept");
}
