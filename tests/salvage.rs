//! Salvage: of a damaged image, everything comes out whose bytes are left somewhere, exactly as it was, and what does
//! not is named.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that cannot be prepared has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use dgfs::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
use dgfs::entry::{Kind, Metadata, Timestamp};
use dgfs::extract::{Fate, Outcome};
use dgfs::format::header::Header;
use dgfs::format::{PAGE_SIZE, attributes, blob, page_dictionaries, volume};
use dgfs::read::{Image, Node, ReadAt, Remains};
use dgfs::salvage::{Found, Salvage};

const UUID: [u8; 16] = *b"salvage's image.";

/// Bytes of a chunk.
const CHUNK: u64 = 1 << dgfs::build::DEFAULT_CHUNK_SHIFT;

/// Everything that is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    size: u64,
    links: u64,
    rdev: u64,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Contents or target.
    bytes: Vec<u8>,
}

fn known(image: &Image, node: &Node) -> dgfs::Result<Known> {
    let mut scratch = Vec::new();
    let bytes = match node.kind() {
        Kind::File => image.read_at(node, 0, usize::MAX, &mut scratch)?.to_vec(),
        Kind::Symlink => image.read_link(node)?,
        _ => Vec::new(),
    };
    Ok(Known {
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        size: node.size,
        links: node.links,
        rdev: node.rdev,
        xattrs: image.xattrs(node)?,
        bytes,
    })
}

/// An image in memory, and what is in it.
struct Original {
    index: Vec<u8>,
    volume: Vec<u8>,
    header: Header,
    /// Entries in key order with their paths and extents.
    entries: Vec<(Vec<u8>, Known, Range<usize>)>,
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// Adds entries of all kinds: directories in long paths, so that there are several levels of inner pages, and far
/// ones; names that hardly compress, so that there are many leaf pages.
fn fill(builder: &mut Builder) {
    let mut add = |path: &str, metadata: Metadata, bytes: &[u8], identity| {
        let is_link = metadata.kind() == Some(Kind::Symlink);
        let entry = NewEntry {
            path: path.as_bytes(),
            contents: match metadata.kind() {
                Some(Kind::File) => Contents::Bytes(bytes),
                _ => Contents::None,
            },
            target: if is_link { bytes } else { b"" },
            metadata,
            identity,
        };
        builder.add(entry).unwrap();
    };
    let metadata = |kind, seed: u64| Metadata {
        uid: (seed % 2) as u32 * 1000,
        gid: 100,
        mtime: Timestamp {
            seconds: (seed * 7919).cast_signed() - 1_000_000,
            nanoseconds: (seed * 104_729 % 1_000_000_000) as u32,
        },
        ..Metadata::new(
            kind,
            if seed.is_multiple_of(5) && kind == Kind::File {
                0o755
            } else {
                0o640
            },
        )
    };
    for directory in 0..40u64 {
        let depth = 3 + directory as usize % 5;
        let component = format!("{directory:02}-{}", "long".repeat(45));
        let parent = vec![component.as_str(); depth].join("/");
        for file in 0..40u64 {
            let seed = directory * 1000 + file;
            let name = hex(&noise(seed + 1, 45));
            let path = format!("{parent}/{name}");
            let size = match seed % 110 {
                1 => CHUNK as usize + 17,
                few if few < 11 => 0,
                _ => 20 + seed as usize % 300,
            };
            let mut file = metadata(Kind::File, seed);
            if seed % 9 == 0 {
                let value = noise(seed / 27, 60);
                file.xattrs = vec![(b"user.note".to_vec(), value)];
            }
            add(&path, file, &noise(seed, size), None);
        }
        let target = if directory % 2 == 0 {
            "short".into()
        } else {
            "far/".repeat(400)
        };
        add(
            &format!("{parent}/link"),
            metadata(Kind::Symlink, directory),
            target.as_bytes(),
            None,
        );
    }
    add(
        "large",
        metadata(Kind::File, 3),
        &noise(99, 25 * CHUNK as usize - 100),
        None,
    );
    add("fifo", metadata(Kind::Fifo, 4), b"", None);
    let device = Metadata {
        rdev: 0x0103,
        ..metadata(Kind::CharDevice, 6)
    };
    add("null", device, b"", None);
    for name in ["first", "z/second", "a/third"] {
        let contents = noise(5, 9000);
        add(name, metadata(Kind::File, 5), &contents, Some((7, 7)));
    }
}

fn original() -> &'static Original {
    static ORIGINAL: OnceLock<Original> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("i");
        let options = BuildOptions {
            uuid: Some(UUID),
            ..BuildOptions::default()
        };
        let mut builder = Builder::new(&path, options).unwrap();
        fill(&mut builder);
        builder.finish(&mut LogObserver).unwrap();
        let image = Image::open(&path).unwrap();
        let mut entries = Vec::new();
        image
            .walk(0, &mut |parent, name, node| {
                let start = node.extent.position as usize;
                let extent = start..start + node.extent.stored as usize;
                entries.push((join(parent, name), known(&image, node).unwrap(), extent));
                true
            })
            .unwrap();
        let original = Original {
            index: fs::read(&path).unwrap(),
            volume: fs::read(directory.path().join("i.data")).unwrap(),
            header: image.header().clone(),
            entries,
        };
        let header = &original.header;
        assert!(header.levels >= 2 && header.leaf_pages > 20, "too small");
        original
    })
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        parent => [parent, name].join(&b'/'),
    }
}

