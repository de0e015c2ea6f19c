//! What holds of every image, however it was made: a reader ends, within bounds; and an image that verification
//! finds nothing wrong with says the same whichever way it is asked.

use dgfs::entry::Kind;
use dgfs::read::{Image, Node, VerifyOptions};
use std::collections::BTreeMap;

/// Entries that are looked at. Images in tests have fewer; their headers may say otherwise.
const MOST_ENTRIES: usize = 5_000;

/// Bytes that are read of one file in one place.
const MOST_BYTES: usize = 1 << 18;

/// Bytes of all files up to which everything is verified, contents too.
const MOST_VERIFIED: u64 = 1 << 26;

/// Asks `image` everything and checks the answers against each other.
pub(crate) fn examine(image: &Image) {
    let mut entries: Vec<(Vec<u8>, Node)> = Vec::new();
    let walked = image.walk(0, &mut |parent, name, node| {
        assert!(!name.contains(&b'/') && !name.contains(&0) && name.len() <= 255);
        assert!(name != b"." && name != b"..");
        let mut path = parent.to_vec();
        if !parent.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        entries.push((path, node.clone()));
        entries.len() < MOST_ENTRIES
    });
    let sizes = entries.iter().filter(|(_, node)| node.kind() == Kind::File);
    let sizes = sizes.fold(0u64, |sum, (_, node)| sum.saturating_add(node.size));
    let quick = sizes > MOST_VERIFIED;
    let faults = image
        .verify(&VerifyOptions { quick, threads: 1 }, &mut |_| {})
        .faults;
    let clean = faults == 0;
    if clean {
        walked.as_ref().unwrap();
        assert_eq!(entries.len() as u64, image.header().entries);
    }
    let mut children: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for (path, node) in entries.iter().skip(1) {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let parent = slash.map_or(&[][..], |slash| &path[..slash]);
        children.entry(parent).or_default().push(node.ordinal);
    }
    for (path, node) in &entries {
        let expected = children.get(path.as_slice()).map_or(&[][..], Vec::as_slice);
        let differs = entry(image, path, node, expected, clean && !quick);
        assert!(
            differs.is_empty() || !clean,
            "{differs:?} of {}",
            path.escape_ascii()
        );
    }
    for name in [&b"no such name"[..], b"", b".", b"a/b/c/d"] {
        let _ = image.lookup(name);
    }
}

/// Asks about one entry; names what does not agree with what the walk found.
fn entry(
    image: &Image,
    path: &[u8],
    node: &Node,
    children: &[u64],
    readable: bool,
) -> Vec<&'static str> {
    let mut differs = Vec::new();
    let mut check = |agrees: bool, what| {
        if !agrees {
            differs.push(what);
        }
    };
    let found = image.lookup(path);
    check(
        found.is_ok_and(|found| found.as_ref() == Some(node)),
        "lookup",
    );
    let first = image.node(node.ino);
    check(first.is_ok_and(|first| first.ino == node.ino), "node");
    check(image.path_of(node.ino).is_ok(), "path");
    check(image.parent_of(node.ino).is_ok(), "parent");
    check(image.xattrs(node).is_ok(), "attributes");
    let mut scratch = Vec::new();
    match node.kind() {
        Kind::Directory => {
            let mut listed = Vec::new();
            let mut names = Vec::new();
            let ended = image.list(node, 0, &mut |child| {
                assert_eq!(child.index, listed.len() as u64);
                listed.push(child.node.ordinal);
                names.push(child.name.to_vec());
                listed.len() < MOST_ENTRIES
            });
            check(ended.is_ok() && listed == children, "listing");
            for (name, ordinal) in names.iter().zip(&listed).step_by(1 + names.len() / 8) {
                let child = image.lookup_in(node, name);
                let right = child.is_ok_and(|child| child.is_some_and(|c| c.ordinal == *ordinal));
                check(right, "child");
            }
            let _ = image.lookup_in(node, b"no such name");
            let _ = image.list(node, node.children.count / 2, &mut |_| false);
        }
        Kind::File => {
            for offset in [0, node.size / 2, node.size.saturating_sub(5)] {
                let read = image.read_at(node, offset, MOST_BYTES, &mut scratch);
                let right = read.is_ok_and(|bytes| {
                    bytes.len() as u64 == (MOST_BYTES as u64).min(node.size - offset)
                });
                check(right || !readable, "contents");
            }
            assert!(scratch.capacity() <= MOST_BYTES + (2 << 24));
        }
        Kind::Symlink => {
            let target = image.read_link(node);
            let right = target.is_ok_and(|target| target.len() as u64 == node.size);
            check(right, "target");
        }
        _ => {}
    }
    differs
}
