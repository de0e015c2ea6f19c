//! Sorts sampled files into classes and trains a dictionary for each class that it pays for.

mod held_out;
mod sampled;
mod sizes;
mod trials;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::classes::Classes;
use super::contents::Digest;
use super::samples::Reservoir;
use crate::format::checksum::crc;
use crate::format::codec::{Codec, Dictionary};
use crate::format::frame::ContentEncoder;
use crate::{Error, ErrorKind, Result};
pub(super) use sampled::SampleSource;
use sampled::{group, read};
use trials::{Trained, Trial};

/// Fewest samples of a class: part of them is kept to see what the dictionary does for others.
const FEWEST: usize = 24;

/// Bytes of all dictionaries together: the tables for all of them take some 35 MiB, and they lie in the index and in its
/// copy.
const MOST_BYTES: usize = 1280 << 10;

/// The level for dictionaries as they are stored: 1.2 to 1.7 % fewer bytes than at level 12 for a twentieth of a second more. Level 17 would
/// save another 3 % for a tenth of a second.
const STORING_LEVEL: i32 = 15;

/// A class of files and its dictionary.
#[derive(Debug)]
pub(super) struct Class {
    /// What its files are called, for people.
    pub(super) label: Vec<u8>,
    pub(super) dictionary: Vec<u8>,
    /// Bytes of memory that it takes to compress by it, in each thread.
    pub(super) memory: usize,
    /// Whether contents of middle length are searched more thoroughly than the level means.
    pub(super) is_thorough: bool,
    /// Bytes of samples, and what they took with the dictionary and without.
    pub(super) samples: u64,
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

impl Dictionaries {
    /// Trains dictionaries on what `reservoir` has chosen, for files compressed at `level`; of at most `size` bytes, if
    /// that is given. Small files share frames of up to `small_frames` bytes, if any do. What cannot be read is no sample.
    pub(super) fn train(
        reservoir: Reservoir,
        from: &SampleSource<'_>,
        level: i32,
        size: Option<usize>,
        small_frames: Option<usize>,
    ) -> Self {
        let (samples, total) = reservoir.finish();
        if samples.len() < FEWEST {
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
        let (groups, keys) = group(&samples, &contents, total);
        let trained = in_threads(from.threads, &groups, |group| {
            Trained::new(group, size, small_frames)
        });
        let trials: Vec<&[Trial]> = trained
            .iter()
            .map(|trained| trained.as_ref().map_or(&[][..], |trained| &trained.trials))
            .collect();
        let room = if size.is_some() {
            usize::MAX
        } else {
            MOST_BYTES
        };
        let chosen = sizes::share(&trials, room);
        let chosen: Vec<_> = trained.iter().zip(chosen).collect();
        let trained = in_threads(from.threads, &chosen, |(trained, trial)| {
            trained.as_ref()?.finish(trial.as_ref()?.bytes, level)
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

/// Calls `work` for each of `items` in several threads; results come in order.
fn in_threads<'i, I: Sync, T: Send>(
    threads: usize,
    items: &'i [I],
    work: impl Fn(&'i I) -> Option<T> + Sync,
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
