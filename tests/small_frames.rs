//! Small files that share frames: each is what it was, costs one read of at most a page's bytes, and its neighbours
//! none; whatever threads packed them, the bytes are the same.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that cannot be prepared has failed; numbers are small"
)]

mod mounting;
mod packing;

use dgfs::entry::Kind;
use dgfs::format::member::MAX_SHARED_STORED;
use dgfs::read::{Image, Node, VerifyOptions};
use mounting::eventually;
use packing::{Scene, UUID, assert_same_tree, dgfs, flip};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
        (self.0 >> 33) % below
    }

    fn text(&mut self, length: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < length {
            let (a, b) = (self.next(50), self.next(5000));
            text.extend_from_slice(format!("{{\"kind\": {a}, \"value\": {b}}},\n").as_bytes());
        }
        text.truncate(length);
        text
    }
}

/// Some thousand small files of several classes among each other: of no byte, of one, of some thousand; duplicates next to
/// each other and far away, names of one file, some that do not compress, some that are large, one with holes.
fn small_files(root: &Path) {
    let mut numbers = Numbers(5);
    for directory in 0..8 {
        let directory = root.join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        for number in 0..350 {
            let class = ["json", "conf", "txt"][numbers.next(3) as usize];
            let path = directory.join(format!("{number:03}.{class}"));
            let contents = match numbers.next(40) {
                0 => Vec::new(),
                1 => vec![b'1'],
                2 => format!("the same as others, {}", numbers.next(4))
                    .repeat(9)
                    .into_bytes(),
                3 => (0..700).map(|_| numbers.next(256) as u8).collect(),
                4 => {
                    let length = 4000 + numbers.next(16_000) as usize;
                    numbers.text(length)
                }
                _ => {
                    let length = 1 + numbers.next(900) as usize;
                    numbers.text(length)
                }
            };
            fs::write(&path, contents).unwrap();
            if numbers.next(60) == 0 {
                fs::hard_link(&path, root.join(format!("{number:03}.{class}"))).ok();
            }
        }
        fs::copy(directory.join("017.json"), directory.join("a copy")).ok();
    }
    fs::write(root.join("large"), numbers.text(700_000)).unwrap();
    // Equal to a small file but for its holes.
    let page = numbers.text(4096);
    fs::write(root.join("d3/plain.json"), &page).unwrap();
    let holes = File::create(root.join("d3/sparse")).unwrap();
    holes.set_len(1 << 20).unwrap();
    holes.write_all_at(&page, 1 << 19).unwrap();
}

fn pack(scene: &Scene, name: &str, options: &[&str]) -> Image {
    let image = scene.at(name);
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q", &"--uuid", &UUID, &"--force"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
    let source = scene.source();
    arguments.push(&source);
    arguments.push(&image);
    dgfs(&arguments).fine();
    Image::open(&image).unwrap()
}

fn files(image: &Image) -> BTreeMap<Vec<u8>, Node> {
    let mut files = BTreeMap::new();
    let walked = image.walk(0, &mut |parent, name, node| {
        if node.kind() == Kind::File {
            let path = [parent, if parent.is_empty() { b"" } else { b"/" }, name].concat();
            files.insert(path, node.clone());
        }
        true
    });
    walked.unwrap();
    files
}

/// Compares all files of an image with those of the tree, and with what verification says.
fn assert_right(scene: &Scene, image: &Image) {
    let mut scratch = Vec::new();
    for (path, node) in files(image) {
        let expected = fs::read(scene.source().join(OsStr::from_bytes(&path))).unwrap();
        let read = image
            .read_at(&node, 0, expected.len() + 1, &mut scratch)
            .unwrap();
        assert!(read == expected, "{}", path.escape_ascii());
        let middle = expected.len() / 3;
        let read = image
            .read_at(&node, middle as u64, 7, &mut scratch)
            .unwrap();
        let end = expected.len().min(middle + 7);
        assert!(read == &expected[middle..end], "{}", path.escape_ascii());
    }
    for threads in [1, 3] {
        let options = VerifyOptions {
            quick: false,
            threads,
        };
        let verified = image.verify(&options, &mut |fault| panic!("{fault}"));
        assert!(verified.complete);
    }
}

