//! Several places, name spaces and users for one mount.

use super::mounting::{self, DGFS, Scene, shell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A tree of root and of user 65534, who has a name as `fusermount3` demands.
fn tree(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let script = "mkdir -p part/sub private; echo hello > part/sub/file; echo mine > private/file
        chown -R 65534:65534 part; chmod 640 part/sub/file; chmod 700 private; echo root > of_root; chmod 600 of_root
        setfattr -n user.a -v b part";
    shell(script, directory);
}

/// Runs a script with mounts of its own, `/dev/fuse` open to all, and `user N` to be somebody else.
fn run(scene: &Scene, script: &str) -> Output {
    fs::set_permissions(scene.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    if !scene.path("dgfs").exists() {
        fs::copy(DGFS, scene.path("dgfs")).unwrap();
    }
    let prelude = "set -e
        mount --make-rprivate /
        mkdir -p world home; chown 65534:65534 home; mount -t tmpfs none world
        mknod -m 666 world/fuse c 10 229; mount --bind world/fuse /dev/fuse
        user() { id=$1; shift; setpriv --reuid=$id --regid=$id --clear-groups \"$@\"; }
        ";
    Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{prelude}{script}")])
        .current_dir(scene.path("."))
        .output()
        .unwrap()
}

fn succeeds(scene: &Scene, script: &str) {
    let output = run(scene, script);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {complaint}");
}

#[test]
fn bind_mounts_show_the_same_and_outlive_the_first() {
    needs_mount!(
        "bind_mounts_show_the_same_and_outlive_the_first",
        "unshare",
        "setpriv"
    );
    let scene = Scene::new(tree);
    succeeds(
        &scene,
        "mkdir world/one world/two world/part
        ./dgfs mount tree.dgfs home -o allow_other
        mount --bind home world/one; mount --bind home/part world/part
        mount --bind home world/two; mount -o remount,bind,noexec,nosuid,nodev,ro world/two
        for place in home world/one world/two; do
            diff -r tree $place
            test $(stat -c %i $place/part/sub/file) = $(stat -c %i home/part/sub/file)
        done
        diff -r tree/part world/part
        # `dgfs umount` takes off the place it is told, and the server ends with the last one.
        ./dgfs umount home
        diff -r tree world/one; test $(stat -c %i world/one) = 1
        umount world/part world/one
        diff -r tree world/two
        ./dgfs umount world/two
        for i in $(seq 200); do ps -e -o args= | grep -q \"[-]-detached $PWD/tree.dgfs\" || exit 0; sleep 0.05; done",
    );
}

#[test]
fn a_user_mounts_in_a_name_space_of_his_own() {
    needs_mount!(
        "a_user_mounts_in_a_name_space_of_his_own",
        "unshare",
        "setpriv"
    );
    let scene = Scene::new(tree);
    let possible = run(&scene, "user 65534 unshare -Urm true");
    if !possible.status.success() {
        println!("SKIPPED a_user_mounts_in_a_name_space_of_his_own: no user name spaces for users");
        return;
    }
    // Without the helper, as the name space's root; his own files are then root's, all others nobody's.
    // Owners are numbers of the name space there: the image's root is its root, and whom it does not know is nobody.
    succeeds(
        &scene,
        "user 65534 env FUSERMOUNT_PATH=/no/such unshare -Urm sh -ec '
            test $(id -u) = 0
            ./dgfs mount tree.dgfs home -o suid,dev
            test \"$(stat -c %u:%g home/of_root)\" = 0:0
            test \"$(stat -c %u:%g home/part/sub/file)\" = 65534:65534
            grep -q root home/of_root
            grep -q mine home/private/file
            ! cat home/part/sub/file 2>/dev/null
            ! touch home/new 2>/dev/null
            getfattr -n user.a home/part
            ls -lR home >/dev/null
            ./dgfs umount home
            ./dgfs mount tree.dgfs home -o uid=0,gid=0
            grep -q hello home/part/sub/file
            ./dgfs umount home
            ./dgfs mount -f tree.dgfs home & server=$!
            for i in $(seq 200); do test -e home/part && break; sleep 0.05; done
            grep -q root home/of_root
            kill -TERM $server; wait $server
            test ! -e home/part'
        # Nothing of it was ever seen outside.
        test ! -e home/part",
    );
}

#[test]
fn only_who_mounted_comes_in_unless_others_are_let_in() {
    needs_mount!(
        "only_who_mounted_comes_in_unless_others_are_let_in",
        "unshare",
        "setpriv",
        "fusermount3"
    );
    let scene = Scene::new(tree);
    succeeds(
        &scene,
        "./dgfs mount tree.dgfs home
        ! user 65534 ls home 2>/dev/null
        ! user 65534 cat home/part/sub/file 2>/dev/null
        ./dgfs umount home
        ./dgfs mount tree.dgfs home -o allow_other
        test \"$(user 65534 cat home/part/sub/file)\" = hello
        ! user 3000 cat home/part/sub/file 2>/dev/null
        ! user 65534 cat home/private/file 2>/dev/null
        ! user 65534 cat home/of_root 2>/dev/null
        cat home/of_root home/private/file >/dev/null
        ./dgfs umount home
        ./dgfs mount tree.dgfs home -o allow_other,uid=3000,gid=3000
        test \"$(user 3000 cat home/of_root)\" = root
        ! user 65534 cat home/of_root 2>/dev/null
        ./dgfs umount home
        user 65534 ./dgfs mount tree.dgfs home
        ! ls home 2>/dev/null
        ! user 3000 ls home 2>/dev/null
        test \"$(user 65534 cat home/part/sub/file)\" = hello
        ! user 65534 cat home/of_root 2>/dev/null
        user 65534 ./dgfs umount home",
    );
}

#[test]
fn a_part_shown_to_its_owner() {
    needs_mount!(
        "a_part_shown_to_its_owner",
        "unshare",
        "setpriv",
        "fusermount3"
    );
    let scene = Scene::new(tree);
    succeeds(
        &scene,
        "user 65534 ./dgfs mount tree.dgfs home -o subdir=part
        test \"$(user 65534 sh -c 'cd home/sub && ls -a && cat file ../sub/file' | tr '\\n' ' ')\" = '. .. file hello hello '
        test \"$(user 65534 stat -c %i home)\" = 1
        user 65534 ./dgfs umount home
        ! ./dgfs mount tree.dgfs home -o subdir=../etc 2>world/complaint
        grep -q 'no such directory' world/complaint",
    );
}

#[test]
fn a_line_of_fstab_mounts() {
    needs_mount!("a_line_of_fstab_mounts", "unshare", "setpriv", "umount");
    let scene = Scene::new(tree);
    let has_overlay =
        fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay"));
    if !has_overlay {
        println!("SKIPPED a_line_of_fstab_mounts: no overlayfs to put a helper into /sbin with");
        return;
    }
    succeeds(
        &scene,
        "mkdir world/upper world/work
        mount -t overlay overlay -o lowerdir=/sbin,upperdir=world/upper,workdir=world/work /sbin
        ln -s $PWD/dgfs /sbin/mount.fuse.dgfs
        cat > world/fstab <<END
$PWD/tree.dgfs $PWD/home fuse.dgfs allow_other,nofail,_netdev,noatime,x-systemd.automount,subdir=part,noexec 0 0
END
        mount -T world/fstab $PWD/home
        test \"$(user 65534 cat home/sub/file)\" = hello
        findmnt -n -o FSTYPE,OPTIONS home | grep -q '^fuse.dgfs *ro,nosuid,nodev,noexec,noatime,'
        umount home
        test ! -e home/sub
        mount -a -T world/fstab
        test -e home/sub
        ! mount -T world/fstab -o remount,rw home 2>world/complaint
        grep -q 'unmount and mount again' world/complaint
        umount home
        mount -t fuse.dgfs tree.dgfs home -o ro
        test -e home/part/sub; umount home",
    );
}
