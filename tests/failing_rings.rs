//! Connections that cannot be set up, and rings that fail: no mount stays behind, and nobody waits for ever.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod mounting;

use mounting::{DGFS, Scene, Server, eventually, offers_rings, shell};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Leaves the test out where there are no rings.
macro_rules! needs_rings {
    ($test:literal $(, $program:literal)*) => {
        needs_mount!($test $(, $program)*);
        if !offers_rings() {
            println!("SKIPPED {}: the kernel does not offer FUSE over io_uring", $test);
            return;
        }
    };
}

/// The largest number of descriptors that is tried: far more than a mount on a few processors needs.
const DESCRIPTORS_MAX: u32 = 400;

fn tree(directory: &Path) {
    shell("for i in $(seq 200); do echo $i > file-$i; done", directory);
}

/// Mounts in the background with at most so many descriptors; whether it is mounted.
fn mounts(scene: &Scene, transport: &str, descriptors: u32) -> bool {
    let script = format!(
        "ulimit -n {descriptors}; exec {DGFS} mount -o transport={transport} tree.dgfs 'mount point, odd'"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scene.path("."))
        .output()
        .unwrap();
    let how = format!("{transport}, {descriptors} descriptors: {output:?}");
    match output.status.code() {
        Some(0) => {
            let file = scene.mount_point().join("file-7");
            assert_eq!(fs::read(file).unwrap(), b"7\n", "{how}");
            let server = Server::of(&scene.image());
            server.signal(Signal::TERM);
            server.ended(scene);
            true
        }
        // Programs that cannot even start are no business of ours.
        Some(126 | 127) => false,
        code => {
            assert_eq!(code, Some(2), "{how}");
            assert!(!output.stderr.is_empty(), "{how}");
            assert!(!scene.is_mounted(), "{how}");
            false
        }
    }
}

#[test]
fn too_few_descriptors_leave_no_mount_and_auto_takes_the_device() {
    needs_rings!("too_few_descriptors_leave_no_mount_and_auto_takes_the_device");
    let scene = Scene::new(tree);
    let mut in_vain = 0;
    for descriptors in 4..DESCRIPTORS_MAX {
        let by_device = mounts(&scene, "dev", descriptors);
        let by_rings = mounts(&scene, "uring", descriptors);
        assert_eq!(mounts(&scene, "auto", descriptors), by_device || by_rings);
        in_vain += u32::from(by_device && !by_rings);
        if by_rings {
            break;
        }
    }
    assert!(in_vain > 0, "rings take more descriptors than the device");
}

/// Starts a reader who is killed after ten seconds.
fn reader(path: &Path) -> Child {
    Command::new("timeout")
        .args(["-s", "KILL", "10", "cat"])
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_ring_that_fails_ends_the_mount_with_an_error() {
    needs_rings!(
        "a_ring_that_fails_ends_the_mount_with_an_error",
        "strace",
        "timeout"
    );
    let scene = Scene::new(tree);
    let below = scene.mount_point().join("below");
    fs::write(&below, b"of the directory itself").unwrap();
    let server = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=io_uring_enter"])
        // The first calls of a thread are those by which it starts.
        .args(["-e", "inject=io_uring_enter:error=ENOMEM:when=8+"])
        .args([DGFS, "mount", "-f", "-o", "transport=uring"])
        .arg(scene.image())
        .arg(scene.mount_point())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("mounted", || scene.is_mounted());
    let directory = fs::File::open(scene.mount_point()).unwrap();
    let is_refused = (1..200).any(|number| {
        let path = scene.mount_point().join(format!("file-{number}"));
        reader(&path).wait().unwrap().code() == Some(1)
    });
    assert!(is_refused, "a thread makes more than eight calls");
    let output = server.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("broke off"), "{said}");
    assert!(!scene.is_mounted());
    assert!(below.exists());
    // Not even who had something open waits for an answer.
    let error = rustix::fs::fstatvfs(&directory).err();
    assert_eq!(error, Some(rustix::io::Errno::NOTCONN));
}