#[test]
fn small_files_share_frames_and_read_alike() {
    let scene = Scene::new(small_files);
    let mut first = None;
    for threads in ["1", "2", "4"] {
        let memory = if threads == "4" { "16M" } else { "256M" };
        let options = ["--threads", threads, "--memory", memory, "--dict", "4K"];
        let image = pack(&scene, threads, &options);
        let volume = scene.at(&format!("{threads}.data"));
        let bytes = [scene.at(threads), volume].map(|path| fs::read(path).unwrap());
        match &first {
            None => first = Some(bytes),
            Some(first) => assert!(*first == bytes, "{threads} threads make another image"),
        }
        let header = image.header();
        assert!(header.has_members(), "{header:?}");
        assert!(header.shared_frames > 60, "{header:?}");
        assert!(
            header.frame_members > 10 * header.shared_frames,
            "{header:?}"
        );
        assert!(header.shared_files > 50, "{header:?}");
        assert!(header.leaf_pages > 2, "{header:?}");
    }
    let image = Image::open(scene.at("4")).unwrap();
    assert_right(&scene, &image);
    let members = files(&image);
    let members = members.values().filter_map(|node| node.extent.member);
    assert!(members.clone().any(|member| member.data > 20_000));
    assert!(members.map(|member| member.offset).max().unwrap() > 20_000);
    let out = scene.at("out");
    dgfs(&[&"extract", &"-q", &scene.at("4"), &out]).fine();
    assert_same_tree(&scene, &scene.source(), &out);
}

#[test]
fn a_member_costs_one_read_and_its_neighbours_none() {
    let scene = Scene::new(small_files);
    pack(&scene, "image.dgfs", &[]);
    let open = || Image::open(scene.image()).unwrap();
    let all = files(&open());
    let members = || all.values().filter(|node| node.extent.member.is_some());
    let mut scratch = Vec::new();
    for node in members().step_by(97) {
        let image = open();
        let before = image.counters();
        image.read_at(node, 0, 1 << 16, &mut scratch).unwrap();
        let after = image.counters();
        let stored = node.extent.stored;
        assert!(stored <= MAX_SHARED_STORED as u64);
        assert_eq!(after.data_reads - before.data_reads, 1);
        assert_eq!(after.data_bytes - before.data_bytes, stored);
        assert_eq!(after.chunks_decoded - before.chunks_decoded, 1);
    }
    let image = open();
    let before = image.counters();
    for node in members() {
        image.read_at(node, 0, 1 << 16, &mut scratch).unwrap();
    }
    let after = image.counters();
    let frames: BTreeSet<u64> = members().map(|node| node.extent.position).collect();
    assert_eq!(after.data_reads - before.data_reads, frames.len() as u64);
    assert_eq!(
        after.chunks_decoded - before.chunks_decoded,
        frames.len() as u64
    );
    assert_eq!(frames.len() as u64, image.header().shared_frames);
    // Neither does verification read or decode one twice.
    let image = open();
    image.verify(&VerifyOptions::default(), &mut |fault| panic!("{fault}"));
    let alone = all.values().filter(|node| node.extent.member.is_none());
    let chunks: u64 = alone
        .map(|node| node.data_length().div_ceil(128 << 10))
        .sum();
    let decoded = image.counters().chunks_decoded;
    assert!(decoded <= frames.len() as u64 + chunks, "{decoded}");
}

#[test]
fn a_mount_reads_each_frame_once() {
    needs_mount!("a_mount_reads_each_frame_once");
    let scene = Scene::new(small_files);
    let image = pack(&scene, "image.dgfs", &[]);
    let (mount, stats) = (scene.at("mount"), scene.at("stats"));
    fs::create_dir(&mount).unwrap();
    let option = format!("stats={}", stats.display());
    dgfs(&[&"mount", &"-o", &option, &scene.image(), &mount]).fine();
    let all = files(&image);
    let members = || all.iter().filter(|(_, node)| node.extent.member.is_some());
    for (path, _) in members() {
        let path = OsStr::from_bytes(path);
        let expected = fs::read(scene.source().join(path)).unwrap();
        assert!(
            fs::read(mount.join(path)).unwrap() == expected,
            "{}",
            path.display()
        );
    }
    dgfs(&[&"umount", &mount]).fine();
    let read = || {
        fs::read(&stats)
            .ok()
            .filter(|text| text.ends_with(b"}\n") || text.ends_with(b"}"))
    };
    eventually("statistics are written", || read().is_some());
    let stats: serde_json::Value = serde_json::from_slice(&read().unwrap()).unwrap();
    let frames: BTreeSet<u64> = members().map(|(_, node)| node.extent.position).collect();
    assert_eq!(stats["image"]["chunks_decoded"], frames.len());
    // Two more say what volume it is.
    assert_eq!(stats["image"]["data_reads"], frames.len() + 2);
}

