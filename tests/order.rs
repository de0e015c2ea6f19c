//! Contents in the order of a list: where they lie, and that nothing else changes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dgfs::read::{Image, Node};
use packing::{Ran, Scene, UUID, dgfs};

/// Files of all kinds of extents, in an order of names that no list below has.
const FILES: [&str; 10] = [
    "a",
    "b/large",
    "b/small",
    "b/small.copy",
    "c/d/chunks",
    "c/d/e",
    "c/sparse",
    "z",
    "z.empty",
    "z\nodd\\",
];

fn tree(root: &Path) {
    for directory in ["b", "c", "c/d"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    for (number, name) in FILES.iter().enumerate() {
        let length = match *name {
            "b/large" => 1_200_000,
            "c/d/chunks" => 300_000,
            "z.empty" => 0,
            _ => 1000 + number,
        };
        let byte = u8::try_from(number + 1).unwrap();
        fs::write(root.join(name), vec![byte; length]).unwrap();
    }
    fs::copy(root.join("b/small"), root.join("b/small.copy")).unwrap();
    fs::hard_link(root.join("c/d/e"), root.join("y")).unwrap();
    let sparse = File::create(root.join("c/sparse")).unwrap();
    sparse.write_all_at(&[77; 5000], 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
}

fn pack(scene: &Scene, name: &str, list: &str, options: &[&str]) -> Ran {
    fs::write(scene.at("list"), list).unwrap();
    let order = format!("list:{}", scene.at("list").display());
    let mut arguments = vec!["pack", "-q", "--uuid", UUID, "--order", &order];
    arguments.extend(options);
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        arguments.iter().map(|a| a as &dyn AsRef<_>).collect();
    let (source, image) = (scene.source(), scene.at(name));
    arguments.push(&source);
    arguments.push(&image);
    dgfs(&arguments)
}

fn node(image: &Image, path: &str) -> Node {
    image.lookup(path.as_bytes()).unwrap().unwrap()
}

/// Compares every file with its source, and has everything verified.
fn check(scene: &Scene, name: &str) -> Image {
    let path = scene.at(name);
    let image = Image::open(&path).unwrap();
    let mut scratch = Vec::new();
    for name in FILES.iter().chain(&["y"]) {
        let node = node(&image, name);
        let length = usize::try_from(node.size).unwrap();
        let contents = image.read_at(&node, 0, length, &mut scratch).unwrap();
        assert!(
            contents == fs::read(scene.source().join(name)).unwrap(),
            "{name}"
        );
    }
    dgfs(&[&"verify", &path]).fine();
    image
}

/// Asserts that the extents of these files follow each other from `position` on; returns where they end.
fn in_a_row(image: &Image, paths: &[&str], position: u64) -> u64 {
    paths.iter().fold(position, |position, path| {
        let extent = node(image, path).extent;
        assert_eq!(extent.position, position, "{path}");
        position + extent.stored
    })
}

#[test]
fn listed_files_come_first_in_the_order_of_the_list() {
    let scene = Scene::new(tree);
    // A name beyond the first of a file stands for it; what is there twice, is empty or no file means nothing.
    let list = "z\\012odd\\\\\n./z\n\nb/large\nb\nc/sparse\nz.empty\n/y\nz\na";
    pack(&scene, "image.dgfs", list, &[]).fine();
    let image = check(&scene, "image.dgfs");
    let listed = ["z\nodd\\", "z", "b/large", "c/sparse", "c/d/e", "a"];
    let end = in_a_row(&image, &listed, 4096);
    in_a_row(&image, &["b/small", "c/d/chunks"], end);
    // What is equal lies with the first in the order of storing.
    assert_eq!(
        node(&image, "b/small.copy").extent,
        node(&image, "b/small").extent
    );
    assert_eq!(node(&image, "y").extent, node(&image, "c/d/e").extent);

    for (name, options) in [
        ("threads.dgfs", ["--threads", "1", "--memory", "16M"]),
        ("memory.dgfs", ["--threads", "6", "--memory", "1G"]),
    ] {
        pack(&scene, name, list, &options).fine();
        for ending in ["", ".data"] {
            let bytes = |name: &str| fs::read(scene.at(&format!("{name}{ending}"))).unwrap();
            assert!(bytes(name) == bytes("image.dgfs"), "{name}{ending}");
        }
    }
}

#[test]
fn files_of_one_kind_lie_together_if_asked_for() {
    const ALIKE: [&str; 7] = [
        "two/no-class-in-such-a-long-name",
        "one/b.c",
        "two/b.c",
        "two/z.c",
        "z.c",
        "one/a.h",
        "two/a.h",
    ];
    let scene = Scene::new(|root| {
        for directory in ["one", "two", "two/deep"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        for (number, name) in (1_u8..).zip(ALIKE) {
            // Of one name, those of one size keep the order of paths.
            let size = if name == "z.c" { 70_000 } else { 2000 };
            fs::write(root.join(name), vec![number; size]).unwrap();
        }
        fs::write(root.join("two/deep/a.h"), []).unwrap();
        fs::copy(root.join("z.c"), root.join("two/deep/copy")).unwrap();
        fs::hard_link(root.join("one/b.c"), root.join("two/deep/a.c")).unwrap();
    });
    let bytes = |name: &str, ending: &str| fs::read(scene.at(&format!("{name}{ending}"))).unwrap();
    for (name, options) in [
        ("image", ["--threads", "1", "--memory", "16M"]),
        ("again", ["--threads", "5", "--memory", "1G"]),
    ] {
        let mut arguments = vec!["pack", "-q", "--uuid", UUID, "--order", "similarity"];
        arguments.extend(options);
        arguments.extend(["--compress", "none"]);
        let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
            arguments.iter().map(|a| a as &dyn AsRef<_>).collect();
        let (source, image) = (scene.source(), scene.at(name));
        arguments.push(&source);
        arguments.push(&image);
        dgfs(&arguments).fine();
        assert!(
            bytes(name, "") == bytes("image", "")
                && bytes(name, ".data") == bytes("image", ".data")
        );
    }
    let image = Image::open(scene.at("image")).unwrap();
    dgfs(&[&"verify", &scene.at("image")]).fine();
    in_a_row(&image, &ALIKE, 4096);
    let extent = |path: &str| node(&image, path).extent;
    assert_eq!(extent("two/deep/copy"), extent("z.c"));
    assert_eq!(extent("two/deep/a.c"), extent("one/b.c"));
    for name in ALIKE.iter().chain(&["two/deep/copy", "two/deep/a.h"]) {
        let node = node(&image, name);
        let length = usize::try_from(node.size).unwrap();
        let mut scratch = Vec::new();
        let contents = image.read_at(&node, 0, length, &mut scratch).unwrap();
        assert!(
            contents == fs::read(scene.source().join(name)).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn a_duplicate_that_is_listed_is_what_is_stored() {
    let scene = Scene::new(tree);
    pack(
        &scene,
        "image.dgfs",
        "b/small.copy\n",
        &["--compress", "zstd", "--small-frames", "none"],
    )
    .fine();
    let image = check(&scene, "image.dgfs");
    let end = in_a_row(&image, &["b/small.copy"], 4096);
    assert_eq!(node(&image, "b/small").extent.position, 4096);
    // Key order: a directory's own files before those below.
    let others = [
        "a",
        "y",
        "z",
        "z\nodd\\",
        "b/large",
        "c/sparse",
        "c/d/chunks",
    ];
    in_a_row(&image, &others, end);
}

#[test]
fn everything_may_be_listed_and_lie_in_several_volumes() {
    let scene = Scene::new(tree);
    let mut list: Vec<&str> = FILES.to_vec();
    list.reverse();
    let list: String = list
        .iter()
        .map(|name| name.replace('\\', "\\\\").replace('\n', "\\012") + "\n")
        .collect();
    let volumes = [scene.at("image.dgfs.data"), scene.at("image.dgfs.data.1")];
    let [first, second] = volumes.each_ref().map(|path| path.to_str().unwrap());
    pack(
        &scene,
        "image.dgfs",
        &list,
        &["--data", first, "--data", second],
    )
    .fine();
    let image = check(&scene, "image.dgfs");
    assert!(node(&image, "b/large").extent.position > node(&image, "z").extent.position);
    let first = &image.volumes()[0];
    assert!(node(&image, "a").extent.position >= first.end);
    // What follows from the leaf pages alone is the same.
    let mended = scene.at("mended.dgfs");
    packing::flip(&scene.at("image.dgfs"), 100);
    dgfs(&[&"salvage", &"--index", &mended, &scene.at("image.dgfs")]).fine();
    packing::flip(&scene.at("image.dgfs"), 100);
    assert!(fs::read(mended).unwrap() == fs::read(scene.at("image.dgfs")).unwrap());
}

#[test]
fn paths_that_are_not_there_are_problems() {
    let scene = Scene::new(tree);
    let ran = pack(
        &scene,
        "image.dgfs",
        "gone\nz\na/below\nb/../a\nx\\y\n",
        &[],
    );
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let mut lines: Vec<&str> = ran.err.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 4, "{ran:?}");
    for (line, what) in lines.iter().zip([
        "a/below: is named by the list",
        "b/..",
        "gone: is named by the list",
        "x\\\\y: is not escaped",
    ]) {
        assert!(line.contains(what), "{line}");
    }
    in_a_row(&check(&scene, "image.dgfs"), &["z", "a"], 4096);

    let ran = pack(&scene, "strict.dgfs", "gone\n", &["--strict"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!scene.at("strict.dgfs").exists());
    let ran = dgfs(&[
        &"pack",
        &"--order",
        &"list:/nonexistent",
        &scene.source(),
        &scene.at("x"),
    ]);
    assert!(
        ran.code == Some(2) && ran.err.contains("/nonexistent"),
        "{ran:?}"
    );
    for order in ["size", "list:", "list"] {
        let ran = dgfs(&[&"pack", &"--order", &order, &scene.source(), &scene.at("x")]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}
