//! Trains the dictionary of a class, and finds what shorter ones would do.
//!
//! The trainer puts what is most frequent last, so the end of a dictionary is a good shorter one.

use super::held_out::HeldOut;
use super::sampled::Group;
use super::{Class, FEWEST};
use crate::format::frame::ContentEncoder;
use crate::native::prefix::{Prefix, PrefixEncoder};
use crate::native::training::{self, Fineness};

/// Of so many samples one at most is held out, to see what a dictionary does for files that it was not trained on.
const HELD_OUT: usize = 8;

/// Bytes of samples that are held out, about, from everywhere: they are compressed by each dictionary that is tried.
const MOST_HELD_OUT: usize = 256 << 10;

/// The level for that, whatever that of the image is: which size is best hardly depends on it.
const TRIAL_LEVEL: i32 = 3;

/// The level by which the trainer counts symbols.
const TRAINING_LEVEL: i32 = 3;

/// Fewest bytes that all files of a class have.
const LEAST_CLASS: u64 = 64 << 10;

/// Bytes of files, as far as they would be sampled, for a byte of the longest dictionary that is tried.
const FILES_TO_DICTIONARY: u64 = 48;

/// The same for bytes of samples: a dictionary that has many of them whole knows nothing of other files, and its statistics are
/// those of files that it has. With a quarter of the samples, the Makefiles of the Linux source became 5 % larger than with an eighth.
const SAMPLES_TO_DICTIONARY: usize = 8;

/// Longest dictionary of a class, and the least that it may be. Beyond 256 KiB, zstd's tables for one take 12 MiB.
const LARGEST: usize = 512 << 10;
const SMALLEST: usize = 4 << 10;

/// Shortest end of a dictionary that is tried.
const SHORTEST: usize = 512;

/// A dictionary also serves what lies behind the beginnings that are sampled, but there the file itself has most of what comes
/// again: so many bytes gain as much as one that is sampled.
const FURTHER: i128 = 4;

/// A more thorough search takes half as long again or more, so it must save one byte of so many, those before compression: the classes of the
/// Linux source and most of `npm` gain more, while pages of documentation, which compress well without it, would take
/// the time for little.
const MOST_FOR_ONE: u64 = 100;

/// What a dictionary of `bytes` gains, less what it takes in the index and in its copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) bytes: usize,
    pub(super) net: i128,
}

/// A class with its longest dictionary.
pub(super) struct Trained<'a> {
    label: &'a [u8],
    dictionary: Vec<u8>,
    /// Length of what stands in front of the contents of the dictionary: tables, which ends of it need, too.
    header: usize,
    held_out: HeldOut<'a>,
    /// Bytes of all files of the class, as far as they would be sampled.
    total: u64,
    /// Bytes behind these.
    further: u64,
    /// Those that pay.
    pub(super) trials: Vec<Trial>,
}

impl<'a> Trained<'a> {
    /// Trains on the samples of `group`. With `size`, the dictionary has at most as many bytes and shorter ones are not
    /// tried. Small files share frames of up to `small_frames` bytes, if any do. `None` if there are too few samples, or no
    /// dictionary pays.
    pub(super) fn new(
        group: &'a Group<'_>,
        size: Option<usize>,
        small_frames: Option<usize>,
    ) -> Option<Self> {
        if group.members.len() < FEWEST || group.total < LEAST_CLASS {
            return None;
        }
        let mut flat = Vec::new();
        let mut lengths = Vec::new();
        let mut held_out = Vec::new();
        let sampled: usize = group.members.iter().map(|bytes| bytes.len()).sum();
        let step = (sampled / MOST_HELD_OUT).max(HELD_OUT);
        for (number, &bytes) in group.members.iter().enumerate() {
            if number % step == step / 2 {
                held_out.push(bytes);
            } else {
                flat.extend_from_slice(bytes);
                lengths.push(bytes.len());
            }
        }
        let fitting = usize::try_from(group.total / FILES_TO_DICTIONARY).unwrap_or(usize::MAX);
        let fitting = fitting.min(flat.len() / SAMPLES_TO_DICTIONARY);
        let capacity = size.unwrap_or(fitting.clamp(SMALLEST, LARGEST));
        let dictionary = training::train(
            &flat,
            &lengths,
            capacity,
            TRAINING_LEVEL,
            Fineness::CONTENTS,
        )?;
        drop(flat);
        let mut encoder = ContentEncoder::new(TRIAL_LEVEL).ok()?;
        let mut trained = Self {
            label: &group.label,
            header: training::header_length(&dictionary)?,
            dictionary,
            held_out: HeldOut::new(&held_out, small_frames.unwrap_or(0), &mut encoder)?,
            total: group.total,
            further: group.further,
            trials: Vec::new(),
        };
        trained.try_lengths(&mut encoder, size.is_some())?;
        (!trained.trials.is_empty()).then_some(trained)
    }

    /// Tries the dictionary and, unless it `is_fixed`, its ends of half the length and so on, as long as they are not much
    /// worse than longer ones.
    fn try_lengths(&mut self, encoder: &mut ContentEncoder<'_>, is_fixed: bool) -> Option<()> {
        let mut prefixed = PrefixEncoder::new()?;
        let tried = &self.held_out;
        let without = tried.without(encoder)?;
        let mut contents = self.dictionary.len().checked_sub(self.header)?;
        let mut best = 0;
        loop {
            let dictionary = self.of(self.header + contents);
            let mut prefix = Prefix::new(&dictionary, TRIAL_LEVEL)?;
            let with = tried.with(&mut prefixed, &mut prefix)?;
            let stored = encoder.encode(&dictionary, None)?.len();
            let gain = self.of_all(i128::from(without) - i128::from(with), tried.bytes());
            let net = gain - 2 * stored.min(dictionary.len()) as i128;
            if net > 0 {
                self.trials.push(Trial {
                    bytes: dictionary.len(),
                    net,
                });
            }
            best = best.max(net);
            contents /= 2;
            if is_fixed || contents < SHORTEST || (best > 0 && 4 * net < 3 * best) {
                return Some(());
            }
        }
    }

