//! Contents that several files have are stored once, and nobody can tell.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dgfs::read::{Image, Node};
use packing::{Ran, Scene, UUID, dgfs, flip};

/// Bytes that no other seed gives.
fn noise(length: usize, seed: u32) -> Vec<u8> {
    let numbers = (0u32..).map(|n| (n ^ seed << 24).wrapping_mul(2_654_435_761));
    numbers
        .flat_map(|n| (n ^ n >> 15).to_le_bytes())
        .take(length)
        .collect()
}

/// A file of `size` bytes that has these bytes at these offsets, and holes around them.
fn write_sparse(path: &Path, size: u64, data: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in data {
        file.write_all_at(bytes, *offset).unwrap();
    }
}

/// Files of all kinds of extents, most of them twice, and what looks like a duplicate but is none.
fn tree(root: &Path) {
    for directory in ["a", "b", "b/c"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for (name, contents) in [
        ("empty", Vec::new()),
        ("small", noise(100, 1)),
        ("chunk", noise(128 << 10, 2)),
        ("chunks", vec![b'c'; 300_000]),
        ("pieces", noise(1_500_000, 4)),
        ("zeros", vec![0; 5000]),
        ("many_zeros", vec![0; 700_000]),
    ] {
        for directory in ["a", "b", "b/c"] {
            fs::write(root.join(directory).join(name), &contents).unwrap();
        }
        // One byte differs, at the end.
        let mut other = contents;
        if let Some(last) = other.last_mut() {
            *last ^= 1;
        }
        fs::write(root.join("b").join(format!("{name}.other")), other).unwrap();
    }
    fs::hard_link(root.join("b/small"), root.join("b/c/linked")).unwrap();
    fs::hard_link(root.join("a/pieces"), root.join("b/linked_pieces")).unwrap();
    // The data of these is that of others, with holes between.
    let block = noise(128 << 10, 2);
    write_sparse(&root.join("b/holes"), 1 << 20, &[(64 << 10, &block)]);
    write_sparse(&root.join("b/c/other_holes"), 2 << 20, &[(1 << 20, &block)]);
    write_sparse(&root.join("b/only_hole"), 1 << 20, &[]);
}

fn pack(scene: &Scene, name: &str, options: &[&str]) -> serde_json::Value {
    // Extents are compared, so each file has one.
    let mut arguments = vec!["pack", "--json", "--uuid", UUID, "--small-frames", "none"];
    arguments.extend(options);
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        arguments.iter().map(|a| a as &dyn AsRef<_>).collect();
    let (source, image) = (scene.source(), scene.at(name));
    arguments.push(&source);
    arguments.push(&image);
    serde_json::from_slice(&dgfs(&arguments).fine().out).unwrap()
}

/// All files of an image: contents and extent.
fn files(image: &Image) -> BTreeMap<Vec<u8>, (Vec<u8>, Node)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![Vec::new()];
    let mut scratch = Vec::new();
    while let Some(path) = waiting.pop() {
        let node = image.lookup(&path).unwrap().unwrap();
        if node.is_directory() {
            image
                .list(&node, 0, &mut |child| {
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend_from_slice(child.name);
                    waiting.push(below);
                    true
                })
                .unwrap();
        } else {
            let length = usize::try_from(node.size).unwrap();
            let contents = image.read_at(&node, 0, length, &mut scratch).unwrap();
            found.insert(path, (contents.to_vec(), node));
        }
    }
    found
}

/// Compares an image of the tree with its source, and the extents of its files with each other.
fn check(scene: &Scene, name: &str, summary: &serde_json::Value) {
    let image = Image::open(scene.at(name)).unwrap();
    let files = files(&image);
    let source = scene.source();
    assert_eq!(files.len(), 33);
    let mut extents = BTreeMap::new();
    let (mut stored, mut duplicates, mut duplicate_bytes) = (0, 0, 0);
    for (path, (contents, node)) in &files {
        let path = std::str::from_utf8(path).unwrap();
        assert!(fs::read(source.join(path)).unwrap() == *contents, "{path}");
        if node.data_length() == 0 || node.ino.0 != node.ordinal + 1 {
            continue;
        }
        let mut data = contents.clone();
        if path.ends_with("holes") {
            data.retain(|&byte| byte != 0);
            let mut block = noise(128 << 10, 2);
            block.retain(|&byte| byte != 0);
            assert!(data == block);
            data = noise(128 << 10, 2);
        }
        if let Some(first) = extents.get(&data) {
            assert_eq!(*first, node.extent, "{path}");
            duplicates += 1;
            duplicate_bytes += node.extent.stored;
        } else {
            stored += node.extent.stored;
            extents.insert(data, node.extent);
        }
    }
    assert_eq!(summary["stored_bytes"], stored);
    assert_eq!(summary["duplicate_files"], duplicates);
    assert_eq!(summary["duplicate_bytes"], duplicate_bytes);
    let info = dgfs(&[&"info", &"--json", &scene.at(name)]).fine();
    let info: serde_json::Value = serde_json::from_slice(&info.out).unwrap();
    for key in ["stored_bytes", "duplicate_files", "duplicate_bytes"] {
        assert_eq!(info.get(key), summary.get(key));
    }
    dgfs(&[&"verify", &scene.at(name)]).fine();
}

