//! Counts what lies below each directory.
//!
//! In key order, the children of a directory stand together, in a run, and the runs follow each
//! other as the directories do in a walk from the top. A stack of the directories that are open
//! therefore sees the whole subtree of each. What it cannot see is which entry a run belongs to,
//! since that came any number of entries before. Entries and runs are brought together by sorting
//! both by a hash of their path.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::sort::{Record, SortedTuples, TupleReader, TupleSorter};

/// How many entries lie below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Children {
    /// Direct children.
    pub direct: u64,
    /// Those of them that are directories.
    pub subdirs: u64,
    /// Descendants that are no direct children.
    pub deeper: u64,
}

/// Says that an entry's directory has no entry of its own that is a directory.
#[derive(Debug)]
pub(super) struct LostParent {
    /// Ordinal of an entry in the missing directory.
    pub(super) ordinal: u64,
}

/// A directory whose subtree is being read.
#[derive(Debug)]
struct Open {
    /// Length of its path, which is a beginning of the current one.
    path_len: usize,
    first_child: u64,
    direct: u64,
    subdirs: u64,
    /// All descendants; those of closed sub-directories are added as they close.
    descendants: u64,
}

/// Marks the tuple of a run in the lowest bit of its third number.
const RUN: u64 = 1;

/// Is shown every entry in key order.
#[derive(Debug)]
pub(super) struct DirectoryCounter {
    hashes: [RandomState; 2],
    /// Of a directory's entry: hash, hash, 2 * number among the directories, its ordinal, 0, 0.
    /// Of a directory's run: hash, hash, 2 * ordinal of the first child + 1, direct children,
    /// sub-directories, deeper descendants.
    parts: TupleSorter<6>,
    directories: u64,
    open: Vec<Open>,
    /// Path of the innermost open directory.
    path: Vec<u8>,
    /// Path of the last directory's entry, kept for its buffer.
    joined: Vec<u8>,
    scratch_dir: PathBuf,
    memory: usize,
}

impl DirectoryCounter {
    /// Holds at most `memory` bytes, besides the open directories, which the length of a path
    /// bounds.
    pub(super) fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self {
            hashes: [RandomState::new(), RandomState::new()],
            parts: TupleSorter::new(scratch_dir, memory / 2),
            directories: 0,
            open: Vec::new(),
            path: Vec::new(),
            joined: Vec::new(),
            scratch_dir: scratch_dir.to_path_buf(),
            memory,
        }
    }

    /// Shows the next entry.
    pub(super) fn add(&mut self, record: &Record, ordinal: u64, is_directory: bool) -> Result<()> {
        if is_directory {
            self.joined.clear();
            self.joined.extend_from_slice(&record.parent);
            if !record.parent.is_empty() {
                self.joined.push(b'/');
            }
            self.joined.extend_from_slice(&record.name);
            let [first, second] = hash(&self.hashes, &self.joined);
            self.parts
                .add([first, second, self.directories << 1, ordinal, 0, 0])?;
            self.directories += 1;
        }
        if record.is_root() {
            return Ok(());
        }
        if self.open.is_empty() || self.path != record.parent {
            self.begin_run(&record.parent, ordinal)?;
        }
        if let Some(open) = self.open.last_mut() {
            open.direct += 1;
            open.subdirs += u64::from(is_directory);
            open.descendants += 1;
        }
        Ok(())
    }

    /// Closes the directories that `parent` is not below and opens it.
    fn begin_run(&mut self, parent: &[u8], first_child: u64) -> Result<()> {
        while let Some(innermost) = self.open.last() {
            if is_below(
                parent,
                self.path.get(..innermost.path_len).unwrap_or_default(),
            ) {
                break;
            }
            self.close()?;
        }
        self.path.clear();
        self.path.extend_from_slice(parent);
        self.open.push(Open {
            path_len: parent.len(),
            first_child,
            direct: 0,
            subdirs: 0,
            descendants: 0,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(closed) = self.open.pop() else {
            return Ok(());
        };
        if let Some(outer) = self.open.last_mut() {
            outer.descendants += closed.descendants;
        }
        let path = self.path.get(..closed.path_len).unwrap_or_default();
        let [first, second] = hash(&self.hashes, path);
        self.parts.add([
            first,
            second,
            closed.first_child << 1 | RUN,
            closed.direct,
            closed.subdirs,
            closed.descendants - closed.direct,
        ])
    }

    /// Brings runs and entries together; the inner error says which directory is missing.
    pub(super) fn finish(mut self) -> Result<std::result::Result<DirectoryCounts, LostParent>> {
        while !self.open.is_empty() {
            self.close()?;
        }
        let parts = self.parts.finish()?;
        let mut counts = TupleSorter::new(&self.scratch_dir, self.memory / 8);
        let mut runs = TupleSorter::new(&self.scratch_dir, self.memory / 8);
        let mut lost: Option<u64> = None;
        let mut reader = parts.reader()?;
        while let Some(part) = reader.take()? {
            let partner = match reader.peek() {
                Some(next) if next.first_chunk::<2>() == part.first_chunk::<2>() => {
                    reader.take()?
                }
                _ => None,
            };
            let is_run = |[_, _, third, ..]: &[u64; 6]| third & RUN != 0;
            let (run, entry) = if is_run(&part) {
                (Some(part), partner)
            } else {
                (partner, Some(part))
            };
            match (run, entry) {
                (
                    Some([_, _, first_child, direct, subdirs, deeper]),
                    Some([_, _, number, directory, ..]),
                ) => {
                    counts.add([number >> 1, direct, subdirs, deeper])?;
                    runs.add([first_child >> 1, direct, directory])?;
                }
                (Some([_, _, first_child, ..]), None) => {
                    let ordinal = first_child >> 1;
                    lost = Some(lost.map_or(ordinal, |least| least.min(ordinal)));
                }
                (None, _) => {}
            }
        }
        match lost {
            Some(ordinal) => Ok(Err(LostParent { ordinal })),
            None => Ok(Ok(DirectoryCounts {
                counts: counts.finish()?,
                runs: runs.finish()?,
            })),
        }
    }
}

/// A hash of a path. Its 128 bits and random keys make two paths of one hash as unlikely by intent
/// as by chance.
fn hash(keys: &[RandomState; 2], path: &[u8]) -> [u64; 2] {
    keys.each_ref().map(|key| {
        let mut hasher = key.build_hasher();
        hasher.write(path);
        hasher.finish()
    })
}

/// Whether the directory `path` lies below the directory `above`.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    above.is_empty()
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// What was counted, in two orders.
#[derive(Debug)]
pub(super) struct DirectoryCounts {
    /// Of the directories that are not empty: number among all directories in key order, direct
    /// children, sub-directories, deeper descendants; in the order of numbers.
    counts: SortedTuples<4>,
    /// Of the same: ordinal of the first child, direct children, ordinal of the directory; in the
    /// order of first children.
    runs: SortedTuples<3>,
}

impl DirectoryCounts {
    pub(super) fn counts(&self) -> Result<TupleReader<4>> {
        self.counts.reader()
    }

    pub(super) fn runs(&self) -> Result<TupleReader<3>> {
        self.runs.reader()
    }
}
