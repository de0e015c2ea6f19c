//! Devices that fail, shrink or vanish under a mount: what lies there fails with `EIO`, all else goes on, and what comes
//! back is read again.

use super::failing_disk::{Disk, Switch};
use super::mounting::{self, DGFS, Scene, Server, eventually, shell};
use dgfs::mount::{FaultCounts, MountOptions, mount};
use dgfs::read::{Image, ReadAt};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Enough files and names for several volumes' worth of places and many pages of index.
fn tree(directory: &Path) {
    for part in 0..40 {
        let inside = directory.join(format!("part{part:02}"));
        fs::create_dir(&inside).unwrap();
        for number in 0..100 {
            let path = inside.join(format!("a file whose number is {number:03} in part {part}"));
            fs::write(path, format!("{part} {number}\n").repeat(300)).unwrap();
        }
    }
    // Noise, so that it takes as much of the volume.
    let noise = (0..750_000u32).map(|n| n.wrapping_mul(2_654_435_761));
    let noise: Vec<u8> = noise.flat_map(|n| (n ^ n >> 15).to_le_bytes()).collect();
    fs::write(directory.join("large"), noise).unwrap();
}

fn name(part: usize, number: usize) -> String {
    format!("part{part:02}/a file whose number is {number:03} in part {part}")
}

fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
}

fn read(scene: &Scene, path: &str) -> io::Result<Vec<u8>> {
    fs::read(scene.mount_point().join(path))
}

fn is_eio(outcome: io::Result<Vec<u8>>) -> bool {
    outcome.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::IO))
}