#[test]
fn equal_contents_are_stored_once() {
    let scene = Scene::new(tree);
    let raw = ["--compress", "none"];
    let summary = pack(&scene, "image.dgfs", &raw);
    check(&scene, "image.dgfs", &summary);
    // Two more of each of six files that are not empty, less a hard link, and two with holes.
    assert_eq!(summary["duplicate_files"], 14);

    let frames = pack(&scene, "frames.dgfs", &[]);
    check(&scene, "frames.dgfs", &frames);
    assert_eq!(frames["duplicate_files"], 14);
    assert!(frames["stored_bytes"].as_u64() < summary["stored_bytes"].as_u64());

    let none = pack(
        &scene,
        "none.dgfs",
        &["--compress", "none", "--dedup", "none"],
    );
    assert_eq!(none["duplicate_files"], 0);
    assert_eq!(
        none["stored_bytes"].as_u64(),
        Some(
            summary["stored_bytes"].as_u64().unwrap()
                + summary["duplicate_bytes"].as_u64().unwrap()
        )
    );
    dgfs(&[&"verify", &scene.at("none.dgfs")]).fine();
    dgfs(&[&"extract", &scene.image(), &scene.at("copy")]).fine();
    packing::assert_same_tree(&scene, &scene.source(), &scene.at("copy"));
}

#[test]
fn duplicates_may_lie_in_any_volume() {
    let scene = Scene::new(tree);
    let volumes = [0, 1, 2].map(|n| scene.at(&format!("volume{n}")));
    let [first, second, third] = volumes.each_ref().map(|path| path.to_str().unwrap());
    // As they are, so that there is enough for three volumes.
    let raw = ["--compress", "none"];
    let volumes_options = ["--data", first, "--data", second, "--data", third];
    let options = [&raw[..], &volumes_options[..]].concat();
    let summary = pack(&scene, "image.dgfs", &options);
    let ran = dgfs(&[
        &"verify",
        &"--data",
        &first,
        &"--data",
        &second,
        &"--data",
        &third,
        &scene.image(),
    ]);
    ran.fine();
    for (number, path) in volumes.iter().enumerate() {
        let beside = match number {
            0 => scene.volume(),
            _ => scene.at(&format!("image.dgfs.data.{number}")),
        };
        // How much is left for the last one depends on where the duplicates are.
        let length = fs::metadata(path).unwrap().len();
        assert!(length > 200_000 || number == 2, "{number}: {length}");
        fs::rename(path, beside).unwrap();
    }
    check(&scene, "image.dgfs", &summary);
}

#[test]
fn threads_and_memory_change_nothing() {
    let scene = Scene::new(tree);
    pack(&scene, "image.dgfs", &["--threads", "1", "--memory", "16M"]);
    pack(&scene, "other.dgfs", &["--threads", "5", "--memory", "1G"]);
    for name in ["dgfs", "dgfs.data"] {
        let one = fs::read(scene.at(&format!("image.{name}"))).unwrap();
        let other = fs::read(scene.at(&format!("other.{name}"))).unwrap();
        assert!(one == other, "{name}");
    }
}

#[test]
fn reproducible_images_do_not_depend_on_the_place() {
    let scene = Scene::new(tree);
    let copy = scene.at("copy");
    let ran = std::process::Command::new("cp")
        .arg("-a")
        .args([&scene.source(), &copy])
        .status();
    assert!(ran.unwrap().success());
    for (source, image) in [(scene.source(), "one.dgfs"), (copy, "two.dgfs")] {
        dgfs(&[&"pack", &"-q", &"--reproducible", &source, &scene.at(image)]).fine();
    }
    for name in ["dgfs", "dgfs.data"] {
        let one = fs::read(scene.at(&format!("one.{name}"))).unwrap();
        assert!(
            one == fs::read(scene.at(&format!("two.{name}"))).unwrap(),
            "{name}"
        );
    }
    dgfs(&[&"verify", &scene.at("one.dgfs")]).fine();
}

#[test]
fn a_damaged_extent_is_reported_for_every_file_that_has_it() {
    let scene = Scene::new(tree);
    pack(&scene, "image.dgfs", &[]);
    let image = Image::open(scene.image()).unwrap();
    let node = image.lookup(b"a/chunk").unwrap().unwrap();
    flip(&scene.volume(), node.extent.position + 1000);
    let paths = [
        "a/chunk",
        "b/chunk",
        "b/holes",
        "b/c/chunk",
        "b/c/other_holes",
    ];
    let ran = dgfs(&[&"verify", &"--json", &scene.image()]);
    assert_eq!(ran.code, Some(1));
    for path in paths {
        assert!(
            ran.text().contains(&format!("\"{path}\"")),
            "{path}: {ran:?}"
        );
    }
    assert!(ran.text().contains("\"damaged_files\":5"), "{ran:?}");
    let listed: Ran = dgfs(&[&"salvage", &"--list", &scene.image()]);
    for path in paths {
        let line = listed.text().lines().find(|line| line.ends_with(path));
        assert!(
            line.is_some_and(|line| line.starts_with("metadata only")),
            "{path}: {listed:?}"
        );
    }
}

#[test]
fn what_is_salvaged_shares_its_contents() {
    let scene = Scene::new(tree);
    pack(&scene, "image.dgfs", &[]);
    // Header and footer, of the index and of its copy.
    let length = fs::metadata(scene.image()).unwrap().len();
    let volume = fs::metadata(scene.volume()).unwrap().len();
    let copy = volume - 4096 - length;
    for (path, offset) in [(scene.image(), 0), (scene.volume(), copy)] {
        flip(&path, offset + 100);
        flip(&path, offset + length - 4096 + 100);
    }
    let mended = scene.at("mended.dgfs");
    let ran = dgfs(&[
        &"salvage",
        &"--index",
        &mended,
        &scene.image(),
        &scene.at("out"),
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    packing::assert_same_tree(&scene, &scene.source(), &scene.at("out"));
    fs::rename(scene.volume(), scene.at("mended.dgfs.data")).unwrap();
    let ran = dgfs(&[&"verify", &mended]);
    // The copy of the index in the volume is still damaged, the contents are not.
    assert!(!ran.text().contains("contents"), "{ran:?}");
}
