//! Files larger than a chunk that have parts in common store these once (`pack --dedup chunks`), and nobody can tell.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a test that cannot be prepared has failed; lengths of test data are small"
)]

mod packing;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use dgfs::read::{Image, Node};
use packing::{Scene, UUID, dgfs, flip};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Bytes that no other seed gives (the mixer of `SplitMix64`).
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed << 40;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let words = length.div_ceil(8);
    let mut bytes: Vec<u8> = (0..words).flat_map(|_| next().to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// Text that compresses.
fn text(length: usize, seed: u64) -> Vec<u8> {
    let words: [&[u8]; 4] = [b"one ", b"two ", b"three ", b"four "];
    let choices = noise(length, seed);
    let mut text: Vec<u8> = choices
        .iter()
        .flat_map(|choice| words[usize::from(choice % 4)])
        .copied()
        .collect();
    text.truncate(length);
    text
}

fn pack(scene: &Scene, name: &str, options: &[&str]) -> serde_json::Value {
    let fixed = ["pack", "--json", "--uuid", UUID, "--dedup", "chunks"];
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
    for argument in fixed.iter().chain(options) {
        arguments.push(argument);
    }
    let (source, image) = (scene.source(), scene.at(name));
    arguments.push(&source);
    arguments.push(&image);
    serde_json::from_slice(&dgfs(&arguments).fine().out).unwrap()
}

fn node(image: &Image, path: &str) -> Node {
    image.lookup(path.as_bytes()).unwrap().unwrap()
}

/// Compares files with their sources, as a whole and at places all over them.
fn check(scene: &Scene, name: &str) {
    let image = Image::open(scene.at(name)).unwrap();
    let mut scratch = Vec::new();
    for entry in fs::read_dir(scene.source()).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let node = node(&image, name);
        assert_eq!(node.size, expected.len() as u64, "{name}");
        let whole = image
            .read_at(&node, 0, expected.len(), &mut scratch)
            .unwrap();
        assert!(whole == expected, "{name}");
        for step in 0..60 {
            let offset = expected.len() * step / 60;
            for length in [1, 4096, 70_000] {
                let end = expected.len().min(offset + length);
                let read = image.read_at(&node, offset as u64, length, &mut scratch);
                assert!(
                    read.unwrap() == &expected[offset..end],
                    "{name} at {offset}"
                );
            }
        }
    }
    dgfs(&[&"verify", &scene.at(name)]).fine();
}

/// A file of some MiB, what an editor or a build makes of it, and files around them.
fn versions(root: &Path) {
    let old = [
        noise(3_000_000, 1),
        text(2_000_000, 2),
        vec![0; 1 << 20],
        noise(9, 3),
    ]
    .concat();
    fs::write(root.join("a old"), &old).unwrap();
    fs::write(
        root.join("b front"),
        [b"inserted at the front", &old[..]].concat(),
    )
    .unwrap();
    let middle = [&old[..2_500_000], &noise(777, 4), &old[2_600_000..]].concat();
    fs::write(root.join("c middle"), middle).unwrap();
    fs::write(root.join("d end"), [&old[..], &noise(100_000, 5)].concat()).unwrap();
    fs::write(root.join("e copy"), &old).unwrap();
    fs::write(
        root.join("f twice"),
        [noise(1_200_000, 6), noise(1_200_000, 6)].concat(),
    )
    .unwrap();
    // In one batch of a worker, but more than a chunk.
    fs::write(root.join("g small"), &old[1_300_000..1_820_000]).unwrap();
    fs::write(root.join("h one chunk"), &old[..100_000]).unwrap();
    fs::write(root.join("i zeros"), vec![0; 900_000]).unwrap();
    // Its data is that of the first, with a hole in between.
    let file = File::create(root.join("j holes")).unwrap();
    file.set_len(12 << 20).unwrap();
    file.write_all_at(&old[..1 << 20], 1 << 20).unwrap();
    file.write_all_at(&old[1 << 20..3_000_000], 5 << 20)
        .unwrap();
}

