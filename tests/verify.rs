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
        format!(
            "large: bytes 0 to 131072: {}: contents do not match",
            scene.volume().display()
        ),
        format!("(offset {large})"),
        format!("(offset {})", large + (1 << 20)),
        "page checksum does not match (page 2)".to_owned(),
        "copy of the index differs from the index here (page 2, offset".to_owned(),
    ];
    for part in &expected {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.text().contains(" 5 faults\n"), "{ran:?}");
    assert!(ran.text().contains("the tree is not complete: "), "{ran:?}");
    assert!(
        ran.text().ends_with(", contents of 2 files are damaged\n"),
        "{ran:?}"
    );

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
    // Whole chunks of the file, not of the volume.
    let large: Vec<_> = lines
        .iter()
        .filter(|line| line["path"] == "large")
        .collect();
    assert_eq!(
        (&large[0]["start"], &large[0]["end"]),
        (&0.into(), &131_072.into())
    );
    assert_eq!(
        (&large[1]["start"], &large[1]["end"]),
        (&(1 << 20).into(), &1_179_648.into())
    );
    assert_eq!(lines[5]["complete"], false);
    assert_eq!(lines[5]["damaged_files"], 2);
    assert!(lines[5]["lost_entries"].as_u64().unwrap() > 100);
    for threads in ["1", "7"] {
        let other = dgfs(&[&"verify", &"--json", &"--threads", &threads, &scene.image()]);
        assert_eq!(other.out, json.out, "{threads} threads");
    }

    // Contents are not looked at, if that is wanted.
    let quick = dgfs(&[&"verify", &"--quick", &scene.image()]);
    assert!(quick.text().contains(" 0 bytes, 2 faults\n"), "{quick:?}");
}

/// The sums that `verify --json` ends with, and the messages before.
fn verified(image: &Path, options: &[&str]) -> (serde_json::Value, Vec<String>) {
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"verify", &"--json", &image];
    arguments.extend(
        options
            .iter()
            .map(|option| option as &dyn AsRef<std::ffi::OsStr>),
    );
    let ran = dgfs(&arguments);
    let mut lines: Vec<serde_json::Value> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sums = lines.pop().unwrap();
    let faults = sums.get("faults").and_then(serde_json::Value::as_u64);
    assert_eq!(faults, Some(lines.len() as u64), "{ran:?}");
    assert_eq!(ran.code, Some(i32::from(!lines.is_empty())), "{ran:?}");
    let message =
        |line: &serde_json::Value| line.get("message").unwrap().as_str().unwrap().to_owned();
    (sums, lines.iter().map(message).collect())
}

#[test]
fn volumes_that_cannot_be_opened_are_faults() {
    let scene = Scene::new(|root| {
        // The first volume gets one half, the second the other.
        for name in ["a", "b", "c", "d"] {
            fs::write(root.join(name), name.repeat(5_000)).unwrap();
        }
    });
    let volumes = [scene.at("one"), scene.at("two")];
    let [first, second] = &volumes;
    let options: [&str; 4] = [
        "--data",
        first.to_str().unwrap(),
        "--data",
        second.to_str().unwrap(),
    ];
    dgfs(&[
        &"pack",
        &"-q",
        &"--compress",
        &"none",
        &scene.source(),
        &scene.image(),
        &options[0],
        first,
        &options[2],
        second,
    ])
    .fine();
    let check = || verified(&scene.image(), &options);
    let (sums, said) = check();
    assert_eq!((sums["bytes"].as_u64(), said.len()), (Some(20_000), 0));
    assert_eq!(sums["complete"], true);

    // Missing, or another image's: what lies in the other volume is verified all the same.
    fs::rename(second, scene.at("away")).unwrap();
    for replace in [false, true] {
        if replace {
            let other = scene.at("other");
            dgfs(&[&"pack", &"-q", &scene.source(), &other]).fine();
            fs::copy(scene.at("other.data"), second).unwrap();
        }
        let (sums, said) = check();
        assert_eq!(
            (sums["complete"].as_bool(), sums["damaged_files"].as_u64()),
            (Some(false), Some(2))
        );
        assert_eq!(
            (sums["bytes"].as_u64(), sums["entries"].as_u64()),
            (Some(10_000), Some(5))
        );
        let why = if replace {
            "belongs to image"
        } else {
            "is missing"
        };
        assert!(said.iter().any(|line| line.contains(why)), "{said:?}");
        assert!(
            said.iter().any(|line| line.contains("contents of 2 files")),
            "{said:?}"
        );
    }
    // Cut short: what is still there is read.
    fs::copy(scene.at("away"), second).unwrap();
    let length = fs::metadata(second).unwrap().len();
    fs::File::options()
        .write(true)
        .open(second)
        .unwrap()
        .set_len(4096 + 6_000)
        .unwrap();
    let (sums, said) = check();
    assert_eq!(
        (sums["bytes"].as_u64(), sums["damaged_files"].as_u64()),
        (Some(15_000), Some(1))
    );
    assert!(
        said.iter().any(|line| line.contains("volume is truncated")),
        "{said:?}"
    );
    assert!(length > 10_000);
    // Header or trailer alone: contents are not touched.
    for place in [100, length - 9] {
        fs::copy(scene.at("away"), second).unwrap();
        flip(second, place);
        let (sums, said) = check();
        assert_eq!(
            (sums["bytes"].as_u64(), said.len()),
            (Some(20_000), 1),
            "{said:?}"
        );
        assert_eq!(sums["complete"], true);
    }
}

#[test]
fn an_index_that_cannot_be_opened_is_a_fault() {
    let scene = Scene::packed(one_of_everything);
    let length = fs::metadata(scene.image()).unwrap().len();
    // Any byte of the header, those that make it an index included, is made good by the footer.
    for place in [0, 8, 9, 20, 4095] {
        flip(&scene.image(), place);
        let (sums, said) = verified(&scene.image(), &[]);
        assert_eq!(sums["complete"], true, "{place}: {said:?}");
        assert!(
            said.iter()
                .any(|line| line.contains("header and footer differ")),
            "{said:?}"
        );
        flip(&scene.image(), place);
    }
    flip(&scene.image(), 100);
    flip(&scene.image(), length - 100);
    let (sums, said) = verified(&scene.image(), &[]);
    assert_eq!(
        (sums["complete"].as_bool(), sums["entries"].as_u64()),
        (Some(false), Some(0))
    );
    assert_eq!(said.len(), 1, "{said:?}");
    // What is no image at all, or not there, is a failure and not a fault.
    for path in [scene.source().join("small"), scene.at("nothing")] {
        let ran = dgfs(&[&"verify", &path]);
        assert_eq!((ran.code, ran.text()), (Some(2), ""), "{ran:?}");
    }
}
