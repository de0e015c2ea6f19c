//! What is walked, and how.

use std::path::{Path, PathBuf};
use std::thread;

use super::selection::Selection;
use crate::entry::KeptTimes;

/// What to walk and how.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices, each with a name"
)]
pub struct WalkOptions {
    /// Threads that read directories; at least one is used.
    pub threads: usize,
    /// Whether to read extended attributes.
    pub xattrs: bool,
    /// Whether to leave out what is mounted below the root; mount points stay as empty directories.
    pub one_file_system: bool,
    /// Which times are wanted.
    pub times: KeptTimes,
    /// Whether files are marked that may have holes.
    pub holes: bool,
    /// Whether the first problem ends the walk.
    pub strict: bool,
    /// Device and inode of files to leave out, such as the image that is being written.
    pub exclude: Vec<(u64, u64)>,
    /// Which entries are taken.
    pub selection: Selection,
    /// Where a tree with very many directories has those noted that are still to be read, in a
    /// nameless file.
    pub scratch_dir: PathBuf,
}

impl WalkOptions {
    /// Everything below the root, by as many threads as there are processors.
    pub fn new(scratch_dir: &Path) -> Self {
        Self {
            threads: thread::available_parallelism().map_or(1, usize::from),
            xattrs: true,
            one_file_system: false,
            times: KeptTimes::default(),
            holes: true,
            strict: false,
            exclude: Vec::new(),
            selection: Selection::default(),
            scratch_dir: scratch_dir.to_path_buf(),
        }
    }
}