impl Original {
    fn copy_start(&self) -> usize {
        self.volume.len() - PAGE_SIZE - self.index.len()
    }

    /// Ordinals of the entries in leaf page `number`.
    fn ordinals(&self, number: usize) -> Range<usize> {
        let page = &self.index[number * PAGE_SIZE..];
        let count = u16::from_le_bytes([page[6], page[7]]);
        let first = u64::from_le_bytes(*page[8..].first_chunk().unwrap()) as usize;
        first..first + usize::from(count)
    }

    fn section(&self, kind: u32) -> Range<usize> {
        let section = self.header.section(kind).unwrap();
        let start = section.offset as usize;
        start..start + section.length as usize
    }

    fn damaged(&self) -> Damaged {
        Damaged {
            index: Some(self.index.clone()),
            volume: Some(self.volume.clone()),
        }
    }
}

#[derive(Clone)]
struct Damaged {
    index: Option<Vec<u8>>,
    volume: Option<Vec<u8>>,
}

impl Damaged {
    /// Overwrites a range of the index file.
    fn hit_index(&mut self, range: Range<usize>) {
        for byte in &mut self.index.as_mut().unwrap()[range] {
            *byte ^= 0xa5;
        }
    }

    /// Overwrites a range of the index in the volume.
    fn hit_copy(&mut self, range: Range<usize>) {
        let start = original().copy_start();
        self.hit_volume(start + range.start..start + range.end);
    }

    fn hit_volume(&mut self, range: Range<usize>) {
        for byte in &mut self.volume.as_mut().unwrap()[range] {
            *byte ^= 0xa5;
        }
    }

    fn hit_both(&mut self, range: Range<usize>) {
        self.hit_index(range.clone());
        self.hit_copy(range);
    }

    fn open(&self) -> dgfs::Result<Salvage> {
        let boxed = |bytes: &Vec<u8>| -> Box<dyn ReadAt> { Box::new(bytes.clone()) };
        let index = self.index.as_ref().map(boxed);
        let volume = self.volume.as_ref().map(boxed);
        Salvage::from_bytes(index, vec![volume], &std::env::temp_dir())
    }
}

/// What was said of each entry, by path; entries that are lost by the path before them.
struct Told {
    found: Found,
    fates: BTreeMap<Vec<u8>, Fate>,
    lost: Vec<(Vec<u8>, u64)>,
}