#[test]
fn what_files_have_in_common_is_stored_once() {
    let scene = Scene::new(versions);
    for compress in ["none", "zstd"] {
        let name = format!("{compress}.dgfs");
        let summary = pack(&scene, &name, &["--compress", compress]);
        check(&scene, &name);
        let image = Image::open(scene.at(&name)).unwrap();
        let counts = |path| image.chunk_counts(&node(&image, path)).unwrap().unwrap();
        let old = counts("a old");
        assert_eq!(old.shared, 0);
        assert!((24..60).contains(&old.chunks), "{old:?}");
        assert!(old.zeros >= 1);
        // Bytes at the front change the first chunk, and hardly another one.
        let front = counts("b front");
        let new = front.chunks - front.shared - front.zeros;
        assert!(new <= 2, "{front:?}");
        let middle = counts("c middle");
        assert!(
            middle.chunks - middle.shared - middle.zeros <= 4,
            "{middle:?}"
        );
        let end = counts("d end");
        assert!(end.chunks - end.shared - end.zeros <= 4, "{end:?}");
        // The second half of the file is the first once more.
        assert!(counts("f twice").shared >= 1);
        assert!(counts("g small").shared >= 1);
        assert!(counts("j holes").shared >= 15);
        assert_eq!(counts("i zeros").zeros, counts("i zeros").chunks);
        assert_eq!(
            image.chunk_counts(&node(&image, "h one chunk")).unwrap(),
            None
        );
        // A copy shares the whole extent, table and all.
        assert_eq!(node(&image, "a old").extent, node(&image, "e copy").extent);
        assert_eq!(summary["duplicate_files"], 1);

        let paths = [
            "a old", "b front", "c middle", "d end", "f twice", "g small", "i zeros", "j holes",
        ];
        let shared: u64 = paths.iter().map(|path| counts(path).shared).sum();
        let bytes: u64 = paths.iter().map(|path| counts(path).shared_bytes).sum();
        assert_eq!(summary["shared_chunks"], shared);
        assert_eq!(summary["shared_chunk_bytes"], bytes);
        let info = dgfs(&[&"info", &"--json", &scene.at(&name)]).fine();
        let info: serde_json::Value = serde_json::from_slice(&info.out).unwrap();
        assert_eq!(
            (&info["shared_chunks"], &info["shared_chunk_bytes"]),
            (&summary["shared_chunks"], &summary["shared_chunk_bytes"])
        );
        let stat = dgfs(&[&"stat", &scene.at(&name), &"b front"]).fine();
        let line = format!("chunks: {}, {} of them shared", front.chunks, front.shared);
        assert!(stat.text().contains(&line), "{}", stat.text());

        // Less than without sharing, by what is shared.
        let files = format!("{compress}-files.dgfs");
        let (source, image) = (scene.source(), scene.at(&files));
        let plain = dgfs(&[
            &"pack",
            &"--json",
            &"--compress",
            &compress,
            &source,
            &image,
        ])
        .fine();
        let plain: serde_json::Value = serde_json::from_slice(&plain.out).unwrap();
        let [with, without] = [&summary, &plain].map(|s| s["stored_bytes"].as_u64().unwrap());
        // Zeros are cut otherwise than in chunks of one length, and tables are longer.
        assert!(
            with + bytes * 9 / 10 < without,
            "{with} + {bytes}, {without}"
        );
    }
    dgfs(&[&"extract", &scene.at("zstd.dgfs"), &scene.at("copy")]).fine();
    packing::assert_same_tree(&scene, &scene.source(), &scene.at("copy"));
}

#[test]
fn neither_threads_nor_memory_nor_the_place_change_anything() {
    let scene = Scene::new(versions);
    for (name, options) in [
        ("one", &["--threads", "1", "--memory", "16M"]),
        ("two", &["--threads", "5", "--memory", "1G"]),
    ] {
        let options = [&["--compress", "zstd"][..], options].concat();
        pack(&scene, &format!("{name}.dgfs"), &options);
    }
    for name in ["dgfs", "dgfs.data"] {
        let [one, two] =
            ["one", "two"].map(|n| fs::read(scene.at(&format!("{n}.{name}"))).unwrap());
        assert!(one == two, "{name}");
    }
}

#[test]
fn chunks_are_shared_across_volumes_and_orders() {
    let scene = Scene::new(versions);
    let list = scene.at("list");
    fs::write(&list, "g small\nd end\n").unwrap();
    let order = format!("list:{}", list.display());
    let volumes = [0, 1, 2].map(|n| scene.at(&format!("volume{n}")));
    let [first, second, third] = volumes.each_ref().map(|path| path.to_str().unwrap());
    let data = ["--data", first, "--data", second, "--data", third];
    let options = [&data[..], &["--order", &order, "--chunk", "32K"]].concat();
    let summary = pack(&scene, "image.dgfs", &options);
    assert!(summary["shared_chunks"].as_u64() > Some(100), "{summary}");
    for (number, path) in volumes.iter().enumerate() {
        let beside = dgfs::image::volume_path(&scene.image(), number as u32);
        fs::rename(path, beside).unwrap();
    }
    check(&scene, "image.dgfs");
    let image = Image::open(scene.image()).unwrap();
    let end = node(&image, "d end");
    assert!(end.extent.position < node(&image, "a old").extent.position);
    let counts = image.chunk_counts(&node(&image, "a old")).unwrap().unwrap();
    assert_eq!(
        counts.chunks - counts.zeros - counts.shared,
        1,
        "but for the last"
    );
}

