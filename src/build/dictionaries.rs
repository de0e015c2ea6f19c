//! Sorts sampled files into classes and trains a dictionary for each class that it pays for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::classes::{self, Classes};
use super::contents::Digest;
use super::samples::{MOST_OF_FILE, Reservoir, Sample};
use crate::format::checksum::crc;
use crate::format::codec::{Codec, Dictionary};
use crate::format::frame::ContentEncoder;
use crate::native::prefix::{Prefix, PrefixEncoder};
use crate::native::training;
use crate::sort::Content;
use crate::source::TreeOpener;
use crate::{Error, ErrorKind, Result};

/// Most classes that get a dictionary by name; two more take what is left.
const MOST_NAMED: usize = 12;

/// Fewest samples of a class: part of them is kept to see what the dictionary does for others.
const FEWEST: usize = 24;

/// Of so many samples one is kept for that.
const HELD_OUT: usize = 8;

/// Most bytes of samples that are kept for that: they are compressed twice at the level of the image.
const MOST_HELD_OUT: usize = 512 << 10;

/// Fewest bytes that all files of a class have.
const LEAST_CLASS: u64 = 64 << 10;

/// Bytes of files for a byte of dictionary: with fewer, the dictionary itself is what counts.
const FILES_TO_DICTIONARY: u64 = 128;

/// Smallest and largest dictionaries. Beyond 256 KiB, zstd's tables for one take 12 MiB.
const SMALLEST: usize = 4 << 10;
const LARGEST: usize = 512 << 10;

/// Bytes of all dictionaries together: the tables for all of them take some 35 MiB, and they lie in the index and in its
/// copy. Each class gets at most half of what those before it have left.
const MOST_BYTES: usize = 1280 << 10;

/// The level by which the trainer counts symbols.
const TRAINING_LEVEL: i32 = 3;

/// The level for dictionaries as they are stored.
const STORING_LEVEL: i32 = 12;

/// A class of files and its dictionary.
#[derive(Debug)]
pub(super) struct Class {
    /// What its files are called, for people.
    pub(super) label: Vec<u8>,
    pub(super) dictionary: Vec<u8>,
    /// Bytes of memory that it takes to compress by it, in each thread.
    pub(super) memory: usize,
    /// Bytes that samples took with the dictionary and without.
    pub(super) with: u64,
    pub(super) without: u64,
}

/// What came of the training.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    pub(super) list: Vec<Class>,
    pub(super) classes: Classes,
}

/// The sections of the index that hold codecs and dictionaries.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) codecs: Vec<Codec>,
    pub(super) dictionaries: Vec<u8>,
}

/// Where samples are read from.
#[derive(Debug)]
pub(super) struct SampleSource<'a> {
    pub(super) tree: Option<&'a TreeOpener>,
    pub(super) spool: Option<&'a File>,
    pub(super) threads: usize,
}

/// Samples of a class.
struct Group<'a> {
    label: Vec<u8>,
    members: Vec<&'a [u8]>,
    bytes: u64,
}