fn serve(scene: &Scene, image: &str) -> Server {
    let output = Command::new(DGFS)
        .args([
            "mount",
            image,
            "mount point, odd",
            "-o",
            "stats=stats,log=log,cache=0",
        ])
        .current_dir(scene.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Server::of(&scene.path(image))
}

fn end(scene: &Scene, server: &Server) -> (String, serde_json::Value) {
    server.signal(rustix::process::Signal::TERM);
    server.ended(scene);
    let log = fs::read_to_string(scene.path("log")).unwrap();
    let stats = fs::read(scene.path("stats")).unwrap();
    (log, serde_json::from_slice(&stats).unwrap())
}

fn same_as_source(scene: &Scene) {
    shell("diff -r tree 'mount point, odd'", &scene.path("."));
}

#[test]
fn a_volume_that_is_cut_off_fails_behind_the_cut_and_recovers() {
    needs_mount!("a_volume_that_is_cut_off_fails_behind_the_cut_and_recovers");
    let scene = Scene::packed(&["--compress", "none"], tree);
    let server = serve(&scene, "tree.dgfs");
    let image = Image::open(scene.image()).unwrap();
    let whole = fs::read(scene.volume()).unwrap();
    let cut = whole.len() / 2;
    let volume = File::options().write(true).open(scene.volume()).unwrap();
    volume.set_len(cut as u64).unwrap();
    drop_caches();
    let (mut lost, mut kept) = (0, 0);
    for part in 0..40 {
        for number in (0..100).step_by(7) {
            let path = name(part, number);
            let node = image.lookup(path.as_bytes()).unwrap().unwrap();
            // Positions of the first volume are offsets in its file.
            let is_lost = node.extent.position + node.extent.stored > cut as u64;
            let outcome = read(&scene, &path);
            if is_lost {
                assert!(is_eio(outcome), "{path}");
                lost += 1;
            } else {
                assert_eq!(
                    outcome.unwrap(),
                    fs::read(scene.tree().join(&path)).unwrap()
                );
                kept += 1;
            }
        }
    }
    assert!(lost > 100 && kept > 100, "{lost} lost, {kept} kept");
    shell("find . -ls", &scene.mount_point());
    volume.write_all_at(&whole[cut..], cut as u64).unwrap();
    same_as_source(&scene);
    let (log, stats) = end(&scene, &server);
    assert!(
        stats["faults"]["corrupt"].as_u64().unwrap() >= lost,
        "{stats}"
    );
    assert_eq!(
        (&stats["faults"]["io"], &stats["faults"]["panics"]),
        (&0.into(), &0.into())
    );
    let lines = log.matches(" failed: ").count();
    assert!(
        (1..=40).contains(&lines),
        "{lines} lines for {lost} failures"
    );
    for part in [
        "read of \"part",
        "tree.dgfs.data",
        "truncated",
        "(offset ",
        "further failures were not logged",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn an_index_that_is_cut_off_fails_behind_the_cut_and_recovers() {
    needs_mount!("an_index_that_is_cut_off_fails_behind_the_cut_and_recovers");
    let scene = Scene::new(tree);
    let server = serve(&scene, "tree.dgfs");
    // What was found before stays known to the kernel.
    let known = name(39, 99);
    let open = File::open(scene.mount_point().join(&known)).unwrap();
    // A dictionary lies in the index, and stays in memory once a file needed it.
    fs::read(scene.mount_point().join(name(38, 98))).unwrap();
    let whole = fs::read(scene.image()).unwrap();
    let index = File::options().write(true).open(scene.image()).unwrap();
    // The header is left; of the pages, the server remembers one or two.
    index.set_len(4096).unwrap();
    let list = |part: &usize| -> io::Result<Vec<u8>> {
        let listed = fs::read_dir(scene.mount_point().join(format!("part{part:02}")))?;
        listed.map(|entry| entry.map(|_| 0)).collect()
    };
    let failed = (0..40).filter(|part| is_eio(list(part))).count();
    assert!(failed > 10, "{failed} directories cannot be listed");
    let mut text = String::new();
    io::Read::read_to_string(&mut &open, &mut text).unwrap();
    assert!(text.starts_with("39 99\n"));
    index.write_all_at(&whole[4096..], 4096).unwrap();
    drop(open);
    same_as_source(&scene);
    let (log, stats) = end(&scene, &server);
    assert!(
        stats["faults"]["corrupt"].as_u64().unwrap() >= failed as u64,
        "{stats}"
    );
    assert!(
        log.contains("tree.dgfs: ") && log.contains("(page "),
        "{log}"
    );
}

#[test]
fn a_disk_that_fails_is_read_again_when_it_works() {
    needs_mount!("a_disk_that_fails_is_read_again_when_it_works");
    let scene = Scene::new(tree);
    for failing in ["tree.dgfs", "tree.dgfs.data"] {
        fs::create_dir_all(scene.path("disk")).unwrap();
        let switch = Arc::new(Switch::default());
        let _disk = Disk::plug_in(&scene.path("."), &[failing], &scene.path("disk"), &switch);
        let other = ["tree.dgfs", "tree.dgfs.data"]
            .iter()
            .find(|name| **name != failing);
        let (index, volume) = if failing == "tree.dgfs" {
            ("disk/tree.dgfs", other.unwrap().to_string())
        } else {
            ("tree.dgfs", "disk/tree.dgfs.data".to_owned())
        };
        let output = Command::new(DGFS)
            .args(["mount", index, "mount point, odd", "--data", &volume])
            .args(["-o", "stats=stats,log=log,cache=0"])
            .current_dir(scene.path("."))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let server = Server::of(&scene.path(index));
        let listed = scene.mount_point().join("part03");
        switch.set_failing(true);
        drop_caches();
        if failing == "tree.dgfs" {
            assert!(fs::metadata(listed.join("none")).is_err());
            assert!(
                fs::read_dir(&listed).map_or(true, |mut list| list.any(|entry| entry.is_err()))
            );
        } else {
            for number in 0..50 {
                assert!(is_eio(read(&scene, &name(3, number))), "{number}");
            }
            assert!(is_eio(read(&scene, "large")));
        }
        assert!(switch.refused() > 0);
        switch.set_failing(false);
        same_as_source(&scene);
        let (log, stats) = end(&scene, &server);
        assert!(stats["faults"]["io"].as_u64() > Some(0), "{stats}");
        assert_eq!(stats["faults"]["corrupt"], 0, "{stats}");
        assert!(
            log.contains(&format!("disk/{failing}: cannot read")),
            "{log}"
        );
        assert!(log.contains("Input/output error"), "{log}");
        fs::remove_file(scene.path("log")).unwrap();
    }
}

#[test]
fn a_disk_that_is_pulled_out_is_found_again_when_it_is_back() {
    needs_mount!("a_disk_that_is_pulled_out_is_found_again_when_it_is_back");
    let scene = Scene::new(tree);
    let point = scene.path("media/disk");
    fs::create_dir_all(&point).unwrap();
    let switch = Arc::new(Switch::default());
    let names = ["tree.dgfs", "tree.dgfs.data"];
    let disk = Disk::plug_in(&scene.path("."), &names, &point, &switch);
    let server = serve(&scene, "media/disk/tree.dgfs");
    assert!(read(&scene, &name(1, 1)).is_ok());
    drop(disk);
    drop_caches();
    assert!(is_eio(read(&scene, &name(1, 2))));
    assert!(is_eio(read(&scene, &name(1, 1))));
    let _disk = Disk::plug_in(&scene.path("."), &names, &point, &switch);
    eventually("found again", || read(&scene, &name(1, 2)).is_ok());
    eventually("all of it", || read(&scene, &name(30, 2)).is_ok());
    same_as_source(&scene);
    let (log, stats) = end(&scene, &server);
    assert!(stats["faults"]["io"].as_u64() > Some(0), "{stats}");
    assert!(log.contains("opened again"), "{log}");
}

#[test]
fn a_volume_that_is_removed_or_replaced_is_served_on() {
    needs_mount!("a_volume_that_is_removed_or_replaced_is_served_on");
    let scene = Scene::new(tree);
    let server = serve(&scene, "tree.dgfs");
    fs::remove_file(scene.volume()).unwrap();
    fs::write(scene.volume(), b"something else").unwrap();
    drop_caches();
    same_as_source(&scene);
    let (log, stats) = end(&scene, &server);
    assert_eq!(stats["faults"]["corrupt"], 0, "{log}");
}

#[test]
fn a_loop_device_that_loses_its_file_fails_and_recovers() {
    needs_mount!(
        "a_loop_device_that_loses_its_file_fails_and_recovers",
        "losetup"
    );
    let scene = Scene::new(tree);
    let attach = format!("losetup -f --show -r '{}'", scene.volume().display());
    let Ok(device) = Command::new("sh").args(["-c", &attach]).output() else {
        return;
    };
    if !device.status.success() {
        println!("SKIPPED a_loop_device_that_loses_its_file_fails_and_recovers: no loop devices");
        return;
    }
    let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
    let output = Command::new(DGFS)
        .args(["mount", "tree.dgfs", "mount point, odd", "--data", &device])
        .args(["-o", "stats=stats,log=log"])
        .current_dir(scene.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let server = Server::of(&scene.image());
    same_as_source(&scene);
    let whole = fs::read(scene.volume()).unwrap();
    let volume = File::options().write(true).open(scene.volume()).unwrap();
    volume.set_len(8192).unwrap();
    let flush = || shell(&format!("blockdev --flushbufs {device}"), Path::new("/"));
    flush();
    drop_caches();
    assert!(is_eio(read(&scene, "large")));
    shell("find . -ls", &scene.mount_point());
    volume.write_all_at(&whole, 0).unwrap();
    flush();
    same_as_source(&scene);
    let (log, stats) = end(&scene, &server);
    shell(&format!("losetup -d {device}"), Path::new("/"));
    let faults = &stats["faults"];
    assert!(
        faults["io"].as_u64().unwrap() + faults["corrupt"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert!(log.contains(&device), "{log}");
}

/// Bytes that can be made to fail in any way.
struct Moody {
    bytes: Vec<u8>,
    mood: Arc<AtomicU8>,
}

const FINE: u8 = 0;
const PANICS: u8 = 1;
const REFUSES: u8 = 2;
const LIES: u8 = 3;

impl ReadAt for Moody {
    #[expect(clippy::panic, reason = "that is what is tested")]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(buffer, offset)?;
        match self.mood.load(Ordering::SeqCst) {
            FINE => Ok(()),
            PANICS => panic!("a bug in reading"),
            // The number of another file system's error must not become that of the mount.
            REFUSES => Err(Errno::NOTCONN.into()),
            _ => {
                buffer.fill(0x55);
                Ok(())
            }
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.bytes.length()
    }
}

#[test]
fn a_panic_ends_its_request_and_nothing_else() {
    needs_mount!("a_panic_ends_its_request_and_nothing_else");
    let scene = Scene::new(tree);
    let moods = [Arc::new(AtomicU8::new(FINE)), Arc::new(AtomicU8::new(FINE))];
    let part = |path, mood: &Arc<AtomicU8>| {
        Box::new(Moody {
            bytes: fs::read(path).unwrap(),
            mood: mood.clone(),
        })
    };
    let image = Image::options()
        .cache_bytes(0)
        .open_parts(
            part(scene.image(), &moods[0]),
            vec![part(scene.volume(), &moods[1])],
        )
        .unwrap();
    let options = MountOptions {
        threads: Some(2),
        ..MountOptions::default()
    };
    let mounted = mount(Arc::new(image), &scene.mount_point(), &options).unwrap();
    for (place, mood) in moods.iter().enumerate() {
        for (kind, trouble) in [PANICS, REFUSES, LIES].into_iter().enumerate() {
            let before = mounted.faults();
            mood.store(trouble, Ordering::SeqCst);
            // More of them than there are threads.
            for number in 0..10 {
                let path = name(10 * place + kind, number);
                assert!(is_eio(read(&scene, &path)), "{path} with trouble {trouble}");
            }
            mood.store(FINE, Ordering::SeqCst);
            assert!(read(&scene, &name(10 * place + kind, 3)).is_ok());
            let after = mounted.faults();
            let rose = FaultCounts {
                corrupt: after.corrupt - before.corrupt,
                io: after.io - before.io,
                panics: after.panics - before.panics,
            };
            let counts = [rose.panics, rose.io, rose.corrupt];
            for (other, count) in counts.into_iter().enumerate() {
                assert_eq!(
                    count >= 10,
                    other == kind,
                    "{counts:?} for trouble {trouble}"
                );
                assert!(count >= 10 || count == 0, "{counts:?}");
            }
        }
    }
    same_as_source(&scene);
    mounted.unmount().unwrap();
}
