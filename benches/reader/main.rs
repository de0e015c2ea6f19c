//! A client that costs little: reads many files, random blocks or one file from its front, and prints what each took.
//!
//! `cargo bench --bench reader -- --help` says how; `tools/bench`, `tools/seekhist` and `tools/simdisk` call it. The answer
//! is one JSON object. Times are of the wall clock, processor time is that of the reading threads alone.

mod blocks;
mod clients;
mod counts;
mod files;
mod stopwatch;
mod stream;
mod summary;

use clap::{Parser, Subcommand};
use clients::Clients;
use std::error::Error;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(about = "Reads files or blocks and prints what each read took, as JSON")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    common: Common,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

/// What every kind of reading takes.
#[derive(Debug, clap::Args)]
struct Common {
    /// Processors that the clients are bound to, in turn; separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "CPU", global = true)]
    cpus: Vec<usize>,
    /// Counts to be read before and after each operation: /sys/block/DEVICE/stat, or a simulated disk's `stats`.
    /// What belongs to an operation is the sum over all given.
    #[arg(long, value_name = "FILE", global = true)]
    counts: Vec<PathBuf>,
    /// Write the time of each operation here, one number of microseconds a line; a simulated disk's, if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    times: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Open, read to the end and close each file of a list.
    Files(files::Arguments),
    /// Read blocks at random places of a device or file, past the page cache.
    Blocks(blocks::Arguments),
    /// Read one file from its front to its end.
    Stream(stream::Arguments),
}

#[expect(clippy::print_stdout, reason = "the answer goes to the caller")]
fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { what, common, .. } = Arguments::parse();
    let clients = Clients::new(common.cpus, common.counts);
    let outcome = match what {
        What::Files(arguments) => files::run(&arguments, &clients)?,
        What::Blocks(arguments) => blocks::run(&arguments, &clients)?,
        What::Stream(arguments) => stream::run(&arguments, &clients)?,
    };
    if let Some(path) = common.times {
        outcome.write_times(&path)?;
    }
    println!("{}", serde_json::to_string(&outcome.summary())?);
    Ok(())
}
