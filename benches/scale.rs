//! Builds an image of many synthetic entries through the library and says what it cost.
//!
//! `cargo bench --bench scale -- 20000000` packs that many files in the layout of 100 directories of 100
//! directories of 100 directories of 100 files, in shuffled order, and prints time, peak memory and the size of
//! the index; then it opens the image and counts reads of random cold files. The image goes to `DGFS_SCALE_DIR`,
//! or to cargo's directory for such files.

use dgfs::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
use dgfs::entry::{Kind, Metadata, Timestamp};
use dgfs::read::Image;
use std::path::PathBuf;
use std::time::Instant;

/// A step coprime to `count` and about half of it, so that multiples of it shuffle `0 .. count`.
fn step(count: u64) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    (count / 2 + 1..count.max(2))
        .find(|&step| gcd(step, count) == 1)
        .unwrap_or(1)
}

fn shuffled(turn: u64, step: u64, count: u64) -> u64 {
    let spread = u128::from(turn) * u128::from(step) % u128::from(count);
    u64::try_from(spread).unwrap_or(0)
}

fn path(number: u64) -> String {
    let [a, b, c, d] = [1_000_000, 10_000, 100, 1].map(|unit| number / unit % 100);
    format!("{a:02}/{b:02}/{c:02}/{d:02}")
}

/// Peak resident memory of this process in KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() -> dgfs::Result<()> {
    let asked = std::env::args().find_map(|word| word.parse().ok());
    let count: u64 = asked.unwrap_or(100_000).clamp(1, 100_000_000);
    let step = step(count);
    let scratch = std::env::var_os("DGFS_SCALE_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let index = scratch.join("scale.dgfs");
    let begun = Instant::now();
    let options = BuildOptions {
        force: true,
        ..BuildOptions::default()
    };
    let budget = options.memory;
    let mut builder = Builder::new(&index, options)?;
    let mut metadata = Metadata::new(Kind::File, 0o644);
    metadata.mtime = Timestamp {
        seconds: 1_600_000_000,
        nanoseconds: 0,
    };
    for turn in 0..count {
        let number = shuffled(turn, step, count);
        let contents = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        let length = 1 + usize::try_from(number % 8).unwrap_or(0);
        builder.add(NewEntry {
            path: path(number).as_bytes(),
            metadata: metadata.clone(),
            contents: Contents::Bytes(contents.get(..length).unwrap_or(&contents)),
            target: b"",
            identity: None,
        })?;
    }
    println!(
        "added    {count} files in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let report = builder.finish(&mut LogObserver)?;
    println!(
        "built    in {:.1} s altogether",
        begun.elapsed().as_secs_f64()
    );
    println!(
        "index    {} bytes, {:.3} an entry, {} leaf pages, {} levels",
        report.header.index_length,
        report.index_bytes_per_entry(),
        report.header.leaf_pages,
        report.header.levels
    );
    let peak = peak_memory().unwrap_or(0);
    println!(
        "memory   {peak} KiB at the peak, budget {} KiB",
        budget >> 10
    );

    let opened = Instant::now();
    let image = Image::open(&index)?;
    image.root()?;
    println!("opened   in {:.1} ms", opened.elapsed().as_secs_f64() * 1e3);
    let lookups = count.min(10_000);
    let mut most = 0;
    let mut contents = Vec::new();
    for turn in 0..lookups {
        // The golden ratio scatters where half of the count would go to and fro between two pages.
        let number = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count;
        let before = image.counters();
        let node = image.lookup(path(number).as_bytes())?;
        let node = node.ok_or_else(|| dgfs::Error::corrupt("an entry is missing"))?;
        image.read_at(&node, 0, 16, &mut contents)?;
        let after = image.counters();
        assert_eq!(
            after.data_reads - before.data_reads,
            1,
            "one read of the data device a file"
        );
        most = most.max(after.index_reads - before.index_reads);
    }
    let reads = image.counters();
    println!(
        "read     {lookups} files: {} index reads, at most {most} for one, {} data reads",
        reads.index_reads, reads.data_reads
    );
    Ok(())
}
