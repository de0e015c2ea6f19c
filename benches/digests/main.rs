//! The table of digests with very many of them, as `dgfs pack` has it for files and for chunks.
//!
//! `cargo bench --bench digests -- 100000000` looks for each of so many made-up digests and adds those that are new, as the
//! thread that stores does; then it looks for others from one thread and from several at once, as those do that look
//! ahead of it. It prints digests a second, reads of scratch files for each, and peak memory. `--pack` packs as many
//! files of some bytes instead, with equal contents stored once and without.
//!
//! Files go to `DGFS_SCALE_DIR`, or to cargo's directory for such files, and are removed.

#[path = "../scale/memory.rs"]
mod memory;
mod packing;
mod table;

use clap::Parser;
use std::path::PathBuf;

#[derive(Debug, Parser)]
struct Arguments {
    /// How many digests, or files.
    #[arg(default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10..))]
    count: u64,
    /// Memory of the table in MiB (default: 96), or of the build (256).
    #[arg(long, value_name = "MIB")]
    memory: Option<usize>,
    /// How many digests are expected (default: as many as there are).
    #[arg(long, value_name = "N")]
    expected: Option<u64>,
    /// Of how many digests one repeats another.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..))]
    repeated: u64,
    /// Threads that look for digests at the same time in the end.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: u64,
    /// How many digests each of them looks for.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    lookups: u64,
    /// Pack files.
    #[arg(long)]
    pack: bool,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[expect(clippy::print_stdout, reason = "a benchmark reports")]
fn main() -> dgfs::Result<()> {
    let arguments = Arguments::parse();
    let scratch = std::env::var_os("DGFS_SCALE_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let directory = tempfile::tempdir_in(&scratch)
        .map_err(|error| dgfs::Error::io(&scratch, "make a directory in", error))?;
    if arguments.pack {
        packing::compare(&arguments, directory.path())?;
    } else {
        table::measure(&arguments, directory.path())?;
    }
    println!(
        "memory   {} KiB at the peak",
        memory::status_kib(None, "VmHWM")
    );
    Ok(())
}
