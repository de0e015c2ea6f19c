//! ACLs and other extended attributes: shown as in the source, enforced as on a disk, and asked for rarely.

use super::mounting::{self, Scene, shell};
use dgfs::mount::{MountOptions, Operation, mount};
use dgfs::read::Image;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Numbers without names: who is granted and denied things.
const SCRIPT: &str = "set -e
    mkdir plain shared shared/inner closed defaulted
    for f in plain/file shared/named shared/masked shared/group shared/denied shared/inner/deep closed/file \
        owned wide; do echo contents of $f > $f; done
    chmod 640 shared/* closed/file owned; chmod 750 shared/inner closed
    chown 1000:1000 shared/named shared/masked shared/group shared/denied owned
    setfacl -m u:2000:r shared/named
    setfacl -m u:2000:rwx,g:3000:rw,m::- shared/masked
    setfacl -m g:3000:r shared/group
    chmod 644 shared/denied; setfacl -m u:2000:-,g:3000:- shared/denied
    setfacl -m u:2000:x shared/inner; chmod 644 shared/inner/deep
    setfacl -m u:2000:rx closed; setfacl -m u:2000:x,g:3000:r closed
    setfacl -d -m u:2000:rw,g:3000:- defaulted
    cp /bin/true wide; chmod 700 wide; setfacl -m g:3000:x wide
    setfattr -n user.note -v hello owned; setfattr -n user.binary -v 0x00ff0a plain
    setfattr -n trusted.secret -v hidden owned; setfattr -n trusted.dir -v '' plain
    setfattr -n security.label -v system_u:object_r:some_t:s0 owned
    cp /bin/true capable; setcap cap_net_raw,cap_net_admin+ep capable
    ln -s owned link; setfattr -h -n trusted.of_link -v x link";

fn tree(directory: &Path) {
    // The tree itself has to be open to all.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    shell(SCRIPT, directory);
}

fn scene() -> Scene {
    let scene = Scene::new(tree);
    fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    scene
}

fn mounted(scene: &Scene) -> dgfs::mount::Mounted {
    let options = MountOptions {
        allow_other: true,
        ..MountOptions::default()
    };
    let image = Arc::new(Image::open(scene.image()).unwrap());
    mount(image, &scene.mount_point(), &options).unwrap()
}

#[test]
fn attributes_acls_and_capabilities_are_listed_as_in_the_source() {
    needs_mount!(
        "attributes_acls_and_capabilities_are_listed_as_in_the_source",
        "getfattr",
        "getfacl",
        "setfacl",
        "getcap"
    );
    let scene = scene();
    let _mounted = mounted(&scene);
    for command in [
        "find . | LC_ALL=C sort | xargs getfattr -h -m - -d -e hex",
        "find . | LC_ALL=C sort | xargs getfacl -n -p",
        "getcap -r . | sort",
        "for f in owned link; do getfattr -h --only-values -n trusted.secret $f 2>&1; done; true",
    ] {
        let source = shell(command, &scene.tree());
        assert_eq!(shell(command, &scene.mount_point()), source, "{command}");
        assert!(!source.is_empty(), "{command} has something to compare");
    }
    let all = shell("find . | xargs getfattr -h -m - -d", &scene.mount_point());
    for name in [
        "user.note",
        "trusted.secret",
        "security.label",
        "security.capability",
        "trusted.of_link",
    ] {
        assert!(all.contains(name), "{name}: {all}");
    }
}

/// What these users and groups can do with every entry: read it, list it, go through it, run it.
fn decisions(root: &Path) -> Vec<String> {
    let attempts = "find . -mindepth 1 2>/dev/null | LC_ALL=C sort; for f in plain/file shared/named shared/masked \
        shared/group shared/denied shared/inner/deep closed/file owned wide capable; do
            cat $f >/dev/null 2>&1; printf '%s read %s' $f $?
            test -r $f; printf ' r%s' $?
            test -x $f; printf ' x%s\n' $?
        done
        for d in plain shared shared/inner closed defaulted; do
            ls $d >/dev/null 2>&1; printf '%s list %s' $d $?
            (cd $d) 2>/dev/null; printf ' enter %s\n' $?
        done
        ./wide 2>/dev/null; echo run $?";
    let users = [
        ("0", "0", ""),
        ("1000", "1000", ""),
        ("2000", "2000", ""),
        ("2000", "2000", "3000"),
        ("4000", "3000", ""),
        ("4000", "4000", "1000,3000"),
        ("4000", "4000", ""),
    ];
    users
        .iter()
        .map(|(user, group, more)| {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}")]);
            command.arg(match *more {
                "" => "--clear-groups".to_owned(),
                more => format!("--groups={more}"),
            });
            let output = command
                .args(["sh", "-c", attempts])
                .current_dir(root)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            format!("user {user}, groups {group} {more}\n{said}")
        })
        .collect()
}

#[test]
fn access_is_decided_as_on_a_disk() {
    needs_mount!(
        "access_is_decided_as_on_a_disk",
        "setfacl",
        "setpriv",
        "setcap"
    );
    let scene = scene();
    let _mounted = mounted(&scene);
    let expected = decisions(&scene.tree());
    assert_eq!(decisions(&scene.mount_point()), expected);
    // Once more with what the kernel knows by now.
    assert_eq!(decisions(&scene.mount_point()), expected);
    let of = |user: usize, line: &str| expected[user].lines().any(|known| known == line);
    assert!(of(2, "shared/named read 0 r0 x1"), "{}", expected[2]);
    assert!(of(2, "shared/masked read 1 r1 x1"), "{}", expected[2]);
    assert!(of(6, "shared/denied read 0 r0 x1"), "{}", expected[6]);
    assert!(of(4, "shared/denied read 1 r1 x1"), "{}", expected[4]);
}

#[test]
fn an_acl_is_asked_for_once_and_only_where_there_are_any() {
    needs_mount!(
        "an_acl_is_asked_for_once_and_only_where_there_are_any",
        "setfacl",
        "setpriv"
    );
    let read = |scene: &Scene, from: &str, path: &str| {
        let output = Command::new("setpriv")
            .args([
                "--reuid=2000",
                "--regid=2000",
                "--clear-groups",
                "cat",
                path,
            ])
            .current_dir(scene.mount_point().join(from))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    // Whether the image has ACLs, whether they are enforced, and the questions for each inode.
    for (has, enforced, asked) in [(false, true, 0), (true, false, 0), (true, true, 1)] {
        let scene = Scene::new(|tree| {
            fs::set_permissions(tree, fs::Permissions::from_mode(0o755)).unwrap();
            let script =
                "mkdir d; for i in 1 2 3 4; do echo $i > d/$i; done; setfattr -n user.a -v b d/2
                chown 1000:1000 d/*";
            shell(script, tree);
            if has {
                // That one entry has an ACL costs all of them the question.
                shell("setfacl -m u:2000:r d/4", tree);
            }
        });
        fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        let options = MountOptions {
            allow_other: true,
            acl: enforced,
            ..MountOptions::default()
        };
        let image = Arc::new(Image::open(scene.image()).unwrap());
        let mounted = mount(image, &scene.mount_point(), &options).unwrap();
        let count = |from: &str, path: &str| {
            let before = mounted.counters();
            read(&scene, from, path);
            let counts = mounted.counters().since(&before);
            let kinds = [Operation::Lookup, Operation::Read, Operation::Getxattr];
            let known = kinds.map(|operation| counts.get(operation));
            assert_eq!(
                counts.total(),
                known.iter().sum::<u64>(),
                "{path}: {counts:?}"
            );
            known
        };
        read(&scene, "d", "1");
        for file in ["2", "3"] {
            assert_eq!(count("d", file), [1, 1, asked], "{file}");
            assert_eq!(count("d", file), [0, 0, 0], "{file} again");
        }
        // The kernel makes the root's inode before it hears of ACLs, and never remembers that one's.
        assert_eq!(count(".", "d/3"), [0, 0, asked], "through the root");
    }
}

#[test]
fn without_the_checks_of_the_kernel_acls_deny_nothing() {
    needs_mount!(
        "without_the_checks_of_the_kernel_acls_deny_nothing",
        "setfacl",
        "setpriv",
        "setcap"
    );
    let scene = scene();
    let options = MountOptions {
        allow_other: true,
        default_permissions: false,
        ..MountOptions::default()
    };
    let image = Arc::new(Image::open(scene.image()).unwrap());
    let _mounted = mount(image, &scene.mount_point(), &options).unwrap();
    let said = shell(
        "setpriv --reuid=4000 --regid=4000 --clear-groups cat shared/masked closed/file",
        &scene.mount_point(),
    );
    assert_eq!(said, "contents of shared/masked\ncontents of closed/file\n");
}
