//! Images that lie with right checksums: each is refused where the lie matters, in bounded memory and time, and
//! without a panic.

mod images;

use dgfs::entry::{Ino, Kind};
use dgfs::format::PAGE_SIZE;
use dgfs::fs::{DirEntry, DirSink, Options, PackFs};
use dgfs::read::{Image, Node, ReadAt, VerifyOptions};
use images::Parts;
use images::handmade::Handmade;
use images::lies::{cases, named, shared, tall, with_link, with_xattrs, zeros};
use images::segment_lies::{
    sole, two_files, two_segments, with_copies, with_damaged_copy, with_dictionaries,
    with_directory,
};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Held by each test, so that memory is that of one.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a reader of any of these images may take: an opened image and its caches, not what the image claims to be.
const MOST_MEMORY: usize = 64 << 20;

/// Time for everything that is asked of one image, here in an unoptimised build on a busy machine.
const MOST_TIME: Duration = Duration::from_secs(20);

/// Entries that are looked at.
const MOST_ENTRIES: u64 = 10_000;

/// Everything that readers say when all is asked of an image.
fn complaints(parts: Parts) -> Vec<String> {
    let mut said = Vec::new();
    let image = match parts.open() {
        Ok(image) => image,
        Err(error) => return vec![error.to_string()],
    };
    let mut say =
        |result: dgfs::Result<()>| said.extend(result.err().map(|error| error.to_string()));
    let mut nodes = Vec::new();
    say(image.walk(0, &mut |_, _, node| {
        nodes.push(node.clone());
        (nodes.len() as u64) < MOST_ENTRIES
    }));
    let last = image.header().entries.min(MOST_ENTRIES);
    for ino in (1..=last).map(Ino) {
        say(image.node(ino).map(|node| nodes.push(node)));
        say(image.path_of(ino).map(drop));
        say(image.parent_of(ino).map(drop));
    }
    let mut scratch = Vec::new();
    for node in &nodes {
        match node.kind() {
            Kind::Directory => {
                let mut left = MOST_ENTRIES;
                say(image.list(node, 0, &mut |_| {
                    left -= 1;
                    left > 0
                }));
                say(image.list(
                    node,
                    node.children.count - node.children.count.min(1),
                    &mut |_| true,
                ));
                for name in [&b"a"[..], b"b", b"file", b"no such name"] {
                    say(image.lookup_in(node, name).map(drop));
                }
            }
            Kind::File => {
                for offset in [0, node.size / 2, node.size.saturating_sub(1)] {
                    say(image.read_at(node, offset, 1 << 16, &mut scratch).map(drop));
                }
            }
            _ => say(image.read_link(node).map(drop)),
        }
        say(image.xattrs(node).map(drop));
    }
    for quick in [true, false] {
        image.verify(&VerifyOptions { quick, threads: 1 }, &mut |fault| {
            said.push(fault.to_string());
        });
    }
    images::consistency::examine(&image);
    said
}