#[test]
fn every_way_of_packing_reads_alike() {
    let scene = Scene::new(small_files);
    let list = scene.at("list");
    fs::write(
        &list,
        "d3/plain.json\nd1/010.json\nd1/010.conf\nd1/010.txt\nd7/a copy\nlarge\n",
    )
    .unwrap();
    let by_list = format!("list:{}", list.display());
    let by_list = ["--order", &by_list];
    for (options, shares) in [
        (&["--dedup", "none"][..], true),
        (&["--dedup", "chunks", "--chunk", "8K"], true),
        (&["--chunk", "4K", "--small-frames", "64K"], true),
        (&["--compress", "zstd:9", "--dict", "none"], true),
        (&["--small-frames", "4K"], true),
        (&["--order", "similarity"], false),
        (&["--small-frames", "none"], false),
        (&["--compress", "none"], false),
    ] {
        let image = pack(&scene, &options.join(" "), options);
        let header = image.header();
        assert_eq!(header.has_members(), shares, "{options:?}");
        assert_eq!(header.shared_frames > 0, shares, "{options:?}");
        assert_right(&scene, &image);
    }
    let problems = dgfs(&[
        &"pack",
        &"-q",
        &"--force",
        &by_list[0],
        &by_list[1],
        &scene.source(),
        &scene.image(),
    ]);
    // The list names files that are not there.
    assert!(problems.code.unwrap() <= 1, "{problems:?}");
    assert_right(&scene, &Image::open(scene.image()).unwrap());
}

#[test]
fn volumes_are_filled_one_after_the_other() {
    let scene = Scene::new(small_files);
    let volumes = ["v0", "v1", "v2"].map(|name| scene.at(name));
    let image = scene.image();
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q"];
    for volume in &volumes {
        arguments.extend([&"--data" as &dyn AsRef<OsStr>, volume]);
    }
    let source = scene.source();
    arguments.extend([&source as &dyn AsRef<OsStr>, &image]);
    dgfs(&arguments).fine();
    let image = Image::options()
        .data(volumes.to_vec())
        .open(&image)
        .unwrap();
    let spans = image.volumes();
    assert!(
        spans
            .iter()
            .all(|volume| volume.end - volume.start > 20_000),
        "{spans:?}"
    );
    assert_right(&scene, &image);
}

#[test]
fn a_damaged_frame_is_the_fault_of_its_members_alone() {
    let scene = Scene::new(small_files);
    let image = pack(&scene, "image.dgfs", &[]);
    let all = files(&image);
    let members = all.values().filter(|node| node.extent.member.is_some());
    let position = members.clone().nth(1000).unwrap().extent.position;
    flip(&scene.volume(), position + 20);
    let of_frame = |node: &&Node| node.extent.position == position;
    let members = all.values().filter(of_frame).map(|node| node.ino);
    let members: BTreeSet<u64> = members.map(|ino| ino.0).collect();
    assert!(members.len() > 3);
    let image = Image::open(scene.image()).unwrap();
    let mut faults = 0;
    let verified = image.verify(&VerifyOptions::default(), &mut |_| faults += 1);
    assert_eq!(faults, members.len());
    assert_eq!(verified.damaged_files, members.len() as u64);
    let mut scratch = Vec::new();
    for node in all.values() {
        let read = image.read_at(node, 0, 1 << 20, &mut scratch);
        assert_eq!(
            read.is_err(),
            members.contains(&node.ino.0) && node.data_length() > 0
        );
    }
    let out = scene.at("out");
    let ran = dgfs(&[&"salvage", &scene.image(), &out]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let mut checked = 0;
    for (path, node) in &all {
        if node.data_length() > 0 && !members.contains(&node.ino.0) {
            let path = OsStr::from_bytes(path);
            let expected = fs::read(scene.source().join(path)).unwrap();
            assert!(
                fs::read(out.join(path)).unwrap() == expected,
                "{}",
                path.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 2000);
}

#[test]
fn info_and_stat_tell_of_shared_frames() {
    let scene = Scene::new(small_files);
    let image = pack(&scene, "image.dgfs", &[]);
    let header = image.header().clone();
    let info = dgfs(&[&"info", &scene.image()]).fine();
    let line = format!(
        "frames: {} shared by {} small files",
        header.shared_frames, header.frame_members
    );
    assert!(info.text().contains(&line), "{}", info.text());
    let all = files(&image);
    let (path, node) = all
        .iter()
        .find(|(_, node)| node.extent.member.is_some_and(|member| member.offset > 0))
        .unwrap();
    let stat = dgfs(&[&"stat", &scene.image(), &OsStr::from_bytes(path)]).fine();
    let member = node.extent.member.unwrap();
    let line = format!(
        "frame: {} bytes of several files, this one from {} on",
        member.data, member.offset
    );
    assert!(stat.text().contains(&line), "{}", stat.text());
    let refused = dgfs(&[
        &"pack",
        &"--small-frames",
        &"128K",
        &scene.source(),
        &scene.at("other"),
    ]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}
