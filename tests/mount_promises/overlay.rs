//! The mount as the lower layer of overlayfs: the same operations on a plain copy must come to the same tree.

use super::mounting::{self, Scene, shell};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn tree(directory: &Path) {
    let script = "set -e
        mkdir -p keep/sub opaque/old gone moved/deep empty
        for i in 1 2 3 4 5 6; do echo file $i > keep/$i; done
        head -c 300000 /dev/urandom > keep/large
        echo below > opaque/old/file; echo x > gone/x; echo y > moved/deep/y
        ln keep/1 keep/sub/linked; ln -s ../keep/1 moved/link; mkfifo keep/fifo
        chmod 640 keep/2; chown 1000:1000 keep/3; chmod 4755 keep/4
        setfattr -n user.note -v kept keep/5; setfattr -n trusted.mine -v kept keep/6";
    shell(script, directory);
}

/// Everything that a user of a container or a live system does to files of the lower layer.
const OPERATIONS: &str = "set -e
    echo more >> keep/1                      # copied up; it has another name
    chmod 600 keep/2; chown 7:8 keep/2
    mv keep/3 keep/renamed
    rm keep/4; touch -d '2001-02-03 04:05:06' keep/5
    setfattr -n user.note -v changed keep/5
    ln keep/6 keep/hard; echo end >> keep/hard
    printf middle | dd of=keep/large bs=1 seek=150000 conv=notrunc status=none
    rm -r gone; mkdir gone; echo new > gone/new
    rmdir empty
    rm -r opaque; mkdir opaque; echo other > opaque/other
    mkdir new; mv moved new/moved || { cp -a moved new/; rm -r moved; }
    rm keep/fifo; ln -s nowhere keep/fifo
    : > keep/sub/truncated; mkdir keep/sub/more
    rm keep/sub/linked";

/// All that a program can find out about a tree, but times of directories and link counts, which overlayfs
/// makes up.
fn look(directory: &Path) -> String {
    let script = "set -e
        find . | LC_ALL=C sort | while read -r f; do
            if [ -d \"$f\" ] && [ ! -L \"$f\" ]; then stat -c '%n %F %a %u %g' \"$f\"
            else stat -c '%n %F %a %u %g %s' \"$f\"; fi
            if [ -f \"$f\" ] && [ ! -L \"$f\" ]; then md5sum < \"$f\"; fi
            if [ -L \"$f\" ]; then readlink \"$f\"; fi
            getfattr -h -d -m '^(user|trusted.mine)' -e hex \"$f\" 2>/dev/null | sort
        done; stat -c '%y' keep/5 keep/2";
    shell(script, directory)
}

/// A mount namespace in which `lower=DIR` overlaid by fresh directories can be had with `overlay DIR NAME OPTIONS`.
fn in_a_world(scene: &Scene, script: &str) -> Output {
    let prelude = "set -e
        mount --make-rprivate /
        mkdir -p world; mount -t tmpfs none world
        overlay() { mkdir -p world/$2/upper world/$2/work world/$2/merged
            mount -t overlay overlay -o \"lowerdir=$1,upperdir=world/$2/upper,workdir=world/$2/work$3\" world/$2/merged; }
        ";
    Command::new("unshare")
        .args(["-m", "sh", "-c", &format!("{prelude}{script}")])
        .current_dir(scene.path("."))
        .env("DGFS", mounting::DGFS)
        .output()
        .unwrap()
}

fn succeeds(output: &Output) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

fn has_overlay(test: &str) -> bool {
    let has = fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay"));
    if !has {
        println!("SKIPPED {test}: the kernel has no overlayfs");
    }
    has
}

#[test]
fn operations_on_top_come_to_the_same_as_on_a_copy() {
    const NAME: &str = "operations_on_top_come_to_the_same_as_on_a_copy";
    needs_mount!(
        "operations_on_top_come_to_the_same_as_on_a_copy",
        "unshare",
        "setfattr"
    );
    if !has_overlay(NAME) {
        return;
    }
    let scene = Scene::new(tree);
    for (options, dgfs_options) in [
        ("", "allow_other"),
        (",redirect_dir=on,index=on", "allow_other"),
        (",metacopy=on", "allow_other"),
        // The copies are made on behalf of who mounted the overlay.
        ("", "threads=1"),
    ] {
        fs::write(scene.path("operations"), OPERATIONS).unwrap();
        let script = format!(
            "mkdir -p lower
            $DGFS mount tree.dgfs lower -o {dgfs_options}
            cp -a tree world/copy
            overlay world/copy plain '{options}'
            overlay lower packed '{options}'
            for which in plain packed; do (cd world/$which/merged && sh ../../../operations); done
            cp -a world/plain/merged expected; cp -a world/packed/merged found
            umount world/plain/merged; umount world/packed/merged
            # What is there after a remount is what was written, not what was cached.
            overlay world/copy plain '{options}'
            overlay lower packed '{options}'
            diff -r --no-dereference expected world/packed/merged
            cp -a world/packed/merged again
            umount world/packed/merged
            $DGFS umount lower"
        );
        succeeds(&in_a_world(&scene, &script));
        let expected = look(&scene.path("expected"));
        assert_eq!(look(&scene.path("found")), expected, "{options}");
        assert_eq!(look(&scene.path("again")), expected, "{options}");
        assert!(expected.contains("keep/renamed") && !expected.contains("./empty"));
        shell("rm -rf expected found again", &scene.path("."));
    }
}

#[test]
fn a_packed_upper_layer_hides_and_moves_as_the_layer_itself() {
    const NAME: &str = "a_packed_upper_layer_hides_and_moves_as_the_layer_itself";
    needs_mount!(
        "a_packed_upper_layer_hides_and_moves_as_the_layer_itself",
        "unshare",
        "getfattr"
    );
    if !has_overlay(NAME) {
        return;
    }
    let scene = Scene::new(tree);
    fs::write(scene.path("operations"), OPERATIONS).unwrap();
    let script = "mkdir -p lower world/from_layer world/from_image
        cp -a tree world/base
        overlay world/base work ',redirect_dir=on'
        (cd world/work/merged && sh ../../../operations)
        umount world/work/merged
        $DGFS pack -q world/work/upper layer.dgfs
        $DGFS mount layer.dgfs lower -o allow_other
        test \"$(stat -c '%F %t:%T' lower/empty)\" = 'character special file 0:0'
        test \"$(getfattr --only-values -n trusted.overlay.opaque lower/opaque)\" = y
        getfattr -n trusted.overlay.redirect lower/new/moved
        mount -t overlay none -o lowerdir=world/work/upper:world/base,redirect_dir=follow world/from_layer
        mount -t overlay none -o lowerdir=lower:world/base,redirect_dir=follow world/from_image
        cp -a world/from_layer expected; cp -a world/from_image found
        umount world/from_layer; umount world/from_image
        $DGFS umount lower";
    succeeds(&in_a_world(&scene, script));
    let expected = look(&scene.path("expected"));
    assert_eq!(look(&scene.path("found")), expected);
    assert!(expected.contains("new/moved/deep/y") && !expected.contains("./gone/x"));
}
