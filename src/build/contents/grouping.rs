//! Collects small files of a batch that are compressed in one frame.
//!
//! Files of one codec go together, whatever lies between them, since a frame has one dictionary. What comes out depends
//! on the files of the batch and their order alone.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::compress::Compressor;
use super::digest::Digest;
use crate::format::checksum::crc;
use crate::format::extent::CRC_BYTES;
use crate::format::member::MAX_SHARED_STORED;

/// Longest frame of a group: its checksum is stored with it.
const LONGEST: usize = MAX_SHARED_STORED - CRC_BYTES;

/// Most frames that are made to find how many files fit into one.
const MOST_TRIES: usize = 4;

/// The first frame of a class in a batch is expected to hold so many bytes of data for each of its own, where no samples of
/// the class were compressed.
const EXPECTED: usize = 5;

/// Frames are made of as much data as is expected to fill so large a part of them, since one that is too long is made for nothing.
const AIM: (usize, usize) = (15, 16);

/// A frame that is filled so far is not made again with more files. With three quarters, 4 MB of the Linux source were
/// compressed more for 0.01 % fewer bytes.
const FULL: (usize, usize) = (5, 8);

/// A file that is passed over lets the next frames be expected to hold more data, by one part in so many: else no frame
/// would be made again, which alone can tell how much data they hold.
const HOPE: usize = 32;

/// Candidates before a file among which twins of it are looked for: what is called nearly the same lies close.
const LOOKED_BACK: usize = 4;

/// A small file that may go into a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Its place in the batch.
    pub(super) number: usize,
    /// Where its contents begin among those of the batch.
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) codec: u32,
    pub(super) digest: Option<Digest>,
    /// By [`stem`].
    pub(super) stem: Option<u32>,
}

/// Files that share a frame, two at least.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<Candidate>,
    /// The frame among those of the batch, and its checksum.
    pub(super) frame: Range<usize>,
    pub(super) crc: u32,
}

/// Sorts small files into groups.
#[derive(Debug)]
pub(super) struct Grouping<'a> {
    /// The contents of the batch.
    pub(super) bytes: &'a [u8],
    /// Most bytes that a frame decodes to.
    pub(super) most: usize,
    /// Where frames are put.
    pub(super) frames: &'a mut Vec<u8>,
}

/// What became of some files in a row.
struct Tried {
    members: usize,
    frame: Vec<u8>,
}

/// How much data frames hold: what the last ones of a class in a batch did, also those that were too long. Too long a frame
/// is made for nothing, so it pays to know.
struct Density {
    frames: usize,
    data: usize,
}

impl Density {
    /// Of which no frame of the batch is known, but perhaps how many bytes samples of the class had and took.
    fn expected(samples: Option<(u64, u64)>) -> Self {
        let of_samples = samples.and_then(|(data, stored)| {
            let data = (LONGEST as u64).checked_mul(data)?.checked_div(stored)?;
            usize::try_from(data).ok()
        });
        Self {
            frames: LONGEST,
            data: of_samples.unwrap_or(LONGEST * EXPECTED),
        }
    }

    /// Bytes that a frame of `length` bytes will hold.
    fn data_of(&self, length: usize) -> usize {
        length.saturating_mul(self.data) / self.frames.max(1)
    }

    /// A frame of `length` bytes held `data` bytes. It counts as much as all those before it.
    fn learn(&mut self, length: usize, data: usize) {
        self.frames = self.frames / 2 + length;
        self.data = self.data / 2 + data;
    }

    /// No frame could be made of the next files.
    fn hope(&mut self) {
        self.data = self.data.saturating_add(self.data / HOPE);
    }
}

