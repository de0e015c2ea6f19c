//! A file system of computed answers, served by the same crate, over the same transports and with the same options as
//! a mount of dgfs.
//!
//! Names, sizes and attributes follow from inode numbers, contents from one region of memory. So what it needs is
//! what the transport needs, and the ratio of a dgfs mount to it is what is left to gain. `tools/bench` mounts it:
//! `cargo bench --bench null_file_system -- DIR --shape 20x100x100`; it serves until it is unmounted.

mod layout;
mod native;
mod service;
mod uring;

use clap::Parser;
use fuser::{Config, MountOption, Session, SessionACL};
use layout::Layout;
use service::{Device, NullFileSystem, REQUEST_MAX};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uring::rings::{OnFailure, Rings};

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
    /// Threads that answer (default: 2; for rings two for each processor).
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// What carries the requests: `dev` or `uring`, as in a mount of dgfs.
    #[arg(long, default_value = "dev", value_parser = ["dev", "uring"])]
    transport: String,
    /// When listings carry attributes: `always` or `auto`.
    #[arg(long, default_value = "always", value_parser = ["always", "auto", "never"])]
    readdirplus: String,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let service = NullFileSystem::new(
        arguments.shape,
        arguments.least..=arguments.greatest.max(arguments.least),
        arguments.large,
        &arguments.readdirplus,
    );
    let service = Arc::new(service);
    let rings = match arguments.transport.as_str() {
        "uring" => Some(Rings::prepare(arguments.threads, REQUEST_MAX as usize)?),
        _ => None,
    };
    let mut config = Config::default();
    config.acl = SessionACL::Owner;
    config.n_threads = Some(match rings {
        Some(_) => 1,
        None => arguments.threads.unwrap_or(2).max(1),
    });
    config.clone_fd = true;
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoAtime,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::DefaultPermissions,
        MountOption::FSName("null".into()),
    ];
    let device = Device {
        service: service.clone(),
        wants_rings: rings.is_some(),
    };
    let session = Session::new(device, arguments.directory, &config)?;
    if let Some(rings) = rings {
        if !service.has_rings.load(Ordering::Acquire) {
            return Err(io::Error::other("the kernel offers no FUSE over io_uring"));
        }
        let device = session.as_fd().try_clone_to_owned()?;
        // Whoever waits for an answer is freed by the end of the process.
        let on_failure: OnFailure = Arc::new(|_| std::process::abort());
        let answer = move |header: &mut _, payload: &mut [u8], _: &mut Vec<u8>| {
            uring::answer(&service, header, payload)
        };
        // They end with the mount.
        rings.start(device, answer, &on_failure)?;
    }
    session.run()
}
