//! Verification of damaged images: nothing that was changed goes unnoticed, and nothing panics.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::fs;
use std::path::Path;

use dgfs::format::PAGE_BYTES;
use dgfs::format::checksum::seal_page;
use dgfs::read::{Image, VerifyOptions};
use packing::{Scene, dgfs, flip, one_of_everything};

/// Names that hardly compress, so that they take several pages.
fn many_files(directory: &Path, count: u32) {
    for number in 0..count {
        let name = format!("{:x}", number.wrapping_mul(2_654_435_761));
        fs::write(directory.join(name), number.to_string()).unwrap();
    }
}

fn several_pages(root: &Path) {
    one_of_everything(root);
    many_files(&root.join("a"), 3_000);
}

/// Faults found in the image made of these bytes; `None` if it cannot be opened.
fn faults(index: &[u8], volume: &[u8]) -> Option<u64> {
    let volumes: Vec<Box<dyn dgfs::read::ReadAt>> = vec![Box::new(volume.to_vec())];
    let image = Image::options().open_parts(Box::new(index.to_vec()), volumes);
    let verified = image.ok()?.verify(&VerifyOptions::default(), &mut |_| {});
    Some(verified.faults)
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    let scene = Scene::packed(several_pages);
    let mut index = fs::read(scene.image()).unwrap();
    let mut volume = fs::read(scene.volume()).unwrap();
    assert_eq!(faults(&index, &volume), Some(0));
    // Primes, so that the bytes hit fall on all parts of pages.
    for at in (0..index.len()).step_by(97) {
        index[at] ^= 0xff;
        assert_ne!(faults(&index, &volume), Some(0), "byte {at} of the index");
        index[at] ^= 0xff;
    }
    for at in (0..volume.len()).step_by(19_997) {
        volume[at] ^= 0xff;
        assert_ne!(faults(&index, &volume), Some(0), "byte {at} of the volume");
        volume[at] ^= 0xff;
    }
    for length in (0..index.len()).step_by(4_999) {
        assert_eq!(
            faults(&index[..length], &volume),
            None,
            "{length} bytes of the index"
        );
    }
    for length in (0..volume.len()).step_by(99_991) {
        assert_eq!(
            faults(&index, &volume[..length]),
            None,
            "{length} bytes of the volume"
        );
    }
}

/// Pages whose checksum is right but whose bytes are not, as a careless or hostile writer would make them.
#[test]
fn sealed_nonsense_neither_panics_nor_hangs() {
    let scene = Scene::packed(|root| {
        for directory in ["b", "b/c", "d"] {
            fs::create_dir(root.join(directory)).unwrap();
            many_files(&root.join(directory), 500);
        }
    });
    let index = fs::read(scene.image()).unwrap();
    let volume = fs::read(scene.volume()).unwrap();
    let header = Image::open(scene.image()).unwrap().header().clone();
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut noticed = 0;
    for case in 0..1_500 {
        let mut index = index.clone();
        let number = 1 + random(header.root_page());
        let start = usize::try_from(number * PAGE_BYTES).unwrap();
        let page = index[start..].first_chunk_mut().unwrap();
        // Mostly in the numbers before the compressed parts, whose damage zstd finds by itself.
        let reach = if random(4) > 0 { 60 } else { PAGE_BYTES - 4 };
        let at = 4 + random(reach);
        page[usize::try_from(at).unwrap()] ^= 1 << random(8);
        seal_page(&header.uuid, number, page);
        let volumes: Vec<Box<dyn dgfs::read::ReadAt>> = vec![Box::new(volume.clone())];
        let image = Image::options()
            .open_parts(Box::new(index), volumes)
            .unwrap();
        let faults = image.verify(&VerifyOptions::default(), &mut |_| {}).faults;
        // The copy of the index in the volume differs, whatever else does.
        assert!(faults > 0, "page {number}, byte {at}");
        noticed += u64::from(faults > 1);
        let mut left = header.entries;
        let _ = image.walk(0, &mut |_, _, node| {
            let _ = image.lookup_in(node, b"x");
            let _ = image.path_of(node.ino);
            left -= 1;
            left > 0
        });
        if case % 50 == 0 {
            let out = tempfile::tempdir().unwrap();
            let options = dgfs::extract::ExtractOptions::default();
            let _ = dgfs::extract::extract_tree(&image, out.path(), &[], &options, &mut |_| {});
        }
    }
    // Flipped bits of times, modes and the like are as good as others.
    assert!(noticed > 1_000, "{noticed}");
}

#[test]
fn faults_are_listed_with_their_places() {
    let scene = Scene::packed(several_pages);
    let sums = dgfs(&[&"verify", &scene.image()]).fine();
    let source_bytes: u64 = sums.text().split(' ').nth(2).unwrap().parse().unwrap();
    assert!(sums.text().ends_with(" bytes, 0 faults\n"), "{sums:?}");
    let stat = |path: &str| -> serde_json::Value {
        let stat = dgfs(&[&"stat", &"--json", &scene.image(), &path]).fine();
        serde_json::from_str(stat.text()).unwrap()
    };
    let small = stat("small")["contents"]["offset"].as_u64().unwrap();
    let large = stat("large")["contents"]["offset"].as_u64().unwrap();
    flip(&scene.volume(), small);
    // Two chunks of one file.
    flip(&scene.volume(), large + 5);
    flip(&scene.volume(), large + (1 << 20));
    // A leaf page, which loses its entries, and makes the copy differ.
    flip(&scene.image(), 2 * 4096 + 99);
    let ran = dgfs(&[&"verify", &scene.image()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let expected = [
        "small: ".to_owned(),
        format!("(offset {small})"),
        format!("large: {}: contents do not match", scene.volume().display()),
        format!("(offset {large})"),
        format!("(offset {})", large + (1 << 20)),
        "page checksum does not match (page 2)".to_owned(),
        "copy of the index differs from the index here (page 2, offset".to_owned(),
    ];
    for part in &expected {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.text().ends_with(" 5 faults\n"), "{ran:?}");

    let json = dgfs(&[&"verify", &"--json", &scene.image()]);
    assert_eq!((json.code, json.err.as_str()), (Some(1), ""));
    let lines: Vec<serde_json::Value> = json
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[5]["faults"], 5);
    assert!(lines[5]["bytes"].as_u64().unwrap() < source_bytes);
    assert!(
        lines
            .iter()
            .any(|line| line["path"] == "small" && line["offset"] == small)
    );
    assert!(lines.iter().any(|line| line["page"] == 2));

    // Contents are not looked at, if that is wanted.
    let quick = dgfs(&[&"verify", &"--quick", &scene.image()]);
    assert!(quick.text().ends_with(" 0 bytes, 2 faults\n"), "{quick:?}");
}
