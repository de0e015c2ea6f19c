//! Pages of the index that are asked for before anybody needs them, so that a file in directories that nobody has looked
//! into costs one read of the index, not one for each of them.
//!
//! A directory's entry lies among those of the directory above it, in the order of the index mostly far from the
//! entries that it holds. Those of the upper levels are few: they are asked for when an image is mounted. Those of the
//! lowest lie close to what they hold: both are asked for together.

use super::node::Children;
use super::tree;
use super::{Image, Node};
use crate::Result;
use crate::format::PAGE_BYTES;
use std::ops::Range;

/// An index of up to so many leaf pages is asked for as a whole: 4 MiB, which take a disk as long as four reads here
/// and there.
const WHOLE: u64 = 1024;

/// Most pages that are asked for here and there for the upper levels: a second of a rotating disk.
const UPPER: u64 = 128;

/// Most directories of one level that are looked at for their sub-directories.
const MOST_DIRECTORIES: usize = 4096;

/// Most pages that are asked for together with the entry of a directory: 128 KiB, which hold 10,000 files with times of
/// their own, and take a disk a millisecond or two, where another page elsewhere takes it ten.
const AROUND: u64 = 32;

impl Image {
    /// Asks the device for all leaf pages of the index, without waiting for them, if they are few; says whether they are.
    /// If not, [`Self::ask_for_upper_levels`] asks for some.
    pub fn ask_for_index(&self) -> bool {
        let pages = self.header().leaf_pages;
        if pages > WHOLE {
            return false;
        }
        self.ask_for(&(1..pages + 1));
        true
    }

    /// Asks for all inner pages, if they are few, as those of 300,000 leaf pages are. Each of the first files would need
    /// another.
    fn ask_for_inner_pages(&self) {
        let header = self.header();
        let first = header.leaf_pages + 1;
        if header.inner_pages <= WHOLE {
            self.ask_for(&(first..first + header.inner_pages));
        }
    }

    /// Asks the device for the inner pages, and for those with the entries of the upper directories, level by level, as far
    /// as a level takes few. Waits for all but the last, so it is for a thread of its own.
    pub fn ask_for_upper_levels(&self) -> Result<()> {
        self.ask_for_inner_pages();
        self.ask_for_levels(UPPER)
    }

    fn ask_for_levels(&self, mut left: u64) -> Result<()> {
        let mut level = vec![self.root()?];
        while !level.is_empty() {
            let runs = level
                .iter()
                .map(|node| self.pages_of(node.children.first..node.children.end()));
            let mut wanted: Vec<Range<u64>> = Vec::new();
            for run in runs.collect::<Result<Vec<_>>>()? {
                // Directories of a level are in order, and small ones share pages.
                match wanted.last_mut() {
                    Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                    _ => wanted.push(run),
                }
            }
            let pages: u64 = wanted.iter().map(|run| run.end - run.start).sum();
            if pages > left {
                break;
            }
            left -= pages;
            for run in &wanted {
                self.ask_for(run);
            }
            level = self.parents_below(&level)?;
        }
        Ok(())
    }

    /// The children of the directories of `level` that have directories in them; none if there are too many.
    fn parents_below(&self, level: &[Node]) -> Result<Vec<Node>> {
        let mut below = Vec::new();
        for node in level {
            self.list(node, 0, &mut |child| {
                if child.node.children.subdirs > 0 {
                    below.push(child.node.clone());
                }
                below.len() <= MOST_DIRECTORIES
            })?;
            if below.len() > MOST_DIRECTORIES {
                return Ok(Vec::new());
            }
        }
        Ok(below)
    }

    /// The leaf pages of all that lies below a directory with these children, if they are few and directories among them.
    pub(super) fn pages_around(&self, children: &Children) -> Range<u64> {
        if children.subdirs == 0 {
            return 0..0;
        }
        let end = children.first.saturating_add(children.descendants);
        let pages = self.pages_of(children.first..end);
        // Whatever is wrong with the index shows when the page is read that is needed.
        pages
            .ok()
            .filter(|pages| (2..=AROUND).contains(&(pages.end - pages.start)))
            .unwrap_or(0..0)
    }

    /// The leaf pages that hold these entries.
    fn pages_of(&self, ordinals: Range<u64>) -> Result<Range<u64>> {
        let last = ordinals.end.saturating_sub(1).max(ordinals.start);
        let page = |ordinal: u64| {
            tree::leaf_number(&self.store, |inner| inner.find_ordinal(ordinal)).map(|found| found.0)
        };
        let start = page(ordinals.start)?;
        Ok(start..page(last)?.max(start) + 1)
    }

