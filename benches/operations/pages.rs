//! Leaf pages, encoded from entries and decoded from bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a page that cannot be made or read leaves nothing to measure"
)]

use crate::sample::{LAYOUTS, Layout, Sample, mixed};
use dgfs::entry::{Kind, OtherTimes};
use dgfs::format::attributes;
use dgfs::format::leaf::{LeafBuilder, LeafContext, LeafFrames, LeafPage, NewEntry, PageBuilder};
use dgfs::format::page_dictionaries::{self, DictionaryBytes};
use dgfs::format::{PAGE_BYTES, PAGE_SIZE, checksum};
use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::Arc;

/// Zstd level of pages by default.
const LEVEL: i32 = 15;

/// Decodes page after page of an image, checksum included.
#[divan::bench(args = LAYOUTS)]
fn decode_page(bencher: Bencher<'_, '_>, layout: Layout) {
    let sample = Sample::new(layout);
    let index = std::fs::read(sample.index()).unwrap();
    let header = sample.open(0).header().clone();
    let section = header.section(attributes::SECTION).unwrap();
    let start = usize::try_from(section.offset).unwrap();
    let end = start + usize::try_from(section.length).unwrap();
    let table = attributes::decode(index.get(start..end).unwrap(), section.rows).unwrap();
    let mut context = LeafContext::plain(&table.into(), header.chunk_shift);
    if let Some(section) = header.section(page_dictionaries::SECTION) {
        let start = usize::try_from(section.offset).unwrap();
        let (read, _) = DictionaryBytes::decode(index.get(start..).unwrap()).unwrap();
        context.dictionaries = Arc::new(read.load().unwrap());
    }
    let page_at = |number: u64| {
        let start = usize::try_from(number * PAGE_BYTES).unwrap();
        index.get(start..start + PAGE_SIZE).unwrap()
    };
    let mut number = 0;
    bencher.bench_local(|| {
        number = number % header.leaf_pages + 1;
        let page: &[u8; PAGE_SIZE] = page_at(number).try_into().unwrap();
        assert!(checksum::page_is_sound(&header.uuid, number, page));
        LeafPage::decode(page, &context).unwrap()
    });
}

/// Encodes one page of as many entries as fit in a page of either layout.
#[divan::bench(args = LAYOUTS)]
fn encode_page(bencher: Bencher<'_, '_>, layout: Layout) {
    let entries: u64 = match layout {
        Layout::Regular => 2000,
        Layout::Irregular | Layout::Compressed => 300,
    };
    let names: Vec<_> = (0..entries).map(|number| layout.path(number)).collect();
    let mut frames = LeafFrames::new(LEVEL, &DictionaryBytes::default()).unwrap();
    let mut builder = LeafBuilder::default();
    let mut before = "";
    for (number, (directory, name)) in (0..).zip(&names) {
        if directory != before {
            builder.begin_run(directory.as_bytes(), 0);
            before = directory;
        }
        builder.push(&entry(layout, number, name.as_bytes()));
    }
    let count = builder.len();
    let page = PageBuilder::new(0);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let used = builder.encode(count, 0, b"", &page, &mut frames).unwrap();
        assert!(used <= page.room(), "{used} bytes do not fit");
        used
    });
}

fn entry(layout: Layout, number: u64, name: &[u8]) -> NewEntry<'_> {
    let mtime = layout.mtime(number);
    NewEntry {
        other_times: OtherTimes {
            atime: mtime,
            ctime: mtime,
            btime: None,
        },
        size: 4096 + mixed(number) % 8193,
        ..NewEntry::plain(name, Kind::File, mtime)
    }
}
