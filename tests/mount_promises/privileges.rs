//! Set-user-id programs and device files: without effect unless root asks for it.

use super::mounting::{self, DGFS, Scene, shell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn tree(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let script =
        "cp /usr/bin/id id; chmod 4755 id; cp /usr/bin/id group; chgrp 1234 group; chmod 2755 group
        mknod -m 666 zero c 1 5; mkdir sub; echo hello > sub/file";
    shell(script, directory);
}

fn scene() -> Scene {
    let scene = Scene::new(tree);
    fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    scene
}

/// What a user without rights gets from the tree: who he is to a program, and a byte of a device.
fn effects(scene: &Scene) -> [String; 3] {
    let run = |command: &str| {
        let output = Command::new("setpriv")
            .args([
                "--reuid=2000",
                "--regid=2000",
                "--clear-groups",
                "sh",
                "-c",
                command,
            ])
            .current_dir(scene.mount_point())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    [
        run("./id -u"),
        run("./group -g"),
        run("head -c 3 zero 2>&1 | od -An -tx1"),
    ]
}

#[test]
fn programs_gain_nothing_and_devices_are_closed_unless_root_asks() {
    needs_mount!(
        "programs_gain_nothing_and_devices_are_closed_unless_root_asks",
        "setpriv"
    );
    let scene = scene();
    for (options, user, group, device) in [
        ("allow_other", "2000", "2000", false),
        ("allow_other,suid", "0", "1234", false),
        ("allow_other,dev", "2000", "2000", true),
        ("allow_other,suid,dev", "0", "1234", true),
        ("suid,dev,allow_other,nosuid,nodev", "2000", "2000", false),
    ] {
        let point = "mount point, odd";
        let mount = format!("{DGFS} mount tree.dgfs '{point}' -o {options}");
        shell(&mount, &scene.path("."));
        let [seen_user, seen_group, byte] = effects(&scene);
        assert_eq!(
            (seen_user.as_str(), seen_group.as_str()),
            (user, group),
            "{options}"
        );
        assert_eq!(byte == "00 00 00", device, "{options}: {byte}");
        shell(&format!("{DGFS} umount '{point}'"), &scene.path("."));
    }
}

#[test]
fn a_user_who_asks_for_suid_or_dev_is_told_who_may() {
    needs_mount!("a_user_who_asks_for_suid_or_dev_is_told_who_may", "setpriv");
    let scene = scene();
    fs::copy(DGFS, scene.path("dgfs")).unwrap();
    for option in ["suid", "dev"] {
        let output = Command::new("setpriv")
            .args([
                "--reuid=2000",
                "--regid=2000",
                "--clear-groups",
                "./dgfs",
                "mount",
            ])
            .args(["tree.dgfs", "mount point, odd", "-o", option])
            .current_dir(scene.path("."))
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert_eq!(
            complaint,
            format!("dgfs: option {option} is for root only; leave it out\n")
        );
    }
}
