//! Compressed images against the trees that they were packed from: every byte, from anywhere, and the same bytes
//! whatever packed them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test that cannot be prepared has failed; numbers are small"
)]

mod packing;

use dgfs::entry::Kind;
use dgfs::read::{Image, VerifyOptions};
use packing::{Scene, UUID, dgfs, flip};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::LazyLock;

/// Bytes of a chunk in most of these images.
const CHUNK: usize = 8192;

/// Numbers that look random and are the same each time (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Bytes that do not compress.
    fn noise(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(length).collect()
    }

    /// Bytes that do.
    fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 8] = [
            "static", "int", "return", "{\n", "}\n", "page", "0x1f", "();",
        ];
        let mut text = Vec::new();
        while text.len() < length {
            let number = self.next();
            text.extend_from_slice(WORDS[number as usize % WORDS.len()].as_bytes());
            text.extend_from_slice(format!(" {} ", number % 1000).as_bytes());
        }
        text.truncate(length);
        text
    }
}

/// Files of all shapes: shorter than a chunk, one chunk to the byte, many; text, noise, zeros, holes, and mixtures.
fn all_shapes(root: &Path) {
    let mut numbers = Numbers(1);
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).unwrap();
    write("empty", b"");
    write("one byte", b"1");
    let lengths = [
        2,
        40,
        700,
        4096,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        5 * CHUNK,
        300_001,
    ];
    for length in lengths {
        write(&format!("text {length}.txt"), &numbers.text(length));
        write(&format!("noise {length}.bin"), &numbers.noise(length));
        write(&format!("zeros {length}"), &vec![0; length]);
    }
    for number in 0..200 {
        let length = numbers.next() as usize % 3000;
        let text = numbers.text(length);
        write(&format!("small {number}.json"), &text);
    }
    // Larger than a batch of the builder, with every sequence of kinds of chunks.
    let mut mixed = Vec::new();
    for number in 0..150 {
        let part = match numbers.next() % 3 {
            0 => numbers.text(CHUNK),
            1 => numbers.noise(CHUNK),
            _ => vec![0; CHUNK],
        };
        mixed.extend_from_slice(if number == 149 { &part[..77] } else { &part });
    }
    write("mixed", &mixed);
    fs::hard_link(root.join("mixed"), root.join("mixed too")).unwrap();
    let holes = File::create(root.join("holes")).unwrap();
    for (at, length) in [(0, 5000), (100_000, 40_000), (900_000, 10)] {
        holes.write_all_at(&numbers.text(length), at).unwrap();
    }
    holes.set_len(1_000_000).unwrap();
    fs::create_dir(root.join("below")).unwrap();
    write("below/last.c", &numbers.text(20_000));
}

fn pack(scene: &Scene, name: &str, options: &[&str]) -> Image {
    let image = scene.at(name);
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q", &"--uuid", &UUID];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
    let source = scene.source();
    arguments.push(&source);
    arguments.push(&image);
    dgfs(&arguments).fine();
    Image::open(&image).unwrap()
}