impl Grouping<'_> {
    /// The groups of `candidates`, by the place of their first file. A file that is there twice is in one at most.
    pub(super) fn groups(
        &mut self,
        mut candidates: Vec<Candidate>,
        compressor: &mut Compressor<'_>,
    ) -> Vec<Group> {
        unite_twins(&mut candidates);
        let mut seen = HashSet::new();
        let mut classes: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            let contents = candidate.digest.map(|digest| digest.numbers());
            if contents.is_none_or(|numbers| seen.insert((numbers, candidate.length))) {
                classes.entry(candidate.codec).or_default().push(candidate);
            }
        }
        let mut groups = Vec::new();
        for class in classes.values() {
            self.group_class(class, compressor, &mut groups);
        }
        groups
    }

    fn group_class(
        &mut self,
        mut rest: &[Candidate],
        compressor: &mut Compressor<'_>,
        groups: &mut Vec<Group>,
    ) {
        let samples = rest.first().and_then(|file| compressor.samples(file.codec));
        let mut density = Density::expected(samples);
        while rest.len() > 1 {
            let (tried, skip) = self.first_group(rest, &mut density, compressor);
            let (members, behind) = if let Some(tried) = tried {
                let (members, behind) = rest.split_at(tried.members);
                let at = self.frames.len();
                self.frames.extend_from_slice(&tried.frame);
                groups.push(Group {
                    members: members.to_vec(),
                    frame: at..self.frames.len(),
                    crc: crc(&tried.frame),
                });
                (members, behind)
            } else {
                density.hope();
                rest.split_at(skip.min(rest.len()))
            };
            debug_assert!(!members.is_empty());
            rest = behind;
        }
    }

    /// The frame of the first of `files`; or how many of them are better off without one.
    fn first_group(
        &self,
        files: &[Candidate],
        density: &mut Density,
        compressor: &mut Compressor<'_>,
    ) -> (Option<Tried>, usize) {
        let available = count(files, self.most);
        let full = self.most.min(density.data_of(LONGEST));
        let mut most = full / AIM.1 * AIM.0;
        if count(files, most) < 2 {
            // Two files that may just fit are worth it.
            most = full;
        }
        let mut best: Option<Tried> = None;
        for _ in 0..MOST_TRIES {
            let members = count(files, most);
            if members < 2 || best.as_ref().is_some_and(|best| members <= best.members) {
                break;
            }
            let chosen = files.get(..members).unwrap_or(files);
            let data = gather(self.bytes, chosen);
            let Some(frame) = compressor.shared_frame(&data, chosen) else {
                return (best, members);
            };
            density.learn(frame.len(), data.len());
            if frame.len() <= LONGEST {
                let length = frame.len();
                let frame = frame.to_vec();
                best = Some(Tried { members, frame });
                if members == available || FULL.1 * length >= FULL.0 * LONGEST {
                    break;
                }
                most = self.most.min(data.len() * LONGEST / length * 15 / 16);
            } else if best.is_some() {
                break;
            } else {
                most = data.len() * LONGEST / frame.len() * 31 / 32;
            }
        }
        (best, 1)
    }
}

/// What stands for the name of a file without its extension; nothing if it has none.
pub(super) fn stem(name: &[u8]) -> Option<u32> {
    let dot = name.iter().rposition(|&byte| byte == b'.');
    dot.filter(|&at| at > 0)
        .and_then(|at| name.get(..at))
        .map(crc)
}

/// Gives twins one codec, so that they come into one frame: files next to each other that are called the same but for the
/// extension, and have nearly one length, are mostly versions of one text. Classes are numbered from the largest on; the
/// codec is that of the larger one, and not the first, which has no dictionary.
fn unite_twins(candidates: &mut [Candidate]) {
    for at in 1..candidates.len() {
        let (before, rest) = candidates.split_at_mut(at);
        let Some(file) = rest.first_mut().filter(|file| file.stem.is_some()) else {
            continue;
        };
        for other in before.iter_mut().rev().take(LOOKED_BACK) {
            let (short, long) = (file.length.min(other.length), file.length.max(other.length));
            if other.stem == file.stem && other.codec != file.codec && 4 * short >= 3 * long {
                let codec = file.codec.min(other.codec);
                let codec = if codec == 0 {
                    file.codec.max(other.codec)
                } else {
                    codec
                };
                (file.codec, other.codec) = (codec, codec);
            }
        }
    }
}

/// How many of `files` have `most` bytes together.
fn count(files: &[Candidate], most: usize) -> usize {
    let mut sum = 0;
    files
        .iter()
        .take_while(|file| {
            sum += file.length;
            sum <= most
        })
        .count()
}

/// The contents of `files`, one behind the other.
pub(super) fn gather(bytes: &[u8], files: &[Candidate]) -> Vec<u8> {
    let contents = |file: &Candidate| bytes.get(file.start..file.start + file.length);
    let parts = files.iter().map(|file| contents(file).unwrap_or(&[]));
    parts.collect::<Vec<_>>().concat()
}

/// Whether a frame can be shared.
pub(super) fn fits(frame: &[u8]) -> bool {
    frame.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_text_get_one_codec() {
        let united = |files: &[(&str, usize, u32)]| {
            let candidate = |&(name, length, codec): &(&str, usize, u32)| Candidate {
                number: 0,
                start: 0,
                length,
                codec,
                digest: None,
                stem: stem(name.as_bytes()),
            };
            let mut candidates: Vec<_> = files.iter().map(candidate).collect();
            unite_twins(&mut candidates);
            candidates.iter().map(|file| file.codec).collect::<Vec<_>>()
        };
        let module = [
            ("a.cjs", 1000, 0),
            ("a.d.mts", 300, 5),
            ("a.d.ts", 310, 3),
            ("a.js", 990, 2),
            ("a.js.map", 999, 7),
            ("a.mjs", 1010, 4),
        ];
        assert_eq!(united(&module), [2, 3, 3, 2, 7, 2]);
        let unlike = [
            ("a.c", 1000, 1),
            ("a.h", 500, 2),
            ("b.h", 1000, 2),
            ("c", 1000, 3),
            ("d", 1000, 4),
            (".e", 1000, 1),
            (".f", 1000, 2),
        ];
        assert_eq!(united(&unlike), unlike.map(|(.., codec)| codec));
    }
}