#[test]
fn lies_are_refused_within_bounds() {
    let _alone = alone();
    let mut wrong = Vec::new();
    for (story, image, expected) in cases() {
        println!("{story}");
        let parts = image().write();
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let begun = Instant::now();
        let said = complaints(parts);
        let taken = begun.elapsed();
        let memory = MEMORY.peak_usage().saturating_sub(before);
        for part in *expected {
            if !said.iter().any(|line| line.contains(part)) {
                wrong.push(format!("{story}: {part:?} is not among {said:#?}"));
            }
        }
        if memory > MOST_MEMORY || taken > MOST_TIME {
            wrong.push(format!("{story}: {memory} bytes, {taken:?}"));
        }
    }
    println!("{} images", cases().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same image with all features that it has by itself.
fn newer(mut image: Handmade) -> Handmade {
    image.change_header = |_| {};
    image
}

/// What must not be taken for a lie.
#[test]
fn odd_images_are_read() {
    let _alone = alone();
    for (story, image, entries) in [
        ("24 levels", tall(24), 25),
        ("a terabyte of zeros in four kilobytes", zeros(510, 24), 2),
        (
            "attributes",
            with_xattrs(b"\x01\x00\x06\x01\x00\x00\x00user.aX"),
            2,
        ),
        ("a long link", with_link(&vec![b't'; 65_535]), 2),
        ("a directory in two segments", two_segments(), 5),
        ("a run that begins a segment", with_directory(), 5),
        ("contents of two segments", two_files(), 3),
        ("a page of version 1.4", sole(), 5),
        (
            "a page of version 1.4 in an image with segments",
            newer(sole()),
            5,
        ),
        ("page dictionaries", with_dictionaries(), 91),
        ("page dictionaries and their copy", with_copies(), 91),
    ] {
        let begun = Instant::now();
        let image = image.write().open().unwrap();
        let mut faults = Vec::new();
        let verified = image.verify(&VerifyOptions::default(), &mut |fault| {
            faults.push(fault.to_string());
        });
        assert_eq!(faults, Vec::<String>::new(), "{story}");
        assert_eq!(verified.entries, entries, "{story}");
        images::consistency::examine(&image);
        assert!(
            begun.elapsed() < MOST_TIME,
            "{story}: {:?}",
            begun.elapsed()
        );
    }
}

/// One sound section of page dictionaries is enough to read everything.
#[test]
fn damaged_page_dictionaries_have_a_copy() {
    let _alone = alone();
    for number in 0..2 {
        let image = with_damaged_copy(number).write().open().unwrap();
        let mut entries = 0;
        let visited = image.walk(0, &mut |_, _, _| {
            entries += 1;
            true
        });
        assert!(visited.is_ok() && entries == 91, "{visited:?}, {entries}");
    }
}

/// Bytes at the start of a file that is otherwise a hole of zeros.
struct Hole {
    start: Vec<u8>,
    length: u64,
}

impl ReadAt for Hole {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let start = usize::try_from(offset)
            .ok()
            .and_then(|at| self.start.get(at..));
        for (to, from) in buffer.iter_mut().zip(start.unwrap_or(&[])) {
            *to = *from;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}

/// Sections may be as long as the index, and the index may be a hole.
#[test]
fn sections_of_a_huge_index_are_not_read_into_memory() {
    let _alone = alone();
    for kind in 0..3 {
        let parts = named(&[b"a"]).write();
        let page = parts.index.first_chunk().unwrap();
        let mut header =
            dgfs::format::header::Header::decode(page, parts.index.len() as u64).unwrap();
        header.index_length = 1 << 50;
        header.sections[kind].length = 1 << 49;
        header.sections[kind].rows = 1 << 44;
        let mut start = parts.index.clone();
        start[..PAGE_SIZE].copy_from_slice(&header.encode());
        let index = Hole {
            start,
            length: 1 << 50,
        };
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let volumes: Vec<Box<dyn ReadAt>> = vec![Box::new(parts.volumes[0].clone())];
        let opened = Image::options().open_parts(Box::new(index), volumes);
        // Blobs are read one at a time, and nobody has asked for one.
        assert_eq!(opened.is_err(), kind < 2, "{kind}");
        assert!(MEMORY.peak_usage().saturating_sub(before) < MOST_MEMORY);
    }
}

/// Takes `room` entries of a listing.
struct Part {
    room: usize,
    names: Vec<Vec<u8>>,
    cookie: u64,
}

impl DirSink for Part {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.names.push(entry.name.to_vec());
        self.cookie = entry.cookie;
        true
    }
}

/// A listing goes on by place and not by name, so that names out of order cannot make it go round.
#[test]
fn listings_of_names_out_of_order_end() {
    let _alone = alone();
    let names: [&[u8]; 6] = [b"z", b"a", b"a", b"m", b"a", b"z"];
    let image = named(&names).write().open().unwrap();
    let fs = PackFs::new(Arc::new(image), Options::default()).unwrap();
    for room in 1..=9 {
        let mut listed = Vec::new();
        let mut cookie = 0;
        loop {
            let mut some = Part {
                room,
                names: Vec::new(),
                cookie,
            };
            fs.list(Ino::ROOT, cookie, &mut some).unwrap();
            if some.names.is_empty() {
                break;
            }
            assert!(some.cookie > cookie);
            cookie = some.cookie;
            listed.append(&mut some.names);
        }
        assert_eq!(listed[..2], [b".".to_vec(), b"..".to_vec()]);
        assert_eq!(listed[2..], names.map(<[u8]>::to_vec));
    }
    // Whatever a name leads to has that name, or there is none.
    for name in [&b"a"[..], b"m", b"z", b"n"] {
        if let Ok(Some(found)) = fs.lookup(Ino::ROOT, name) {
            assert!(names.contains(&name), "{found:?}");
        }
    }
}

/// Follows all directories from `dir` down, and counts what it comes to.
fn follow(image: &Image, dir: &Node, left: &mut u64) -> u64 {
    let mut below = Vec::new();
    let listed = image.list(dir, 0, &mut |child| {
        below.push(child.node.clone());
        true
    });
    // A listing that ends in an error may have begun.
    let below = listed.map_or(Vec::new(), |()| below);
    let mut found = 0;
    for child in below.iter().filter(|child| child.is_directory()) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            return found;
        }
        found += 1 + follow(image, child, left);
    }
    found
}

/// Directories that share their children would make 2^20 paths of 40 entries.
#[test]
fn children_are_those_of_one_directory() {
    let _alone = alone();
    let image = shared(20).write().open().unwrap();
    let root = image.root().unwrap();
    assert_eq!(follow(&image, &root, &mut 1_000_000), 40);
    let [a, b] = [b"a", b"b"].map(|name| image.lookup(name).unwrap().unwrap());
    assert_eq!(a.children.first, b.children.first);
    assert!(image.lookup_in(&a, b"a").unwrap().is_some());
    for name in [&b"a"[..], b"no such name"] {
        let refused = image.lookup_in(&b, name).unwrap_err().to_string();
        assert!(refused.contains("those of another directory"), "{refused}");
    }
    let ino = image.node(b.ino).unwrap();
    assert!(image.list(&ino, 0, &mut |_| true).is_err());
}