#[test]
fn bytes_in_the_middle_cost_one_block_of_the_table_and_one_chunk() {
    let scene = Scene::new(|root| {
        let old = noise(40 << 20, 1);
        fs::write(root.join("a old"), &old).unwrap();
        fs::write(root.join("b new"), [b"new", &old[..]].concat()).unwrap();
    });
    pack(&scene, "image.dgfs", &["--chunk", "16K"]);
    let image = Image::open(scene.image()).unwrap();
    let mut scratch = Vec::new();
    for name in ["a old", "b new"] {
        let node = node(&image, name);
        let blocks = node.extent.cut.unwrap().blocks(node.size);
        assert!(blocks >= 20, "{blocks}");
        let (mut reads, mut bytes) = (0, 0);
        for at in [0, node.size / 3, node.size / 2, node.size - 10] {
            let before = image.counters();
            image.read_at(&node, at, 10, &mut scratch).unwrap();
            let after = image.counters();
            reads += after.data_reads - before.data_reads;
            bytes += after.data_bytes - before.data_bytes;
            // What is known of the place costs nothing.
            image.read_at(&node, at, 10, &mut scratch).unwrap();
            assert_eq!(image.counters().data_reads, after.data_reads);
        }
        // Fewer in the second file: what it shares is known from the first.
        assert!((4..=8).contains(&reads), "{reads} reads");
        assert!(bytes <= 4 * (4096 + (64 << 10)), "{bytes}");
        // All of it in order: runs of chunks are one read.
        let before = image.counters().data_reads;
        for at in (0..node.size).step_by(1 << 20) {
            image.read_at(&node, at, 1 << 20, &mut scratch).unwrap();
        }
        let reads = image.counters().data_reads - before;
        assert!(
            reads <= blocks + 40 * 5,
            "{reads} reads for 40 requests, {blocks} blocks"
        );
    }
}

#[test]
fn a_damaged_chunk_is_reported_for_every_file_that_has_it() {
    let scene = Scene::new(versions);
    pack(&scene, "image.dgfs", &[]);
    let image = Image::open(scene.image()).unwrap();
    let position = node(&image, "a old").extent.position;
    flip(&scene.volume(), position + 1_100_000);
    let ran = dgfs(&[&"verify", &"--json", &scene.image()]);
    assert_eq!(ran.code, Some(1));
    let damaged = ["a old", "b front", "c middle", "d end", "e copy", "j holes"];
    for path in damaged {
        assert!(
            ran.text().contains(&format!("\"{path}\"")),
            "{path}: {ran:?}"
        );
    }
    assert!(ran.text().contains("\"damaged_files\":6"), "{ran:?}");
    // All the rest of them comes out.
    let ran = dgfs(&[
        &"salvage",
        &"--keep-damaged",
        &scene.image(),
        &scene.at("out"),
    ]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let source = fs::read(scene.source().join("a old")).unwrap();
    let salvaged = fs::read(scene.at("out").join("a old")).unwrap();
    let wrong = source.iter().zip(&salvaged).filter(|(a, b)| a != b).count();
    assert!((1..=512 << 10).contains(&wrong), "{wrong}");
    assert_eq!(source.len(), salvaged.len());
}

/// A file made of parts that others have, too.
fn parts() -> impl Strategy<Value = Vec<(u64, usize, usize)>> {
    proptest::collection::vec((0u64..4, 0usize..60_000, 0usize..60_000), 1..8)
}

/// Any files, of parts of few sources: every file is read back, in small chunks so that tables have many rows.
#[test]
fn any_files_come_out_as_they_went_in() {
    let sources: Vec<Vec<u8>> = vec![
        noise(60_000, 7),
        text(60_000, 8),
        vec![0; 60_000],
        noise(60_000, 9),
    ];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(12));
    let files = proptest::collection::btree_map("[a-e]{1,3}", parts(), 1..7);
    let options = (
        files,
        prop_oneof![Just("4K"), Just("16K"), Just("64K")],
        any::<bool>(),
    );
    runner
        .run(&options, |(files, chunk, compress)| {
            let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for (name, parts) in files {
                let of = parts.iter().flat_map(|(source, a, b)| {
                    let range = *a.min(b)..*a.max(b);
                    sources[*source as usize][range].to_vec()
                });
                contents.insert(name, of.collect());
            }
            let scene = Scene::new(|root| {
                for (name, contents) in &contents {
                    fs::write(root.join(name), contents).unwrap();
                }
            });
            let compress = if compress { "zstd:1" } else { "none" };
            pack(
                &scene,
                "image.dgfs",
                &["--chunk", chunk, "--compress", compress],
            );
            check(&scene, "image.dgfs");
            Ok(())
        })
        .unwrap();
}
