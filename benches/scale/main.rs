//! An index of very many synthetic files, built through the parts of the library, then mounted and used.
//!
//! `cargo bench --bench scale -- 100000000` lays out 100 directories of 100 directories of 100 directories of 100 files
//! of 4 to 12 KiB, hands them over in shuffled order (`--sorted`: in key order) with one time (`--random-times`: one of its
//! own each, in nanoseconds), and prints time, peak memory and size. No contents are written: the volume is sparse, and only
//! the files that are read later get their checksum. As root it then mounts the image and looks at and reads random
//! files, with the reads of index and data counted. `tools/scale` measures such an image with little memory.
//!
//! Files go to `DGFS_SCALE_DIR`, or to cargo's directory for such files, and are removed.

mod image;
mod memory;
mod mounted;
mod tree;

use clap::Parser;
use std::path::{Path, PathBuf};
use tree::Tree;

#[derive(Debug, Parser)]
struct Arguments {
    /// How many files.
    #[arg(default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    count: u64,
    /// Hand the entries over in key order.
    #[arg(long)]
    sorted: bool,
    /// Give each file a time of its own.
    #[arg(long)]
    random_times: bool,
    /// Memory that sorter and plan may use, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: usize,
    /// How many random files to look at, and how many others to read.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    lookups: u64,
    /// Leave the image in this directory, with the list of files that can be read, instead of reading from it.
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() -> dgfs::Result<()> {
    let arguments = Arguments::parse();
    if let Some(directory) = &arguments.keep {
        return keep(&arguments, directory);
    }
    let scratch = std::env::var_os("DGFS_SCALE_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(&scratch)
        .map_err(|error| dgfs::Error::io(&scratch, "make a directory in", error))?;
    let tree = Tree::new(arguments.count, arguments.random_times);
    let index = image::build(
        &tree,
        directory.path(),
        arguments.sorted,
        arguments.memory << 20,
    )?;

    let lookups = arguments.lookups.min(arguments.count);
    image::make_readable(&tree, &index, 2 * lookups)?;
    image::read_through_library(&tree, &index, lookups)?;
    if rustix::process::geteuid().is_root() && std::path::Path::new("/dev/fuse").exists() {
        mounted::measure(&tree, &index, lookups)?;
    } else {
        println!("SKIPPED mounted: needs root and /dev/fuse");
    }
    Ok(())
}

/// Builds an image to be measured by others.
fn keep(arguments: &Arguments, directory: &Path) -> dgfs::Result<()> {
    let tree = Tree::new(arguments.count, arguments.random_times);
    let index = image::build(&tree, directory, arguments.sorted, arguments.memory << 20)?;
    let lookups = arguments.lookups.min(arguments.count);
    image::make_readable(&tree, &index, lookups)?;
    let names: String = (0..lookups)
        .map(|turn| Tree::path(tree.chosen(turn)) + "\n")
        .collect();
    let list = directory.join("scale.names");
    std::fs::write(&list, names).map_err(|error| dgfs::Error::io(&list, "write", error))
}
