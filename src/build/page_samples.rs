//! Chooses parts of the index while all entries pass by, and trains the dictionaries of leaf pages on them.

use std::collections::BTreeMap;

use super::attribute_table::AttributeTable;
use super::samples::scramble;
use crate::Result;
use crate::entry::Kind;
use crate::format::MAX_INLINE_TARGET;
use crate::format::attributes::Attributes;
use crate::format::frame::FrameEncoder;
use crate::format::leaf::{LeafBuilder, NewEntry, NewTarget};
use crate::format::page_dictionaries::{DictionaryBytes, MAX_PAGE_DICTIONARY};
use crate::native::training::{Fineness, train};
use crate::sort::Record;

/// Entries that follow each other and are sampled together, about as many as a segment of a source tree has.
const BLOCK: u64 = 256;

/// Most blocks: their streams take some 4 KiB each.
const MOST_BLOCKS: usize = 192;

/// Bytes of a stream that are kept. Long link targets could make one longer than a frame may be; pages then hold fewer entries.
const MOST_OF_STREAM: usize = 16 << 10;

/// Fewest blocks to train on: an index of fewer has a page or two.
const FEWEST_BLOCKS: usize = 8;

/// One block of so many is not trained on, but tells what a dictionary gains for others.
const HELD_OUT: usize = 4;

/// Sizes of dictionaries that are tried.
const NAMES_SIZES: [usize; 6] = [2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, MOST_BYTES];
const CONTROL_SIZES: [usize; 3] = [512, 2 << 10, 4 << 10];
const MOST_BYTES: usize = MAX_PAGE_DICTIONARY as usize;

/// Sizes that are tried in vain before the rest is left.
const ENOUGH: usize = 2;

/// Level for trials: what they compare differs little from what it is at higher levels, which take several times as long.
const TRIAL_LEVEL: i32 = 6;

/// How often a dictionary lies in an image: in the index and in its copy, or twice in an index without copy.
const COPIES: u64 = 2;

/// The streams of a block.
#[derive(Debug, Default)]
struct Streams {
    names: Vec<u8>,
    control: Vec<u8>,
}

/// The blocks with the lowest ranks so far: each has the same chance to be among them.
#[derive(Debug, Default)]
pub struct PageSamples {
    /// By rank and number.
    blocks: BTreeMap<(u64, u64), Streams>,
    /// The block that is being filled, if the entries that pass by are in one that is kept.
    filling: Option<(u64, u64)>,
    builder: LeafBuilder,
    attributes: AttributeTable,
    parent: Option<Vec<u8>>,
    /// Entries that were offered.
    entries: u64,
}

impl PageSamples {
    /// Shows it the next entry in key order. The choice depends on the entries and their order alone. Fails where there are
    /// more combinations of mode and owner than an image can have.
    pub fn offer(&mut self, record: &Record, ordinal: u64) -> Result<()> {
        if ordinal.is_multiple_of(BLOCK) {
            self.end_block();
            let key = (scramble(ordinal), ordinal / BLOCK);
            let is_full = self.blocks.len() >= MOST_BLOCKS;
            let last = self.blocks.last_key_value().map(|(&key, _)| key);
            self.filling = (!is_full || last.is_some_and(|last| key < last)).then_some(key);
        }
        self.entries += 1;
        if self.filling.is_some() {
            self.push(record)?;
        }
        Ok(())
    }

    /// Adds an entry to the block, as far as it is known before contents are stored: without lengths of frames, and without
    /// what lies in a directory.
    fn push(&mut self, record: &Record) -> Result<()> {
        let Some(kind) = record.metadata.kind() else {
            return Ok(());
        };
        if self.parent.as_deref() != Some(&record.parent) {
            self.builder.begin_run(&record.parent, 0);
            self.parent = Some(record.parent.clone());
        }
        let metadata = &record.metadata;
        let attribute = self.attributes.id(Attributes {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
        })?;
        self.builder.push(&NewEntry {
            attribute,
            size: if kind == Kind::File { record.size } else { 0 },
            device: metadata.rdev,
            target: match record.target.as_slice() {
                target if target.len() <= MAX_INLINE_TARGET => NewTarget::Inline(target),
                _ => NewTarget::Blob(0),
            },
            ..NewEntry::plain(&record.name, kind, metadata.mtime)
        });
        Ok(())
    }

    fn end_block(&mut self) {
        let count = self.builder.len();
        if let Some(key) = self.filling.take() {
            let (names, control) = self.builder.streams(count);
            let begin = |stream: &[u8]| stream.iter().take(MOST_OF_STREAM).copied().collect();
            let streams = Streams {
                names: begin(names),
                control: begin(control),
            };
            self.blocks.insert(key, streams);
            if self.blocks.len() > MOST_BLOCKS {
                self.blocks.pop_last();
            }
        }
        self.builder = LeafBuilder::default();
        self.parent = None;
    }

