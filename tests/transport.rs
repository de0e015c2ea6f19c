//! The device and the rings: both carry the same answers, and neither lets one reader keep back another.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one left out says so"
)]

mod mounting;

use dgfs::ErrorKind;
use dgfs::mount::{MountOptions, Mounted, Transport, mount};
use dgfs::read::{Image, ReadAt};
use mounting::{Scene, eventually, offers_rings, shell};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Transports that this kernel offers; says which test has to do without rings.
fn transports(test: &str) -> Vec<Transport> {
    if offers_rings() {
        return vec![Transport::Dev, Transport::Uring];
    }
    println!("SKIPPED {test}, over rings: the kernel does not offer FUSE over io_uring");
    vec![Transport::Dev]
}

fn over(transport: Transport) -> MountOptions {
    MountOptions {
        transport,
        ..MountOptions::default()
    }
}

fn mounted(scene: &Scene, point: &Path, options: &MountOptions) -> dgfs::Result<Mounted> {
    let image = Arc::new(Image::open(scene.image())?);
    mount(image, point, options)
}

/// Unmounts. A program that another test is just starting has our files open until it runs, so the mount may be in use
/// for that long; it is hidden at once all the same.
fn end(mounted: Mounted) {
    drop(mounted);
}

/// Files, links, directories and all that belongs to them.
fn tree(directory: &Path) {
    shell(
        "mkdir -p many deep/er; for i in $(seq 3000); do echo $i > many/file-with-number-$i; done
         seq 400000 > large; truncate -s 9M holes; seq 20000 | dd of=holes bs=1M seek=3 conv=notrunc status=none
         ln -s ../large deep/link; ln large deep/er/again; mkfifo fifo; mknod null c 1 3; : > empty
         setfattr -n user.a -v b large; setfattr -n user.long -v $(printf %03000d 7) large
         touch -d @-86400.123456789 empty; touch -d @4000000000.5 deep/er; chmod 6751 empty; chown 7:8 many
         ln -s $(printf %04000d 7) long-link",
        directory,
    );
}

/// All that a program can learn of a mount, as text.
fn everything(point: &Path) -> String {
    let script = "export LC_ALL=C
        find . -printf '%p %i %y %s %b %m %n %U %G %A@ %T@ %C@ %l\\n' | sort
        find . -type f -exec sha256sum {} + | sort
        stat -f -c '%a %b %c %d %f %l %s %S' .
        stat -c '%t %T %o' null large many
        getfattr -R -h -d -m - . 2>&1 | sort
        ls -f many | head -n 20; ls -f many | wc -l
        for name in none many/none large/none $(printf %0300d 1); do stat $name 2>&1; done
        getfattr -n user.none large 2>&1; readlink large; touch new 2>&1; true";
    let holes = "import os; f = os.open('holes', os.O_RDONLY); e = os.fstat(f).st_size
def seek(at, how):
    try: return os.lseek(f, at, how)
    except OSError as error: return error.errno
print([(at, seek(at, os.SEEK_DATA), seek(at, os.SEEK_HOLE)) for at in range(0, e + 2, 65537)])";
    fs::write(point.with_extension("py"), holes).unwrap();
    let seeks = format!("python3 '{}'", point.with_extension("py").display());
    shell(script, point) + &shell(&seeks, point)
}

#[test]
fn both_transports_show_the_same() {
    needs_mount!("both_transports_show_the_same", "python3", "getfattr");
    let transports = transports("both_transports_show_the_same");
    let scene = Scene::new(tree);
    let mut shown = Vec::new();
    for transport in &transports {
        let mounted = mounted(&scene, &scene.mount_point(), &over(*transport)).unwrap();
        assert_eq!(mounted.transport(), *transport);
        shown.push(everything(&scene.mount_point()));
        let counts = mounted.counters();
        shown.push(format!("{counts:?}"));
        shell(
            "diff -r --no-dereference -x fifo -x null tree 'mount point, odd'",
            &scene.path("."),
        );
        end(mounted);
        assert!(!scene.is_mounted());
    }
    if let [answers, _, others, _] = shown.as_slice() {
        for (one, other) in answers.lines().zip(others.lines()) {
            assert_eq!(one, other);
        }
        assert_eq!(answers.lines().count(), others.lines().count());
    }
}

#[test]
fn the_transport_is_the_one_asked_for_or_the_mount_is_refused() {
    needs_mount!("the_transport_is_the_one_asked_for_or_the_mount_is_refused");
    let scene = Scene::new(|tree| fs::write(tree.join("file"), b"x").unwrap());
    let point = scene.mount_point();
    let offered = offers_rings();
    let auto = mounted(&scene, &point, &over(Transport::Auto)).unwrap();
    let expected = if offered {
        Transport::Uring
    } else {
        Transport::Dev
    };
    assert_eq!(auto.transport(), expected);
    assert_eq!(fs::read(point.join("file")).unwrap(), b"x");
    drop(auto);
    let dev = mounted(&scene, &point, &over(Transport::Dev)).unwrap();
    assert_eq!(dev.transport(), Transport::Dev);
    assert_eq!(fs::read(point.join("file")).unwrap(), b"x");
    drop(dev);
    let both = MountOptions {
        auto_unmount: true,
        ..over(Transport::Uring)
    };
    let error = mounted(&scene, &point, &both).unwrap_err();
    assert!(error.to_string().contains("auto_unmount"), "{error}");
    match mounted(&scene, &point, &over(Transport::Uring)) {
        Ok(rings) => {
            assert!(offered);
            assert_eq!(rings.transport(), Transport::Uring);
            assert_eq!(fs::read(point.join("file")).unwrap(), b"x");
        }
        Err(error) => {
            assert!(!offered, "{error}");
            assert_eq!(error.kind(), ErrorKind::Mount);
            assert!(error.to_string().contains("enable_uring"), "{error}");
            assert!(!scene.is_mounted());
        }
    }
}

