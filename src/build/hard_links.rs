//! Finds the names that belong to one source file.

use std::path::Path;

use crate::Result;
use crate::entry::MODE_TYPE_MASK;
use crate::sort::{Record, SortedTuples, TupleReader, TupleSorter};

/// How an entry that has other names refers to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Ordinal of the first name in key order, which the others carry as their inode.
    pub primary: u64,
    /// Names of the file inside the tree, at least 2.
    pub count: u64,
}

/// Collects the entries whose source file has several names.
#[derive(Debug)]
pub(super) struct LinkGroups {
    /// Device, inode, ordinal, type bits, size.
    members: TupleSorter<5>,
    directory: std::path::PathBuf,
    memory: usize,
}

impl LinkGroups {
    /// Holds at most `memory` bytes, while adding and after.
    pub(super) fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self {
            members: TupleSorter::new(scratch_dir, memory / 2),
            directory: scratch_dir.to_path_buf(),
            memory,
        }
    }

    pub(super) fn add(&mut self, record: &Record, ordinal: u64) -> Result<()> {
        let Some((device, inode)) = record.identity else {
            return Ok(());
        };
        let kind = u64::from(record.metadata.mode & MODE_TYPE_MASK);
        self.members
            .add([device, inode, ordinal, kind, record.size])
    }

    /// Groups what was added. Groups may be of any size, so each is read twice instead of held:
    /// once to count its members and once to hand them the count.
    pub(super) fn finish(self) -> Result<LinkTable> {
        let members = self.members.finish()?;
        let mut links = TupleSorter::new(&self.directory, self.memory / 4);
        let (mut aliases, mut alias_bytes) = (0, 0u64);
        let mut counting = members.reader()?;
        let mut giving = members.reader()?;
        while let Some(first) = counting.take()? {
            let [_, _, primary, _, size] = first;
            let mut count = 1u64;
            while let Some(member) = next_of_group(&mut counting, &first)? {
                count += u64::from(same_file(&member, &first));
            }
            giving.take()?;
            if count > 1 {
                links.add([primary, primary, count])?;
                aliases += count - 1;
            }
            while let Some(member) = next_of_group(&mut giving, &first)? {
                let [_, _, ordinal, _, _] = member;
                if same_file(&member, &first) {
                    links.add([ordinal, primary, count])?;
                    alias_bytes = alias_bytes.saturating_add(size);
                }
            }
        }
        Ok(LinkTable {
            links: links.finish()?,
            aliases,
            alias_bytes,
        })
    }
}

/// The next tuple, if it is of the same device and inode as `first`.
fn next_of_group(reader: &mut TupleReader<5>, first: &[u64; 5]) -> Result<Option<[u64; 5]>> {
    match reader.peek() {
        Some(member) if member.first_chunk::<2>() == first.first_chunk::<2>() => reader.take(),
        _ => Ok(None),
    }
}

/// Whether two names were seen with the same kind and size. If not, the source changed between
/// the two looks, and each stands for itself.
fn same_file(a: &[u64; 5], b: &[u64; 5]) -> bool {
    a.last_chunk::<2>() == b.last_chunk::<2>()
}

/// The entries with several names: ordinal, primary, count, in the order of ordinals.
#[derive(Debug)]
pub(super) struct LinkTable {
    links: SortedTuples<3>,
    /// Names beyond the first of each group.
    pub(super) aliases: u64,
    /// Bytes that would be counted twice for them.
    pub(super) alias_bytes: u64,
}

impl LinkTable {
    pub(super) fn reader(&self) -> Result<TupleReader<3>> {
        self.links.reader()
    }
}
