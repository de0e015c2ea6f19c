//! The image: its index built from the tree, its volume sparse.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use crate::memory::{cpu_seconds, status_kib};
use crate::tree::Tree;
use dgfs::build::index::{IndexEntry, IndexWriter, PageOptions, Placement, Usage};
use dgfs::build::page_samples::PageSamples;
use dgfs::build::plan::{Plan, PlannedEntry};
use dgfs::build::volumes::default_stored_length;
use dgfs::build::{DEFAULT_CHUNK_SHIFT, DEFAULT_INDEX_LEVEL};
use dgfs::entry::Kind;
use dgfs::format::attributes::Attributes;
use dgfs::format::header::Header;
use dgfs::format::page_dictionaries::DictionaryBytes;
use dgfs::format::volume::{Identity, Layout, Span, encode_header, encode_trailer};
use dgfs::format::{PAGE_BYTES, checksum};
use dgfs::read::Image;
use dgfs::sort::{Record, Sorted, Sorter};
use dgfs::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Builds index and volume in `directory` and gives the path of the index.
pub(crate) fn build(
    tree: &Tree,
    directory: &Path,
    is_sorted: bool,
    memory: usize,
) -> Result<PathBuf> {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let say = |what: &str, more: &str| {
        println!(
            "{what:<9}{:.1} s, {:.1} s of processor time {more}",
            begun.elapsed().as_secs_f64(),
            cpu_seconds() - cpu
        );
    };
    let mut sorter = Sorter::new(directory, memory / 2);
    let mut add = |record: &dgfs::sort::Record| sorter.add(record);
    if is_sorted {
        tree.in_order(&mut add)?;
    } else {
        tree.shuffled(&mut add)?;
    }
    say("added", "");
    let entries = sorter.finish()?;
    let mut twice = |_: &Record| Err(Error::corrupt("a path came twice"));
    let mut samples = PageSamples::default();
    let mut seen = |record: &Record, ordinal| samples.offer(record, ordinal);
    let plan = Plan::compute(&entries, directory, memory / 8, &mut twice, &mut seen)?;
    let dictionaries = samples.train(DEFAULT_INDEX_LEVEL)?;
    say("planned", "");

    let index = directory.join("scale.dgfs");
    let header = write_index((&entries, &plan), dictionaries, directory, &index)?;
    say("built", "");
    println!(
        "index    {} bytes, {:.3} an entry, {} leaf pages, {} levels",
        header.index_length,
        ratio(header.index_length, header.entries),
        header.leaf_pages,
        header.levels
    );
    let peak = status_kib(None, "VmHWM");
    println!(
        "memory   {peak} KiB at the peak, budget {} KiB",
        memory >> 10
    );
    Ok(index)
}

#[expect(clippy::cast_precision_loss, reason = "both are far below 2^52")]
fn ratio(bytes: u64, entries: u64) -> f64 {
    bytes as f64 / entries as f64
}

/// Writes the index as the builder does, with extents that follow each other, and the volume around them.
fn write_index(
    (sorted, plan): (&Sorted, &Plan),
    dictionaries: DictionaryBytes,
    scratch: &Path,
    path: &Path,
) -> Result<Header> {
    let failed = |error| Error::io(path, "write", error);
    let uuid = dgfs::image::random_uuid()?;
    let file = File::create(path).map_err(failed)?;
    let mut index = IndexWriter::new(
        &file,
        path,
        scratch,
        uuid,
        DEFAULT_CHUNK_SHIFT,
        PageOptions {
            level: DEFAULT_INDEX_LEVEL,
            dictionaries,
            is_only_copy: false,
        },
    )?;
    index.begin_run(b"", 0, 1);
    let mut entries = plan.entries(sorted)?;
    let mut entry = PlannedEntry::empty();
    let mut position = PAGE_BYTES;
    while entries.next(&mut entry)? {
        if let Some(run) = entry.run {
            index.begin_run(&entry.record.parent, run.directory, run.direct);
        }
        let record = &entry.record;
        let stored = default_stored_length(record.size, DEFAULT_CHUNK_SHIFT);
        let placement = Placement {
            position,
            stored,
            saved: 0,
            codec: None,
            cut: None,
            member: None,
            usage: Usage::Own,
        };
        let children = entry.children.unwrap_or_default();
        index.push(&IndexEntry {
            name: &record.name,
            attributes: Attributes {
                mode: record.metadata.mode,
                uid: record.metadata.uid,
                gid: record.metadata.gid,
            },
            kind: record.metadata.kind().unwrap_or(Kind::File),
            mtime: record.metadata.mtime,
            other_times: None,
            size: record.size,
            hole_bytes: 0,
            hole_map: 0,
            children: (children.direct, children.subdirs, children.deeper),
            placement: (stored > 0).then_some(placement),
            link: (0, 1),
            device: 0,
            xattrs: &[],
            target: b"",
        })?;
        position += stored;
    }
    let span = Span {
        start: 0,
        end: position,
    };
    let header = index.finish(&[span])?;
    file.sync_all().map_err(failed)?;
    write_volume(path, uuid, position)?;
    Ok(header)
}

