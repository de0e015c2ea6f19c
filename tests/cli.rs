//! The command on the outside: what it prints, what it refuses, and its exit codes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use packing::{DGFS, Scene, UUID, dgfs, flip, one_of_everything, pack};

/// Asserts that a run was refused with one clear line that names `names`.
fn assert_refused(ran: &packing::Ran, names: &str, story: &str) {
    assert_eq!(ran.code, Some(2), "{story}: {ran:?}");
    assert!(ran.out.is_empty(), "{story}: {ran:?}");
    assert!(ran.err.starts_with("dgfs: "), "{story}: {ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{story}: {ran:?}");
    assert!(ran.err.contains(names), "{story}: {ran:?}");
}

#[test]
fn what_is_no_image_is_refused() {
    let scene = Scene::packed(one_of_everything);
    let index = fs::read(scene.image()).unwrap();
    let volume = fs::read(scene.volume()).unwrap();
    let mut newer = index.clone();
    // A header alone would be taken for damaged, and its copy in the footer for right.
    let footer = newer.len() - 4096;
    newer[8] = 9;
    newer[footer + 8] = 9;
    let mut newer_volume = volume.clone();
    newer_volume[8] = 9;
    let cut = |bytes: &[u8], to: usize| bytes[..to].to_vec();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "not a dgfs image"),
        ("text", b"hello\n".repeat(2000), "not a dgfs image"),
        ("short", b"hello\n".to_vec(), "not a dgfs image"),
        ("truncated", cut(&index, index.len() - 4096), "truncated"),
        (
            "truncated_in_a_page",
            cut(&index, index.len() - 1),
            "truncated",
        ),
        ("first_page_only", cut(&index, 4096), "truncated"),
        (
            "truncated_volume",
            cut(&volume, volume.len() / 2),
            "truncated",
        ),
        ("newer", newer, "format version 9."),
        ("newer_volume", newer_volume, "format version 9."),
    ];
    let mut images: Vec<(PathBuf, &str)> = Vec::new();
    for (name, bytes, message) in cases {
        fs::write(scene.at(name), bytes).unwrap();
        images.push((scene.at(name), message));
    }
    images.push((scene.at("missing"), "No such file"));
    images.push((scene.source(), "directory"));
    for (image, message) in &images {
        let out = scene.at("out");
        let runs = [
            dgfs(&[&"ls", image]),
            dgfs(&[&"ls", &"-lR", image]),
            dgfs(&[&"cat", image, &"small"]),
            dgfs(&[&"stat", image, &"small"]),
            dgfs(&[&"info", image]),
            dgfs(&[&"extract", image, &out]),
        ];
        // Verification of an image that is damaged beyond use has succeeded in finding that.
        let verified = dgfs(&[&"verify", image]);
        let code = if *message == "truncated" { 1 } else { 2 };
        assert_eq!(verified.code, Some(code), "{verified:?}");
        assert!(verified.err.contains(message), "{verified:?}");
        for ran in &runs {
            assert_refused(ran, message, &image.to_string_lossy());
            assert!(ran.err.contains(&*image.to_string_lossy()), "{ran:?}");
        }
        assert!(!out.exists());
        let ran = dgfs(&[&"reindex", image, &"-o", &scene.at("recovered")]);
        assert_refused(&ran, &image.to_string_lossy(), "reindex");
        assert!(!scene.at("recovered").exists());
    }
}

#[test]
fn volumes_that_do_not_belong_to_the_image_are_refused() {
    let scene = Scene::packed(one_of_everything);
    let other = scene.at("other.dgfs");
    dgfs(&[&"pack", &"-q", &scene.source(), &other]).fine();
    let stranger = scene.at("other.dgfs.data");
    let damaged = scene.at("damaged");
    let volume = fs::read(scene.volume()).unwrap();
    fs::write(&damaged, &volume[..volume.len() - 4096]).unwrap();
    let cases: [(&Path, &str); 3] = [
        (&stranger, "belongs to image"),
        (&damaged, "truncated"),
        (&scene.at("missing"), "missing"),
    ];
    for (data, message) in cases {
        let image = scene.image();
        let out = scene.at("out");
        for ran in [
            dgfs(&[&"cat", &image, &"small", &"--data", &data]),
            dgfs(&[&"extract", &image, &out, &"--data", &data]),
        ] {
            assert_refused(&ran, message, &data.to_string_lossy());
        }
        // What needs no contents goes on.
        dgfs(&[&"ls", &image, &"--data", &data]).fine();
        let ran = dgfs(&[&"info", &image, &"--data", &data]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains(message), "{ran:?}");
        assert!(ran.text().contains("not found"), "{ran:?}");
    }
}

