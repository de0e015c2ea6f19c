//! Reads what was sampled, and sorts it into classes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;

use super::FEWEST;
use crate::build::classes;
use crate::build::samples::Sample;
use crate::sort::Content;
use crate::source::TreeOpener;

/// Most classes that get a dictionary by name; two more take what is left.
const MOST_NAMED: usize = 12;

/// Bytes of one file that count for what a dictionary gains: in further chunks, contents have most of it in front of them.
const MOST_OF_ONE: u64 = 128 << 10;

/// Where samples are read from.
#[derive(Debug)]
pub(in crate::build) struct SampleSource<'a> {
    pub(in crate::build) tree: Option<&'a TreeOpener>,
    pub(in crate::build) spool: Option<&'a File>,
    pub(in crate::build) threads: usize,
}

/// Samples of a class.
pub(super) struct Group<'a> {
    pub(super) label: Vec<u8>,
    pub(super) members: Vec<&'a [u8]>,
    /// Bytes that all files of the class would have as samples, about.
    pub(super) total: u64,
    /// Bytes that these have behind what would be sampled, of the first [`MOST_OF_ONE`] of each.
    pub(super) further: u64,
}

/// Reads the samples, several threads at a time.
pub(super) fn read(samples: &[Sample], from: &SampleSource<'_>) -> Vec<Vec<u8>> {
    let threads = from.threads.clamp(1, samples.len().max(1));
    let step = samples.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = samples
            .chunks(step)
            .map(|part| {
                let mut opener = from.tree.map(TreeOpener::another);
                let spool = from.spool;
                scope.spawn(move || {
                    let read = |sample| read_one(sample, opener.as_mut(), spool);
                    part.iter().map(read).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = parts
            .into_iter()
            .map(|part| part.join().unwrap_or_default());
        joined.flatten().collect()
    })
}

/// The beginning of a file; nothing if it cannot be read.
fn read_one(sample: &Sample, opener: Option<&mut TreeOpener>, spool: Option<&File>) -> Vec<u8> {
    let own;
    let (file, offset) = match (sample.content, opener, spool) {
        (Content::Tree, Some(opener), _) => match opener.open(&sample.parent, &sample.name) {
            Ok(file) => {
                own = file;
                (&own, 0)
            }
            Err(_) => return Vec::new(),
        },
        (Content::Spool { offset }, _, Some(spool)) => (spool, offset),
        _ => return Vec::new(),
    };
    let mut bytes = vec![0; sample.length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}

/// Classes of samples: by name as far as names are common, then other texts, then the rest. With them their names. All files
/// would have `total` bytes as samples.
pub(super) fn group<'a>(
    samples: &[Sample],
    contents: &'a [Vec<u8>],
    total: u64,
) -> (Vec<Group<'a>>, Vec<Option<Vec<u8>>>) {
    let mut by_key: BTreeMap<Vec<u8>, Vec<Member<'a>>> = BTreeMap::new();
    let read = samples.iter().zip(contents);
    for (sample, bytes) in read.filter(|(_, bytes)| !bytes.is_empty()) {
        let members = by_key.entry(classes::key(&sample.name)).or_default();
        members.push(Member {
            bytes,
            size: sample.size,
        });
    }
    let mut named: Vec<_> = by_key.into_iter().collect();
    // Stable, so that equal ones stay in the order of their names.
    named.sort_by_key(|(key, members)| {
        let common = !key.is_empty() && members.len() >= FEWEST;
        std::cmp::Reverse(if common { bytes_of(members) } else { 0 })
    });
    let common = named
        .iter()
        .take_while(|(key, members)| !key.is_empty() && members.len() >= FEWEST)
        .count();
    let others = named.split_off(common.min(MOST_NAMED));
    let others = others.into_iter().flat_map(|(_, members)| members);
    let (text, binary): (Vec<_>, Vec<_>) =
        others.partition(|member| classes::is_text(member.bytes));
    let mut groups = Vec::new();
    let mut keys = Vec::new();
    for (key, members) in named {
        keys.push(Some(key.clone()));
        groups.push((key, members));
    }
    for (label, members) in [(b"other text", text), (b"other data", binary)] {
        keys.push(None);
        groups.push((label.to_vec(), members));
    }
    let chosen: u64 = contents.iter().map(|bytes| bytes.len() as u64).sum();
    let count = contents.iter().filter(|bytes| !bytes.is_empty()).count();
    let of_class = |members: &[Member<'_>]| {
        // If all files were chosen this is exact; else samples of large files are more likely as they are longer.
        if chosen == total {
            return bytes_of(members);
        }
        let share = u128::from(total) * members.len() as u128 / (count as u128).max(1);
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    let groups = groups.into_iter().map(|(label, members)| {
        let total = of_class(&members);
        Group {
            total,
            further: further(&members, total),
            label,
            members: members.iter().map(|member| member.bytes).collect(),
        }
    });
    (groups.collect(), keys)
}

/// A sample, and the size of its file.
struct Member<'a> {
    bytes: &'a [u8],
    size: u64,
}

fn bytes_of(members: &[Member<'_>]) -> u64 {
    members.iter().map(|member| member.bytes.len() as u64).sum()
}

/// Bytes behind the beginnings of the files of a class, if the beginnings have `total` bytes. A file is chosen the more
/// often, the longer its beginning is; so each sample stands for as many bytes of beginnings.
fn further(members: &[Member<'_>], total: u64) -> u64 {
    let behind = |member: &Member<'_>| {
        let length = member.bytes.len() as u64;
        let behind = member.size.min(MOST_OF_ONE).saturating_sub(length);
        u128::from(behind) * 1024 / u128::from(length.max(1))
    };
    let sum: u128 = members.iter().map(behind).sum();
    let mean = sum / (members.len() as u128).max(1);
    u64::try_from(u128::from(total) * mean / 1024).unwrap_or(u64::MAX)
}