/// Surveys a salvaged image, and compares every entry that is called whole with the original.
fn survey(salvage: &Salvage) -> Told {
    let original: BTreeMap<_, _> = original()
        .entries
        .iter()
        .map(|(path, known, _)| (path, known))
        .collect();
    let mut told = Told {
        found: Found::default(),
        fates: BTreeMap::new(),
        lost: Vec::new(),
    };
    told.found = salvage.survey(&mut |outcome: Outcome| {
        assert_eq!(
            outcome.fate == Fate::Whole,
            outcome.error.is_none(),
            "{outcome:?}"
        );
        match outcome.fate {
            Fate::Lost(entries) => told.lost.push((outcome.path, entries)),
            fate => {
                let before = told.fates.insert(outcome.path, fate);
                assert_eq!(before, None);
            }
        }
    });
    let image = salvage.image();
    image.walk_remains(0..u64::MAX, &mut |remains| {
        let Remains::Entry(parent, name, node) = remains else {
            return true;
        };
        let path = join(parent, name);
        if told.fates[&path] == Fate::Whole && !path.starts_with(b"dgfs-lost+found/") {
            let is = known(image, node).unwrap();
            let text = String::from_utf8_lossy(&path);
            assert!(is == *original[&path], "{text} is not what it was");
        }
        true
    });
    told
}

fn assert_all_whole(salvage: &Salvage) {
    let told = survey(salvage);
    let whole = original().entries.len() as u64;
    assert_eq!(
        told.found,
        Found {
            whole,
            ..Found::default()
        }
    );
}

fn assert_as_before(salvage: &Salvage) {
    let mut index = Vec::new();
    salvage.write_index(&mut index).unwrap();
    assert!(
        index == original().index,
        "the index is not as it was: {:?}",
        salvage.repairs()
    );
    assert_all_whole(salvage);
}

fn page(number: usize) -> Range<usize> {
    number * PAGE_SIZE..(number + 1) * PAGE_SIZE
}

#[test]
fn an_image_without_damage_is_whole() {
    let salvage = original().damaged().open().unwrap();
    assert_as_before(&salvage);
    assert_eq!(salvage.repairs().mended_pages, 0);
}

#[test]
fn what_is_left_in_one_place_is_enough() {
    let original = original();
    let pages = original.index.len() / PAGE_SIZE;
    for odd in [0, 1] {
        let mut damaged = original.damaged();
        for number in 0..pages {
            let hit = number * PAGE_SIZE + number % 4000..number * PAGE_SIZE + number % 4000 + 9;
            if number % 2 == odd {
                damaged.hit_index(hit);
            } else {
                damaged.hit_copy(hit);
            }
        }
        assert_as_before(&damaged.open().unwrap());
    }
    // One of the two places is gone altogether.
    let damaged = Damaged {
        index: None,
        ..original.damaged()
    };
    assert_as_before(&damaged.open().unwrap());
    let mut damaged = original.damaged();
    damaged.hit_copy(0..original.index.len());
    assert_as_before(&damaged.open().unwrap());
    let mut damaged = original.damaged();
    damaged.index.as_mut().unwrap().truncate(5 * PAGE_SIZE + 99);
    assert_as_before(&damaged.open().unwrap());
}

#[test]
fn a_leaf_page_lost_in_both_places_costs_its_entries_alone() {
    let original = original();
    for number in 1..=original.header.leaf_pages as usize {
        let mut damaged = original.damaged();
        damaged.hit_both(number * PAGE_SIZE + 100..number * PAGE_SIZE + 101);
        let salvage = damaged.open().unwrap();
        assert_eq!(salvage.repairs().lost_leaf_pages, 1);
        let told = survey(&salvage);
        let lost = original.ordinals(number);
        assert_eq!(told.lost.len(), 1, "page {number}");
        assert_eq!(told.found.lost, lost.len() as u64);
        assert_eq!(
            told.found.whole,
            (original.entries.len() - lost.len()) as u64
        );
        if let Some(before) = lost.start.checked_sub(1) {
            assert_eq!(told.lost[0].0, original.entries[before].0);
        }
        // Lookups by name go on to work, apart from those that need the page.
        for (ordinal, (path, ..)) in original.entries.iter().enumerate() {
            if path.len() < 1024 && ordinal > 0 && !lost.contains(&ordinal) {
                let node = salvage.image().lookup(path).unwrap().unwrap();
                assert_eq!(node.ordinal, ordinal as u64);
            }
        }
    }
}

