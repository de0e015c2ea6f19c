//! The directories that a walk has found and not yet read: a stack that spills to disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Bytes of the length behind each path.
const LEN: usize = size_of::<u32>();

/// Paths, the last one in first out.
#[derive(Debug)]
pub(super) struct PendingDirectories {
    /// The upper part of the stack: path, length of the path, path, length...
    top: Vec<u8>,
    memory: usize,
    /// Lengths of the blocks below, which lie in the file one behind the other.
    spilled: Vec<usize>,
    file: Option<File>,
    scratch_dir: PathBuf,
}

impl PendingDirectories {
    /// A stack that holds about `memory` bytes.
    pub(super) fn new(scratch_dir: &Path, memory: usize) -> Self {
        Self {
            top: Vec::new(),
            memory,
            spilled: Vec::new(),
            file: None,
            scratch_dir: scratch_dir.to_path_buf(),
        }
    }

    pub(super) fn push(&mut self, path: &[u8]) -> Result<()> {
        self.top.extend_from_slice(path);
        // A path longer than that is refused before it gets here.
        let len = u32::try_from(path.len()).unwrap_or(u32::MAX);
        self.top.extend_from_slice(&len.to_le_bytes());
        if self.top.len() > self.memory {
            self.spill()?;
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Result<Option<Vec<u8>>> {
        if self.top.is_empty() {
            self.reload()?;
        }
        let Some(start) = last_start(&self.top) else {
            return Ok(None);
        };
        let mut path = self.top.split_off(start);
        path.truncate(path.len().saturating_sub(LEN));
        Ok(Some(path))
    }

    /// Writes the lower half of what is in memory. The upper half stays, so that walking to and
    /// fro at this height costs no I/O.
    fn spill(&mut self) -> Result<()> {
        let half = self.top.len() / 2;
        let mut cut = self.top.len();
        while let Some(start) = self.top.get(..cut).and_then(last_start) {
            if start < half.max(1) {
                break;
            }
            cut = start;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                tempfile::tempfile_in(&self.scratch_dir)
                    .map_err(|e| failed(&self.scratch_dir, "create a scratch file here", e))?,
            ),
        };
        let end = self.spilled.iter().map(|len| *len as u64).sum();
        let block = self.top.get(..cut).unwrap_or_default();
        file.write_all_at(block, end)
            .map_err(|e| failed(&self.scratch_dir, "write scratch data here", e))?;
        self.spilled.push(cut);
        self.top.drain(..cut);
        Ok(())
    }

    /// Brings the topmost block back.
    fn reload(&mut self) -> Result<()> {
        let (Some(len), Some(file)) = (self.spilled.pop(), &self.file) else {
            return Ok(());
        };
        let start = self.spilled.iter().map(|len| *len as u64).sum();
        self.top.resize(len, 0);
        file.read_exact_at(&mut self.top, start)
            .map_err(|e| failed(&self.scratch_dir, "read scratch data from here", e))
    }
}

#[cold]
fn failed(directory: &Path, doing: &str, cause: std::io::Error) -> Error {
    Error::io(directory, doing, cause)
}

/// Where the last path of `stack` begins.
fn last_start(stack: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*stack.last_chunk::<LEN>()?);
    stack
        .len()
        .checked_sub(LEN)?
        .checked_sub(usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_small_stack_gives_back_what_a_large_one_would(
            steps in prop::collection::vec(prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 0..20)), 0..300),
            memory in 0usize..300,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut stack = PendingDirectories::new(directory.path(), memory);
            let mut model = Vec::new();
            for step in steps {
                if let Some(path) = step {
                    stack.push(&path).unwrap();
                    model.push(path);
                    prop_assert!(stack.top.len() <= memory.max(20 + LEN));
                } else {
                    prop_assert_eq!(stack.pop().unwrap(), model.pop());
                }
            }
            while let Some(path) = model.pop() {
                prop_assert_eq!(stack.pop().unwrap(), Some(path));
            }
            prop_assert_eq!(stack.pop().unwrap(), None);
            prop_assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }
}
