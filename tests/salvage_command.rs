//! `dgfs salvage`: what is left of a damaged image comes out, and what does not is named.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::fs;
use std::path::Path;

use dgfs::read::Image;
use packing::{Scene, assert_same_tree, dgfs, flip, needs_root, one_of_everything};

/// Bytes of a chunk.
const CHUNK: u64 = 1 << dgfs::build::DEFAULT_CHUNK_SHIFT;

/// A tree of one of everything and so many files that their entries take several pages.
fn several_pages(root: &Path) {
    one_of_everything(root);
    for directory in ["a", "z"] {
        for number in 0..4_000u32 {
            let name = format!("{:x}", number.wrapping_mul(2_654_435_761));
            fs::write(root.join(directory).join(name), number.to_string()).unwrap();
        }
    }
}

fn leaf_pages(scene: &Scene) -> u64 {
    Image::open(scene.image()).unwrap().header().leaf_pages
}

fn copy_start(scene: &Scene) -> u64 {
    let length = |path| fs::metadata(path).unwrap().len();
    length(scene.volume()) - 4096 - length(scene.image())
}

#[test]
fn the_command_brings_out_a_tree_whose_index_is_damaged_twice() {
    if !needs_root("the_command_brings_out_a_tree_whose_index_is_damaged_twice") {
        return;
    }
    let scene = Scene::packed(several_pages);
    let index = fs::read(scene.image()).unwrap();
    let start = copy_start(&scene);
    for page in 0..index.len() as u64 / 4096 {
        if page % 2 == 0 {
            flip(&scene.image(), page * 4096 + 50);
        } else {
            flip(&scene.volume(), start + page * 4096 + 50);
        }
    }
    let (out, mended) = (scene.at("out"), scene.at("mended"));
    let ran = dgfs(&[&"salvage", &"--index", &mended, &scene.image(), &out]).fine();
    assert!(
        ran.text()
            .contains(" 0 incomplete, 0 damaged, 0 metadata only, 0 lost, 0 failed\n"),
        "{ran:?}"
    );
    assert_same_tree(&scene, &scene.source(), &out);
    assert!(
        fs::read(&mended).unwrap() == index,
        "the index is not as it was"
    );
    let again = dgfs(&[&"salvage", &"--index", &mended, &scene.image()]);
    assert!(
        again.code == Some(2) && again.err.contains("exists"),
        "{again:?}"
    );
    // Without the index file, the copy alone; it has lost pages.
    fs::remove_file(scene.image()).unwrap();
    for image in [scene.image(), scene.volume()] {
        let ran = dgfs(&[&"salvage", &"--list", &image]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            ran.text().contains("\nlost ") || ran.text().starts_with("lost "),
            "{ran:?}"
        );
    }
}

#[test]
fn the_command_tells_what_is_lost() {
    if !needs_root("the_command_tells_what_is_lost") {
        return;
    }
    let scene = Scene::packed(several_pages);
    let leaves = leaf_pages(&scene);
    assert!(leaves > 4, "{leaves}");
    let large = dgfs(&[&"stat", &"--json", &scene.image(), &"large"]).fine();
    let large: serde_json::Value = serde_json::from_str(large.text()).unwrap();
    let large = large["contents"]["offset"].as_u64().unwrap();
    flip(&scene.volume(), large + (1 << 20));
    // The first page holds the root and all directories.
    let start = copy_start(&scene);
    for page in [1, leaves] {
        flip(&scene.image(), page * 4096 + 50);
        flip(&scene.volume(), start + page * 4096 + 50);
    }
    let listing = dgfs(&[&"salvage", &"--list", &"--json", &scene.image()]);
    assert_eq!((listing.code, listing.err.as_str()), (Some(1), ""));
    let lines: Vec<serde_json::Value> = listing
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let sums = lines.last().unwrap();
    let count = |state: &str| lines.iter().filter(|line| line["state"] == state).count() as u64;
    assert_eq!(sums["whole"], count("whole"));
    assert_eq!(sums["index"]["lost_leaf_pages"], 2);
    let lost: u64 = lines
        .iter()
        .filter_map(|line| line["entries"].as_u64())
        .sum();
    assert_eq!((sums["lost"].as_u64(), count("lost")), (Some(lost), 2));
    let out = scene.at("out");
    let ran = dgfs(&[&"salvage", &scene.image(), &out]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // Every entry that is called whole is there and what it was, in directories whose own entries are lost.
    let mut compared = 0;
    for line in lines.iter().filter(|line| line["state"] == "whole") {
        let path = line["path"].as_str().unwrap();
        let [from, to] = [scene.source(), out.clone()].map(|root| root.join(path));
        if fs::symlink_metadata(&from).unwrap().is_file() {
            assert!(fs::read(from).unwrap() == fs::read(to).unwrap(), "{path}");
            compared += 1;
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn damaged_files_come_out_if_they_are_wanted() {
    let scene = Scene::packed(|root| {
        // Noise is stored as it is, so that the place of the damage is known.
        let numbers = (0u32..200_000).map(|n| n.wrapping_mul(2_654_435_761));
        let contents: Vec<u8> = numbers.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
        fs::write(root.join("damaged"), contents).unwrap();
        fs::write(root.join("small"), "small").unwrap();
        fs::write(root.join("whole"), "whole").unwrap();
    });
    let offset = |name: &str| {
        let stat = dgfs(&[&"stat", &"--json", &scene.image(), &name]).fine();
        let stat: serde_json::Value = serde_json::from_str(stat.text()).unwrap();
        stat["contents"]["offset"].as_u64().unwrap()
    };
    flip(&scene.volume(), offset("damaged") + 3 * CHUNK + 1);
    flip(&scene.volume(), offset("small"));
    let list = dgfs(&[&"salvage", &"--list", &scene.image()]);
    let expected = format!(
        "whole .\ndamaged damaged {}-{}\nmetadata only small\nwhole whole\n",
        3 * CHUNK,
        4 * CHUNK
    );
    assert!(list.text().starts_with(&expected), "{list:?}");
    let out = scene.at("out");
    let ran = dgfs(&[&"salvage", &scene.image(), &out]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 2), "{ran:?}");
    assert!(!out.join("damaged").exists() && !out.join("small").exists());
    let out = scene.at("kept");
    let ran = dgfs(&[&"salvage", &"--keep-damaged", &scene.image(), &out]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 2), "{ran:?}");
    let mut expected = fs::read(scene.source().join("damaged")).unwrap();
    expected[3 * CHUNK as usize..4 * CHUNK as usize].fill(0);
    assert!(fs::read(out.join("damaged")).unwrap() == expected);
    assert_eq!(fs::read(out.join("small")).unwrap(), [0; 5]);
    let time = |root: &Path| {
        fs::metadata(root.join("damaged"))
            .unwrap()
            .modified()
            .unwrap()
    };
    assert_eq!(time(&out), time(&scene.source()));
}