/// A volume with its first and its last page, and nothing between.
fn write_volume(index: &Path, uuid: dgfs::format::Uuid, extents_end: u64) -> Result<()> {
    let path = volume_of(index);
    let failed = |error| Error::io(&path, "write", error);
    let identity = Identity {
        uuid,
        number: 0,
        count: 1,
    };
    let trailer = extents_end.next_multiple_of(PAGE_BYTES);
    let layout = Layout {
        extents_end,
        file_length: trailer + PAGE_BYTES,
        ..Layout::default()
    };
    let volume = File::create(&path).map_err(failed)?;
    volume.set_len(layout.file_length).map_err(failed)?;
    let write = |page: &[u8], at| volume.write_all_at(page, at).map_err(failed);
    write(&encode_header(&identity), 0)?;
    write(&encode_trailer(&identity, &layout), trailer)
}

fn volume_of(index: &Path) -> PathBuf {
    let mut path = index.as_os_str().to_owned();
    path.push(".data");
    path.into()
}

/// Gives the files that will be read the checksum of their zeros.
pub(crate) fn make_readable(tree: &Tree, index: &Path, lookups: u64) -> Result<()> {
    let image = Image::open(index)?;
    let path = volume_of(index);
    let failed = |error| Error::io(&path, "write", error);
    let volume = File::options().write(true).open(&path).map_err(failed)?;
    let zeros = [0; 12_288];
    for turn in 0..lookups {
        let node = find(&image, tree.chosen(turn))?;
        let length = usize::try_from(node.size).unwrap_or(usize::MAX);
        let sum = checksum::crc(zeros.get(..length).unwrap_or(&zeros));
        let place = node.extent.position + node.size;
        volume
            .write_all_at(&sum.to_le_bytes(), place)
            .map_err(failed)?;
    }
    volume.sync_all().map_err(failed)
}

fn find(image: &Image, file: u64) -> Result<dgfs::read::Node> {
    let node = image.lookup(Tree::path(file).as_bytes())?;
    node.ok_or_else(|| Error::corrupt("an entry is missing"))
}

/// Looks at and reads random files without a mount; each must cost one read of the volume.
pub(crate) fn read_through_library(tree: &Tree, index: &Path, lookups: u64) -> Result<()> {
    let opened = Instant::now();
    let image = Image::open(index)?;
    image.root()?;
    println!("opened   in {:.1} ms", opened.elapsed().as_secs_f64() * 1e3);
    let mut most = 0;
    let mut contents = Vec::new();
    for turn in 0..lookups {
        let file = tree.chosen(turn);
        let before = image.counters();
        let node = find(&image, file)?;
        let bytes = image.read_at(&node, 0, 16 << 10, &mut contents)?;
        assert_eq!(
            bytes.len() as u64,
            Tree::size(file),
            "the size of file {file}"
        );
        let after = image.counters();
        assert_eq!(
            after.data_reads - before.data_reads,
            1,
            "reads of the volume"
        );
        most = most.max(after.index_reads - before.index_reads);
    }
    let reads = image.counters();
    println!(
        "library  {lookups} files: {} reads of the index, at most {most} for one, {} of the volume",
        reads.index_reads, reads.data_reads
    );
    Ok(())
}
