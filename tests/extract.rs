//! Extraction: the same tree comes out, nothing else is touched, and damage stays where it is.

mod packing;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use packing::{
    Ran, Scene, assert_same_tree, dgfs, dgfs_as_nobody, flip, give_to_nobody, needs_root,
    one_of_everything, pack, set_mtime,
};
use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

fn extract(scene: &Scene, name: &str) -> Ran {
    dgfs(&[&"extract", &scene.image(), &scene.at(name)])
}

#[test]
fn the_same_tree_comes_out() {
    if !needs_root("the_same_tree_comes_out") {
        return;
    }
    let scene = Scene::packed(one_of_everything);
    let ran = extract(&scene, "out").fine();
    assert!(ran.text().ends_with(" 0 problems\n"), "{ran:?}");
    assert_same_tree(&scene, &scene.source(), &scene.at("out"));
    let used = |name: &str| fs::metadata(scene.at("out").join(name)).unwrap().blocks() * 512;
    assert!(
        used("sparse") < 1 << 20 && used("zeros") == 0,
        "zeros take room"
    );
    // Into a directory that is there and empty, the same; a trailing slash changes nothing.
    fs::create_dir(scene.at("there")).unwrap();
    extract(&scene, "there/").fine();
    assert_same_tree(&scene, &scene.source(), &scene.at("there"));
}

#[test]
fn several_volumes_make_one_tree() {
    let scene = Scene::new(one_of_everything);
    let volumes = ["0", "1", "2"].map(|name| scene.at(name));
    let [a, b, c] = volumes.each_ref();
    let data: [&dyn AsRef<OsStr>; 6] = [&"--data", a, &"--data", b, &"--data", c];
    let run = |arguments: &[&dyn AsRef<OsStr>]| dgfs(&[arguments, &data].concat());
    run(&[&"pack", &"-q", &scene.source(), &scene.image()]).fine();
    let ran = run(&[&"verify", &scene.image()]).fine();
    assert!(ran.text().ends_with(" 0 faults\n"), "{ran:?}");
    let out = scene.at("out");
    run(&[&"extract", &"-q", &scene.image(), &out]);
    for name in ["large", "sparse", "small", "z/third"] {
        let [from, to] =
            [scene.source(), out.clone()].map(|root| fs::read(root.join(name)).unwrap());
        assert!(from == to, "{name}");
    }
}

#[test]
fn a_user_gets_what_a_user_may_have() {
    if !needs_root("a_user_gets_what_a_user_may_have") {
        return;
    }
    let scene = Scene::packed(one_of_everything);
    give_to_nobody(&scene.at("home"));
    let out = scene.at("home/out");
    let ran = dgfs_as_nobody(&[&"extract", &scene.image(), &out]);
    // Devices are root's.
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err
            .lines()
            .all(|line| line.contains("disk") || line.contains("null")),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
    let mode = |name: &str| fs::symlink_metadata(out.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("large"), mode("small"), mode("read_only")),
        (0o755, 0o604, 0o555)
    );
    assert_eq!(mode("z"), 0o1777);
    let links = |name: &str| fs::metadata(out.join(name)).unwrap().nlink();
    assert_eq!((links("a/first"), links("z/third")), (4, 4));
    let time = |root: &Path| fs::metadata(root.join("a/b")).unwrap().modified().unwrap();
    assert_eq!(time(&out), time(&scene.source()));

    let out = scene.at("home/asked");
    dgfs_as_nobody(&[&"extract", &"--same-permissions", &scene.image(), &out]);
    assert_eq!(
        fs::metadata(out.join("large")).unwrap().mode() & 0o7777,
        0o4755
    );
    // Files cannot be given away, and another's special rights are not kept for oneself.
    let out = scene.at("home/given");
    let options = ["--same-permissions", "--same-owner"];
    let ran = dgfs_as_nobody(&[&"extract", &options[0], &options[1], &scene.image(), &out]);
    assert!(
        ran.code == Some(1) && ran.err.contains("cannot set the owner"),
        "{ran:?}"
    );
    assert_eq!(
        fs::metadata(out.join("large")).unwrap().mode() & 0o7777,
        0o755
    );
}

