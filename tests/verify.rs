//! Verification of damaged images: nothing that was changed goes unnoticed, and nothing panics.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::fs;
use std::path::Path;

use dgfs::read::{Image, VerifyOptions};
use packing::{Scene, dgfs, flip, one_of_everything};

fn several_pages(root: &Path) {
    one_of_everything(root);
    for number in 0..3_000u32 {
        let name = format!("{:x}", number.wrapping_mul(2_654_435_761));
        fs::write(root.join("a").join(name), number.to_string()).unwrap();
    }
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
