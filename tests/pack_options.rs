//! What the options of `dgfs pack` do to an image.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be prepared has failed"
)]

mod packing;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use packing::{DGFS, Ran, Scene, dgfs, needs_root, one_of_everything, set_mtime};

/// Packs the source of `scene` with `options`; returns what the command said.
fn pack_with(scene: &Scene, options: &[&str]) -> Ran {
    let _ = fs::remove_file(scene.image());
    let _ = fs::remove_file(scene.volume());
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
    let (source, image) = (scene.source(), scene.image());
    arguments.extend([&source as &dyn AsRef<OsStr>, &image]);
    dgfs(&arguments)
}

/// Paths in the image, in order.
fn listed(scene: &Scene) -> Vec<String> {
    let ran = dgfs(&[&"ls", &"-R", &"--json", &scene.image()]).fine();
    // The first line is the root.
    let lines = ran.text().lines().skip(1);
    lines
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            entry["path"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn entry(scene: &Scene, path: &str) -> serde_json::Value {
    let ran = dgfs(&[&"stat", &"--json", &scene.image(), &path]).fine();
    serde_json::from_str(ran.text()).unwrap()
}

/// Seconds and nanoseconds of an entry's time of modification.
fn time(entry: &serde_json::Value) -> (i64, u64) {
    let time = &entry["mtime"];
    let nanoseconds = time["nanoseconds"].as_u64().unwrap();
    (time["seconds"].as_i64().unwrap(), nanoseconds)
}

fn small_tree(root: &Path) {
    for directory in ["a/b", "a/.git", "c"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["a/x.c", "a/x.o", "a/b/y.o", "a/.git/HEAD", "c/z", "# odd"] {
        fs::write(root.join(file), file).unwrap();
    }
}

#[test]
fn patterns_leave_out_what_they_match() {
    let scene = Scene::new(small_tree);
    let all = 11 - 1;
    pack_with(&scene, &[]).fine();
    assert_eq!(listed(&scene).len(), all);
    pack_with(&scene, &["--exclude", "*.o", "--exclude-vcs"]).fine();
    assert_eq!(listed(&scene), ["# odd", "a", "c", "a/b", "a/x.c", "c/z"]);
    let patterns = scene.at("patterns");
    fs::write(&patterns, "# a comment\n\n/c/\n\\# odd\n").unwrap();
    let from = patterns.to_str().unwrap();
    pack_with(&scene, &["-X", from, "--exclude=/a/?.c"]).fine();
    assert_eq!(
        listed(&scene),
        ["a", "a/.git", "a/b", "a/x.o", "a/.git/HEAD", "a/b/y.o"]
    );
    let ran = dgfs(&[
        &"pack",
        &"--json",
        &"--force",
        &"--exclude=a",
        &scene.source(),
        &scene.image(),
    ])
    .fine();
    let report: serde_json::Value = serde_json::from_str(ran.text()).unwrap();
    assert_eq!(report["excluded"], 1);
    for (option, what) in [
        ("--exclude=[", "`[`"),
        ("--exclude-from=/no/such", "/no/such"),
    ] {
        let ran = pack_with(&scene, &[option]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(what) && !scene.image().exists(), "{ran:?}");
    }
}

#[test]
fn lists_choose_what_is_packed() {
    let scene = Scene::new(small_tree);
    let list = scene.at("list");
    fs::write(&list, "a/b\nc/z\nc/z\n").unwrap();
    let from = format!("--files-from={}", list.display());
    pack_with(&scene, &[&from]).fine();
    assert_eq!(listed(&scene), ["a", "c", "a/b", "a/b/y.o", "c/z"]);
    pack_with(&scene, &[&from, "--no-recursion"]).fine();
    assert_eq!(listed(&scene), ["a", "c", "a/b", "c/z"]);

    // As `find -print0 | dgfs pack --null -T -` gives them.
    let _ = fs::remove_file(scene.image());
    let _ = fs::remove_file(scene.volume());
    let mut child = Command::new(DGFS)
        .args(["pack", "-q", "--null", "--no-recursion", "-T", "-"])
        .args([scene.source(), scene.image()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let names = b".\0./a\0./a/x.c\0./# odd\0";
    child.stdin.take().unwrap().write_all(names).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(listed(&scene), ["# odd", "a", "a/x.c"]);

    fs::write(&list, "a/x.c\nmissing\n").unwrap();
    let ran = pack_with(&scene, &[&from]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("missing: "), "{ran:?}");
    assert_eq!(listed(&scene), ["a", "a/x.c"]);
    let ran = pack_with(&scene, &["--null"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn links_are_followed_and_circles_reported() {
    let scene = Scene::new(small_tree);
    fs::create_dir(scene.at("outside")).unwrap();
    fs::write(scene.at("outside/file"), "from outside").unwrap();
    let source = scene.source();
    symlink("../outside", source.join("out")).unwrap();
    symlink("x.c", source.join("a/link")).unwrap();
    symlink("../..", source.join("a/b/circle")).unwrap();
    symlink("nowhere", source.join("dangling")).unwrap();
    let ran = pack_with(&scene, &["--follow"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 2, "{ran:?}");
    assert!(ran.err.contains("source/a/b/circle: leads to"), "{ran:?}");
    assert!(
        ran.err.contains("source/dangling: cannot follow"),
        "{ran:?}"
    );
    let image = scene.image();
    assert_eq!(
        dgfs(&[&"cat", &image, &"out/file"]).fine().text(),
        "from outside"
    );
    assert_eq!(dgfs(&[&"cat", &image, &"a/link"]).fine().text(), "a/x.c");
    assert_eq!(entry(&scene, "a/b/circle")["target"], "../..");
    assert_eq!(entry(&scene, "dangling")["target"], "nowhere");
    dgfs(&[&"verify", &"-q", &image]).fine();
    pack_with(&scene, &[]).fine();
    assert_eq!(entry(&scene, "out")["target"], "../outside");
}

#[test]
fn hard_links_count_what_is_packed() {
    let scene = Scene::new(|root| {
        for directory in ["a", "b", "c"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::write(root.join("a/one"), "shared").unwrap();
        for name in ["b/two", "c/three", "c/four"] {
            fs::hard_link(root.join("a/one"), root.join(name)).unwrap();
        }
    });
    let links = |path: &str| entry(&scene, path)["links"].as_u64().unwrap();
    pack_with(&scene, &[]).fine();
    assert_eq!(links("b/two"), 4);
    // The first name, whose contents the others show, is one of those left out.
    pack_with(&scene, &["--exclude=/a", "--exclude=four"]).fine();
    assert_eq!((links("b/two"), links("c/three")), (2, 2));
    assert_eq!(
        entry(&scene, "b/two")["ino"],
        entry(&scene, "c/three")["ino"]
    );
    assert_eq!(
        dgfs(&[&"cat", &scene.image(), &"c/three"]).fine().text(),
        "shared"
    );
    pack_with(&scene, &["--exclude=/a", "--exclude=/c"]).fine();
    assert_eq!(links("b/two"), 1);
    dgfs(&[&"verify", &"-q", &scene.image()]).fine();
}

#[test]
fn metadata_is_overridden() {
    let scene = Scene::new(one_of_everything);
    let all = |scene: &Scene| -> Vec<serde_json::Value> {
        let ran = dgfs(&[&"ls", &"-R", &"--json", &scene.image()]).fine();
        let lines = ran.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let options = ["--all-root", "--mode=u+r,go=", "--mtime=@1700000000.5"];
    pack_with(&scene, &options).fine();
    let root = entry(&scene, "/");
    for entry in all(&scene).iter().chain([&root]) {
        assert_eq!(
            (&entry["uid"], &entry["gid"]),
            (&0.into(), &0.into()),
            "{entry}"
        );
        let mode = u32::from_str_radix(entry["mode"].as_str().unwrap(), 8).unwrap();
        if entry["kind"] != "symlink" {
            assert_eq!(mode & 0o477, 0o400, "{entry}");
        }
        assert_eq!(time(entry), (1_700_000_000, 500_000_000), "{entry}");
    }
    assert_eq!(entry(&scene, "large")["mode"], "4700");

    let options = [
        "--owner=12",
        "--group=root",
        "--mtime=2001-02-03",
        "--clamp-mtime",
    ];
    pack_with(&scene, &options).fine();
    let small = entry(&scene, "small");
    assert_eq!((&small["uid"], &small["gid"]), (&12.into(), &0.into()));
    assert_eq!(small["mode"], "0604");
    assert_eq!(time(&small), (-500_000_000, 123_456_789));
    assert_eq!(time(&entry(&scene, "zeros")), (981_158_400, 0));

    for (options, what) in [
        (vec!["--all-root", "--owner=1"], "cannot be used with"),
        (vec!["--owner=nobody at all"], "there is no user"),
        (vec!["--mode=u+q"], "no mode"),
        (vec!["--mtime=yesterday"], "no time"),
        (vec!["--clamp-mtime"], "--mtime"),
        (vec!["--reproducible", "--times=all"], "reproducible"),
        (vec!["--reproducible", "--uuid=x"], "--uuid"),
        (
            vec!["--no-xattrs", "--xattrs-include=*"],
            "cannot be used with",
        ),
    ] {
        let ran = pack_with(&scene, &options);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains(what) && !scene.image().exists(), "{ran:?}");
    }
}

#[test]
fn attributes_are_chosen_by_name() {
    let scene = Scene::new(small_tree);
    let file = scene.source().join("c/z");
    let set = |name: &str| rustix::fs::setxattr(&file, name, b"v", rustix::fs::XattrFlags::empty());
    if set("user.one").and(set("user.two")).is_err() {
        println!("SKIPPED attributes_are_chosen_by_name: none in the temporary directory");
        return;
    }
    let names = |options: &[&str]| {
        pack_with(&scene, options).fine();
        let entry = entry(&scene, "c/z");
        let text = entry["xattrs"].to_string();
        (text.contains("user.one"), text.contains("user.two"))
    };
    assert_eq!(names(&[]), (true, true));
    assert_eq!(names(&["--xattrs-exclude=user.t*"]), (true, false));
    assert_eq!(names(&["--xattrs-include=*.two"]), (false, true));
    assert_eq!(names(&["--xattrs-include=security.*"]), (false, false));
    assert_eq!(names(&["--no-xattrs"]), (false, false));
}

#[test]
fn a_list_that_never_ends_can_be_interrupted() {
    let scene = Scene::new(small_tree);
    let mut child = Command::new(DGFS)
        .args(["pack", "-q", "-T", "-"])
        .args([scene.source(), scene.image()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut list = child.stdin.take().unwrap();
    list.write_all(b"a/x.c\n").unwrap();
    let parts = || {
        let names = fs::read_dir(scene.image().parent().unwrap()).unwrap();
        let names = names.map(|name| name.unwrap().file_name());
        let is_part = |name: &std::ffi::OsString| name.as_bytes().ends_with(b".part");
        names.filter(is_part).count()
    };
    while parts() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // The signals are heeded before the files are made.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    drop(list);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("interrupted"), "{ran:?}");
    assert_eq!(parts(), 0);
}

#[test]
fn a_selection_of_nothing_is_refused() {
    let scene = Scene::new(small_tree);
    let list = scene.at("list");
    fs::write(&list, "").unwrap();
    let from = format!("--files-from={}", list.display());
    for option in ["--exclude=*", &from] {
        let ran = pack_with(&scene, &[option]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("--allow-empty"), "{ran:?}");
        assert!(!scene.image().exists());
        pack_with(&scene, &[option, "--allow-empty"]).fine();
        assert!(listed(&scene).is_empty());
    }
}

/// Any number of threads gets along with few open files, or says what is missing.
#[test]
fn few_open_files_are_enough_or_named() {
    let scene = Scene::new(varied);
    let (source, image) = (scene.source(), scene.image());
    let pack = |limit: u32| {
        let command = format!("ulimit -n {limit}; exec \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command, "sh", DGFS, "pack", "-q", "--force"]);
        shell.args(["--threads=64"]).args([&source, &image]);
        Ran::from(shell.output().unwrap())
    };
    pack(32).fine();
    dgfs(&[&"verify", &"-q", &image]).fine();
    let before = fs::read(&image).unwrap();
    for limit in 6..16 {
        let ran = pack(limit);
        if ran.code != Some(0) {
            assert_eq!(ran.code, Some(2), "{limit}: {ran:?}");
            assert!(ran.err.contains("open files"), "{limit}: {ran:?}");
            assert_eq!(ran.err.lines().count(), 1, "{limit}: {ran:?}");
        }
    }
    assert_eq!(fs::read(&image).unwrap().len(), before.len());
    dgfs(&[&"verify", &"-q", &image]).fine();
}

/// A file system of its own at `at`, unmounted in the end.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        let _ = rustix::mount::unmount(self.0, flags);
    }
}

/// Runs a program; what it complains of is the error.
fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments.iter().map(AsRef::as_ref));
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// The bytes of an image that was packed from `source` with `options`.
fn image_bytes(source: &Path, image: &Path, options: &[&str]) -> [Vec<u8>; 2] {
    let volume = image.with_extension("dgfs.data");
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"pack", &"-q", &"--reproducible"];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
    arguments.extend([&source as &dyn AsRef<OsStr>, &image]);
    dgfs(&arguments).fine();
    let bytes = [fs::read(image).unwrap(), fs::read(&volume).unwrap()];
    dgfs(&[&"verify", &"-q", &image]).fine();
    dgfs(&[&"verify", &"-q", &volume]).fine();
    fs::remove_file(image).unwrap();
    fs::remove_file(&volume).unwrap();
    bytes
}

/// A tree whose directories the file systems list in different orders.
fn varied(root: &Path) {
    one_of_everything(root);
    for number in 0..3000 {
        let directory = root.join(format!("d{}", number % 7));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join(format!("{}", number * 7919 % 3001));
        fs::write(&file, number.to_string().repeat(number % 50)).unwrap();
        if number % 100 == 0 {
            fs::hard_link(&file, root.join(format!("link {number}"))).unwrap();
        }
    }
}

#[test]
fn copies_on_different_file_systems_give_the_same_image() {
    let story = "copies_on_different_file_systems_give_the_same_image";
    if !needs_root(story) {
        return;
    }
    let scene = Scene::new(varied);
    let (memory, disk) = (scene.at("tmpfs"), scene.at("ext4"));
    let file = scene.at("ext4.img");
    File::create(&file).unwrap().set_len(192 << 20).unwrap();
    fs::create_dir(&memory).unwrap();
    fs::create_dir(&disk).unwrap();
    let large = [&"-I", &"256", &"-b", &"4096"].map(|option| option as &dyn AsRef<OsStr>);
    let made = run("mkfs.ext4", &[&large[..], &[&"-q", &file]].concat())
        .and_then(|()| run("mount", &[&"-t", &"tmpfs", &"tmpfs", &memory]))
        .and_then(|()| run("mount", &[&"-o", &"loop", &file, &disk]));
    let (_memory, _disk) = (Mounted(&memory), Mounted(&disk));
    if let Err(why) = made {
        println!("SKIPPED {story}: cannot mount tmpfs and ext4: {why}");
        return;
    }
    let options = [
        vec![],
        vec!["--threads", "1", "--memory", "16M"],
        vec!["--threads", "7", "--memory", "1G"],
    ];
    let expected = image_bytes(&scene.source(), &scene.at("first.dgfs"), &[]);
    for (place, sparse) in [(&memory, "--sparse=always"), (&disk, "--sparse=never")] {
        let copy = place.join("another name");
        run("cp", &[&"-a", &sparse, &scene.source(), &copy]).unwrap();
        for options in &options {
            let got = image_bytes(&copy, &place.join("image.dgfs"), options);
            assert!(got == expected, "{} {options:?}", place.display());
        }
    }
}

#[test]
fn reproducible_images_differ_where_their_trees_do() {
    let scene = Scene::new(small_tree);
    let source = scene.source();
    let image = || image_bytes(&source, &scene.at("r.dgfs"), &[]);
    let uuid = |index: &[u8]| {
        let page = index.first_chunk().unwrap();
        ::dgfs::format::header::Header::decode(page, index.len() as u64)
            .unwrap()
            .uuid
    };
    let first = image();
    assert!(image() == first);
    // Contents of the same length, with the same time.
    let time = source.join("c/z").metadata().unwrap();
    fs::write(source.join("c/z"), "C/Z").unwrap();
    let back = File::options()
        .write(true)
        .open(source.join("c/z"))
        .unwrap();
    back.set_modified(time.modified().unwrap()).unwrap();
    let second = image();
    assert_ne!(second[1], first[1]);
    assert_ne!(uuid(&second[0]), uuid(&first[0]));
    set_mtime(&source.join("c"), 5, 6);
    let third = image();
    assert_ne!(uuid(&third[0]), uuid(&second[0]));
    let volumes = |count: usize| {
        let paths: Vec<PathBuf> = (0..count).map(|n| scene.at(&format!("v{n}"))).collect();
        let options: Vec<String> = paths
            .iter()
            .map(|path| format!("--data={}", path.display()))
            .collect();
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        options.extend(["--reproducible", "--force"]);
        pack_with(&scene, &options).fine();
        fs::read(scene.image()).unwrap()
    };
    assert_eq!(volumes(1), third[0]);
    assert_ne!(uuid(&volumes(3)), uuid(&third[0]));
}

#[test]
fn a_reproducible_image_can_be_replaced_by_itself() {
    let scene = Scene::new(small_tree);
    pack_with(&scene, &["--reproducible"]).fine();
    let before = fs::read(scene.volume()).unwrap();
    let ran = dgfs(&[
        &"pack",
        &"-q",
        &"--reproducible",
        &"--force",
        &scene.source(),
        &scene.image(),
    ]);
    ran.fine();
    assert!(fs::read(scene.volume()).unwrap() == before);
    let names = fs::read_dir(scene.image().parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|name| name.unwrap().file_name()).collect();
    assert!(
        !names.iter().any(|name| name.as_bytes().ends_with(b".part")),
        "{names:?}"
    );
}

#[test]
fn the_epoch_of_a_build_limits_times() {
    let scene = Scene::new(small_tree);
    set_mtime(&scene.source().join("c/z"), 1_000, 1);
    let pack = |epoch: &str, options: &[&str]| {
        let _ = fs::remove_file(scene.image());
        let _ = fs::remove_file(scene.volume());
        let mut command = Command::new(DGFS);
        command.args(["pack", "-q"]).args(options);
        command.args([scene.source(), scene.image()]);
        Ran::from(command.env("SOURCE_DATE_EPOCH", epoch).output().unwrap())
    };
    let time = |path: &str| time(&entry(&scene, path));
    pack("2000", &["--reproducible"]).fine();
    assert_eq!(time("c/z"), (1_000, 1));
    assert_eq!(time("a/x.c"), (2_000, 0));
    pack("2000", &["--reproducible", "--mtime=@3000"]).fine();
    assert_eq!(time("a/x.c"), (3_000, 0));
    pack("2000", &[]).fine();
    assert!(time("a/x.c").0 > 1_700_000_000);
    let ran = pack("soon", &["--reproducible"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("SOURCE_DATE_EPOCH"), "{ran:?}");
}
