//! Tests of walks that take a part of a tree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{
    AttributePatterns, PathList, PathPatterns, Selection, WalkEvent, WalkOptions, WalkSummary, walk,
};
use crate::entry::Kind;
use crate::sort::Record;

/// Records by path, problems as text, and the summary. A path that comes again must be the same.
fn walked(root: &Path, selection: Selection) -> (BTreeMap<String, Record>, String, WalkSummary) {
    let scratch = tempfile::tempdir().unwrap();
    let mut records = BTreeMap::new();
    let mut problems = String::new();
    let options = WalkOptions {
        threads: 3,
        selection,
        ..WalkOptions::new(scratch.path())
    };
    let summary = walk(
        root,
        &options,
        &mut |event| {
            if let WalkEvent::Problem(error) = event {
                writeln!(problems, "{error}").unwrap();
            }
            Ok(())
        },
        &mut |record| {
            let path = String::from_utf8(record.path()).unwrap();
            if let Some(before) = records.insert(path, record.clone()) {
                assert_eq!(before, record);
            }
            Ok(())
        },
    );
    (records, problems, summary.unwrap())
}

fn paths(records: &BTreeMap<String, Record>) -> Vec<&str> {
    records.keys().map(String::as_str).collect()
}

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for directory in ["a/b/c", "a/build", "x/b"] {
        fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    for file in [
        "a/1.c",
        "a/1.o",
        "a/b/2.c",
        "a/b/c/3.o",
        "a/build/4",
        "build",
        "x/b/5.c",
    ] {
        fs::write(root.path().join(file), file).unwrap();
    }
    root
}

#[test]
fn what_patterns_match_is_left_out_with_all_below() {
    let root = tree();
    let excluding = |patterns: &[&str]| Selection {
        exclude: PathPatterns::new(patterns).unwrap(),
        ..Selection::default()
    };
    let (records, problems, summary) = walked(root.path(), excluding(&["*.o", "build/", "/x/b"]));
    assert_eq!(
        paths(&records),
        ["", "a", "a/1.c", "a/b", "a/b/2.c", "a/b/c", "build", "x"]
    );
    assert_eq!((problems.as_str(), summary.excluded), ("", 4));
    let (records, _, summary) = walked(root.path(), excluding(&["**"]));
    assert_eq!((paths(&records), summary.excluded), (vec![""], 3));
}

fn listing(root: &Path, text: &str, null: bool, recurse: bool) -> Selection {
    let file = root.with_extension("list");
    fs::write(&file, text).unwrap();
    Selection {
        list: Some(PathList {
            file,
            null,
            recurse,
        }),
        ..Selection::default()
    }
}

#[test]
fn a_list_names_what_is_taken() {
    let root = tree();
    let absolute = root.path().join("a/1.c");
    let text = format!("x/b/5.c\n./a/b/\n\n{}\na/b/2.c\n", absolute.display());
    let (records, problems, _) = walked(root.path(), listing(root.path(), &text, false, false));
    assert_eq!(
        paths(&records),
        ["", "a", "a/1.c", "a/b", "a/b/2.c", "x", "x/b", "x/b/5.c"]
    );
    assert_eq!(problems, "");
    let (records, problems, _) = walked(root.path(), listing(root.path(), &text, false, true));
    assert!(records.contains_key("a/b/c/3.o"));
    assert_eq!((records.len(), problems.as_str()), (10, ""));
    let (records, _, _) = walked(root.path(), listing(root.path(), ".\n", false, true));
    assert_eq!(records.len(), 14);
    let (records, _, _) = walked(root.path(), listing(root.path(), "", false, true));
    assert_eq!(paths(&records), [""]);
}