/// Compares all files of `image` with those of `tree`.
fn assert_same_contents(image: &Image, tree: &Path) {
    let mut scratch = Vec::new();
    let mut files = 0;
    for directory in ["", "below"] {
        for entry in fs::read_dir(tree.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let name = path.strip_prefix(tree).unwrap();
            let node = image.lookup(name.as_os_str().as_encoded_bytes());
            let node = node.unwrap().unwrap();
            let expected = fs::read(&path).unwrap();
            let read = image.read_at(&node, 0, usize::MAX, &mut scratch).unwrap();
            assert!(read == expected, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 230);
    let mut faults = Vec::new();
    let verified = image.verify(&VerifyOptions::default(), &mut |fault| {
        faults.push(fault.to_string());
    });
    assert_eq!(faults, Vec::<String>::new());
    assert!(verified.complete);
}

#[test]
fn contents_come_out_as_they_went_in() {
    let scene = Scene::new(all_shapes);
    let plain = pack(&scene, "plain", &["--compress", "none"]);
    assert!(!plain.header().is_compressed());
    for (number, options) in [
        &["--compress", "zstd:1"][..],
        &["--compress", "zstd:9", "--chunk", "8K"],
        &["--compress", "zstd:19", "--chunk", "4K", "--memory", "16M"],
        &["--compress", "zstd", "--chunk", "16M"],
    ]
    .iter()
    .enumerate()
    {
        let image = pack(&scene, &number.to_string(), options);
        assert!(image.header().is_compressed());
        assert_eq!(image.header().data_bytes, plain.header().data_bytes);
        assert!(image.header().stored_bytes < plain.header().stored_bytes * 4 / 5);
        assert_same_contents(&image, &scene.source());
    }
}

#[test]
fn noise_is_stored_as_it_is() {
    let scene = Scene::new(|root| {
        let mut numbers = Numbers(7);
        for number in 0..50 {
            let length = numbers.next() as usize % 60_000;
            fs::write(root.join(number.to_string()), numbers.noise(length)).unwrap();
        }
    });
    let image = pack(&scene, "compressed", &["--compress", "zstd:9"]);
    let plain = pack(&scene, "plain", &["--compress", "none"]);
    assert!(!image.header().is_compressed());
    assert_eq!(image.header().stored_bytes, plain.header().stored_bytes);
}

#[test]
fn the_bytes_do_not_depend_on_threads_or_memory() {
    let scene = Scene::new(all_shapes);
    let volumes = |name: &str, options: &[&str]| {
        let image = scene.at(name);
        let (first, second) = (
            scene.at(&format!("{name} 0")),
            scene.at(&format!("{name} 1")),
        );
        let source = scene.source();
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q", &"--uuid", &UUID];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
        arguments.extend([&"--data" as &dyn AsRef<OsStr>, &first, &"--data", &second]);
        arguments.extend([&source as &dyn AsRef<OsStr>, &image]);
        dgfs(&arguments).fine();
        [image, first, second].map(|path| fs::read(path).unwrap())
    };
    let options = ["--compress", "zstd:5", "--chunk", "8K"];
    let one = volumes("one", &[&options[..], &["--threads", "1"]].concat());
    let many = [&options[..], &["--threads", "5", "--memory", "16M"]].concat();
    assert!(volumes("many", &many) == one);
    // Both volumes hold about half of the files.
    assert!(one[1].len() > 200_000 && one[2].len() > 200_000);
}

/// A compressed image, and what its files hold by name.
type Shapes = (Scene, Image, BTreeMap<Vec<u8>, Vec<u8>>);

/// In small chunks.
static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let scene = Scene::new(all_shapes);
    pack(&scene, "image", &["--compress", "zstd:3", "--chunk", "8K"]);
    // Memory for a few chunks only, so that they come and go.
    let options = Image::options().cache_bytes(1 << 18);
    let image = options.open(&scene.at("image")).unwrap();
    let files = fs::read_dir(scene.source()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).ok().filter(|bytes| !bytes.is_empty())?;
        Some((path.file_name()?.as_encoded_bytes().to_vec(), bytes))
    });
    let files = files.collect();
    (scene, image, files)
});

proptest! {
    /// Any range of any file, in any order, so that chunks kept from earlier reads take part.
    #[test]
    fn any_range_reads_as_in_the_source(
        reads in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 1usize..100_000), 1..60),
    ) {
        let (_, image, files) = &*SHAPES;
        let mut scratch = Vec::new();
        for (which, offset, length) in reads {
            let (name, bytes) = files.iter().nth(which.index(files.len())).unwrap();
            let node = image.lookup(name).unwrap().unwrap();
            prop_assert_eq!(node.kind(), Kind::File);
            let offset = offset as usize % (bytes.len() + 10);
            let end = bytes.len().min(offset + length);
            let expected = bytes.get(offset..end).unwrap_or(&[]);
            let read = image.read_at(&node, offset as u64, length, &mut scratch).unwrap();
            prop_assert!(read == expected, "{offset} {length} of {}", String::from_utf8_lossy(name));
        }
    }
}