#[test]
fn bad_usage_is_refused() {
    let scene = Scene::packed(one_of_everything);
    let image = scene.image();
    let text = scene.at("text");
    fs::write(&text, "no directory").unwrap();
    let empty = scene.at("empty");
    fs::create_dir(&empty).unwrap();
    let out = scene.at("x.dgfs");
    let cases: Vec<(&str, Vec<&dyn AsRef<OsStr>>, &str)> = vec![
        ("nothing", vec![], "Usage"),
        ("no such command", vec![&"frobnicate"], "unrecognized"),
        ("no image", vec![&"ls"], "IMAGE"),
        ("cat without a path", vec![&"cat", &image], "PATH"),
        (
            "json and long",
            vec![&"ls", &"-l", &"--json", &image],
            "cannot be used with",
        ),
        (
            "missing source",
            vec![&"pack", &"/no/such/source", &out],
            "/no/such/source",
        ),
        ("source is a file", vec![&"pack", &text, &out], "text"),
        (
            "source is empty",
            vec![&"pack", &empty, &out],
            "--allow-empty",
        ),
        ("image exists", vec![&"pack", &"/bin", &image], "--force"),
        (
            "tiny memory",
            vec![&"pack", &"/bin", &out, &"--memory", &"1K"],
            "memory",
        ),
        (
            "odd memory",
            vec![&"pack", &"/bin", &out, &"--memory", &"much"],
            "size",
        ),
        (
            "odd uuid",
            vec![&"pack", &"/bin", &out, &"--uuid", &"xyz"],
            "--uuid",
        ),
        (
            "too many volumes",
            vec![&"cat", &image, &"small", &"--data", &"a", &"--data", &"b"],
            "2 paths",
        ),
    ];
    let before = fs::read(&image).unwrap();
    for (story, arguments, message) in cases {
        let ran = dgfs(&arguments);
        assert_eq!(ran.code, Some(2), "{story}: {ran:?}");
        assert!(ran.err.contains(message), "{story}: {ran:?}");
        assert!(!out.exists(), "{story}");
    }
    assert_eq!(fs::read(&image).unwrap(), before);
}

#[test]
fn paths_that_are_not_there_are_named() {
    let scene = Scene::packed(one_of_everything);
    let image = scene.image();
    for path in ["nowhere", "a/nowhere", "small/below", "a/..", "symlink/x"] {
        assert_refused(&dgfs(&[&"ls", &image, &path]), path, "ls");
        assert_refused(&dgfs(&[&"stat", &image, &path]), path, "stat");
        assert_refused(&dgfs(&[&"cat", &image, &path]), path, "cat");
    }
    // A path cannot fake lines or move the cursor.
    assert_refused(
        &dgfs(&[&"ls", &image, &"no\nwhere\x1b[2J"]),
        "no\\012where\\033[2J",
        "ls",
    );
    // One of two: done, but not all of it.
    let ran = dgfs(&[&"cat", &image, &"nowhere", &"small"]);
    assert_eq!((ran.code, &ran.out[..]), (Some(1), &b"some text\n"[..]));
    assert!(ran.err.contains("nowhere"));
    for (path, message) in [
        ("a", "is a directory"),
        ("symlink", "not a regular file"),
        ("fifo", "not a regular"),
    ] {
        assert_refused(&dgfs(&[&"cat", &image, &path]), message, path);
    }
}

#[test]
fn contents_come_out_as_they_went_in() {
    let scene = Scene::packed(one_of_everything);
    for name in ["empty", "small", "large", "sparse", "zeros", "z/third"] {
        let ran = dgfs(&[&"cat", &scene.image(), &name]).fine();
        assert!(
            ran.out == fs::read(scene.source().join(name)).unwrap(),
            "{name}"
        );
    }
    let odd = OsStr::from_bytes(b"not\xffutf8");
    // The volume alone is an image too.
    let ran = dgfs(&[&"cat", &scene.volume(), &"/./small", &odd]).fine();
    assert_eq!(ran.out, b"some text\nnot\xffutf8");
}

/// All paths below `directory` in key order, by the definition: sorted by (parent components, name).
fn in_key_order(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path().strip_prefix(directory).unwrap().to_owned());
        }
    }
    found.sort_by_cached_key(|path| {
        let components =
            |path: &Path| -> Vec<Vec<u8>> { path.iter().map(|c| c.as_bytes().to_vec()).collect() };
        (components(path.parent().unwrap()), components(path).pop())
    });
    found
}

