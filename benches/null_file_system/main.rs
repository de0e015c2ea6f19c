//! A file system of computed answers, served by the same crate and with the same options as a mount of dgfs.
//!
//! Names, sizes and attributes follow from inode numbers, contents from one region of memory. So what it needs is
//! what the transport needs, and the ratio of a dgfs mount to it is what is left to gain. `tools/bench` mounts it:
//! `cargo bench --bench null_file_system -- DIR --shape 20x100x100`; it serves until it is unmounted.

mod layout;
mod service;

use clap::Parser;
use fuser::{Config, MountOption, SessionACL};
use layout::Layout;
use service::NullFileSystem;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(about = "Mounts a file system whose answers are computed; serves until it is unmounted")]
struct Arguments {
    /// Where to mount.
    directory: PathBuf,
    /// Directories of directories of files: how many on each level. Names are numbers of equal width.
    #[arg(long, value_name = "AxBxC", default_value = "20x100x100")]
    shape: Layout,
    /// Least size of a file in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    least: u64,
    /// Greatest size of a file in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 12288)]
    greatest: u64,
    /// Size of the file `large` beside the tree.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    large: u64,
    /// Threads that answer.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// When listings carry attributes: `always` or `auto`.
    #[arg(long, default_value = "always", value_parser = ["always", "auto", "never"])]
    readdirplus: String,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let service = NullFileSystem::new(
        arguments.shape,
        arguments.least..=arguments.greatest.max(arguments.least),
        arguments.large,
        &arguments.readdirplus,
    );
    let mut config = Config::default();
    config.acl = SessionACL::Owner;
    config.n_threads = Some(arguments.threads.max(1));
    config.clone_fd = true;
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoAtime,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("null".into()),
    ];
    fuser::mount(service, arguments.directory, &config)
}