#[test]
fn nothing_is_written_through_links() {
    let scene = Scene::packed(|root| {
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/e/file"), "from the image").unwrap();
        fs::write(root.join("f"), "from the image").unwrap();
        fs::write(root.join("g"), "from the image").unwrap();
    });
    let (outside, out) = (scene.at("outside"), scene.at("out"));
    let precious = outside.join("precious");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&out).unwrap();
    fs::write(&precious, "precious").unwrap();
    symlink(&outside, out.join("d")).unwrap();
    symlink(&precious, out.join("f")).unwrap();
    fs::hard_link(&precious, out.join("g")).unwrap();
    let assert_untouched = || {
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    };
    let ran = extract(&scene, "out");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for name in ["out/d: ", "out/f: ", "out/g: "] {
        assert!(ran.err.contains(name), "{ran:?}");
    }
    // One line for the directory, none for what is below it.
    assert_eq!(ran.err.lines().count(), 3, "{ran:?}");
    assert!(ran.text().ends_with(" 5 problems\n"), "{ran:?}");
    assert_untouched();

    let ran = dgfs(&[&"extract", &"--force", &scene.image(), &out]).fine();
    assert!(ran.text().starts_with("3 files"), "{ran:?}");
    assert_untouched();
    for name in ["d/e/file", "f", "g"] {
        assert_eq!(
            fs::read(out.join(name)).unwrap(),
            b"from the image",
            "{name}"
        );
    }
}

#[test]
fn what_is_there_stays_unless_force_is_given() {
    let scene = Scene::packed(|root| {
        fs::write(root.join("file"), "new").unwrap();
        fs::hard_link(root.join("file"), root.join("link")).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/x"), "x").unwrap();
        fs::write(root.join("was_a_directory"), "").unwrap();
    });
    let out = scene.at("out");
    fs::create_dir_all(out.join("d")).unwrap();
    fs::create_dir_all(out.join("was_a_directory")).unwrap();
    fs::write(out.join("file"), "old").unwrap();
    fs::write(out.join("d/other"), "other").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let ran = extract(&scene, "out");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // The second name is not made a link to a file that is not ours.
    assert_eq!(
        (read("file").as_str(), read("link").as_str()),
        ("old", "new")
    );
    assert_eq!(
        (read("d/x").as_str(), read("d/other").as_str()),
        ("x", "other")
    );
    // A directory that is in use keeps its mode.
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o777, 0o777);

    let ran = dgfs(&[&"extract", &"--force", &scene.image(), &out]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("was_a_directory: "), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert_eq!(
        (read("file").as_str(), read("d/other").as_str()),
        ("new", "other")
    );
    assert_eq!(fs::metadata(out.join("file")).unwrap().nlink(), 2);
}