#[test]
fn any_number_of_threads_serves() {
    needs_mount!("any_number_of_threads_serves");
    let scene = Scene::new(tree);
    let expected = fs::read(scene.tree().join("large")).unwrap();
    for transport in transports("any_number_of_threads_serves") {
        for threads in [1, 3, 16] {
            let options = MountOptions {
                threads: Some(threads),
                ..over(transport)
            };
            let _mounted = mounted(&scene, &scene.mount_point(), &options).unwrap();
            let point = scene.mount_point();
            std::thread::scope(|scope| {
                for client in 0..12 {
                    let (point, expected) = (&point, &expected);
                    scope.spawn(move || {
                        let file = fs::File::open(point.join("large")).unwrap();
                        for step in 0..40 {
                            let at = (client * 7919 + step * 104_729) % expected.len();
                            let length = (1 << (step % 21)).min(expected.len() - at);
                            let mut bytes = vec![0; length];
                            ReadAt::read_exact_at(&file, &mut bytes, at as u64).unwrap();
                            assert!(bytes == expected[at..at + length], "{length} at {at}");
                            let name = format!("many/file-with-number-{}", 1 + client * step);
                            let text = fs::read_to_string(point.join(name)).unwrap();
                            assert_eq!(text, format!("{}\n", 1 + client * step));
                        }
                    });
                }
            });
        }
    }
}

/// A volume whose reads of one place wait until they are let through.
struct Gated {
    bytes: Vec<u8>,
    place: usize,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let guard = self.is_open.lock().unwrap();
        // A test that failed shall end, too.
        let patience = Duration::from_secs(20);
        drop(
            self.opened
                .wait_timeout_while(guard, patience, |open| !*open),
        );
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl ReadAt for Gated {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        if (start..start + buffer.len()).contains(&self.place) {
            self.gate.pass();
        }
        self.bytes.read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        self.bytes.length()
    }
}

/// Mounts a tree of `slow`, whose device waits for the gate, and `fast`.
fn gated(scene: &Scene, transport: Transport) -> (Mounted, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let volume = fs::read(scene.volume()).unwrap();
    let marker = b"slow contents";
    let place = volume
        .windows(marker.len())
        .position(|bytes| bytes == marker);
    let part = Gated {
        bytes: volume,
        // Short contents are stored as they are.
        place: place.unwrap(),
        gate: gate.clone(),
    };
    let index = fs::read(scene.image()).unwrap();
    let image = Image::options().open_parts(Box::new(index), vec![Box::new(part)]);
    let mounted = mount(
        Arc::new(image.unwrap()),
        &scene.mount_point(),
        &over(transport),
    );
    (mounted.unwrap(), gate)
}

fn slow_and_fast() -> Scene {
    Scene::new(|tree| {
        fs::write(tree.join("slow"), b"slow contents").unwrap();
        fs::write(tree.join("between"), vec![b'b'; 3_000_000]).unwrap();
        fs::write(tree.join("fast"), b"fast contents").unwrap();
    })
}

#[test]
fn a_request_that_waits_for_a_device_keeps_back_no_other() {
    needs_mount!("a_request_that_waits_for_a_device_keeps_back_no_other");
    let scene = slow_and_fast();
    for transport in transports("a_request_that_waits_for_a_device_keeps_back_no_other") {
        let (mounted, gate) = gated(&scene, transport);
        let root = scene.mount_point();
        std::thread::scope(|scope| {
            let client = |name: &'static str| {
                let path = root.join(name);
                scope.spawn(move || {
                    // Both ask on one processor, which has one queue.
                    let mut set = CpuSet::new();
                    set.set(0);
                    let _ = sched_setaffinity(None, &set);
                    fs::read(path).unwrap()
                })
            };
            let slow = client("slow");
            eventually("the first waits", || {
                gate.waiting.load(Ordering::SeqCst) > 0
            });
            assert_eq!(client("fast").join().unwrap(), b"fast contents");
            assert!(!slow.is_finished());
            gate.open();
            assert_eq!(slow.join().unwrap(), b"slow contents");
        });
        end(mounted);
    }
}

#[test]
fn a_reader_who_is_killed_while_he_waits_leaves_the_mount_well() {
    needs_mount!("a_reader_who_is_killed_while_he_waits_leaves_the_mount_well");
    let scene = slow_and_fast();
    for transport in transports("a_reader_who_is_killed_while_he_waits_leaves_the_mount_well") {
        let (mounted, gate) = gated(&scene, transport);
        let mut reader = Command::new("cat")
            .arg(scene.mount_point().join("slow"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        eventually("he waits", || gate.waiting.load(Ordering::SeqCst) > 0);
        reader.kill().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        gate.open();
        let mut said = Vec::new();
        reader
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut said)
            .unwrap();
        assert!(!reader.wait().unwrap().success());
        for name in ["slow", "fast"] {
            let text = fs::read_to_string(scene.mount_point().join(name)).unwrap();
            assert_eq!(text, format!("{name} contents"));
        }
        assert_eq!(mounted.faults().io + mounted.faults().corrupt, 0);
        end(mounted);
    }
}