impl Dictionaries {
    /// Trains dictionaries on what `reservoir` has chosen, for files compressed at `level`; of at most `size` bytes, if
    /// that is given. What cannot be read is no sample.
    pub(super) fn train(
        reservoir: Reservoir,
        from: &SampleSource<'_>,
        level: i32,
        size: Option<usize>,
    ) -> Self {
        let (samples, total) = reservoir.finish();
        if total < LEAST_CLASS || samples.len() < FEWEST {
            return Self::default();
        }
        let mut contents = read(&samples, from);
        // Equal ones are stored once; held-out samples that others repeat would praise the dictionary for it.
        let mut known = HashSet::new();
        for bytes in &mut contents {
            if !known.insert(Digest::of(bytes).numbers()) {
                bytes.clear();
            }
        }
        let (groups, keys) = group(&samples, &contents);
        let chosen: u64 = contents.iter().map(|bytes| bytes.len() as u64).sum();
        let count = contents.iter().filter(|bytes| !bytes.is_empty()).count();
        let of_class = |group: &Group<'_>| {
            // If all files were chosen this is exact; else samples of large files are more likely as they are longer.
            let members = group.members.len() as u64;
            if chosen == total {
                return group.bytes;
            }
            let share = u128::from(total) * u128::from(members) / (count as u128).max(1);
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let mut left = MOST_BYTES;
        let planned: Vec<(Group<'_>, u64, usize)> = groups
            .into_iter()
            .map(|group| {
                let total = of_class(&group);
                let fitting = usize::try_from(total / FILES_TO_DICTIONARY).unwrap_or(usize::MAX);
                let capacity = fitting.min(left / 2).clamp(SMALLEST, LARGEST);
                left = left.saturating_sub(capacity);
                (group, total, size.unwrap_or(capacity))
            })
            .collect();
        let trained = in_threads(from.threads, &planned, |(group, total, capacity)| {
            train_class(group, *total, level, *capacity)
        });
        Self::assign(trained, keys)
    }

    /// Gives the classes with a dictionary their numbers.
    fn assign(trained: Vec<Option<Class>>, keys: Vec<Option<Vec<u8>>>) -> Self {
        let mut found = Self::default();
        // The last two groups are those without a name.
        let named = keys.len().saturating_sub(2);
        for (number, (class, key)) in trained.into_iter().zip(keys).enumerate() {
            let codec = match class {
                None => 0,
                Some(class) => {
                    found.list.push(class);
                    u32::try_from(found.list.len()).unwrap_or(0)
                }
            };
            match key {
                Some(key) => drop(found.classes.keys.insert(key, codec)),
                None if number == named => found.classes.text = codec,
                None => found.classes.binary = codec,
            }
        }
        if found.list.is_empty() {
            found.classes = Classes::default();
        }
        found
    }

    /// The dictionaries as the index holds them.
    pub(super) fn store(&self) -> Result<Stored> {
        let mut stored = Stored::default();
        if self.list.is_empty() {
            return Ok(stored);
        }
        stored.codecs.push(Codec::default());
        let mut encoder = ContentEncoder::new(STORING_LEVEL)?;
        for class in &self.list {
            let frame = encoder.encode(&class.dictionary, None);
            let bytes = frame.filter(|frame| frame.len() < class.dictionary.len());
            let bytes = bytes.unwrap_or(&class.dictionary);
            let number = |length: usize| {
                let what = "a dictionary is larger than the format allows";
                u32::try_from(length).map_err(|_| Error::new(ErrorKind::Limit, what))
            };
            let dictionary = Dictionary {
                offset: stored.dictionaries.len() as u64,
                stored: number(bytes.len())?,
                crc: crc(bytes),
                length: number(class.dictionary.len())?,
            };
            stored.dictionaries.extend_from_slice(bytes);
            stored.codecs.push(Codec {
                dictionary: Some(dictionary),
            });
        }
        Ok(stored)
    }
}

/// Reads the samples, several threads at a time.
fn read(samples: &[Sample], from: &SampleSource<'_>) -> Vec<Vec<u8>> {
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

/// Classes of samples: by name as far as names are common, then other texts, then the rest. With them their names.
fn group<'a>(
    samples: &[Sample],
    contents: &'a [Vec<u8>],
) -> (Vec<Group<'a>>, Vec<Option<Vec<u8>>>) {
    let mut by_key: BTreeMap<Vec<u8>, Vec<&'a [u8]>> = BTreeMap::new();
    let read = samples.iter().zip(contents);
    for (sample, bytes) in read.filter(|(_, bytes)| !bytes.is_empty()) {
        let members = by_key.entry(classes::key(&sample.name)).or_default();
        members.push(bytes);
    }
    let bytes_of = |members: &[&[u8]]| members.iter().map(|m| m.len() as u64).sum::<u64>();
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
    let (text, binary): (Vec<&[u8]>, Vec<&[u8]>) = others.partition(|b| classes::is_text(b));
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
    let groups = groups.into_iter().map(|(label, members)| Group {
        bytes: bytes_of(&members),
        label,
        members,
    });
    (groups.collect(), keys)
}

/// Calls `work` for each of `items` in several threads; results come in order.
fn in_threads<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Option<T> + Sync,
) -> Vec<Option<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<HashMap<usize, T>> = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else {
                        return;
                    };
                    if let Some(result) = work(item) {
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.insert(number, result);
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    (0..items.len())
        .map(|number| done.remove(&number))
        .collect()
}

/// A frame is worth decompressing if it is shorter by one part in so many.
const LEAST_GAIN: usize = 64;

/// Whether contents of `data` bytes are stored as a frame of `frame` bytes instead of as they are.
pub(super) fn is_worth(frame: usize, data: usize) -> bool {
    data.checked_sub(frame)
        .is_some_and(|gain| gain > 0 && gain >= data / LEAST_GAIN)
}

/// The dictionary of at most `capacity` bytes of a class whose files have `total` bytes, as far as they are looked at;
/// `None` if it does not pay.
fn train_class(group: &Group<'_>, total: u64, level: i32, capacity: usize) -> Option<Class> {
    if group.members.len() < FEWEST || total < LEAST_CLASS {
        return None;
    }
    let mut flat = Vec::new();
    let mut lengths = Vec::new();
    let mut held_out = Vec::new();
    let mut held_bytes = 0;
    for (number, bytes) in group.members.iter().enumerate() {
        if number % HELD_OUT == HELD_OUT / 2 && held_bytes < MOST_HELD_OUT {
            held_out.push(*bytes);
            held_bytes += bytes.len();
        } else {
            flat.extend_from_slice(bytes);
            lengths.push(bytes.len());
        }
    }
    let dictionary = training::train(&flat, &lengths, capacity, TRAINING_LEVEL)?;
    drop(flat);
    let mut prefix = Prefix::new(&dictionary, level)?;
    let memory = prefix.memory();
    let mut prefixed = PrefixEncoder::new()?;
    let mut encoder = ContentEncoder::new(level).ok()?;
    let (mut with, mut without) = (0, 0);
    for bytes in held_out {
        let plain = encoder.encode(bytes, None)?.len();
        let frame = prefixed.encode(bytes, &mut prefix)?.len();
        // The beginning of a larger file, which is probed without a dictionary.
        let is_refused = bytes.len() as u64 >= MOST_OF_FILE && plain >= bytes.len();
        for (sum, frame) in [(&mut without, plain), (&mut with, frame)] {
            let is_frame = !is_refused && is_worth(frame, bytes.len());
            *sum += if is_frame { frame } else { bytes.len() } as u64;
        }
    }
    let frame = encoder.encode(&dictionary, None)?;
    let stored = frame.len().min(dictionary.len());
    let gain = u128::from(u64::checked_sub(without, with)?) * u128::from(total);
    // It lies in the index and in its copy.
    let pays = gain > 2 * stored as u128 * (held_bytes as u128).max(1);
    pays.then(|| Class {
        label: group.label.clone(),
        dictionary,
        memory,
        with,
        without,
    })
}