    /// What all files of the class gain if some of its beginnings, `bytes`, gain `gain`.
    fn of_all(&self, gain: i128, bytes: u64) -> i128 {
        let total = i128::from(self.total) + i128::from(self.further) / FURTHER;
        gain * total / i128::from(bytes.max(1))
    }

    /// The dictionary of this length.
    fn of(&self, bytes: usize) -> Vec<u8> {
        let (header, contents) = self.dictionary.split_at(self.header);
        let from = self.dictionary.len().saturating_sub(bytes);
        [header, contents.get(from..).unwrap_or(&[])].concat()
    }

    /// The class with a dictionary of `bytes` for files compressed at `level`, if it pays there, too.
    pub(super) fn finish(&self, bytes: usize, level: i32) -> Option<Class> {
        let dictionary = self.of(bytes);
        let mut prefix = Prefix::new(&dictionary, level)?;
        let mut memory = prefix.memory();
        let mut encoder = ContentEncoder::new(level).ok()?;
        let mut prefixed = PrefixEncoder::new()?;
        let held_out = &self.held_out;
        let with = held_out.with(&mut prefixed, &mut prefix)?;
        let mut is_thorough = false;
        // Samples are shorter than what will be searched so.
        if prefix.search_more(level, 0..usize::MAX)? {
            let more = held_out.with(&mut prefixed, &mut prefix)?;
            is_thorough = with.saturating_sub(more) >= held_out.bytes() / MOST_FOR_ONE;
            if is_thorough {
                memory = prefix.memory();
            }
        }
        let without = held_out.without(&mut encoder)?;
        let stored = encoder.encode(&dictionary, None)?.len();
        let gain = self.of_all(i128::from(without) - i128::from(with), held_out.bytes());
        let pays = gain > 2 * stored.min(dictionary.len()) as i128;
        pays.then(|| Class {
            label: self.label.to_vec(),
            dictionary,
            memory,
            is_thorough,
            samples: held_out.bytes(),
            with,
            without,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(members: &[Vec<u8>], size: Option<usize>) -> Vec<Trial> {
        let group = Group {
            label: b"class".to_vec(),
            members: members.iter().map(Vec::as_slice).collect(),
            total: members.iter().map(|bytes| bytes.len() as u64).sum(),
            further: 0,
        };
        Trained::new(&group, size, Some(32 << 10)).map_or(Vec::new(), |trained| trained.trials)
    }

    /// Bytes that do not compress.
    fn noise(mut seed: u64, length: usize) -> Vec<u8> {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_le_bytes()[7]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn files_with_a_beginning_in_common_get_a_short_dictionary() {
        let pictures: Vec<Vec<u8>> = (1..3000)
            .map(|n| [noise(0, 60), noise(n, 700)].concat())
            .collect();
        let trials = trained(&pictures, None);
        let best = trials.iter().max_by_key(|trial| trial.net);
        assert!(best.is_some_and(|best| best.bytes < 2000), "{trials:?}");
        // The longest one does not pay, and no other was asked for.
        assert_eq!(trained(&pictures, Some(40_000)), []);
        let nothing: Vec<Vec<u8>> = (1..3000).map(|n| noise(n, 700)).collect();
        assert_eq!(trained(&nothing, None), []);
    }

    #[test]
    fn files_with_much_in_common_get_a_long_one() {
        let texts: Vec<Vec<u8>> = (1..4000)
            .map(|n| {
                (0..8)
                    .flat_map(|part| noise((n * 31 + part * 7) % 400, 200))
                    .collect()
            })
            .collect();
        let trials = trained(&texts, None);
        let best = trials.iter().max_by_key(|trial| trial.net);
        assert!(best.is_some_and(|best| best.bytes > 40_000), "{trials:?}");
        assert!(trained(&texts[..FEWEST - 1], None).is_empty());
    }

    /// Sentences of a language with many words, of which some are common.
    fn sentences(mut seed: u64, length: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < length {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let word = ((seed >> 52) * (seed >> 40 & 0xFFF)) >> 12;
            text.extend(noise(word, 3).iter().map(|byte| b'a' + byte % 26));
            text.extend_from_slice([", ", "; ", "(", " = "][(seed >> 38 & 3) as usize].as_bytes());
        }
        text
    }

    #[test]
    fn a_thorough_search_is_for_classes_in_which_it_finds_more() {
        let finished = |members: &[Vec<u8>], bytes: usize, level: i32| {
            let group = Group {
                label: b"class".to_vec(),
                members: members.iter().map(Vec::as_slice).collect(),
                total: members.iter().map(|bytes| bytes.len() as u64).sum(),
                further: 0,
            };
            let trained = Trained::new(&group, Some(bytes), Some(32 << 10)).unwrap();
            trained.finish(bytes, level).unwrap()
        };
        let texts: Vec<Vec<u8>> = (1..400).map(|n| sentences(n, 6000)).collect();
        let at_3 = finished(&texts, 40_000, 3);
        assert!(at_3.is_thorough);
        let at_9 = finished(&texts, 40_000, 9);
        assert!(!at_9.is_thorough);
        let pictures: Vec<Vec<u8>> = (1..3000)
            .map(|n| [noise(0, 60), noise(n, 700)].concat())
            .collect();
        assert!(!finished(&pictures, 1024, 3).is_thorough);
    }
}