#[test]
fn parts_of_a_tree_come_with_the_directories_above_them() {
    let scene = Scene::packed(one_of_everything);
    let out = scene.at("out");
    let ran = dgfs(&[
        &"extract",
        &scene.image(),
        &out,
        &"z",
        &"a/b/c/",
        &"a/b",
        &"./a/second",
    ])
    .fine();
    assert!(ran.text().ends_with(" 0 problems\n"), "{ran:?}");
    let mut found: Vec<String> = Vec::new();
    for directory in ["", "a", "a/b", "a/b/c", "z"] {
        for entry in fs::read_dir(out.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            found.push(
                path.strip_prefix(&out)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "a",
            "a/b",
            "a/b/c",
            "a/b/c/deep",
            "a/second",
            "z",
            "z/third"
        ]
    );
    for name in ["a", "a/b", "a/b/c", "z"] {
        let (from, to) = (scene.source().join(name), out.join(name));
        let [from, to] = [from, to].map(|path| fs::metadata(path).unwrap());
        assert_eq!(to.modified().unwrap(), from.modified().unwrap(), "{name}");
        assert_eq!(to.mode() & 0o777, from.mode() & 0o777, "{name}");
    }
    // Their first name is not among them, yet they are one file.
    let ino = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    assert_eq!(ino("a/second"), ino("z/third"));

    let ran = dgfs(&[&"extract", &scene.image(), &scene.at("none"), &"nowhere"]);
    assert!(
        ran.code == Some(2) && ran.err.contains("nowhere"),
        "{ran:?}"
    );
    let ran = dgfs(&[
        &"extract",
        &scene.image(),
        &scene.at("one"),
        &"nowhere",
        &"small",
    ]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(scene.at("one/small").exists());
}

#[test]
fn a_tree_deeper_than_any_path_comes_out() {
    let scene = Scene::new(|root| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut directory = openat(CWD, root, flags, Mode::empty()).unwrap();
        for depth in 0..120 {
            let name = format!("{depth:03}{}", "d".repeat(97));
            mkdirat(&directory, name.as_str(), Mode::RWXU).unwrap();
            let create = OFlags::WRONLY | OFlags::CREATE;
            for file in ["0", "z"] {
                openat(&directory, file, create, Mode::RUSR).unwrap();
            }
            directory = openat(&directory, name.as_str(), flags, Mode::empty()).unwrap();
        }
    });
    pack(&scene.source(), &scene.image());
    let ran = extract(&scene, "out").fine();
    assert!(
        ran.text().starts_with("240 files, 121 directories"),
        "{ran:?}"
    );
    assert_same_tree(&scene, &scene.source(), &scene.at("out"));
}

#[test]
fn damage_costs_only_what_is_damaged() {
    let scene = Scene::new(|root| {
        for number in 0..40u64 {
            let directory = root.join(format!("d{number:02}"));
            fs::create_dir(&directory).unwrap();
            for file in 1..=100 {
                // Names that hardly compress, so that they take many pages.
                let name = (number * 100 + file).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let name = format!("{name:016x}");
                fs::write(directory.join(name), format!("{directory:?} {file}")).unwrap();
            }
        }
    });
    // Each file in a frame of its own.
    let (source, image) = (scene.source(), scene.image());
    dgfs(&[&"pack", &"-q", &"--small-frames", &"none", &source, &image]).fine();
    let entries = 40 * 101 + 1;
    let stat = dgfs(&[&"ls", &"-lRi", &scene.image()]).fine();
    let victim = stat
        .text()
        .lines()
        .nth(60)
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap();
    let contents = dgfs(&[&"stat", &"--json", &scene.image(), &victim]).fine();
    let contents: serde_json::Value = serde_json::from_str(contents.text()).unwrap();
    flip(
        &scene.volume(),
        contents["contents"]["offset"].as_u64().unwrap(),
    );
    let ran = extract(&scene, "out");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains(&format!("out/{victim}: ")) && ran.err.contains("checksum"),
        "{ran:?}"
    );
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    assert!(
        !scene.at("out").join(victim).exists(),
        "half a file was left"
    );
    let made = |ran: &Ran| -> u64 {
        let numbers = ran
            .text()
            .split(", ")
            .map(|part| part.split(' ').next().unwrap());
        numbers
            .take(5)
            .map(|number| number.parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(made(&ran), entries - 1);

    // Of a page of the index, its entries are lost, and only they are.
    let info = dgfs(&[&"info", &"--json", &scene.image()]).fine();
    let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
    assert!(info["leaf_pages"].as_u64() > Some(6), "{info}");
    flip(&scene.image(), 4 * 4096 + 77);
    let ran = extract(&scene, "rest");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("page 4"), "{ran:?}");
    let lost = ran
        .err
        .lines()
        .find(|line| line.contains("entries are lost"))
        .unwrap();
    let lost: u64 = lost.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(made(&ran) + lost + 1, entries, "{ran:?}");
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no name has these", |byte| !b"/\0".contains(byte));
    let any_bytes = proptest::collection::vec(byte, 1..20);
    prop_oneof![
        any_bytes,
        "[a-c.-]{1,2}".prop_map(String::into_bytes),
        Just(vec![b'n'; 255])
    ]
    .prop_filter("dots are not names", |name| name != b"." && name != b"..")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_trees_come_out(
        paths in proptest::collection::vec((proptest::collection::vec(name(), 1..5), 0usize..300_000, any::<u32>()), 1..40),
    ) {
        use std::os::unix::ffi::OsStringExt as _;
        let scene = Scene::packed(|root| {
            for (components, size, time) in &paths {
                let path: std::path::PathBuf = components.iter().map(|c| std::ffi::OsString::from_vec(c.clone())).collect();
                let path = root.join(path);
                // What is in the way of another path is left as it is.
                if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
                    let contents = vec![if size % 3 == 0 { 0 } else { b'x' }; *size];
                    fs::write(&path, contents).unwrap();
                    set_mtime(&path, i64::from(*time), i64::from(time % 1_000_000_000));
                }
            }
        });
        extract(&scene, "out").fine();
        assert_same_tree(&scene, &scene.source(), &scene.at("out"));
        let ran = dgfs(&[&"verify", &scene.image()]).fine();
        prop_assert!(ran.text().ends_with(" 0 faults\n"));
    }
}