#[test]
fn several_lost_pages_are_told_apart() {
    let original = original();
    let mut damaged = original.damaged();
    for number in [3, 4, 5, 7, 8, 20] {
        damaged.hit_both(page(number));
    }
    let salvage = damaged.open().unwrap();
    let told = survey(&salvage);
    let lost: Vec<u64> = told.lost.iter().map(|(_, entries)| *entries).collect();
    let count = |pages: &[usize]| {
        pages
            .iter()
            .map(|&p| original.ordinals(p).len() as u64)
            .sum::<u64>()
    };
    assert_eq!(lost, [count(&[3, 4, 5]), count(&[7, 8]), count(&[20])]);
    assert_eq!(
        told.found.whole + told.found.lost,
        original.entries.len() as u64
    );
}

#[test]
fn inner_pages_are_made_anew() {
    let original = original();
    let leaves = original.header.leaf_pages as usize;
    for number in leaves + 1..=original.header.root_page() as usize {
        let mut damaged = original.damaged();
        damaged.hit_both(page(number));
        let salvage = damaged.open().unwrap();
        assert!(salvage.repairs().inner_pages_rebuilt);
        assert_as_before(&salvage);
    }
    let mut damaged = original.damaged();
    damaged
        .hit_both((leaves + 1) * PAGE_SIZE..(original.header.root_page() as usize + 1) * PAGE_SIZE);
    assert_as_before(&damaged.open().unwrap());
    // With leaf pages lost besides, everything else is found.
    for lost in [1, 2, 9, 10, 11, leaves] {
        damaged.hit_both(page(lost));
    }
    let salvage = damaged.open().unwrap();
    let told = survey(&salvage);
    assert_eq!(
        told.found.whole + told.found.lost,
        original.entries.len() as u64
    );
    assert_eq!(salvage.repairs().lost_leaf_pages, 6);
}

#[test]
fn headers_and_footers_can_be_lost() {
    let original = original();
    let last = original.index.len() / PAGE_SIZE - 1;
    let mut damaged = original.damaged();
    damaged.hit_both(page(0));
    assert_as_before(&damaged.open().unwrap());
    damaged.hit_both(page(last));
    let salvage = damaged.open().unwrap();
    assert!(salvage.repairs().header_rebuilt);
    assert_all_whole(&salvage);
    assert_eq!(
        salvage.image().header().chunk_shift,
        original.header.chunk_shift
    );
    let mut image = salvage.image().header().clone();
    image.features_required = original.header.features_required;
    image.version_minor = original.header.version_minor;
    assert!(image.has_acls(), "it is not known that there are none");
    image.features_optional = original.header.features_optional;
    assert_eq!(image, original.header);
    // And the end of the volume, so that the copy must be found.
    let end = original.volume.len();
    damaged.hit_volume(end - PAGE_SIZE..end);
    assert_all_whole(&damaged.open().unwrap());
    damaged.index = None;
    assert_all_whole(&damaged.open().unwrap());
    // And the inner pages, the root among them.
    let leaves = original.header.leaf_pages as usize;
    damaged.hit_copy(
        (leaves + 1) * PAGE_SIZE..(leaves + 1 + original.header.inner_pages as usize) * PAGE_SIZE,
    );
    assert_all_whole(&damaged.open().unwrap());
    // Without anything that says which image it is, there is nothing to go by.
    damaged.hit_volume(0..PAGE_SIZE);
    assert!(
        damaged
            .open()
            .unwrap_err()
            .to_string()
            .contains("which image")
    );
}

/// Entries that are whole in an image whose index and its copy have lost these bytes, which has page dictionaries.
fn whole_without(index: &[u8], volume: &[u8], lost: [&[Range<usize>]; 2]) -> u64 {
    let copy_start = volume.len() - PAGE_SIZE - index.len();
    let (mut index, mut volume) = (index.to_vec(), volume.to_vec());
    let [in_index, in_copy] = lost;
    for place in in_index {
        index[place.clone()].fill(0xa5);
    }
    for place in in_copy {
        volume[copy_start + place.start..copy_start + place.end].fill(0xa5);
    }
    let boxed = |bytes: Vec<u8>| -> Option<Box<dyn ReadAt>> { Some(Box::new(bytes)) };
    let salvage =
        Salvage::from_bytes(boxed(index), vec![boxed(volume)], &std::env::temp_dir()).unwrap();
    salvage.survey(&mut |_| {}).whole
}