    /// The dictionaries that pay for frames compressed at zstd `level` (1 … 22); empty ones where none does.
    pub fn train(mut self, level: i32) -> Result<DictionaryBytes> {
        self.end_block();
        if self.blocks.len() < FEWEST_BLOCKS {
            return Ok(DictionaryBytes::default());
        }
        // In key order, so that what is held out comes from everywhere.
        let mut blocks: Vec<_> = self.blocks.into_iter().collect();
        blocks.sort_unstable_by_key(|&((_, number), _)| number);
        let (mut names, mut control) = (Vec::new(), Vec::new());
        for (_, streams) in blocks {
            names.push(streams.names);
            control.push(streams.control);
        }
        let trial = Trial {
            level: level.min(TRIAL_LEVEL),
            entries: self.entries,
        };
        Ok(DictionaryBytes {
            names: trial.best(&names, &NAMES_SIZES, Fineness::TEXT)?,
            control: trial.best(&control, &CONTROL_SIZES, Fineness::NUMBERS)?,
        })
    }
}

/// What dictionaries are judged by.
struct Trial {
    level: i32,
    /// Entries of the whole index.
    entries: u64,
}

impl Trial {
    /// The dictionary of one of `sizes` with which most bytes are saved in the whole index; empty if none saves any.
    fn best(&self, streams: &[Vec<u8>], sizes: &[usize], fineness: Fineness) -> Result<Vec<u8>> {
        let held_out = || streams.iter().step_by(HELD_OUT);
        let mut rest = Vec::new();
        let mut lengths = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            if !index.is_multiple_of(HELD_OUT) {
                rest.extend_from_slice(stream);
                lengths.push(stream.len());
            }
        }
        let mut best = (self.cost(held_out(), &[])?, Vec::new());
        let mut worse = 0;
        for &size in sizes {
            let Some(dictionary) = train(&rest, &lengths, size, self.level, fineness) else {
                continue;
            };
            let cost = self.cost(held_out(), &dictionary)?;
            if cost < best.0 {
                best = (cost, dictionary);
                worse = 0;
            } else {
                worse += 1;
            }
            // Sizes ascend. Where one does not pay, larger ones mostly do not either.
            if worse == ENOUGH {
                break;
            }
        }
        Ok(best.1)
    }

    /// Bytes that an index would take of which `streams` are a part, with `dictionary`.
    fn cost<'s>(
        &self,
        streams: impl Iterator<Item = &'s Vec<u8>>,
        dictionary: &[u8],
    ) -> Result<u64> {
        let mut encoder = FrameEncoder::with_dictionary(self.level, dictionary)?;
        let mut frame = Vec::new();
        let (mut bytes, mut blocks) = (0u64, 0u64);
        for stream in streams {
            frame.clear();
            bytes += encoder.encode(stream, &mut frame)? as u64;
            blocks += 1;
        }
        frame.clear();
        let stored = FrameEncoder::new(self.level)?.encode(dictionary, &mut frame)? as u64;
        Ok(bytes * self.entries / (blocks * BLOCK).max(1) + COPIES * stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Metadata;

    fn offer(samples: &mut PageSamples, count: u64) {
        for ordinal in 0..count {
            let record = Record {
                parent: format!("pictures/of {:03}", ordinal / 50).into_bytes(),
                name: format!("picture number {ordinal:07}.jpeg").into_bytes(),
                metadata: Metadata::new(Kind::File, 0o644),
                size: ordinal * 7919 % 10_007,
                ..Record::empty()
            };
            samples.offer(&record, ordinal).unwrap();
        }
    }

    #[test]
    fn blocks_from_everywhere_are_kept_and_no_more_than_there_is_memory_for() {
        let mut samples = PageSamples::default();
        offer(&mut samples, 600 * BLOCK);
        samples.end_block();
        assert_eq!(samples.blocks.len(), MOST_BLOCKS);
        for quarter in 0..4 {
            let part = samples.blocks.keys().filter(|key| key.1 / 150 == quarter);
            let share = part.count() * 100 / MOST_BLOCKS;
            assert!((15..=35).contains(&share), "{share} per cent");
        }
        let bytes: usize = samples
            .blocks
            .values()
            .map(|streams| streams.names.len() + streams.control.len())
            .sum();
        assert!(bytes / MOST_BLOCKS < 16 << 10);
    }

    #[test]
    fn links_that_are_long_and_have_nothing_in_common_are_no_error() {
        let mut samples = PageSamples::default();
        for ordinal in 0..20 * BLOCK {
            let bytes = (0..1000u64).map(|at| scramble(ordinal << 10 | at).to_le_bytes()[0]);
            let record = Record {
                name: format!("{ordinal:06}").into_bytes(),
                metadata: Metadata::new(Kind::Symlink, 0o777),
                target: bytes.map(|byte| byte.max(1)).collect(),
                ..Record::empty()
            };
            samples.offer(&record, ordinal).unwrap();
        }
        assert!(samples.train(3).unwrap().names.is_empty());
    }

    #[test]
    fn dictionaries_are_trained_if_they_pay() {
        let train = |count| {
            let mut samples = PageSamples::default();
            offer(&mut samples, count);
            samples.train(3).unwrap()
        };
        assert!(train(FEWEST_BLOCKS as u64 * BLOCK - BLOCK).is_empty());
        let trained = train(100 * BLOCK);
        assert!(!trained.names.is_empty());
        let word = b"picture number ";
        assert!(trained.names.windows(word.len()).any(|part| part == word));
        assert_eq!(train(100 * BLOCK), trained);
    }
}
