//! Images that lie, mounted: whatever is asked of them is answered within bounds, by the truth or by an error, and the
//! server goes on. Root and FUSE are needed.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be prepared has failed"
)]

mod images;
#[macro_use]
mod mounting;

use images::every_kind;
use images::lies::cases;
use mounting::{DGFS, Server};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Entries that are looked at in one mount.
const MOST_ENTRIES: usize = 2_000;

/// Time for one mount, all questions and unmounting, on a busy machine.
const MOST_TIME: Duration = Duration::from_secs(30);

/// Errors that a lie may come to. The kernel finds some itself: a directory that holds one of its ancestors is `ELOOP`, a
/// path that grows without end `ENAMETOOLONG`.
const EXPECTED: [Errno; 3] = [Errno::IO, Errno::LOOP, Errno::NAMETOOLONG];

fn dgfs(arguments: &[&str], directory: &Path) -> Output {
    let command = Command::new(DGFS)
        .args(arguments)
        .current_dir(directory)
        .output();
    command.unwrap()
}

/// What came of asking.
#[derive(Default)]
struct Asked {
    entries: usize,
    errors: usize,
    unexpected: Vec<String>,
}

impl Asked {
    fn take<T>(&mut self, path: &Path, answer: io::Result<T>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.errors += 1;
                if Errno::from_io_error(&error).is_none_or(|errno| !EXPECTED.contains(&errno)) {
                    self.unexpected.push(format!("{}: {error}", path.display()));
                }
                None
            }
        }
    }
}

/// Asks all that can be asked below `root` by system calls.
fn ask(root: &Path) -> Asked {
    let mut asked = Asked::default();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let Some(listing) = asked.take(&directory, fs::read_dir(&directory)) else {
            continue;
        };
        for entry in listing {
            asked.entries += 1;
            if asked.entries > MOST_ENTRIES {
                return asked;
            }
            let Some(entry) = asked.take(&directory, entry) else {
                break;
            };
            let path = entry.path();
            assert!(!entry.file_name().as_bytes().contains(&b'/'));
            let _ = asked.take(&path, look(&path, &mut waiting));
        }
    }
    asked
}

fn look(path: &Path, waiting: &mut Vec<PathBuf>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        waiting.push(path.to_path_buf());
    } else if metadata.is_file() {
        let mut start = vec![0; 70_000];
        let length = fs::File::open(path)?.read(&mut start)?;
        assert!(length as u64 <= metadata.len());
    } else if metadata.is_symlink() {
        let target = fs::read_link(path)?;
        assert_eq!(target.as_os_str().len() as u64, metadata.len());
    }
    let mut names = [0; 1000];
    match rustix::fs::llistxattr(path, &mut names[..]) {
        // An image that has none says so once and for all.
        Ok(_) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[test]
fn lies_are_errors_of_the_mount() {
    needs_mount!("lies_are_errors_of_the_mount");
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path();
    fs::create_dir(inside.join("mnt")).unwrap();
    let (mut mounted, mut with_errors) = (0, 0);
    let mut wrong = BTreeSet::new();
    for (story, image, _) in cases() {
        let parts = image().write();
        fs::write(inside.join("lie"), &parts.index).unwrap();
        fs::write(inside.join("lie.data"), &parts.volumes[0]).unwrap();
        let begun = Instant::now();
        let output = dgfs(&["mount", "lie", "mnt"], inside);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.code() != Some(2) || !said.starts_with("dgfs: ") {
                wrong.insert(format!("{story}: {output:?}"));
            }
            continue;
        }
        let server = Server::of(&inside.join("lie"));
        let asked = ask(&inside.join("mnt"));
        mounted += 1;
        with_errors += usize::from(asked.errors > 0);
        wrong.extend(
            asked
                .unexpected
                .iter()
                .map(|what| format!("{story}: {what}")),
        );
        if !server.is_alive() {
            wrong.insert(format!("{story}: the server is gone"));
        }
        let output = dgfs(&["umount", "mnt"], inside);
        if !output.status.success() || begun.elapsed() > MOST_TIME {
            wrong.insert(format!("{story}: {output:?} after {:?}", begun.elapsed()));
        }
    }
    println!(
        "{mounted} mounted, {with_errors} with errors, of {}",
        cases().count()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(mounted > 30 && with_errors > 20, "{mounted}, {with_errors}");
}

/// A long link whose target is damaged is listed, and alone has no attributes.
#[test]
fn a_damaged_link_costs_nothing_but_itself() {
    needs_mount!("a_damaged_link_costs_nothing_but_itself");
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path();
    fs::create_dir(inside.join("mnt")).unwrap();
    let mut parts = every_kind::every_kind();
    let image = parts.clone().open().unwrap();
    let mut links = Vec::new();
    let walked = image.walk(0, &mut |parent, name, node| {
        if node.mode >> 12 == 0o12 && node.size > 1024 {
            let directory = String::from_utf8(parent.to_vec()).unwrap();
            links.push((directory, name.to_vec(), image.read_link(node).unwrap()));
        }
        true
    });
    walked.unwrap();
    let (directory, name, target) = links.first().unwrap();
    let in_image = image.lookup(directory.as_bytes()).unwrap().unwrap();
    let beside = inside.join("mnt").join(directory);
    let damage = |bytes: &mut Vec<u8>| {
        let places: Vec<_> = (0..=bytes.len() - target.len())
            .filter(|&at| bytes[at..].starts_with(target))
            .collect();
        for at in places {
            bytes[at] ^= 1;
        }
    };
    damage(&mut parts.index);
    fs::write(inside.join("image"), &parts.index).unwrap();
    for (number, volume) in parts.volumes.iter().enumerate() {
        let ending = if number == 0 {
            "data".to_owned()
        } else {
            format!("data.{number}")
        };
        fs::write(inside.join(format!("image.{ending}")), volume).unwrap();
    }

    for options in ["readdirplus=always", "readdirplus=never"] {
        let output = dgfs(&["mount", "image", "mnt", "-o", options], inside);
        assert!(output.status.success(), "{output:?}");
        let link = beside.join(std::ffi::OsStr::from_bytes(name));
        let (mut whole, mut failed) = (0, Vec::new());
        for entry in fs::read_dir(&beside).unwrap() {
            let entry = entry.unwrap();
            // By the path, so that the kernel decides whether it knows.
            match fs::symlink_metadata(entry.path()) {
                Ok(_) => whole += 1,
                Err(error) => failed.push((entry.path(), Errno::from_io_error(&error))),
            }
        }
        let unread = fs::read_link(&link).unwrap_err();
        assert!(dgfs(&["umount", "mnt"], inside).status.success());
        assert_eq!(failed, [(link.clone(), Some(Errno::IO))], "{options}");
        assert_eq!(Errno::from_io_error(&unread), Some(Errno::IO), "{options}");
        assert_eq!(whole + 1, in_image.children.count, "{options}");
    }

    let sound = String::from_utf8(dgfs(&["ls", "image", directory], inside).stdout).unwrap();
    let output = dgfs(&["ls", "-l", "image", directory], inside);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    let long = String::from_utf8(output.stdout).unwrap();
    assert_eq!(long.lines().count() + 1, sound.lines().count());
    let output = dgfs(&["ls", "-R", "--json", "--xattrs", "image"], inside);
    assert_eq!(output.status.code(), Some(1));
    let objects = String::from_utf8(output.stdout).unwrap();
    assert_eq!(objects.lines().count() as u64 + 1, image.header().entries);
}