/// Without what the frames of leaf pages refer to there are no names. Index and copy have it.
#[test]
fn one_section_of_page_dictionaries_is_enough() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1.5");
    let [index, volume] =
        ["sources.dgfs", "sources.dgfs.data"].map(|name| fs::read(data.join(name)).unwrap());
    let header = Header::decode(index.first_chunk().unwrap(), index.len() as u64).unwrap();
    let section = header.section(page_dictionaries::SECTION).unwrap();
    let place = page(section.offset as usize / PAGE_SIZE);
    let ends = [page(0), page(index.len() / PAGE_SIZE - 1)];
    let ends_and_place = [&ends[..], std::slice::from_ref(&place)].concat();
    for lost in [
        [std::slice::from_ref(&place), &[]],
        [&[], std::slice::from_ref(&place)],
        [&ends_and_place, &ends],
        [&ends, &ends_and_place],
    ] {
        assert_eq!(
            whole_without(&index, &volume, lost),
            header.entries,
            "{lost:?}"
        );
    }
    let both = [std::slice::from_ref(&place); 2];
    assert!(whole_without(&index, &volume, both) < header.entries / 2);
}

#[test]
fn a_truncated_volume_keeps_what_is_before_its_end() {
    let original = original();
    let extents_end = original
        .entries
        .iter()
        .map(|(_, _, extent)| extent.end)
        .max()
        .unwrap();
    let lengths = [
        original.volume.len() - 1,
        original.volume.len() - PAGE_SIZE,
        original.copy_start() + 3 * PAGE_SIZE + 5,
        extents_end,
        extents_end - 1,
        extents_end / 2,
        extents_end / 9,
        PAGE_SIZE,
        17,
        0,
    ];
    for length in lengths {
        let mut damaged = original.damaged();
        damaged.volume.as_mut().unwrap().truncate(length);
        let told = survey(&damaged.open().unwrap());
        let survive = original
            .entries
            .iter()
            .filter(|(_, _, extent)| extent.is_empty() || extent.end <= length);
        assert_eq!(told.found.whole, survive.count() as u64, "{length}");
        assert_eq!(told.found.lost, 0);
    }
    // Without the volume, names and metadata are left.
    let damaged = Damaged {
        volume: None,
        ..original.damaged()
    };
    let told = survey(&damaged.open().unwrap());
    let with_contents = original
        .entries
        .iter()
        .filter(|(_, _, extent)| !extent.is_empty());
    assert_eq!(told.found.metadata_only, with_contents.count() as u64);
}

#[test]
fn damaged_contents_are_told_by_their_ranges() {
    let original = original();
    let extent = |path: &[u8]| {
        let entry = original.entries.iter().find(|(own, ..)| own == path);
        entry.unwrap().2.clone()
    };
    let large = extent(b"large").start;
    let mut damaged = original.damaged();
    let chunk = CHUNK as usize;
    damaged.hit_volume(large + 2 * chunk + 10..large + 3 * chunk + 10);
    damaged.hit_volume(large + 24 * chunk..large + 24 * chunk + 1);
    let small = original
        .entries
        .iter()
        .find(|(_, _, extent)| extent.len() == 44)
        .unwrap();
    damaged.hit_volume(small.2.start..small.2.start + 1);
    let told = survey(&damaged.open().unwrap());
    assert_eq!(
        told.fates[&b"large"[..]],
        Fate::Damaged(vec![2 * CHUNK..4 * CHUNK, 24 * CHUNK..25 * CHUNK - 100])
    );
    assert_eq!(told.fates[&small.0], Fate::MetadataOnly);
    assert_eq!((told.found.damaged, told.found.metadata_only), (1, 1));
    assert_eq!(told.found.whole, original.entries.len() as u64 - 2);
}

