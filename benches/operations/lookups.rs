//! What a request of the kernel asks of the file system: lookups, reads and listings, without a kernel.

#![expect(
    clippy::unwrap_used,
    reason = "what is not found leaves nothing to measure"
)]

use crate::sample::{FILES, LAYOUTS, Layout, Sample};
use dgfs::entry::Ino;
use dgfs::fs::{Attributes, DirEntry, DirSink, Options, PackFs};
use dgfs::read::{DEFAULT_CACHE_BYTES, Image};
use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::Arc;

/// Memory for the few inner pages of a sample, and for next to no leaf pages.
const INNER_PAGES_ALONE: usize = 48 << 10;

/// Directories and names of all files, in an order that meets another page each time.
struct Requests {
    fs: PackFs,
    names: Vec<(Ino, String)>,
    next: usize,
    image: Arc<Image>,
    done: u64,
}

impl Requests {
    fn new(sample: &Sample, cache_bytes: usize) -> Self {
        let known = sample.open(8 * DEFAULT_CACHE_BYTES);
        let name_of = |number: u64| {
            // A step coprime to the number of files.
            let (directory, name) = sample.layout().path(number * 7919 % FILES);
            let node = known.lookup(directory.as_bytes()).unwrap().unwrap();
            (node.ino, name)
        };
        let names = (0..FILES).map(name_of).collect();
        let image = Arc::new(sample.open(cache_bytes));
        let fs = PackFs::new(Arc::clone(&image), Options::default()).unwrap();
        Self {
            fs,
            names,
            next: 0,
            image,
            done: 0,
        }
    }

    /// How many pages, or segments of them, were decoded so far.
    fn decoded(&self) -> u64 {
        self.image.counters().pages_decoded
    }

    fn next_directory(&mut self) -> Ino {
        self.next = (self.next + 1) % self.names.len();
        self.names.get(self.next).unwrap().0
    }

    fn look_up(&mut self) -> Attributes {
        self.done += 1;
        self.next = (self.next + 1) % self.names.len();
        let (directory, name) = self.names.get(self.next).unwrap();
        self.fs
            .lookup(*directory, name.as_bytes())
            .unwrap()
            .unwrap()
    }
}

/// LOOKUP of a file whose page is decoded already.
#[divan::bench(args = LAYOUTS)]
fn lookup_hot(bencher: Bencher<'_, '_>, layout: Layout) {
    let sample = Sample::new(layout);
    let mut requests = Requests::new(&sample, 8 * DEFAULT_CACHE_BYTES);
    for _ in 0..FILES {
        requests.look_up();
    }
    bencher.bench_local(|| requests.look_up());
}

/// LOOKUP of a file whose leaf page is in the page cache, but must be checked and decoded; inner pages and the directory are
/// known, as they are in a mount.
#[divan::bench(args = LAYOUTS, sample_count = 4000)]
fn lookup_decoded(bencher: Bencher<'_, '_>, layout: Layout) {
    let sample = Sample::new(layout);
    let mut requests = Requests::new(&sample, INNER_PAGES_ALONE);
    for _ in 0..FILES {
        requests.look_up();
    }
    let (decoded, before) = (requests.decoded(), requests.done);
    bencher.bench_local(|| requests.look_up());
    let (decoded, done) = (requests.decoded() - decoded, requests.done - before);
    assert!(
        decoded > done / 10 * 8 && decoded <= done + 1,
        "{done} lookups decoded {decoded}"
    );
}

/// READ of a small file right after its LOOKUP; the difference to `lookup_hot` is the read.
#[divan::bench(args = LAYOUTS)]
fn lookup_and_read(bencher: Bencher<'_, '_>, layout: Layout) {
    let sample = Sample::new(layout);
    let mut requests = Requests::new(&sample, 8 * DEFAULT_CACHE_BYTES);
    let mut scratch = Vec::new();
    bencher.bench_local(|| {
        let found = requests.look_up();
        requests
            .fs
            .read(found.ino, 0, 4096, &mut scratch)
            .unwrap()
            .len()
    });
}

/// Takes every entry and keeps none.
struct Counted(u64);

impl DirSink for Counted {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        self.0 += entry.name.len() as u64;
        true
    }
}

/// Lists directories of 100 entries with their attributes, one after the other; pages decoded already.
#[divan::bench(args = LAYOUTS)]
fn list_directory(bencher: Bencher<'_, '_>, layout: Layout) {
    let sample = Sample::new(layout);
    let mut requests = Requests::new(&sample, 8 * DEFAULT_CACHE_BYTES);
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| {
        let directory = requests.next_directory();
        let mut sink = Counted(0);
        requests.fs.list(directory, 0, &mut sink).unwrap();
        sink.0
    });
}
