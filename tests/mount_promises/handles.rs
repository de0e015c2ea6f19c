//! File handles, which NFS servers and backup programs keep for as long as they like.

use super::mounting::{self, Scene, shell};
use dgfs::mount::{MountOptions, Mounted, mount};
use dgfs::read::Image;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn mounted(scene: &Scene) -> Mounted {
    let image = Arc::new(Image::open(scene.image()).unwrap());
    mount(image, &scene.mount_point(), &MountOptions::default()).unwrap()
}

/// Prints the handles of the files named on the standard input, or opens the handles given there. The standard
/// library of Python has no such calls, so they are made by hand.
const PROGRAM: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]
what, root = sys.argv[1:3]
for line in sys.stdin:
    line = line.rstrip("\n")
    if what == "save":
        handle, mount = Handle(size=128), ctypes.c_int()
        path = os.path.join(root, line).encode()
        if libc.name_to_handle_at(-100, path, ctypes.byref(handle), ctypes.byref(mount), 0):
            sys.exit(f"{line}: {os.strerror(ctypes.get_errno())}")
        print(line, handle.type, bytes(handle.bytes[:handle.size]).hex(), sep="\t")
    else:
        name, kind, data = line.split("\t")
        data = bytes.fromhex(data)
        handle = Handle(size=len(data), type=int(kind))
        ctypes.memmove(handle.bytes, data, len(data))
        directory = os.open(root, os.O_RDONLY)
        fd = libc.open_by_handle_at(directory, ctypes.byref(handle), os.O_RDONLY | os.O_NONBLOCK)
        if fd < 0:
            print(name, os.strerror(ctypes.get_errno()), sep="\t")
            continue
        stat = os.fstat(fd)
        path = os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), root)
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            seen = " ".join(sorted(os.listdir(fd)))
        else:
            seen = os.read(fd, 100).decode()
        print(name, stat.st_ino, path, seen, sep="\t")
"#;

#[test]
fn handles_outlive_caches_and_mounts() {
    needs_mount!("handles_outlive_caches_and_mounts", "python3");
    let scene = Scene::new(|tree| {
        shell(
            "mkdir -p a/b/c d; for f in a/b/c/deep a/b/x d/y z; do echo in $f > $f; done; ln z d/also_z
            for i in $(seq 300); do echo $i > d/$i; done",
            tree,
        );
    });
    fs::write(scene.path("handles.py"), PROGRAM).unwrap();
    let names = ".\na\na/b\na/b/c\na/b/c/deep\na/b/x\nd/y\nz\nd/also_z\nd/150\n";
    fs::write(scene.path("names"), names).unwrap();
    let point = scene.mount_point();
    let open = || {
        let command = format!("python3 handles.py open '{}' < handles", point.display());
        shell(&command, &scene.path("."))
    };
    let first = mounted(&scene);
    let save = format!(
        "python3 handles.py save '{}' < names > handles",
        point.display()
    );
    shell(&save, &scene.path("."));
    let expected: Vec<String> = names
        .lines()
        .map(|name| {
            let path = scene.mount_point().join(name);
            let metadata = fs::metadata(&path).unwrap();
            let seen = if metadata.is_dir() {
                shell("ls | LC_ALL=C sort | tr '\\n' ' '", &path)
                    .trim()
                    .to_owned()
            } else {
                fs::read_to_string(&path).unwrap()
            };
            let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
            format!("{name}\t{inode}\t{name}\t{seen}")
        })
        .collect();
    let check = |when: &str| {
        let opened = open();
        for (line, expected) in opened
            .split('\n')
            .filter(|line| line.contains('\t'))
            .zip(&expected)
        {
            let fields: Vec<&str> = line.split('\t').collect();
            let wanted: Vec<&str> = expected.trim_end().split('\t').collect();
            assert_eq!(fields.len(), 4, "{when}: {line}");
            assert_eq!(
                (fields[0], fields[1], fields[3]),
                (wanted[0], wanted[1], wanted[3]),
                "{when}"
            );
            // A file without a known name has none to show; a directory always has.
            let is_directory = point.join(wanted[0]).is_dir();
            assert!(!is_directory || fields[2] == wanted[2], "{when}: {line}");
        }
        assert_eq!(
            opened.lines().filter(|line| line.contains('\t')).count(),
            expected.len()
        );
    };
    check("as known");
    shell("echo 3 > /proc/sys/vm/drop_caches", Path::new("/"));
    check("with caches dropped");
    first.unmount().unwrap();
    let second = mounted(&scene);
    check("mounted again");
    second.unmount().unwrap();
    // With less of the image shown, handles from outside of it do not lead there.
    let mut options = MountOptions::default();
    options.view.subdir = Some(b"a".to_vec());
    let image = Arc::new(Image::open(scene.image()).unwrap());
    let _third = mount(image, &scene.mount_point(), &options).unwrap();
    let opened = open();
    assert!(
        opened.contains("a\tStale file handle"),
        "the old number of the root: {opened}"
    );
    for outside in ["d/y", "d/150"] {
        let refused = format!("{outside}\tStale file handle");
        assert!(opened.contains(&refused), "{opened}");
    }
    assert!(opened.contains("in a/b/x"), "{opened}");
}