#[test]
fn a_lost_blob_costs_what_it_holds() {
    let original = original();
    let blobs = original.section(blob::SECTION);
    // Different blobs in the two places.
    let mut damaged = original.damaged();
    damaged.hit_index(blobs.start + 20..blobs.start + 21);
    damaged.hit_copy(blobs.start + 100..blobs.start + 101);
    assert_as_before(&damaged.open().unwrap());
    // The same in both, its length among it.
    let mut damaged = original.damaged();
    damaged.hit_both(blobs.start + 4..blobs.start + 10);
    let salvage = damaged.open().unwrap();
    assert_eq!(salvage.repairs().lost_blobs, 1);
    let told = survey(&salvage);
    assert!((1..5).contains(&told.found.incomplete), "{:?}", told.found);
    assert_eq!(
        told.found.whole + told.found.incomplete,
        original.entries.len() as u64
    );
    // All of them.
    let mut damaged = original.damaged();
    damaged.hit_both(blobs);
    let told = survey(&damaged.open().unwrap());
    let count = |wanted: &dyn Fn(&Known) -> bool| {
        original
            .entries
            .iter()
            .filter(|(_, known, _)| wanted(known))
            .count() as u64
    };
    assert_eq!(
        told.found.incomplete,
        count(&|known| !known.xattrs.is_empty())
    );
    assert_eq!(
        told.found.metadata_only,
        count(&|known| known.mode >> 12 == 0o12 && known.size > 1024)
    );
    assert_eq!(told.found.lost, 0);
}

#[test]
fn without_the_attribute_table_contents_come_out() {
    let original = original();
    let rows = original.section(attributes::SECTION);
    let check = |damaged: &Damaged| {
        let salvage = damaged.open().unwrap();
        let told = survey(&salvage);
        assert_eq!(
            (
                told.found.lost,
                told.found.damaged,
                told.found.metadata_only
            ),
            (0, 0, 0)
        );
        let mut compared = 0;
        let image = salvage.image();
        image.walk_remains(0..u64::MAX, &mut |remains| {
            if let Remains::Entry(parent, name, node) = remains {
                let is = known(image, node).unwrap();
                let (path, was, _) = &original.entries[node.ordinal as usize];
                assert_eq!(*path, join(parent, name));
                // Fifos and devices cannot be told from each other by what pages say of them.
                let kind = |known: &Known| match known.mode >> 12 {
                    1 | 2 | 6 | 12 => 1,
                    kind => kind,
                };
                assert_eq!(
                    kind(&is),
                    kind(was),
                    "kind of {}",
                    String::from_utf8_lossy(path)
                );
                assert!((is.mtime, is.size, &is.bytes) == (was.mtime, was.size, &was.bytes));
                compared += 1;
            }
            true
        });
        assert_eq!(compared, original.entries.len());
        told.found.incomplete
    };
    // One row: the others are told by both places.
    let mut damaged = original.damaged();
    damaged.hit_both(rows.start + 12..rows.start + 20);
    let incomplete = check(&damaged);
    assert!(
        incomplete > 0 && incomplete < original.entries.len() as u64,
        "{incomplete}"
    );
    let mut damaged = original.damaged();
    damaged.index.as_mut().unwrap()[rows.clone()].fill(0);
    damaged.hit_copy(rows);
    assert_eq!(check(&damaged), original.entries.len() as u64);
}

#[test]
fn the_table_of_volumes_can_be_lost() {
    let original = original();
    let mut damaged = original.damaged();
    damaged.hit_both(original.section(volume::SECTION));
    assert_as_before(&damaged.open().unwrap());
}

