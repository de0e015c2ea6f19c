//! A list of paths, and where the entries that it names stand in it.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::build::plan::{Plan, PlannedEntry};
use crate::entry::{Kind, Metadata, compare_keys};
use crate::escape::unescape;
use crate::sort::{Content, PATH_LIMIT, Record, Sorted, SortedTuples, Sorter, TupleSorter};
use crate::{Error, ErrorKind, Result};

/// Bytes of the longest line: each byte of the longest path as an escape.
const LONGEST_LINE: u64 = 4 * PATH_LIMIT as u64 + 16;

/// Reads the list at `path` into key order; `size` of each record is its rank. Paths that no entry can have are
/// problems.
pub(super) fn read(
    path: &Path,
    scratch_dir: &Path,
    memory: usize,
    problem: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<Sorted> {
    let failed = |error| Error::io(path, "read this list", error);
    let mut input = BufReader::with_capacity(64 << 10, File::open(path).map_err(failed)?);
    let mut sorter = Sorter::new(scratch_dir, memory);
    let mut line = Vec::new();
    for rank in 0.. {
        line.clear();
        let length = Read::take(&mut input, LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(failed)?;
        if length == 0 {
            break;
        }
        if length as u64 == LONGEST_LINE {
            let what = "a line of this list is longer than any path";
            return Err(Error::new(ErrorKind::Limit, what).at_path(path));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let Some(named) = unescape(&line) else {
            let what =
                "is not escaped as `dgfs ls` does it; a backslash in a name is written as two";
            problem(Error::new(ErrorKind::Source, what).at_path(shown(line.clone())))?;
            continue;
        };
        let named = named.strip_prefix(b"./").unwrap_or(&named);
        let start = named.iter().take_while(|&&byte| byte == b'/').count();
        let named = named.get(start..).unwrap_or_default();
        if named.is_empty() {
            continue;
        }
        match sorter.add(&record(named, rank)) {
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Limit) => {
                problem(Error::new(ErrorKind::Source, error.to_string()))?;
            }
            added => added?,
        }
    }
    sorter.finish()
}

fn record(path: &[u8], rank: u64) -> Record {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    let (parent, name) = match slash {
        Some(at) => (path.get(..at), path.get(at + 1..)),
        None => (None, Some(path)),
    };
    Record {
        parent: parent.unwrap_or_default().to_vec(),
        name: name.unwrap_or_default().to_vec(),
        metadata: Metadata::new(Kind::File, 0),
        size: rank,
        ..Record::empty()
    }
}

/// Joins a list in key order with the entries: pairs of the ordinal of a file's first name and the rank of a name.
/// Names that no entry has are problems.
pub(super) fn ranks(
    named: &Sorted,
    (plan, sorted): (&Plan, &Sorted),
    scratch_dir: &Path,
    memory: usize,
    problem: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<SortedTuples<2>> {
    let mut ranks = TupleSorter::new(scratch_dir, memory / 2);
    let mut named = named.reader()?;
    let mut entries = plan.entries(sorted)?;
    let mut line = Record::empty();
    let mut entry = PlannedEntry::empty();
    let mut is_line = named.next(&mut line)?;
    let mut is_entry = entries.next(&mut entry)?;
    while is_line {
        let record = &entry.record;
        let order = if is_entry {
            compare_keys((&line.parent, &line.name), (&record.parent, &record.name))
        } else {
            Ordering::Less
        };
        match order {
            Ordering::Less => {
                let what = "is named by the list of --order, but it is not in the tree";
                problem(Error::new(ErrorKind::Source, what).at_path(shown(line.path())))?;
            }
            Ordering::Equal if matches!(record.content, Content::Tree | Content::Spool { .. }) => {
                let first = entry.link.map_or(entry.ordinal, |link| link.primary);
                ranks.add([first, line.size])?;
            }
            Ordering::Equal | Ordering::Greater => {}
        }
        if order.is_le() {
            is_line = named.next(&mut line)?;
        } else {
            is_entry = entries.next(&mut entry)?;
        }
    }
    ranks.finish()
}

fn shown(path: Vec<u8>) -> PathBuf {
    OsString::from_vec(path).into()
}
