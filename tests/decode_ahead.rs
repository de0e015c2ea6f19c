//! Decompressing ahead of those who read in order: the same bytes and errors as without, nothing done twice, and nothing
//! for those who read here and there.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that cannot be prepared has failed; numbers are small"
)]

#[cfg(feature = "mount")]
#[macro_use]
mod mounting;
mod packing;

use dgfs::read::{Decoders, Image, Node};
use packing::{Scene, dgfs, flip};
use proptest::prelude::*;
use std::fs;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a chunk in these images.
const CHUNK: u64 = 16 << 10;

/// Numbers that look random and follow from another (`SplitMix64`).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Text in which every line is another.
fn text(length: u64) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        if text.len() as u64 >= length {
            break;
        }
        text.extend_from_slice(format!("line {number} says {}\n", mixed(number)).as_bytes());
    }
    text.truncate(length as usize);
    text
}

/// Chunks of text, noise and zeros in no order.
fn mixture(length: u64) -> Vec<u8> {
    let mut bytes = text(length);
    for (number, chunk) in (0..).zip(bytes.chunks_mut(CHUNK as usize)) {
        match mixed(number) % 4 {
            0 => chunk.fill(0),
            1 => (0..)
                .zip(chunk)
                .for_each(|(n, byte)| *byte = mixed(number << 20 | n) as u8),
            _ => {}
        }
    }
    bytes
}

/// An image in a directory of its own, and the two files in it.
static PACKED: LazyLock<(Scene, [Vec<u8>; 2])> = LazyLock::new(|| {
    let files = [text(6 << 20), mixture((5 << 20) + 4321)];
    let scene = Scene::new(|root| {
        for (name, bytes) in ["text", "mixture"].iter().zip(&files) {
            fs::write(root.join(name), bytes).unwrap();
        }
        // One chunk, which nobody reads ahead.
        fs::write(root.join("small"), text(CHUNK)).unwrap();
    });
    pack(&scene);
    (scene, files)
});

/// Packs a scene in compressed chunks of 16 KiB.
fn pack(scene: &Scene) {
    let (source, image) = (scene.source(), scene.image());
    dgfs(&[
        &"pack",
        &"-q",
        &"--compress",
        &"zstd:3",
        &"--chunk",
        &"16K",
        &source,
        &image,
    ])
    .fine();
}

/// The image, with so much memory for decompressed chunks, and threads that decode ahead.
fn open(chunk_bytes: usize, threads: usize) -> (Arc<Image>, Decoders) {
    let options = Image::options().cache_bytes(4 * chunk_bytes);
    let image = Arc::new(options.open(&PACKED.0.image()).unwrap());
    let decoders = Decoders::start(&image, threads, || ());
    (image, decoders)
}

fn node(image: &Image, name: &str) -> Node {
    image.lookup(name.as_bytes()).unwrap().unwrap()
}

/// Frames among the chunks of a file, by what is shorter than it was.
fn decoded_by_reading(name: &str) -> u64 {
    let (image, _) = open(1 << 20, 0);
    let mut scratch = Vec::new();
    image
        .read_at(&node(&image, name), 0, usize::MAX, &mut scratch)
        .unwrap();
    image.counters().chunks_decoded
}

#[test]
fn who_reads_in_order_gets_what_was_packed_and_nothing_is_decoded_twice() {
    for (name, bytes) in ["text", "mixture"].iter().zip(&PACKED.1) {
        let frames = decoded_by_reading(name);
        for step in [CHUNK, 3 * CHUNK, 128 << 10, 1 << 20, 4096, 100_000] {
            let (image, decoders) = open(16 << 20, 2);
            assert_eq!(decoders.len(), 2);
            let node = node(&image, name);
            let mut scratch = Vec::new();
            for at in (0..bytes.len() as u64).step_by(step as usize) {
                let read = image
                    .read_at(&node, at, step as usize, &mut scratch)
                    .unwrap();
                let end = bytes.len().min((at + step) as usize);
                assert!(
                    read == &bytes[at as usize..end],
                    "{name}: {step} bytes at {at}"
                );
            }
            let decoded = image.counters().chunks_decoded;
            if step % CHUNK == 0 {
                assert_eq!(decoded, frames, "{name} by {step}");
            } else {
                // A chunk at the border of a piece may be wanted by both sides at once.
                assert!(
                    decoded < frames + frames / 8,
                    "{name} by {step}: {decoded} of {frames}"
                );
            }
        }
    }
}

