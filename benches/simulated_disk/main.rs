//! A disk that is not there: one file, as large as asked, whose reads take the time of a rotating disk.
//!
//! `cargo bench --bench simulated_disk -- DIR --backing FILE --size BYTES` shows two files in DIR: `disk`, to be attached
//! to a loop device with direct I/O, and `stats`, one line of counts. `tools/simdisk` runs the experiment on it.
//!
//! One thread serves, as one head does: requests that a kernel sends side by side, its read-ahead among them, are
//! accounted one after the other in the order in which they come. By default the time is only added up, so a run
//! is fast and the same on every machine; with `--real` each read sleeps as long as the model says. Writes cost
//! nothing: they are how a file system gets onto the disk.

mod model;
mod service;

use clap::{Parser, ValueEnum};
use fuser::{Config, MountOption, SessionACL};
use model::{Barracuda, Flash, Model};
use service::SimulatedDisk;
use std::fs::File;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(about = "Shows a simulated disk as a file; serves until it is unmounted")]
struct Arguments {
    /// Where to mount.
    directory: PathBuf,
    /// The file that keeps what is written; it is made, and stays sparse.
    #[arg(long, value_name = "FILE")]
    backing: PathBuf,
    /// Size of the disk in bytes.
    #[arg(long, value_name = "BYTES")]
    size: u64,
    /// What it is a model of.
    #[arg(long, value_enum, default_value = "barracuda")]
    model: Kind,
    /// The part 1/N of the stroke that the disk takes, beginning at the outer edge.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    part: f64,
    /// The drive's own memory in bytes; 32 MiB for 1 TB by default.
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Sleep as long as the model says.
    #[arg(long)]
    real: bool,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Seagate Barracuda ES.2, 7200 turns a minute.
    Barracuda,
    /// A SATA solid-state disk.
    Flash,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let backing = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&arguments.backing)?;
    backing.set_len(arguments.size)?;
    let model: Box<dyn Model> = match arguments.model {
        Kind::Barracuda => Box::new(Barracuda::new(
            arguments.size,
            arguments.part,
            arguments.memory,
        )),
        Kind::Flash => Box::new(Flash),
    };
    let disk = SimulatedDisk::new(backing, arguments.size, model, arguments.real);
    let mut config = Config::default();
    config.acl = SessionACL::Owner;
    config.n_threads = Some(1);
    config.mount_options = vec![
        MountOption::NoAtime,
        MountOption::FSName("simulated_disk".into()),
    ];
    fuser::mount(disk, arguments.directory, &config)
}