#[test]
fn patterns_choose_what_comes_out() {
    let scene = Scene::packed(|root| {
        for path in [
            "a/x.c",
            "a/x.o",
            "a/sub/y.c",
            "b/keep/z.o",
            "b/z.c",
            "top.c",
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::hard_link(root.join("a/x.o"), root.join("b/link.c")).unwrap();
        fs::hard_link(root.join("a/x.o"), root.join("b/twin.c")).unwrap();
        set_mtime(&root.join("a"), 77, 0);
    });
    let files = |out: &Path| {
        let listed = std::process::Command::new("find")
            .arg(out)
            .args(["!", "-type", "d", "-printf", "%P\n"])
            .output();
        let mut files: Vec<_> = String::from_utf8(listed.unwrap().stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        files.sort();
        files
    };
    let mut number = 0;
    let mut run = |options: &[&str]| {
        number += 1;
        let out = scene.at(&format!("out{number}"));
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"extract", &"-q"];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
        let image = scene.image();
        arguments.extend([&image as &dyn AsRef<OsStr>, &out]);
        dgfs(&arguments).fine();
        out
    };
    let c_files = [
        "a/sub/y.c",
        "a/x.c",
        "b/link.c",
        "b/twin.c",
        "b/z.c",
        "top.c",
    ];
    let out = run(&["--include", "*.c"]);
    assert_eq!(files(&out), c_files);
    // Directories on the way are what they were; files whose first name is not wanted are one all the same.
    assert_eq!(fs::metadata(out.join("a")).unwrap().mtime(), 77);
    let ino = |name: &str| fs::metadata(out.join(name)).unwrap().ino();
    assert_eq!(ino("b/link.c"), ino("b/twin.c"));
    assert!(!out.join("b/keep").exists());
    assert_eq!(
        files(&run(&["--exclude", "*.o", "--exclude", "/b/"])),
        ["a/sub/y.c", "a/x.c", "top.c"]
    );
    assert_eq!(
        files(&run(&["--include", "b/"])),
        ["b/keep/z.o", "b/link.c", "b/twin.c", "b/z.c"]
    );
    assert_eq!(
        files(&run(&["--include", "/a", "--exclude", "sub"])),
        ["a/x.c", "a/x.o"]
    );
    let stripped = [
        "keep/z.o", "link.c", "sub/y.c", "twin.c", "x.c", "x.o", "z.c",
    ];
    assert_eq!(files(&run(&["--strip-components", "1"])), stripped);
    assert_eq!(files(&run(&["--strip-components", "2"])), ["y.c", "z.o"]);
}

#[test]
fn what_is_there_can_be_skipped_or_replaced() {
    let scene = Scene::packed(|root| {
        fs::write(root.join("file"), "new").unwrap();
        symlink("new", root.join("link")).unwrap();
        fs::write(root.join("other"), "new").unwrap();
    });
    let out = scene.at("out");
    let prepare = || {
        let _ = fs::remove_dir_all(&out);
        fs::create_dir(&out).unwrap();
        fs::write(out.join("file"), "old").unwrap();
        symlink("old", out.join("link")).unwrap();
    };
    let run = |option: &str| dgfs(&[&"extract", &option, &scene.image(), &out]);
    let found = || {
        let link = fs::read_link(out.join("link")).unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        (
            read("file"),
            link.to_str().unwrap().to_owned(),
            read("other"),
        )
    };
    let expected = |a: &str, b: &str| (a.to_owned(), a.to_owned(), b.to_owned());
    prepare();
    let ran = run("--skip-old-files").fine();
    assert!(
        ran.text().starts_with("1 files, 1 directories, 0 symlinks"),
        "{ran:?}"
    );
    assert_eq!(found(), expected("old", "new"));
    prepare();
    let ran = run("--keep-old-files");
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 2), "{ran:?}");
    assert_eq!(found(), expected("old", "new"));
    prepare();
    run("--overwrite").fine();
    assert_eq!(found(), expected("new", "new"));
}