/// What `ls -l` must print of `path`, from what the system's own `stat` prints.
fn expected_line(source: &Path, path: &Path, shown: &str) -> String {
    let full = source.join(path);
    let output = Command::new("stat")
        .args(["-c", "%A\t%h\t%u\t%g\t%s\t%y\t%Hr,%Lr"])
        .arg(&full)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let fields: Vec<&str> = text.trim_end().split('\t').collect();
    let [mode, links, uid, gid, size, time, device] = fields[..] else {
        panic!("{text}");
    };
    let time = time.replacen(' ', "T", 1).replace(" +0000", "Z");
    let (mut links, mut size) = (links.to_owned(), size.to_owned());
    let mut target = String::new();
    match mode.as_bytes()[0] {
        b'd' => {
            let children: Vec<_> = fs::read_dir(&full).unwrap().map(Result::unwrap).collect();
            let directories = children.iter().filter(|c| c.file_type().unwrap().is_dir());
            links = (2 + directories.count()).to_string();
            size = children.len().to_string();
        }
        b'l' => target = format!(" -> {}", fs::read_link(&full).unwrap().to_str().unwrap()),
        b'c' | b'b' => size = device.into(),
        b'p' | b's' => size = "0".into(),
        _ => {}
    }
    format!("{mode} {links} {uid} {gid} {size} {time} {shown}{target}")
}

/// Shows a name by the rule of the manual, byte by byte.
fn shown(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let character = (1..=4).find_map(|length| {
            let text = std::str::from_utf8(bytes.get(at..at + length)?).ok()?;
            text.chars().next()
        });
        match character {
            Some('\\') => out.push_str("\\\\"),
            Some(c) if c >= ' ' && c != '\x7f' => out.push(c),
            _ => write!(out, "\\{:03o}", bytes[at]).unwrap(),
        }
        at += character.map_or(1, char::len_utf8);
    }
    out
}

#[test]
fn the_long_listing_is_what_stat_says_of_the_source() {
    let scene = Scene::packed(one_of_everything);
    let mut expected = vec![expected_line(&scene.source(), Path::new(""), ".")];
    for path in in_key_order(&scene.source()) {
        expected.push(expected_line(&scene.source(), &path, &shown(&path)));
    }
    let ran = dgfs(&[&"ls", &"-lR", &scene.image()]).fine();
    assert_eq!(ran.text().lines().collect::<Vec<_>>(), expected);

    let below: Vec<&String> = expected
        .iter()
        .filter(|line| line.contains(" a/b"))
        .collect();
    let ran = dgfs(&[&"ls", &"-lR", &scene.image(), &"a/b/"]).fine();
    assert_eq!(ran.text().lines().collect::<Vec<_>>(), below);

    let inodes = dgfs(&[&"ls", &"-lRi", &scene.image()]).fine();
    for (line, expected) in inodes.text().lines().zip(&expected) {
        let (inode, rest) = line.split_once(' ').unwrap();
        assert!(inode.parse::<u64>().unwrap() > 0);
        assert_eq!(rest, expected);
    }
}

#[test]
fn a_listing_without_options_is_names_in_order() {
    let scene = Scene::packed(one_of_everything);
    let names = |directory: &str| {
        let paths = in_key_order(&scene.source().join(directory));
        let paths = paths.iter().filter(|path| path.components().count() == 1);
        paths.map(|path| shown(path) + "\n").collect::<String>()
    };
    let image = scene.image();
    assert_eq!(dgfs(&[&"ls", &image]).fine().text(), names(""));
    assert_eq!(dgfs(&[&"ls", &image, &"a"]).fine().text(), names("a"));
    assert_eq!(
        dgfs(&[&"ls", &image, &"a/first"]).fine().text(),
        "a/first\n"
    );
    assert_eq!(dgfs(&[&"ls", &image, &"empty_directory"]).fine().text(), "");
    assert_eq!(
        dgfs(&[&"ls", &"-R", &image, &"a"]).fine().text(),
        "a\na/b\na/first\na/second\na/b/c\na/b/c/deep\n"
    );
}

