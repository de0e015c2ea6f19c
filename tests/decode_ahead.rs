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

use dgfs::read::{Decoders, Image, Keeping, Node};
use packing::{Scene, dgfs, flip};
use proptest::prelude::*;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
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
            // What is still being decoded when the last read wants it keeps its room from what comes behind.
            if number + 1 == reads {
                settled(&image);
            }
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
    // A quarter of the memory, and of that a quarter to put the next ones.
    assert_eq!(ahead_after(1 << 20, 20), 3 << 18);
    // Too little for four chunks.
    assert_eq!(ahead_after(3 << 14, 20), 0);
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

/// Drops a file from the page cache. False if it stays, as in a file system that is memory.
fn forget(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    resident(path) == Some(0)
}

/// Bytes of a file that are in the page cache; `None` if nobody tells.
fn resident(path: &Path) -> Option<u64> {
    let words = ["--bytes", "--noheadings", "--output", "RES"];
    let output = Command::new("fincore")
        .args(words)
        .arg(path)
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// An image of files that are not compressed, open for those who keep what they read.
fn open_plain(scene: &Scene, threads: usize) -> (Arc<Image>, Decoders) {
    let options = Image::options().many_readers(Keeping::WithReaders);
    let image = Arc::new(options.open(&scene.image()).unwrap());
    let decoders = Decoders::start(&image, threads, || ());
    assert_eq!(decoders.len(), threads);
    (image, decoders)
}

/// What reading a file in steps gives, as a digest of each, and the errors.
fn read_in_steps(image: &Image, name: &str, step: u64) -> Vec<Result<u64, String>> {
    let node = node(image, name);
    let mut scratch = Vec::new();
    let reads = (0..node.size).step_by(step as usize).map(|at| {
        let read = image.read_at(&node, at, step as usize, &mut scratch);
        let digest = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(bytes.len() as u64, |sum, &b| mixed(sum ^ u64::from(b)))
        };
        read.map(digest).map_err(|error| error.to_string())
    });
    reads.collect()
}

#[test]
fn what_is_not_compressed_is_read_ahead_past_the_page_cache() {
    let scene = Scene::new(|root| {
        fs::write(root.join("large"), text(24 << 20)).unwrap();
        fs::write(root.join("mixture"), mixture((9 << 20) + 4321)).unwrap();
    });
    let (source, image) = (scene.source(), scene.image());
    dgfs(&[&"pack", &"-q", &"--compress", &"none", &source, &image]).fine();
    let is_on_disk = forget(&scene.volume());
    for name in ["large", "mixture"] {
        for step in [1 << 20, 700_000, 3 << 20, 128 << 10] {
            let (image, _none) = open_plain(&scene, 0);
            let expected = read_in_steps(&image, name, step);
            assert!(expected.iter().all(Result::is_ok));
            for is_cold in [true, false] {
                if is_cold {
                    forget(&scene.volume());
                }
                let (image, _decoders) = open_plain(&scene, 2);
                assert_eq!(
                    read_in_steps(&image, name, step),
                    expected,
                    "{name} by {step}"
                );
            }
        }
    }
    if !is_on_disk {
        println!("SKIPPED a part: needs fincore, and a file system on a disk");
        return;
    }
    let left = |threads| {
        forget(&scene.volume());
        let (image, _decoders) = open_plain(&scene, threads);
        read_in_steps(&image, "large", 1 << 20);
        resident(&scene.volume()).unwrap()
    };
    // All but the first read, which nothing precedes, and the pages around.
    assert!(left(2) < 3 << 19, "{} and {} without", left(2), left(0));
}

#[test]
fn a_volume_that_is_cut_off_fails_in_the_same_places() {
    let scene = Scene::new(|root| fs::write(root.join("large"), text(8 << 20)).unwrap());
    let (source, image) = (scene.source(), scene.image());
    dgfs(&[&"pack", &"-q", &"--compress", &"none", &source, &image]).fine();
    let length = fs::metadata(scene.volume()).unwrap().len();
    for (left, damaged) in [
        (5 << 20, None),
        ((5 << 20) + 77, None),
        (length, Some(6 << 20)),
    ] {
        let outcomes = |threads| {
            let (image, _decoders) = open_plain(&scene, threads);
            // The table, which lies behind the contents, is read once.
            let node = node(&image, "large");
            image.read_at(&node, 0, 10, &mut Vec::new()).unwrap();
            let volume = File::options().write(true).open(scene.volume()).unwrap();
            let whole = fs::read(scene.volume()).unwrap();
            volume.set_len(left).unwrap();
            if let Some(at) = damaged {
                flip(&scene.volume(), at);
            }
            forget(&scene.volume());
            let outcomes = read_in_steps(&image, "large", 1 << 20);
            fs::write(scene.volume(), whole).unwrap();
            outcomes
        };
        let expected = outcomes(0);
        let failed = expected.iter().filter(|outcome| outcome.is_err()).count();
        assert!((1..=4).contains(&failed), "{failed}: {expected:?}");
        assert_eq!(outcomes(2), expected, "{left}");
    }
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
