//! Tests of the walk and the opener on trees that are larger or deeper than usual.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};

use super::{TreeOpener, WalkEvent, WalkOptions, WalkSummary, walk};
use crate::sort::{PATH_LIMIT, Record};
use crate::{Error, ErrorKind, Result};

/// A chain of directories `d/d/d...`, each with the file `f` in it; its depth is in the file's text.
struct Chain {
    root: tempfile::TempDir,
    name: String,
}

impl Chain {
    fn new(depth: usize, name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut at = open_directory(CWD, root.path());
        for level in 0..depth {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = openat(&at, "f", flags, Mode::RUSR | Mode::WUSR).unwrap();
            rustix::io::write(&file, level.to_string().as_bytes()).unwrap();
            mkdirat(&at, name, Mode::RWXU).unwrap();
            at = open_directory(at.as_fd(), name);
        }
        Self {
            root,
            name: name.to_owned(),
        }
    }
}

impl Drop for Chain {
    /// Takes the chain apart from the top: the usual removal needs a descriptor for every level.
    fn drop(&mut self) {
        let root = open_directory(CWD, self.root.path());
        let top = || openat(&root, self.name.as_str(), OFlags::PATH, Mode::empty());
        while let Ok(first) = top() {
            let second = renameat(&first, self.name.as_str(), &root, "next");
            let _ = unlinkat(&first, "f", AtFlags::empty());
            let _ = unlinkat(&root, self.name.as_str(), AtFlags::REMOVEDIR);
            if second.is_err() || renameat(&root, "next", &root, self.name.as_str()).is_err() {
                break;
            }
        }
    }
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> OwnedFd {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn walk_all(
    root: &Path,
    change: impl Fn(&mut WalkOptions),
    sink: &mut dyn FnMut(Record),
) -> (Result<WalkSummary>, Vec<WalkEvent>) {
    let scratch = tempfile::tempdir().unwrap();
    let mut options = WalkOptions::new(scratch.path());
    change(&mut options);
    let mut events = Vec::new();
    let summary = walk(
        root,
        &options,
        &mut |event| {
            // That comes whenever the machine is slow.
            if !matches!(event, WalkEvent::Waiting) {
                events.push(event);
            }
            Ok(())
        },
        &mut |record| {
            sink(record);
            Ok(())
        },
    );
    (summary, events)
}

#[test]
fn a_tree_deeper_than_path_max_and_the_descriptor_limit_is_walked_and_read() {
    const DEPTH: usize = 3000;
    let chain = Chain::new(DEPTH, "directory");
    let mut records = Vec::new();
    let (summary, events) = walk_all(chain.root.path(), |_| (), &mut |r| records.push(r));
    assert!(events.is_empty(), "{events:?}");
    // Each level adds a directory and a file, and the root is one more.
    assert_eq!(summary.unwrap().entries, 2 * DEPTH as u64 + 1);
    records.retain(|record| record.name == b"f");
    assert_eq!(records.len(), DEPTH);
    let longest = records.iter().map(|record| record.parent.len()).max();
    assert!(longest.unwrap() > 7 * 4096);
    // Far apart and side by side, so that every way to reach a directory is taken.
    records.sort_by_key(|record| record.parent.len() / 10 % 97);
    let mut opener = TreeOpener::new(chain.root.path()).unwrap();
    for record in records {
        let mut text = String::new();
        let mut file = opener.open(&record.parent, &record.name).unwrap();
        file.read_to_string(&mut text).unwrap();
        let depth = record
            .parent
            .split(|b| *b == b'/')
            .filter(|n| !n.is_empty())
            .count();
        assert_eq!(text, depth.to_string());
    }
}

#[test]
fn what_lies_beyond_the_longest_path_is_a_problem_of_its_own() {
    let name = "n".repeat(255);
    let depth = PATH_LIMIT / 256 + 3;
    let chain = Chain::new(depth, &name);
    let mut longest = 0;
    let mut sink = |record: Record| longest = longest.max(record.path().len());
    let (summary, events) = walk_all(chain.root.path(), |_| (), &mut sink);
    let summary = summary.unwrap();
    assert_eq!(summary.problems, events.len() as u64);
    assert!(
        longest <= PATH_LIMIT && longest + 256 > PATH_LIMIT,
        "{longest}"
    );
    for event in &events {
        assert!(
            matches!(event, WalkEvent::Problem(error) if error.kind() == ErrorKind::Source),
            "{event:?}"
        );
    }
    assert!(!events.is_empty());
    let (result, events) = walk_all(chain.root.path(), |o| o.strict = true, &mut |_| ());
    assert_eq!(result.map_err(|e: Error| e.kind()), Err(ErrorKind::Source));
    assert!(
        events.is_empty(),
        "a fatal problem is returned, not reported"
    );
}

#[test]
fn a_directory_of_100_000_entries_is_walked_completely() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("many");
    std::fs::create_dir(&directory).unwrap();
    let at = open_directory(CWD, &directory);
    for number in 0..100_000 {
        rustix::fs::symlinkat("t", &at, format!("entry {number}")).unwrap();
    }
    let mut names = BTreeSet::new();
    let mut sink = |record: Record| {
        if record.parent == b"many" {
            assert!(names.insert(record.name));
        }
    };
    let (summary, events) = walk_all(root.path(), |_| (), &mut sink);
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(summary.unwrap().entries, 100_002);
    assert_eq!(names.len(), 100_000);
}

#[test]
fn other_file_systems_are_left_out_if_wanted() {
    // `/dev` has file systems of its own mounted below it wherever there is a `/dev/pts`.
    let is_mount = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &str| std::fs::metadata(path).map(|m| m.dev()).ok();
        device(path).is_some() && device(path) != device("/dev")
    };
    if !is_mount("/dev/pts") {
        eprintln!("SKIPPED other_file_systems_are_left_out_if_wanted: /dev/pts is not mounted");
        return;
    }
    for (one, expected) in [(false, true), (true, false)] {
        let (mut mount_point, mut below) = (false, false);
        let mut sink = |record: Record| {
            mount_point |= record.path() == b"pts";
            below |= record.parent == b"pts";
        };
        let change = |options: &mut WalkOptions| options.one_file_system = one;
        let (_, events) = walk_all(Path::new("/dev"), change, &mut sink);
        assert!(mount_point);
        assert_eq!(below, expected);
        let reported = events.iter().any(|event| {
            matches!(event, WalkEvent::Skipped { path, .. } if path == Path::new("/dev/pts"))
        });
        assert_eq!(reported, one);
    }
}
