//! What the serving process keeps: no rights, and no descriptor that it does not need.

use super::mounting::{self, Scene, Server, eventually, shell};
use rustix::process::Signal;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

fn tree(directory: &Path) {
    fs::create_dir(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/file"), b"hello\n").unwrap();
    // Compressed, so that there are threads that decompress.
    fs::write(directory.join("sub/text"), "more of the same\n".repeat(999)).unwrap();
}

/// Mounts in the background, with a descriptor that is not meant for the server.
fn mount(scene: &Scene, options: &str) -> Server {
    let option = if options.is_empty() { "" } else { "-o" };
    let script =
        format!("exec 7</etc/passwd; $DGFS mount tree.dgfs 'mount point, odd' {option} {options}");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scene.path("."))
        .env("DGFS", mounting::DGFS)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Server::of(&scene.image())
}

/// The value of a line of `/proc/PID/status` or that of one of its threads.
fn status(file: &Path, key: &str) -> String {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

#[test]
fn every_thread_is_in_the_sandbox_unless_it_is_switched_off() {
    needs_mount!("every_thread_is_in_the_sandbox_unless_it_is_switched_off");
    let scene = Scene::packed(&["--compress", "zstd"], tree);
    for (options, expected) in [
        ("", ("1", "2", "0000000000000000")),
        ("log=log,stats=stats", ("1", "2", "0000000000000000")),
        ("no_sandbox", ("0", "0", "")),
    ] {
        let server = mount(&scene, options);
        assert_eq!(
            fs::read(scene.mount_point().join("sub/file")).unwrap(),
            b"hello\n"
        );
        let threads: Vec<_> = fs::read_dir(server.proc("task")).unwrap().collect();
        assert!(
            threads.len() > 3,
            "the serving threads, the one for signals and the first"
        );
        let mut decoders = 0;
        for thread in threads {
            let thread = thread.unwrap().path();
            let file = thread.join("status");
            let name = fs::read_to_string(thread.join("comm")).unwrap();
            decoders += usize::from(name == "dgfs-decoder\n");
            let (new, calls, rights) = expected;
            assert_eq!(status(&file, "NoNewPrivs"), new, "{options}: {name}");
            assert_eq!(status(&file, "Seccomp"), calls, "{options}: {name}");
            if !rights.is_empty() {
                for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                    assert_eq!(status(&file, set), rights, "{options}: {name} {set}");
                }
            }
        }
        let processors = std::thread::available_parallelism().unwrap().get();
        assert_eq!(decoders > 0, processors > 1);
        // All of what a server does besides answering has to work in there.
        if options.contains("stats") {
            server.signal(Signal::USR1);
            let written = || fs::read_to_string(scene.path("stats")).unwrap_or_default();
            eventually("statistics", || written().contains("\"lookup\""));
        }
        let in_use = fs::File::open(scene.mount_point().join("sub/file")).unwrap();
        server.signal(Signal::TERM);
        eventually("hidden", || !scene.is_mounted());
        drop(in_use);
        server.ended(&scene);
        if options.contains("log") {
            let log = fs::read_to_string(scene.path("log")).unwrap();
            assert!(log.contains("in use; served until"), "{log}");
        }
    }
}

#[test]
fn only_what_serving_needs_is_open() {
    needs_mount!("only_what_serving_needs_is_open");
    let scene = Scene::new(tree);
    for (options, mut files) in [
        ("", vec![scene.image(), scene.volume()]),
        (
            "log=log,stats=stats,threads=3",
            vec![
                scene.image(),
                scene.volume(),
                scene.path("log"),
                scene.path("stats"),
            ],
        ),
    ] {
        let server = mount(&scene, options);
        for entry in fs::read_dir(server.proc("fd")).unwrap() {
            let descriptor = entry.unwrap().path();
            let target = fs::read_link(&descriptor).unwrap();
            let name = target.to_str().unwrap();
            let is_link = name.starts_with("pipe:") || name.starts_with("socket:");
            let is_device = ["/dev/fuse", "/dev/null", "anon_inode:[io_uring]"].contains(&name);
            let place = files.iter().position(|file| *file == target);
            assert!(
                is_link || is_device || place.is_some(),
                "{descriptor:?} is {name}"
            );
            if let Some(place) = place {
                files.remove(place);
            }
        }
        assert_eq!(
            files,
            Vec::<std::path::PathBuf>::new(),
            "all of these are needed"
        );
        // Two pipes to the process that unmounts, one to the system's log; a pair of sockets for signals, one to the log.
        let links = shell(
            &format!(
                "ls -l {} | grep -c -e pipe: -e socket:",
                server.proc("fd").display()
            ),
            Path::new("/"),
        );
        assert!(links.trim().parse::<usize>().unwrap() <= 7, "{links}");
        server.signal(Signal::TERM);
        server.ended(&scene);
    }
}

#[test]
fn the_process_that_unmounts_ends_with_the_server() {
    needs_mount!("the_process_that_unmounts_ends_with_the_server");
    let scene = Scene::new(tree);
    for signal in [Signal::TERM, Signal::KILL] {
        let server = mount(&scene, "");
        let children = server.proc(&format!("task/{}/children", server.id()));
        let Ok(children) = fs::read_to_string(children) else {
            println!(
                "SKIPPED the_process_that_unmounts_ends_with_the_server: the kernel lists no children"
            );
            return;
        };
        let keeper = Path::new("/proc").join(children.trim());
        // The mount may answer before the keeper has so much as a name.
        eventually("the keeper runs", || {
            fs::read_to_string(keeper.join("cmdline"))
                .is_ok_and(|words| words.contains("keep-mount"))
        });
        // It holds neither the image nor anything of the caller.
        let is_modest = |entry: io::Result<fs::DirEntry>| {
            let Ok(target) = fs::read_link(entry.unwrap().path()) else {
                return false;
            };
            let name = target.to_string_lossy();
            name.starts_with("pipe:") || name.starts_with("socket:") || name == "/dev/null"
        };
        eventually("nothing else is open", || {
            fs::read_dir(keeper.join("fd")).unwrap().all(is_modest)
        });
        server.signal(signal);
        let is_gone =
            || fs::read_to_string(keeper.join("stat")).map_or(true, |stat| stat.contains(") Z "));
        eventually("the keeper is gone", is_gone);
        if signal == Signal::KILL {
            shell(
                &format!("{} umount 'mount point, odd'", mounting::DGFS),
                &scene.path("."),
            );
        }
        eventually("unmounted", || !scene.is_mounted());
    }
}