#[test]
fn small_reads_of_a_chunk_read_it_once() {
    let (_, _, files) = &*SHAPES;
    let image = Image::open(SHAPES.0.at("image")).unwrap();
    let node = image.lookup(b"text 300001.txt").unwrap().unwrap();
    let bytes = &files[&b"text 300001.txt"[..]];
    let mut scratch = Vec::new();
    image.read_at(&node, 0, 512, &mut scratch).unwrap();
    let before = image.counters();
    for at in (0..CHUNK).step_by(512) {
        let read = image.read_at(&node, at as u64, 512, &mut scratch).unwrap();
        assert_eq!(read, &bytes[at..at + 512]);
    }
    assert_eq!(image.counters().data_reads, before.data_reads);
    // A whole file in neighbouring chunks is one read.
    image.read_at(&node, 0, usize::MAX, &mut scratch).unwrap();
    assert_eq!(image.counters().data_reads, before.data_reads + 1);
}

#[test]
fn damage_to_a_frame_is_an_error_of_its_file() {
    let scene = Scene::new(all_shapes);
    let options = [
        "--compress",
        "zstd",
        "--chunk",
        "8K",
        "--small-frames",
        "none",
    ];
    let image = pack(&scene, "image", &options);
    let node = image.lookup(b"text 700.txt").unwrap().unwrap();
    assert!(node.extent.stored < 700);
    drop(image);
    flip(&scene.at("image.data"), node.extent.position + 9);
    let ran = dgfs(&[&"verify", &scene.at("image")]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(
        ran.err.contains("text 700.txt: bytes 0 to 700"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    let ran = dgfs(&[&"cat", &scene.at("image"), &"text 700.txt"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.out.is_empty());
    dgfs(&[&"cat", &scene.at("image"), &"text 4096.txt"]).fine();
}

#[test]
fn what_cannot_be_is_refused() {
    let scene = Scene::new(|root| fs::write(root.join("file"), b"x").unwrap());
    for options in [
        ["--compress", "gzip"],
        ["--compress", "zstd:0"],
        ["--compress", "zstd:23"],
        ["--compress", "none:3"],
        ["--chunk", "100K"],
        ["--chunk", "2K"],
        ["--chunk", "32M"],
        ["--dict", "2M"],
        ["--dict", "100"],
        ["--small-frames", "3K"],
        ["--small-frames", "65K"],
    ] {
        let (source, image) = (scene.source(), scene.image());
        let ran = dgfs(&[&"pack", &options[0], &options[1], &source, &image]);
        assert_eq!(ran.code, Some(2), "{options:?}");
        assert!(!image.exists());
    }
}

/// Many small files of two kinds that resemble each other, and noise that resembles nothing.
fn many_alike(root: &Path) {
    let mut numbers = Numbers(11);
    for number in 0..1500 {
        let (a, b, c) = (numbers.next(), numbers.next() % 100_000, numbers.next() % 7);
        let record = format!(
            "{{\"identity\": \"{a:016x}\", \"kind\": \"measurement\", \"unit\": \"millibar\",\n  \
             \"value\": {b}, \"station\": {{\"name\": \"station {c}\", \"operator\": \"nobody\"}}}}\n"
        );
        fs::write(root.join(format!("{number}.json")), record).unwrap();
        let page = format!(
            "<!DOCTYPE html><html><head><title>Page {b}</title><link rel=\"stylesheet\" \
             href=\"style.css\"></head><body class=\"page\"><h1>{a}</h1><p>Read on.</p></body></html>\n"
        );
        fs::write(root.join(format!("{number}.html")), page).unwrap();
        fs::write(root.join(format!("{number}.jpg")), numbers.noise(300)).unwrap();
    }
}

#[test]
fn small_files_that_resemble_each_other_share_dictionaries() {
    let scene = Scene::new(many_alike);
    let stored = |image: &Image| image.header().stored_bytes;
    let pack = |name: &str, options: &[&str]| {
        let each_alone = ["--compress", "zstd:9", "--small-frames", "none"];
        pack(&scene, name, &[&each_alone, options].concat())
    };
    let alone = pack("alone", &["--dict", "none"]);
    let auto = pack("auto", &[]);
    let little = pack("little", &["--dict", "1K"]);
    // Two thirds of the files compress; the noise stays.
    let noise = 1500 * 304;
    let ratio = (stored(&auto) - noise) as f64 / (stored(&alone) - noise) as f64;
    assert!(ratio < 0.5, "{ratio}");
    assert!(stored(&auto) < stored(&little) && stored(&little) < stored(&alone));
    let codecs = auto.codecs().unwrap();
    let notes: Vec<_> = codecs.into_iter().filter_map(|codec| codec.note).collect();
    assert_eq!(notes.len(), 3);
    for (note, label) in notes.iter().skip(1).zip([b".html", b".json"]) {
        assert_eq!((note.files, &*note.label), (1500, &label[..]));
        assert!(note.stored_bytes * 2 < note.plain_bytes);
    }
    let info = dgfs(&[&"info", &scene.at("auto")]).fine();
    assert!(
        info.text().contains("for .json: 1500 files"),
        "{}",
        info.text()
    );
    for image in [&alone, &auto, &little] {
        let mut scratch = Vec::new();
        for entry in fs::read_dir(scene.source()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().as_encoded_bytes();
            let node = image.lookup(name).unwrap().unwrap();
            let read = image.read_at(&node, 0, usize::MAX, &mut scratch).unwrap();
            assert!(read == fs::read(&path).unwrap(), "{}", path.display());
        }
    }
    // The same bytes from one thread with little memory.
    drop(pack("one", &["--threads", "1", "--memory", "16M"]));
    for (a, b) in [("auto", "one"), ("auto.data", "one.data")] {
        assert!(
            fs::read(scene.at(a)).unwrap() == fs::read(scene.at(b)).unwrap(),
            "{a}"
        );
    }
    // Damage to a dictionary concerns its files alone, and the copy of the index heals it.
    let header = auto.header();
    let at = header.section(5).unwrap().offset;
    flip(&scene.at("auto"), at + 100);
    let ran = dgfs(&[&"cat", &scene.at("auto"), &"7.html"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.err.contains("dictionary"), "{}", ran.err);
    dgfs(&[&"cat", &scene.at("auto"), &"7.json"]).fine();
    dgfs(&[&"cat", &scene.at("auto"), &"7.jpg"]).fine();
    assert_ne!(dgfs(&[&"verify", &scene.at("auto")]).code, Some(0));
    dgfs(&[&"cat", &scene.at("auto.data"), &"7.html"]).fine();
    let copy = scene.at("copy");
    dgfs(&[&"salvage", &"-q", &scene.at("auto"), &copy]);
    assert_eq!(
        fs::read(copy.join("7.html")).unwrap(),
        fs::read(scene.source().join("7.html")).unwrap()
    );
    // Without any header, the codecs are found by the checksums of the dictionaries.
    drop(pack("bare", &["--no-index-copy"]));
    let mut index = fs::read(scene.at("bare")).unwrap();
    let footer = index.len() - 4096;
    index[..4096].fill(0);
    index[footer..].fill(0);
    fs::write(scene.at("bare"), index).unwrap();
    let bare = scene.at("bare copy");
    dgfs(&[&"salvage", &"-q", &scene.at("bare"), &bare]);
    for name in ["7.json", "8.html", "9.jpg"] {
        let source = fs::read(scene.source().join(name)).unwrap();
        assert!(fs::read(bare.join(name)).unwrap() == source, "{name}");
    }
}
