//! The cycle open, read to the end, close over a list of files.

use crate::clients::Clients;
use crate::summary::Outcome;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Larger than any file that a list should name; others take several reads.
const BUFFER_BYTES: usize = 128 << 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Names of files, one a line.
    list: PathBuf,
    /// The directory that the names begin at.
    base: PathBuf,
    /// How many names to leave out at the front.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// How many names to take.
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// How often to read them all.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,
    /// Threads, each of which reads its part of the list.
    #[arg(long, value_name = "N", default_value_t = 1)]
    clients: usize,
    /// Look at the attributes of the files only.
    #[arg(long)]
    stat: bool,
    /// Drop this file from the page cache before each file.
    #[arg(long, value_name = "FILE")]
    evict: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, clients: &Clients) -> io::Result<Outcome> {
    let list = std::fs::read_to_string(&arguments.list)?;
    let paths: Vec<PathBuf> = list
        .lines()
        .skip(arguments.skip)
        .take(arguments.count.unwrap_or(usize::MAX))
        .map(|name| arguments.base.join(name))
        .collect();
    let evict = arguments
        .evict
        .iter()
        .map(File::open)
        .collect::<Result<Vec<_>, _>>()?;
    let count = arguments.clients.max(1);
    clients.run(count, |number, watch| {
        let mut buffer = vec![0; BUFFER_BYTES];
        for _ in 0..arguments.rounds {
            for path in paths.iter().skip(number).step_by(count) {
                for file in &evict {
                    fadvise(file, 0, None, Advice::DontNeed)?;
                }
                watch.measure(|| {
                    if arguments.stat {
                        return std::fs::symlink_metadata(path).map(|_| 0);
                    }
                    read_whole(path, &mut buffer)
                })?;
            }
        }
        Ok(())
    })
}

fn read_whole(path: &Path, buffer: &mut [u8]) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut bytes = 0;
    loop {
        let length = file.read(buffer)?;
        bytes += length as u64;
        // A regular file gives less than was asked for only at its end.
        if length < buffer.len() {
            return Ok(bytes);
        }
    }
}