    /// Asks for leaf pages without waiting for them.
    pub(super) fn ask_for(&self, pages: &Range<u64>) {
        let bytes = |page: u64| page.saturating_mul(PAGE_BYTES);
        let part = self.store.part();
        let mut at = bytes(pages.start);
        let end = bytes(pages.end);
        while at < end {
            let length = (end - at).min(super::ahead::STEP);
            part.will_need(at, length);
            at += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
    use crate::entry::{Kind, Metadata, Timestamp};
    use crate::format::PAGE_BYTES;
    use crate::fs::{Options, PackFs};
    use crate::read::{Image, ReadAt};
    use std::collections::HashSet;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// An index in memory that counts what a disk would have to read, given that what was read stays.
    struct Disk {
        bytes: Vec<u8>,
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        known: HashSet<u64>,
        reads: u64,
    }

    impl Disk {
        fn need(&self, offset: u64, length: u64) {
            let mut state = self.state.lock().unwrap();
            let pages = offset / PAGE_BYTES..(offset + length).div_ceil(PAGE_BYTES);
            let before = state.known.len();
            state.known.extend(pages);
            state.reads += u64::from(state.known.len() > before);
        }

        fn reads(&self) -> u64 {
            std::mem::take(&mut self.state.lock().unwrap().reads)
        }

        fn forget_leaves(&self, leaves: u64) {
            self.state
                .lock()
                .unwrap()
                .known
                .retain(|page| *page > leaves);
        }
    }

    impl ReadAt for Disk {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.need(offset, buffer.len() as u64);
            self.bytes.read_exact_at(buffer, offset)
        }

        fn length(&self) -> io::Result<u64> {
            self.bytes.length()
        }

        fn will_need(&self, offset: u64, length: u64) {
            self.need(offset, length);
        }
    }

    /// 30 x 30 directories of 30 files, all with times that take space, so that a directory of 30 takes a third of a page or so.
    fn index() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut builder = Builder::new(&path, BuildOptions::default()).unwrap();
        let mut add = |path: &str, mut metadata: Metadata, number: u64| {
            let chance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            metadata.mtime = Timestamp {
                seconds: i64::try_from(chance % 1_000_000_000).unwrap(),
                nanoseconds: u32::try_from(chance % 999_999_937).unwrap(),
            };
            let contents = match metadata.kind() {
                Some(Kind::File) => Contents::Bytes(b""),
                _ => Contents::None,
            };
            let entry = NewEntry {
                path: path.as_bytes(),
                metadata,
                contents,
                target: b"",
                identity: None,
            };
            builder.add(entry).unwrap();
        };
        for number in 0..27_000_u64 {
            let (outer, inner, file) = (number / 900, number / 30 % 30, number % 30);
            let directory = Metadata::new(Kind::Directory, 0o755);
            if inner == 0 && file == 0 {
                add(&format!("{outer:02}"), directory.clone(), !number);
            }
            if file == 0 {
                add(&format!("{outer:02}/{inner:02}"), directory, number << 20);
            }
            let path = format!("{outer:02}/{inner:02}/{file:02}");
            add(&path, Metadata::new(Kind::File, 0o644), number);
        }
        builder.finish(&mut LogObserver).unwrap();
        std::fs::read(path).unwrap()
    }

    fn open(bytes: &[u8]) -> (Arc<Disk>, Arc<Image>) {
        let disk = Arc::new(Disk {
            bytes: bytes.to_vec(),
            state: Mutex::default(),
        });
        let options = Image::options().index_only(true);
        let image = options.open_parts(Box::new(disk.clone()), Vec::new());
        (disk, Arc::new(image.unwrap()))
    }

    #[test]
    fn a_file_in_unknown_directories_costs_one_read_of_the_index() {
        let bytes = index();
        let (mut with, mut without) = (0, 0);
        for number in (0..27_000_u64).step_by(1237) {
            for prepared in [true, false] {
                let (disk, image) = open(&bytes);
                let leaves = image.header().leaf_pages;
                assert!(leaves > 50, "{leaves} pages");
                let fs = PackFs::new(image.clone(), Options::default()).unwrap();
                disk.forget_leaves(leaves);
                if prepared {
                    image.ask_for_levels(40).unwrap();
                }
                disk.reads();
                let mut at = crate::entry::Ino::ROOT;
                for part in [number / 900, number / 30 % 30, number % 30] {
                    let name = format!("{part:02}");
                    at = fs.lookup(at, name.as_bytes()).unwrap().unwrap().ino;
                }
                let reads = disk.reads();
                if prepared {
                    assert!(reads <= 1, "{reads} reads for file {number}");
                    with += reads;
                } else {
                    without += reads;
                }
            }
        }
        assert!(with < without, "{with} reads instead of {without}");
    }

    #[test]
    fn no_more_is_asked_for_than_allowed() {
        let bytes = index();
        for limit in [0, 1, 5, 20, 40, 1000] {
            let (disk, image) = open(&bytes);
            let leaves = 1..=image.header().leaf_pages;
            disk.forget_leaves(image.header().leaf_pages);
            image.ask_for_levels(limit).unwrap();
            let known = &disk.state.lock().unwrap().known;
            let asked = known.iter().filter(|page| leaves.contains(page)).count();
            // The root's own page besides.
            assert!(asked as u64 <= limit + 1, "{asked} pages, {limit} allowed");
        }
        let (disk, image) = open(&bytes);
        disk.state.lock().unwrap().known.clear();
        image.ask_for_inner_pages();
        let first = image.header().leaf_pages + 1;
        let inner: HashSet<u64> = (first..first + image.header().inner_pages).collect();
        assert!(!inner.is_empty());
        assert_eq!(disk.state.lock().unwrap().known, inner);

        let (disk, image) = open(&bytes);
        // The inner page is read.
        image.root().unwrap();
        disk.forget_leaves(image.header().leaf_pages);
        assert!(image.ask_for_index());
        disk.reads();
        image.walk(0, &mut |_, _, _| true).unwrap();
        assert_eq!(disk.reads(), 0, "nothing is left to read");
    }
}