/// Waits until no more is decoded, and gives how much was.
fn settled(image: &Image) -> u64 {
    let mut last = image.counters().chunks_decoded;
    let begun = Instant::now();
    let mut since = begun;
    while since.elapsed() < Duration::from_millis(200) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it goes on and on"
        );
        thread::sleep(Duration::from_millis(5));
        let now = image.counters().chunks_decoded;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[test]
fn as_much_is_decoded_ahead_as_was_read_and_as_there_is_room_for() {
    let step = 8 * CHUNK;
    let mut scratch = Vec::new();
    let mut ahead_after = |chunk_bytes: usize, reads: u64| {
        let (image, decoders) = open(chunk_bytes, 2);
        let node = node(&image, "text");
        for number in 0..reads {
            image
                .read_at(&node, number * step, step as usize, &mut scratch)
                .unwrap();
        }
        let ahead = settled(&image) - reads * step / CHUNK;
        drop(decoders);
        ahead * CHUNK
    };
    assert_eq!(ahead_after(32 << 20, 1), 0);
    assert_eq!(ahead_after(32 << 20, 2), 2 * step);
    assert_eq!(ahead_after(32 << 20, 5), 5 * step);
    // Of the memory for chunks half, and of that a quarter to put the next ones.
    assert_eq!(ahead_after(1 << 20, 20), 3 << 17);
    // Too little for four chunks.
    assert_eq!(ahead_after(6 << 14, 20), 0);
    assert_eq!(ahead_after(0, 20), 0);
}

#[test]
fn reads_here_and_there_decode_nothing_else() {
    let run = |threads| {
        // With room for all chunks: which are kept otherwise is left to chance.
        let (image, _decoders) = open(64 << 20, threads);
        let node = node(&image, "text");
        let mut scratch = Vec::new();
        for number in 0..300 {
            let at = mixed(number) % (node.size - 5000);
            image.read_at(&node, at, 4096, &mut scratch).unwrap();
        }
        (settled(&image), image.counters())
    };
    assert_eq!(run(2), run(0));
}

#[test]
fn files_that_are_cut_by_content_are_decoded_ahead_as_well() {
    let bytes = &PACKED.1[0];
    let scene = Scene::new(|root| fs::write(root.join("text"), bytes).unwrap());
    let (source, at) = (scene.source(), scene.image());
    dgfs(&[
        &"pack", &"-q", &"--dedup", &"chunks", &"--chunk", &"16K", &source, &at,
    ])
    .fine();
    for step in [64 << 10, 1 << 20, 100_000] {
        let decoded_after_half = |threads| {
            let options = Image::options().cache_bytes(64 << 20);
            let image = Arc::new(options.open(&at).unwrap());
            let _decoders = Decoders::start(&image, threads, || ());
            let node = node(&image, "text");
            assert!(node.extent.cut.is_some());
            let mut decoded = 0;
            let mut scratch = Vec::new();
            for start in (0..node.size).step_by(step as usize) {
                let read = image.read_at(&node, start, step as usize, &mut scratch);
                let end = bytes.len().min((start + step) as usize);
                assert!(read.unwrap() == &bytes[start as usize..end]);
                if decoded == 0 && start > node.size / 2 {
                    decoded = settled(&image);
                }
            }
            decoded
        };
        assert!(decoded_after_half(2) > decoded_after_half(0), "{step}");
    }
}

#[test]
fn there_are_no_threads_for_what_is_not_compressed() {
    let scene = Scene::new(|root| fs::write(root.join("text"), text(1 << 20)).unwrap());
    let (source, image) = (scene.source(), scene.image());
    dgfs(&[&"pack", &"-q", &"--compress", &"none", &source, &image]).fine();
    let image = Arc::new(Image::open(&image).unwrap());
    assert!(Decoders::start(&image, 3, || ()).is_empty());
}

