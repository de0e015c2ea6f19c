//! Reads at random places of a device or a large file.

use crate::clients::Clients;
use crate::summary::Outcome;
use rustix::fs::OFlags;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// What direct I/O asks of places, lengths and memory; 4096 suits every device.
const ALIGNMENT: usize = 4096;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The device or file.
    path: PathBuf,
    /// Bytes of one read, a multiple of 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 8192)]
    size: usize,
    /// Number of reads.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    count: usize,
    /// Read only in the first 1/N.
    #[arg(long, value_name = "N", default_value_t = 1)]
    part: u64,
    /// Gives other places.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Go through the page cache.
    #[arg(long)]
    buffered: bool,
}

pub(crate) fn run(arguments: &Arguments, clients: &Clients) -> io::Result<Outcome> {
    let flags = if arguments.buffered {
        OFlags::empty()
    } else {
        OFlags::DIRECT
    };
    let mut file = std::fs::File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&arguments.path)?;
    let length = file.seek(SeekFrom::End(0))?;
    let size = arguments.size.next_multiple_of(ALIGNMENT);
    let alignment = ALIGNMENT as u64;
    let last = (length / arguments.part.max(1)).saturating_sub(size as u64) / alignment;
    if last == 0 {
        return Err(io::Error::other("too small for reads at random places"));
    }
    clients.run(1, |_, watch| {
        let mut memory = vec![0; size + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        let buffer = memory
            .get_mut(start..start + size)
            .ok_or_else(|| io::Error::other("no aligned memory"))?;
        let mut chance = arguments.seed;
        for _ in 0..arguments.count {
            let place = split_mix(&mut chance) % (last + 1) * alignment;
            watch.measure(|| file.read_at(buffer, place).map(|length| length as u64))?;
        }
        Ok(())
    })
}

/// `SplitMix64`: a step of the golden ratio, then two rounds of mixing.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