#[test]
fn metadata_comes_out_as_asked() {
    if !needs_root("metadata_comes_out_as_asked") {
        return;
    }
    let scene = Scene::packed(one_of_everything);
    let mut number = 0;
    let mut run = |options: &[&str]| {
        number += 1;
        let out = scene.at(&format!("out{number}"));
        let mut command = std::process::Command::new("sh");
        command.args([
            "-c",
            "umask 027; exec \"$@\"",
            "sh",
            packing::DGFS,
            "extract",
            "-q",
        ]);
        let output = command
            .args(options)
            .arg(scene.image())
            .arg(&out)
            .output()
            .unwrap();
        (out, Ran::from(output))
    };
    let mode = |out: &Path, name: &str| fs::metadata(out.join(name)).unwrap().mode() & 0o7777;
    let (out, ran) = run(&[]);
    ran.fine();
    assert_eq!((mode(&out, "large"), mode(&out, "small")), (0o4755, 0o604));
    let (out, ran) = run(&["--no-same-permissions", "--no-devices"]);
    ran.fine();
    assert_eq!((mode(&out, "large"), mode(&out, "small")), (0o750, 0o600));
    assert!(!out.join("null").exists() && out.join("fifo").exists());
    let (out, ran) = run(&["--no-same-owner"]);
    ran.fine();
    let owner = |out: &Path| fs::metadata(out.join("small")).unwrap().uid();
    assert_eq!((owner(&out), mode(&out, "large")), (0, 0o755));
    let note = |out: &Path| {
        let mut value = [0; 16];
        rustix::fs::getxattr(out.join("large"), "user.note", &mut value[..]).is_ok()
    };
    if !note(&scene.source()) {
        println!("SKIPPED metadata_comes_out_as_asked: no extended attributes here");
        return;
    }
    assert!(note(&out));
    for (option, kept) in [
        ("--no-xattrs", false),
        ("--xattrs-exclude=user.*", false),
        ("--xattrs-include=trusted.*", false),
        ("--xattrs-include=user.n*", true),
    ] {
        let (out, ran) = run(&[option]);
        ran.fine();
        assert_eq!(note(&out), kept, "{option}");
    }
}

#[test]
fn attributes_that_are_refused_are_not_passed_over() {
    if !needs_root("attributes_that_are_refused_are_not_passed_over") {
        return;
    }
    let scene = Scene::packed(|root| {
        fs::write(root.join("file"), "").unwrap();
        let set = rustix::fs::setxattr(
            root.join("file"),
            "trusted.note",
            b"v",
            rustix::fs::XattrFlags::empty(),
        );
        if set.is_err() {
            println!("SKIPPED attributes_that_are_refused_are_not_passed_over: no attributes here");
        }
    });
    let stat = dgfs(&[&"stat", &scene.image(), &"file"]).fine();
    if !stat.text().contains("trusted.note") {
        return;
    }
    give_to_nobody(&scene.at("home"));
    let run = |name: &str, option: &str| {
        let out = scene.at("home").join(name);
        dgfs_as_nobody(&[&"extract", &option, &scene.image(), &out])
    };
    // What is root's alone is not a user's to get.
    assert_eq!(run("a", "--threads=1").code, Some(0));
    let ran = run("b", "--xattrs");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("1 extended attributes could not be set"),
        "{ran:?}"
    );
}