#[test]
fn damage_is_an_error_of_the_reads_that_want_it() {
    let scene = Scene::new(|root| fs::write(root.join("text"), &PACKED.1[0]).unwrap());
    pack(&scene);
    let image = scene.image();
    let extent = node(&Image::open(&image).unwrap(), "text").extent;
    for part in [3, 7, 8] {
        flip(&scene.volume(), extent.position + extent.stored / 10 * part);
    }
    let outcomes = |threads, step: u64| {
        let image = Arc::new(Image::open(&image).unwrap());
        let _decoders = Decoders::start(&image, threads, || ());
        let node = node(&image, "text");
        let mut scratch = Vec::new();
        let reads = (0..node.size).step_by(step as usize).map(|at| {
            let read = image.read_at(&node, at, step as usize, &mut scratch);
            read.map(|bytes| bytes == &PACKED.1[0][at as usize..][..bytes.len()])
                .map_err(|error| error.to_string())
        });
        reads.collect::<Vec<_>>()
    };
    for step in [CHUNK, 128 << 10, 1 << 20] {
        let expected = outcomes(0, step);
        let failed = expected.iter().filter(|outcome| outcome.is_err()).count();
        assert!((2..=3).contains(&failed), "{failed}");
        assert!(expected.iter().all(|outcome| *outcome != Ok(false)));
        assert_eq!(outcomes(2, step), expected);
    }
}

#[test]
fn decoders_come_and_go_while_others_read() {
    let (image, decoders) = open(1 << 20, 2);
    drop(decoders);
    thread::scope(|scope| {
        for reader in 0..3_u64 {
            let image = &image;
            scope.spawn(move || {
                let bytes = &PACKED.1[reader as usize % 2];
                let node = node(image, ["text", "mixture"][reader as usize % 2]);
                let step = (reader + 1) * 2 * CHUNK;
                let mut scratch = Vec::new();
                for at in (0..node.size).step_by(step as usize) {
                    let read = image
                        .read_at(&node, at, step as usize, &mut scratch)
                        .unwrap();
                    assert!(read == &bytes[at as usize..][..read.len()]);
                }
            });
        }
        for _ in 0..20 {
            let decoders = Decoders::start(&image, 2, || ());
            thread::sleep(Duration::from_millis(2));
            drop(decoders);
        }
    });
}

/// With decoders, and memory for a few pieces only, so that they come and go.
static SHARED: LazyLock<(Arc<Image>, Decoders)> = LazyLock::new(|| open(1 << 20, 2));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mixture of readers in order, of any step, and of reads anywhere.
    #[test]
    fn whoever_reads_whatever_gets_what_was_packed(
        readers in prop::collection::vec((any::<bool>(), any::<u32>(), 1_u64..200_000, 1_u64..12), 1..6),
        rounds in 1_u64..30,
    ) {
        let mut scratch = Vec::new();
        for round in 0..rounds {
            for (which, start, step, jump) in &readers {
                let bytes = &PACKED.1[usize::from(*which)];
                let node = node(&SHARED.0, ["text", "mixture"][usize::from(*which)]);
                // Some go on where they were, some skip or repeat a part.
                let at = (u64::from(*start) + round * step * jump / 4) % (node.size + 1);
                let read = SHARED.0.read_at(&node, at, *step as usize, &mut scratch).unwrap();
                let end = bytes.len().min((at + step) as usize);
                prop_assert!(read == &bytes[at as usize..end], "{step} bytes at {at}");
            }
        }
    }
}

#[cfg(feature = "mount")]
#[test]
fn a_mount_decodes_each_chunk_once() {
    needs_mount!("a_mount_decodes_each_chunk_once");
    let (image, directory) = (Image::open(PACKED.0.image()).unwrap(), PACKED.0.at("mount"));
    fs::create_dir(&directory).unwrap();
    let image = Arc::new(image);
    let options = dgfs::mount::MountOptions::default();
    let mounted = dgfs::mount::mount(image.clone(), &directory, &options).unwrap();
    for (name, bytes) in ["text", "mixture"].iter().zip(&PACKED.1) {
        let before = image.counters().chunks_decoded;
        assert!(fs::read(directory.join(name)).unwrap() == *bytes, "{name}");
        let (decoded, frames) = (settled(&image) - before, decoded_by_reading(name));
        // The kernel asks for whole pages, mostly for many at once.
        assert!(
            decoded <= frames + frames / 8,
            "{name}: {decoded} of {frames}"
        );
    }
    mounted.unmount().unwrap();
}