/// Random damage of every size to every part, in several places at once.
#[test]
fn whatever_is_left_comes_out() {
    let original = original();
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64;
    let mut state = seed;
    println!("seed {seed}");
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for case in 0..60 {
        let mut damaged = original.damaged();
        for _ in 0..=random(12) {
            let longest = [1, 100, PAGE_SIZE, 8 * PAGE_SIZE][random(4)];
            let hit = |length: usize, random: &mut dyn FnMut(usize) -> usize| {
                let start = random(length);
                start..(start + 1 + random(longest)).min(length)
            };
            match random(5) {
                0 | 1 => damaged.hit_index(hit(original.index.len(), &mut random)),
                2 | 3 => damaged.hit_copy(hit(original.index.len(), &mut random)),
                // The first page says which image it is.
                _ => {
                    let mut range = hit(original.copy_start(), &mut random);
                    range.start = range.start.max(PAGE_SIZE);
                    if !range.is_empty() {
                        damaged.hit_volume(range);
                    }
                }
            }
        }
        let salvage = damaged
            .open()
            .unwrap_or_else(|e| panic!("seed {seed}, case {case}: {e}"));
        let told = survey(&salvage);
        let (index, volume) = (
            damaged.index.as_ref().unwrap(),
            damaged.volume.as_ref().unwrap(),
        );
        let copy = &volume[original.copy_start()..];
        let same = |range: Range<usize>| {
            let was = &original.index[range.clone()];
            index[range.clone()] == *was || copy[range] == *was
        };
        let tables = same(original.section(attributes::SECTION));
        let blobs = same(original.section(blob::SECTION));
        for number in 1..=original.header.leaf_pages as usize {
            if !same(page(number)) {
                continue;
            }
            for (path, known, extent) in &original.entries[original.ordinals(number)] {
                let far = path.len() > 1024;
                let lossless = volume[extent.clone()] == original.volume[extent.clone()];
                let in_blob =
                    !known.xattrs.is_empty() || known.mode >> 12 == 0o12 && known.size > 1024;
                if far || !lossless || in_blob && !blobs {
                    continue;
                }
                let fate = told.fates.get(path);
                let whole =
                    fate == Some(&Fate::Whole) || !tables && fate == Some(&Fate::Incomplete);
                assert!(
                    whole,
                    "seed {seed}, case {case}: {} is {fate:?}",
                    String::from_utf8_lossy(path)
                );
            }
        }
        assert_eq!(
            told.fates.len() as u64 + told.found.lost,
            original.entries.len() as u64,
            "seed {seed}, case {case}"
        );
    }
}

#[test]
fn a_pending_volume_is_found_behind_a_damaged_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let original = original();
    fs::write(at("i"), &original.index).unwrap();
    let tag = hex(&UUID[..4]);
    fs::write(at(&format!("i.data.{tag}.part")), &original.volume).unwrap();
    let opens = |path: &Path| Image::open(path).is_ok();
    assert!(opens(&at("i")), "only the pending volume is there");
    // The volume that was there before the build that was interrupted, damaged in one way or another.
    let mut before = original.volume.clone();
    before[3000] ^= 1;
    for length in [before.len(), before.len() - 1, 5000, 100, 0] {
        fs::write(at("i.data"), &before[..length]).unwrap();
        assert!(opens(&at("i")), "{length}");
    }
    fs::write(at("i.data"), &before).unwrap();
    fs::write(at(&format!("i.data.{tag}.part")), &original.volume[..9000]).unwrap();
    let error = Image::open(at("i")).unwrap_err().to_string();
    assert!(
        error.contains("i.data: ") && error.contains("checksum"),
        "{error}"
    );
}

/// Headers that claim more than there is: what there is comes out, and soon.
#[test]
fn a_header_that_lies_is_not_believed() {
    let original = original();
    let lies: [fn(&mut Header); 4] = [
        |header| header.leaf_pages = 1 << 40,
        |header| header.inner_pages = 1 << 40,
        |header| header.sections[2].length = 1 << 59,
        |header| {
            header.sections[2].kind = 77;
            header.sections[2].length = 1 << 59;
        },
    ];
    for lie in lies {
        let mut header = original.header.clone();
        header.index_length = 1 << 60;
        lie(&mut header);
        let end_of_pages = (header.root_page() + 1) * PAGE_SIZE as u64;
        for section in &mut header.sections {
            section.offset = section.offset.max(end_of_pages);
        }
        let lying = header.encode();
        let mut damaged = original.damaged();
        let last = original.index.len() - PAGE_SIZE;
        for start in [0, last] {
            damaged.hit_copy(start..start + PAGE_SIZE);
            damaged.index.as_mut().unwrap()[start..start + PAGE_SIZE].copy_from_slice(&lying);
        }
        let salvage = damaged.open().unwrap();
        let mut entries = 0;
        salvage.survey(&mut |_| entries += 1);
        assert!(entries > 0);
    }
}