#[test]
fn names_in_a_list_that_lead_nowhere_are_problems() {
    let root = tree();
    fs::write(root.path().join("line\nfeed"), "").unwrap();
    symlink("a", root.path().join("link")).unwrap();
    let text = "line\nfeed\0nowhere\0build/x\0link/1.c\0../up\0/etc/passwd\0a/1.c\0";
    let (records, problems, summary) = walked(root.path(), listing(root.path(), text, true, true));
    assert_eq!(
        paths(&records),
        ["", "a", "a/1.c", "build", "line\nfeed", "link"]
    );
    assert_eq!(summary.problems, 5, "{problems}");
    for part in ["nowhere: ", "build: ", "link: ", "../up: ", "/etc/passwd: "] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

#[test]
fn patterns_hold_for_lists_as_well() {
    let root = tree();
    let mut selection = listing(root.path(), "a/b/c/3.o\na/b/2.c\nx\na/1.c\n", false, true);
    selection.exclude = PathPatterns::new(["/a/b", "*.c"]).unwrap();
    let (records, problems, _) = walked(root.path(), selection);
    assert_eq!(paths(&records), ["", "a", "x", "x/b"]);
    assert_eq!(problems, "");
}

#[test]
fn a_long_list_comes_out_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for directory in 0..5 {
        let path = root.path().join(format!("d{directory}/e"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..2500 {
            fs::write(path.join(file.to_string()), "").unwrap();
            writeln!(text, "d{directory}/e/{file}").unwrap();
        }
    }
    let (records, problems, _) = walked(root.path(), listing(root.path(), &text, false, true));
    assert_eq!((records.len(), problems.as_str()), (1 + 5 * 2502, ""));
}

#[test]
fn links_are_followed_on_demand() {
    let root = tree();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("d")).unwrap();
    fs::write(outside.path().join("d/file"), "outside").unwrap();
    let link = |to: &Path, name: &str| symlink(to, root.path().join(name)).unwrap();
    link(Path::new("a/1.c"), "to file");
    link(outside.path(), "out");
    link(Path::new("nowhere"), "dangling");
    link(Path::new("circle"), "circle");
    link(Path::new(".."), "a/b/up");
    link(Path::new("../a"), "x/to a");
    link(Path::new("../x"), "a/to x");
    let follow = Selection {
        follow: true,
        ..Selection::default()
    };
    let (records, problems, _) = walked(root.path(), follow);
    let kind = |path: &str| records[path].metadata.kind().unwrap();
    assert_eq!(kind("to file"), Kind::File);
    assert_eq!(records["to file"].size, 5);
    assert_eq!(kind("out/d/file"), Kind::File);
    assert_eq!(kind("x/to a/b/c/3.o"), Kind::File);
    assert_eq!(kind("a/to x/b/5.c"), Kind::File);
    for path in ["dangling", "circle", "a/b/up", "x/to a/to x", "a/to x/to a"] {
        assert_eq!(kind(path), Kind::Symlink, "{path}");
        let full = root.path().join(path);
        let named = format!("{}: ", full.display());
        assert!(problems.contains(&named), "{path}: {problems}");
    }
    // `a/b/up` is met by way of `x/to a` as well.
    assert_eq!(problems.lines().count(), 6, "{problems}");

    let mut opener = super::TreeOpener::new(root.path()).unwrap().following(true);
    for record in records.values().filter(|record| record.size > 0) {
        let file = opener.open(&record.parent, &record.name).unwrap();
        assert_eq!(file.metadata().unwrap().len(), record.size);
    }
}

#[test]
fn more_links_than_one_call_passes_are_followed() {
    let root = tempfile::tempdir().unwrap();
    let far = tempfile::tempdir().unwrap();
    let mut at = root.path().to_path_buf();
    let mut path = Vec::new();
    for level in 0..60 {
        let next = far.path().join(level.to_string());
        fs::create_dir(&next).unwrap();
        symlink(&next, at.join("l")).unwrap();
        at = next;
        path.push("l");
    }
    fs::write(at.join("file"), "x").unwrap();
    let follow = Selection {
        follow: true,
        ..Selection::default()
    };
    let (records, problems, _) = walked(root.path(), follow);
    assert_eq!((records.len(), problems.as_str()), (62, ""));
    let mut opener = super::TreeOpener::new(root.path()).unwrap().following(true);
    assert!(opener.open(path.join("/").as_bytes(), b"file").is_ok());
}

#[test]
fn attributes_are_taken_by_name() {
    let root = tree();
    let at = root.path().join("build");
    let set = |name: &str| rustix::fs::setxattr(&at, name, b"v", rustix::fs::XattrFlags::empty());
    if set("user.a").and(set("user.b")).is_err() {
        eprintln!("SKIPPED attributes_are_taken_by_name: none in the temporary directory");
        return;
    }
    let selection = Selection {
        attributes: AttributePatterns::new(&["user.*"], &["*.b"]).unwrap(),
        ..Selection::default()
    };
    let (records, _, _) = walked(root.path(), selection);
    let names = records["build"].metadata.xattrs.iter();
    let names: Vec<&[u8]> = names.map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, [b"user.a"]);
}