#[test]
fn json_says_the_same_as_the_long_listing() {
    let scene = Scene::packed(one_of_everything);
    let long = dgfs(&[&"ls", &"-lRi", &scene.image()]).fine();
    let json = dgfs(&[&"ls", &"-R", &"--json", &"--xattrs", &scene.image()]).fine();
    assert_eq!(long.text().lines().count(), json.text().lines().count());
    for (long, json) in long.text().lines().zip(json.text().lines()) {
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let fields: Vec<&str> = long.splitn(8, ' ').collect();
        assert_eq!(json["ino"].to_string(), fields[0]);
        assert_eq!(json["links"].to_string(), fields[2]);
        assert_eq!(json["uid"].to_string(), fields[3]);
        assert_eq!(json["gid"].to_string(), fields[4]);
        if json["rdev"].is_null() {
            assert_eq!(json["size"].to_string(), fields[5]);
        } else {
            let device = format!("{},{}", json["rdev"]["major"], json["rdev"]["minor"]);
            assert_eq!(device, fields[5]);
        }
        if let Some(target) = json["target"].as_str() {
            assert!(long.ends_with(&format!(" -> {target}")), "{long}");
        }
        if json["path"] == "\u{1}\u{7f}" {
            assert!(long.ends_with(" \\001\\177"), "{long}");
        }
        let not_utf8 = json["path"].as_str().unwrap().contains('\u{fffd}');
        assert_eq!(not_utf8, !json["path_hex"].is_null(), "{json}");
    }
    let hex = "6e6f74ff75746638";
    assert!(json.text().contains(&format!("\"path_hex\":\"{hex}\"")));

    let stat = dgfs(&[&"stat", &"--json", &scene.image(), &"large"]).fine();
    let stat: serde_json::Value = serde_json::from_str(stat.text()).unwrap();
    assert_eq!(
        (&stat["kind"], &stat["mode"]),
        (&"file".into(), &"4755".into())
    );
    assert_eq!(stat["contents"]["volume"], 0);
    let offset = usize::try_from(stat["contents"]["offset"].as_u64().unwrap()).unwrap();
    let volume = fs::read(scene.volume()).unwrap();
    let large = fs::read(scene.source().join("large")).unwrap();
    assert!(volume[offset..offset + 4096] == large[..4096]);
    if let Some(xattr) = stat["xattrs"].get(0) {
        assert_eq!(
            (&xattr["name"], &xattr["value_hex"]),
            (&"user.note".into(), &"7600ff".into())
        );
    }
}

#[test]
fn info_counts_what_is_there() {
    let scene = Scene::packed(one_of_everything);
    let info = dgfs(&[&"info", &"--json", &scene.image()]).fine();
    let info: serde_json::Value = serde_json::from_str(info.text()).unwrap();
    let paths = in_key_order(&scene.source());
    let count = |test: &dyn Fn(&fs::Metadata) -> bool| {
        let paths = paths.iter().map(|path| scene.source().join(path));
        paths
            .filter(|path| test(&path.symlink_metadata().unwrap()))
            .count() as u64
    };
    let files = count(&|m| m.is_file());
    let directories = count(&|m| m.is_dir()) + 1;
    let symlinks = count(&|m| m.is_symlink());
    let entries = paths.len() as u64 + 1;
    let index_bytes = fs::metadata(scene.image()).unwrap().len();
    let expected = serde_json::json!({
        "format_version": "1.5",
        "uuid": UUID,
        "entries": entries,
        "files": files,
        "directories": directories,
        "symlinks": symlinks,
        "others": entries - files - directories - symlinks,
        "index_bytes": index_bytes,
        "inner_pages": 0,
        "levels": 0,
        "leaf_pages": 1,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&info[name], value, "{name}");
    }
    assert_eq!(info["volumes"][0]["path"], scene.volume().to_str().unwrap());
    let per_entry = info["index_bytes_per_entry"].as_f64().unwrap();
    // Rounded to three digits.
    let thousandths = (index_bytes * 1_000 + entries / 2) / entries;
    assert_eq!(
        format!("{:.0}", per_entry * 1_000.0),
        thousandths.to_string()
    );
    let text = dgfs(&[&"info", &scene.image()]).fine();
    assert!(text.text().contains(UUID));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let scene = Scene::packed(|root| {
        for number in 0..4_000 {
            fs::write(root.join(format!("{number:0100}")), "").unwrap();
        }
        fs::write(root.join("large"), vec![b'x'; 1 << 20]).unwrap();
    });
    for arguments in [&["ls", "-lR"][..], &["ls", "-R", "--json"], &["cat"]] {
        let mut command = Command::new(DGFS);
        command.args(arguments).arg(scene.image());
        if arguments == ["cat"] {
            command.args(["large", "large"]);
        }
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut first = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), &ended.stderr[..]),
            (Some(0), &b""[..]),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let scene = Scene::packed(one_of_everything);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(DGFS);
    command.args(["ls", "-lR"]).arg(scene.image());
    let ended = command.stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(err.starts_with("dgfs: standard output: "), "{err}");
}

