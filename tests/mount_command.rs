//! `dgfs mount` and `dgfs umount` as programs: processes, signals, messages and exit codes.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod mounting;

use mounting::{DGFS, Scene, Server, eventually, shell};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output};

fn small_tree(tree: &Path) {
    fs::create_dir(tree.join("sub")).unwrap();
    fs::write(tree.join("sub/file"), b"hello\n").unwrap();
}

fn dgfs(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(DGFS)
        .args(arguments)
        .current_dir(scene.path("."))
        .output()
        .unwrap()
}

/// Mounts in the background with these further arguments.
fn mount(scene: &Scene, arguments: &[&str]) -> Server {
    let mut all = vec!["mount", "tree.dgfs", "mount point, odd"];
    all.extend(arguments);
    let output = dgfs(scene, &all);
    assert_eq!(
        (output.status.code(), complaint(&output).as_str()),
        (Some(0), "")
    );
    // The command is back, so the mount answers.
    let file = scene.mount_point().join("sub/file");
    assert_eq!(fs::read(file).unwrap(), b"hello\n");
    Server::of(&scene.image())
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

type Unmount<'a> = &'a dyn Fn(&Server);

#[test]
fn every_way_to_unmount_ends_the_server() {
    needs_mount!(
        "every_way_to_unmount_ends_the_server",
        "umount",
        "fusermount3"
    );
    let scene = Scene::new(small_tree);
    let ways: [(&str, Unmount<'_>); 7] = [
        ("umount", &|_| {
            shell("umount 'mount point, odd'", &scene.path("."));
        }),
        ("fusermount3", &|_| {
            shell("fusermount3 -u 'mount point, odd'", &scene.path("."));
        }),
        ("dgfs umount", &|_| {
            let output = dgfs(&scene, &["umount", "mount point, odd"]);
            assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        }),
        ("dgfs umount -l", &|_| {
            let output = dgfs(&scene, &["umount", "-l", "mount point, odd"]);
            assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        }),
        ("SIGTERM", &|server| server.signal(Signal::TERM)),
        ("SIGINT", &|server| server.signal(Signal::INT)),
        ("SIGHUP", &|server| server.signal(Signal::HUP)),
    ];
    for (way, unmount) in ways {
        let server = mount(&scene, &[]);
        assert!(server.is_alive(), "{way}");
        unmount(&server);
        server.ended(&scene);
    }
}

#[test]
fn the_server_holds_nothing_of_its_caller() {
    needs_mount!("the_server_holds_nothing_of_its_caller");
    let scene = Scene::new(small_tree);
    // That `mount` got the end of the standard error shows that the server does not hold it.
    let server = mount(&scene, &["-o", "stats=stats.json"]);
    assert_eq!(
        fs::read_link(server.proc("cwd")).unwrap(),
        Path::new("/"),
        "a directory is not kept from being unmounted"
    );
    for fd in ["fd/0", "fd/1"] {
        assert_eq!(
            fs::read_link(server.proc(fd)).unwrap(),
            Path::new("/dev/null")
        );
    }
    let session = |stat: &str| {
        stat.rsplit(") ")
            .next()
            .unwrap()
            .split(' ')
            .nth(3)
            .map(str::to_owned)
    };
    assert_ne!(
        session(&fs::read_to_string(server.proc("stat")).unwrap()),
        session(&fs::read_to_string("/proc/self/stat").unwrap())
    );
    server.signal(Signal::TERM);
    server.ended(&scene);
    assert!(
        scene.path("stats.json").exists(),
        "relative to the caller's directory"
    );
}

#[test]
fn a_trace_gives_the_next_image_its_order() {
    needs_mount!("a_trace_gives_the_next_image_its_order");
    let scene = Scene::new(|tree| {
        small_tree(tree);
        for name in ["a", "b", "c", "sub/d", "back\\slash", "line\nfeed"] {
            fs::write(tree.join(name), format!("contents of {name}")).unwrap();
        }
        fs::hard_link(tree.join("c"), tree.join("sub/linked")).unwrap();
        fs::write(tree.join("large"), vec![7; 3 << 20]).unwrap();
        fs::write(tree.join("empty"), b"").unwrap();
    });
    fs::write(scene.path("trace"), "what was there before").unwrap();
    let server = mount(&scene, &["-o", "trace=trace"]);
    let order = [
        "line\nfeed",
        "sub/linked",
        "large",
        "sub/d",
        "back\\slash",
        "a",
    ];
    for name in order.iter().chain(&["empty", "c", "sub/d"]) {
        fs::read(scene.mount_point().join(name)).unwrap();
    }
    // Not only at the end.
    let expected = "sub/file\nline\\012feed\nc\nlarge\nsub/d\nback\\\\slash\na\n";
    assert_eq!(fs::read_to_string(scene.path("trace")).unwrap(), expected);
    server.signal(Signal::TERM);
    server.ended(&scene);

    let pack = [
        "pack",
        "-q",
        "--force",
        "--order",
        "list:trace",
        "tree",
        "tree.dgfs",
    ];
    let output = dgfs(&scene, &pack);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let image = dgfs::read::Image::open(scene.image()).unwrap();
    let mut end = 4096;
    for name in ["sub/file"].iter().chain(&order) {
        let extent = image.lookup(name.as_bytes()).unwrap().unwrap().extent;
        assert_eq!(extent.position, end, "{name}");
        end += extent.stored;
    }
}

#[test]
fn a_server_in_the_foreground_ends_with_its_mount() {
    needs_mount!("a_server_in_the_foreground_ends_with_its_mount");
    let scene = Scene::new(small_tree);
    let start = || -> Child {
        let child = Command::new(DGFS)
            .args(["mount", "-f", "tree.dgfs", "mount point, odd"])
            .current_dir(scene.path("."))
            .spawn()
            .unwrap();
        eventually("mounted", || scene.is_mounted());
        child
    };
    let mut server = start();
    // It may still be busy with its own first look at the mount.
    eventually("unmounted", || {
        let output = dgfs(&scene, &["umount", "mount point, odd"]);
        assert!(output.status.success() || complaint(&output).contains("busy"));
        output.status.success()
    });
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let mut server = start();
    kill_process(Pid::from_child(&server), Signal::INT).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
    assert!(!scene.is_mounted());
}

#[test]
fn a_signal_to_a_mount_in_use_hides_it_and_serves_on() {
    needs_mount!("a_signal_to_a_mount_in_use_hides_it_and_serves_on");
    let scene = Scene::new(small_tree);
    let server = mount(&scene, &[]);
    let mut file = fs::File::open(scene.mount_point().join("sub/file")).unwrap();
    let output = dgfs(&scene, &["umount", "mount point, odd"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complaint(&output).contains("busy"),
        "{}",
        complaint(&output)
    );
    server.signal(Signal::TERM);
    eventually("hidden", || !scene.is_mounted());
    assert!(server.is_alive());
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello\n");
    drop(file);
    server.ended(&scene);

    let server = mount(&scene, &[]);
    let _file = fs::File::open(scene.mount_point().join("sub/file")).unwrap();
    server.signal(Signal::TERM);
    eventually("hidden", || !scene.is_mounted());
    server.signal(Signal::TERM);
    eventually("a second signal ends it", || !server.is_alive());
}

#[test]
fn statistics_are_written_on_a_signal_and_at_the_end() {
    needs_mount!("statistics_are_written_on_a_signal_and_at_the_end");
    let scene = Scene::new(small_tree);
    let server = mount(&scene, &["-o", "stats=stats.json"]);
    let statistics = || -> Option<serde_json::Value> {
        let text = fs::read(scene.path("stats.json")).ok()?;
        serde_json::from_slice(&text).ok()
    };
    server.signal(Signal::USR1);
    eventually("written", || {
        statistics().is_some_and(|s| {
            s["requests"]["read"] == 1 && s["image"]["data_reads"].as_u64() > Some(0)
        })
    });
    assert!(fs::metadata(scene.mount_point().join("none")).is_err());
    let lookups = |s: &serde_json::Value| s["requests"]["lookup"].as_u64();
    let before = lookups(&statistics().unwrap()).unwrap();
    server.signal(Signal::TERM);
    server.ended(&scene);
    assert_eq!(lookups(&statistics().unwrap()), Some(before + 1));
}

#[test]
fn a_failed_read_is_logged_in_one_line() {
    needs_mount!("a_failed_read_is_logged_in_one_line");
    // Noise is stored as it is, so that the place of the damage is known.
    let numbers = (0..75_000u32).map(|n| n.wrapping_mul(2_654_435_761));
    let noise: Vec<u8> = numbers.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
    let scene = Scene::new(|tree| {
        small_tree(tree);
        fs::write(tree.join("sub/damaged"), &noise).unwrap();
    });
    let length = fs::metadata(scene.volume()).unwrap().len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(scene.volume())
        .unwrap();
    let node = dgfs::read::Image::open(scene.image())
        .unwrap()
        .lookup(b"sub/damaged")
        .unwrap()
        .unwrap();
    // Position 0 lies behind the header page of the volume.
    let place = node.extent.position + 4096 + node.extent.stored / 2;
    assert!(place < length);
    std::os::unix::fs::FileExt::write_all_at(&file, b"!!!!", place).unwrap();

    let server = mount(&scene, &["-o", "log=the log"]);
    assert!(fs::read(scene.mount_point().join("sub/damaged")).is_err());
    assert!(fs::read(scene.mount_point().join("sub/damaged")).is_err());
    server.signal(Signal::TERM);
    server.ended(&scene);
    let log = fs::read_to_string(scene.path("the log")).unwrap();
    assert_eq!(log.matches(" failed: ").count(), 1, "{log}");
    for part in [
        "ERROR",
        "read of \"sub/damaged\"",
        "tree.dgfs.data",
        "checksum",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn mounts_are_listed_with_type_and_source() {
    needs_mount!("mounts_are_listed_with_type_and_source");
    let scene = Scene::new(small_tree);
    let line = |arguments: &[&str]| {
        let server = mount(&scene, arguments);
        let list = fs::read_to_string("/proc/self/mounts").unwrap();
        server.signal(Signal::TERM);
        server.ended(&scene);
        let point = scene.mount_point();
        let point = point.to_str().unwrap().replace(' ', "\\040");
        let line = list.lines().find(|line| line.contains(&point)).unwrap();
        let fields: Vec<String> = line.split(' ').map(str::to_owned).collect();
        (fields[0].clone(), fields[2].clone(), fields[3].clone())
    };
    let (source, kind, options) = line(&[]);
    assert_eq!(Path::new(&source), scene.image());
    assert_eq!(kind, "fuse.dgfs");
    for option in ["ro", "nosuid", "nodev", "noatime", "default_permissions"] {
        assert!(options.split(',').any(|known| known == option), "{options}");
    }
    assert!(!options.contains("allow_other"));
    let all = "fsname=some\\,thing,suid,dev,noexec,allow_other,no_default_permissions,threads=1";
    let (source, _, options) = line(&["-o", all, "-o", "nofail"]);
    assert_eq!(source, "some,thing");
    for option in ["nosuid", "nodev", "default_permissions"] {
        assert!(
            !options.split(',').any(|known| known == option),
            "{options}"
        );
    }
    for option in ["noexec", "allow_other"] {
        assert!(options.split(',').any(|known| known == option), "{options}");
    }
}

#[test]
fn a_volume_with_a_copy_of_the_index_mounts_by_itself() {
    needs_mount!("a_volume_with_a_copy_of_the_index_mounts_by_itself");
    let scene = Scene::new(small_tree);
    fs::rename(scene.image(), scene.path("gone")).unwrap();
    let output = dgfs(&scene, &["mount", "tree.dgfs.data", "mount point, odd"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert_eq!(
        fs::read(scene.mount_point().join("sub/file")).unwrap(),
        b"hello\n"
    );
    assert_eq!(
        dgfs(&scene, &["umount", "mount point, odd"]).status.code(),
        Some(0)
    );
}

#[test]
fn volumes_elsewhere_are_named_in_either_way() {
    needs_mount!("volumes_elsewhere_are_named_in_either_way");
    let scene = Scene::new(small_tree);
    fs::rename(scene.volume(), scene.path("elsewhere")).unwrap();
    for arguments in [["--data", "elsewhere"], ["-o", "data=elsewhere"]] {
        let server = mount(&scene, &arguments);
        server.signal(Signal::TERM);
        server.ended(&scene);
    }
}

#[test]
fn mount_8_calls_us_by_another_name() {
    needs_mount!("mount_8_calls_us_by_another_name");
    let scene = Scene::new(small_tree);
    let output = Command::new(DGFS)
        .arg0("/sbin/mount.fuse.dgfs")
        .args(["tree.dgfs", "mount point, odd", "-o", "rw,noauto,user"])
        .current_dir(scene.path("."))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert!(scene.is_mounted());
    let server = Server::of(&scene.image());
    server.signal(Signal::TERM);
    server.ended(&scene);
}

#[test]
fn what_cannot_be_mounted_is_said_with_exit_code_2() {
    needs_mount!("what_cannot_be_mounted_is_said_with_exit_code_2");
    let scene = Scene::new(small_tree);
    let point = "mount point, odd";
    fs::write(scene.path("a file"), vec![b'x'; 10_000]).unwrap();
    let index = fs::read(scene.image()).unwrap();
    fs::write(scene.path("short.dgfs"), &index[..index.len() - 4096]).unwrap();
    fs::copy(scene.volume(), scene.path("short.dgfs.data")).unwrap();
    fs::write(scene.path("lonely.dgfs"), &index).unwrap();
    let cases: [(&[&str], &str); 14] = [
        (
            &["tree.dgfs", "no/such/point"],
            "no/such/point: the mount point does not exist",
        ),
        (
            &["tree.dgfs", "a file"],
            "a file: the mount point is not a directory",
        ),
        (&["none.dgfs", point], "none.dgfs: "),
        (&["a file", point], "a file: not a dgfs image"),
        (&["short.dgfs", point], "short.dgfs: "),
        (
            &["lonely.dgfs", point],
            "lonely.dgfs.data: volume 0 is missing",
        ),
        (&["tree", point], "tree: "),
        (&["tree.dgfs", point, "-o", "rw"], "rw"),
        (
            &["tree.dgfs", point, "-o", "no_such"],
            "unknown option no_such",
        ),
        (&["tree.dgfs", point, "-o", "cache=much"], "cache=much"),
        (
            &["tree.dgfs", point, "-o", "subdir=none"],
            "none: the image holds no such directory",
        ),
        (
            &["tree.dgfs", point, "-o", "log=no/such/log"],
            "no/such/log: cannot open",
        ),
        (
            &["tree.dgfs", point, "-o", "stats=no/such/statistics"],
            "no/such/statistics: cannot open",
        ),
        (&["tree.dgfs", point, "--no-such"], "--no-such"),
    ];
    for (arguments, message) in cases {
        for foreground in [false, true] {
            let mut all = vec!["mount"];
            all.extend(arguments);
            if foreground {
                all.push("-f");
            }
            if foreground
                && arguments
                    .iter()
                    .any(|argument| argument.starts_with("log="))
            {
                continue;
            }
            let output = dgfs(&scene, &all);
            let complaint = complaint(&output);
            assert_eq!(output.status.code(), Some(2), "{all:?}: {complaint}");
            assert!(complaint.contains(message), "{all:?}: {complaint}");
            assert!(!scene.is_mounted(), "{all:?}");
        }
    }

    let server = mount(&scene, &[]);
    let output = dgfs(&scene, &["mount", "tree.dgfs", point]);
    assert_eq!(output.status.code(), Some(2));
    let message = complaint(&output);
    assert!(
        message.contains("busy") && message.contains("tree.dgfs"),
        "{message}"
    );
    server.signal(Signal::TERM);
    server.ended(&scene);

    for (directory, message) in [
        (point, "no dgfs image"),
        ("/proc", "no dgfs image"),
        ("no/such", "no/such"),
    ] {
        let output = dgfs(&scene, &["umount", directory]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            complaint(&output).contains(message),
            "{}",
            complaint(&output)
        );
    }
}

#[test]
fn a_mount_whose_server_was_killed_is_named_and_can_be_removed() {
    needs_mount!("a_mount_whose_server_was_killed_is_named_and_can_be_removed");
    let scene = Scene::new(small_tree);
    let server = mount(&scene, &[]);
    server.signal(Signal::KILL);
    eventually("dead", || !server.is_alive());
    let output = dgfs(&scene, &["mount", "tree.dgfs", "mount point, odd"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        complaint(&output).contains("lost its server"),
        "{}",
        complaint(&output)
    );
    let output = dgfs(&scene, &["umount", "mount point, odd"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let server = mount(&scene, &[]);
    server.signal(Signal::TERM);
    server.ended(&scene);
}

/// A shell script that runs with mounts of its own, a `/dev/fuse` for everybody, and a user without
/// rights behind `$AS_USER`.
fn in_a_world_of_its_own(scene: &Scene, script: &str) -> Output {
    // The user has to reach the program and the images.
    fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(DGFS, scene.path("dgfs")).unwrap();
    let prelude = "set -e
        mount --make-rprivate /
        mkdir world home
        mount -t tmpfs none world
        mknod -m 666 world/fuse c 10 229
        mount --bind world/fuse /dev/fuse
        chown 65534:65534 home
        AS_USER='setpriv --reuid=65534 --regid=65534 --clear-groups'
        ended() { for i in $(seq 200); do findmnt -n \"$1\" >/dev/null || return 0; sleep 0.05; done; return 1; }
        ";
    Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{prelude}{script}")])
        .current_dir(scene.path("."))
        .output()
        .unwrap()
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", complaint(output));
}

#[test]
fn a_user_mounts_through_fusermount3() {
    needs_mount!(
        "a_user_mounts_through_fusermount3",
        "fusermount3",
        "unshare",
        "setpriv",
        "findmnt"
    );
    let scene = Scene::new(small_tree);
    succeeds(&in_a_world_of_its_own(
        &scene,
        "$AS_USER ./dgfs mount tree.dgfs home
        test \"$(findmnt -n -o FSTYPE,SOURCE home | tr -s ' ')\" = \"fuse.dgfs $PWD/tree.dgfs\"
        test \"$($AS_USER cat home/sub/file)\" = hello
        ! ls home 2>/dev/null # root is kept out, as FUSE has it
        $AS_USER sh -c '! touch home/new 2>/dev/null'
        $AS_USER ./dgfs umount home
        ended home
        $AS_USER ./dgfs mount -f tree.dgfs home & server=$!
        for i in $(seq 200); do findmnt -n home >/dev/null && break; sleep 0.05; done
        kill -TERM $server
        wait $server
        ended home",
    ));
}

#[test]
fn a_user_who_may_let_others_in() {
    needs_mount!(
        "a_user_who_may_let_others_in",
        "fusermount3",
        "unshare",
        "setpriv",
        "findmnt"
    );
    let scene = Scene::new(small_tree);
    succeeds(&in_a_world_of_its_own(
        &scene,
        "cp -p /etc/fuse.conf world/conf 2>/dev/null || touch world/conf
        echo user_allow_other >> world/conf
        test -e /etc/fuse.conf || exit 0
        mount --bind world/conf /etc/fuse.conf
        $AS_USER ./dgfs mount tree.dgfs home -o allow_other
        test \"$(cat home/sub/file)\" = hello
        $AS_USER ./dgfs umount home
        $AS_USER ./dgfs mount -f tree.dgfs home -o auto_unmount & server=$!
        for i in $(seq 200); do findmnt -n home >/dev/null && break; sleep 0.05; done
        test \"$($AS_USER cat home/sub/file)\" = hello
        kill -KILL $server
        ended home",
    ));
}

#[test]
fn what_a_user_lacks_is_said_with_exit_code_2() {
    needs_mount!(
        "what_a_user_lacks_is_said_with_exit_code_2",
        "fusermount3",
        "unshare",
        "setpriv"
    );
    let scene = Scene::new(small_tree);
    let cases = [
        (
            "grep -v '^user_allow_other' /etc/fuse.conf > world/conf; mount --bind world/conf /etc/fuse.conf
             exec $AS_USER ./dgfs mount tree.dgfs home -o allow_other",
            "user_allow_other",
        ),
        (
            "mkdir others; exec $AS_USER ./dgfs mount tree.dgfs others",
            "others: cannot mount: user has no write access to mountpoint",
        ),
        (
            "exec $AS_USER env FUSERMOUNT_PATH=/no/such ./dgfs mount tree.dgfs home",
            "fusermount3 is not installed",
        ),
        (
            "chmod 600 world/fuse; exec $AS_USER ./dgfs mount tree.dgfs home",
            "/dev/fuse: only root may use FUSE here",
        ),
        (
            "mount -t tmpfs none /dev; mknod /dev/null c 1 3; exec ./dgfs mount tree.dgfs home",
            "/dev/fuse: FUSE is not available",
        ),
    ];
    for (script, message) in cases {
        let output = in_a_world_of_its_own(&scene, script);
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{script}: {complaint}");
        assert!(complaint.contains(message), "{script}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        for litter in ["world", "home", "others"] {
            let _ = fs::remove_dir(scene.path(litter));
        }
    }
}