#[test]
fn reindex_recovers_the_index_bit_for_bit() {
    let scene = Scene::packed(one_of_everything);
    let (volume, recovered) = (scene.volume(), scene.at("recovered"));
    let recover = || dgfs(&[&"reindex", &volume, &"-o", &recovered]);
    recover().fine();
    let index = fs::read(scene.image()).unwrap();
    assert!(fs::read(&recovered).unwrap() == index);
    // The index of the volume that is beside it works, wherever it lies.
    dgfs(&[&"cat", &recovered, &"small", &"--data", &volume]).fine();

    fs::write(&recovered, "precious").unwrap();
    assert_refused(&recover(), "--force", "exists");
    assert_eq!(fs::read(&recovered).unwrap(), b"precious");
    dgfs(&[&"reindex", &volume, &"-o", &recovered, &"--force"]).fine();
    assert!(fs::read(&recovered).unwrap() == index);
    let left: Vec<_> = fs::read_dir(scene.at(""))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");

    // What a killed run left is no hindrance.
    fs::remove_file(&recovered).unwrap();
    let pending = scene.at("recovered.01234567.part");
    fs::write(&pending, vec![b'x'; 1 << 20]).unwrap();
    recover().fine();
    assert!(fs::read(&recovered).unwrap() == index && !pending.exists());
    // One at work is.
    let busy = fs::File::create(&pending).unwrap();
    rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = dgfs(&[&"reindex", &volume, &"-o", &recovered, &"--force"]);
    assert_refused(&ran, "another run", "two at once");
    drop(busy);

    // A damaged copy is still the best there is, but it is not passed over in silence.
    let start = fs::metadata(&volume).unwrap().len() - 4096 - index.len() as u64;
    flip(&volume, start + 4096 + 50);
    let ran = dgfs(&[&"reindex", &volume, &"-o", &recovered, &"--force"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("page 1"), "{ran:?}");

    let bare = scene.at("bare.dgfs");
    dgfs(&[&"pack", &"-q", &"--no-index-copy", &scene.source(), &bare]).fine();
    let ran = dgfs(&[
        &"reindex",
        &scene.at("bare.dgfs.data"),
        &"-o",
        &scene.at("none"),
    ]);
    assert_refused(&ran, "--no-index-copy", "no copy");
    let ran = dgfs(&[&"reindex", &scene.image(), &"-o", &scene.at("none")]);
    assert_refused(&ran, "not a dgfs volume", "an index is no volume");
}

#[test]
fn quiet_commands_say_nothing_if_all_is_well() {
    let scene = Scene::packed(one_of_everything);
    let out = scene.at("out");
    for ran in [
        dgfs(&[&"verify", &"-q", &scene.image()]).fine(),
        dgfs(&[&"extract", &"-q", &scene.image(), &out, &"small"]).fine(),
        dgfs(&[&"-q", &"pack", &scene.source(), &scene.at("again.dgfs")]).fine(),
    ] {
        assert_eq!(ran.text(), "");
    }
}

#[test]
fn packing_the_same_tree_again_gives_the_same_bytes() {
    let scene = Scene::packed(one_of_everything);
    let again = scene.at("again.dgfs");
    pack(&scene.source(), &again);
    assert!(fs::read(&again).unwrap() == fs::read(scene.image()).unwrap());
    let volume = fs::read(scene.at("again.dgfs.data")).unwrap();
    assert!(volume == fs::read(scene.volume()).unwrap());
}

/// Files that a user may not read are left out and named; the rest is packed.
#[test]
fn unreadable_files_are_left_out() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;

    const NOBODY: u32 = 65534;
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("open"), "readable").unwrap();
    fs::write(tree.join("secret"), "not for everybody").unwrap();
    fs::set_permissions(tree.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = scratch.path().join("dgfs");
    fs::copy(DGFS, &program).unwrap();
    let image = scratch.path().join("image.dgfs");
    let pack = |strict: &[&str]| {
        let mut command = Command::new(&program);
        command
            .arg("pack")
            .args(strict)
            .arg(&tree)
            .arg(&image)
            .uid(NOBODY)
            .gid(NOBODY);
        command.output()
    };
    let Ok(refused) = pack(&["--strict"]) else {
        println!("SKIPPED unreadable_files_are_left_out: only root can become another user");
        return;
    };
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!image.exists());
    let packed = pack(&[]).unwrap();
    assert_eq!(packed.status.code(), Some(1), "{packed:?}");
    let complaint = String::from_utf8_lossy(&packed.stderr).into_owned();
    assert!(
        complaint.contains("tree/secret: cannot read, left out"),
        "{complaint}"
    );
    assert_eq!(dgfs(&[&"ls", &image]).fine().text(), "open\n");
    assert_eq!(dgfs(&[&"cat", &image, &"open"]).fine().text(), "readable");
}
