//! What is wanted of an extraction, and what came of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::source::{AttributePatterns, PathPatterns};

/// Most threads that write files unless said otherwise: more of them wait for each other in one file system.
const USUAL_THREADS: usize = 4;

/// What becomes of an entry whose name is taken in the destination. Directories are never replaced; what they hold is
/// added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// What is there stays, and that is a problem.
    #[default]
    Keep,
    /// What is there stays.
    Skip,
    /// What is there is removed first.
    Replace,
}

/// What is restored besides names and contents, and how.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent wishes")]
pub struct ExtractOptions {
    /// Owner and group; only root may give files away.
    pub owner: bool,
    /// Set-user-id and set-group-id bits.
    pub special_bits: bool,
    /// Permission bits as they were, whatever the process' mask of them is.
    pub permissions: bool,
    /// Extended attributes, ACLs among them. Those that the system refuses are logged, by kind.
    pub xattrs: bool,
    /// Which extended attributes, if any.
    pub xattr_patterns: AttributePatterns,
    /// Devices; without, they are left out.
    pub devices: bool,
    /// What becomes of entries that are there already.
    pub existing: Existing,
    /// What is extracted, and everything below it; everything if there are no patterns.
    pub include: PathPatterns,
    /// What is left out, and everything below it.
    pub exclude: PathPatterns,
    /// Components of each path that are cut off in front; entries with no more than that are left out.
    pub strip_components: usize,
    /// Whether files whose contents are damaged come out with zeros for the damaged parts.
    pub keep_damaged: bool,
    /// Threads that write files; 1 writes them one after the other.
    pub threads: usize,
    /// Once set, the extraction ends with [`crate::ErrorKind::Interrupted`]; no half-written file stays.
    pub stop: Arc<AtomicBool>,
}

impl Default for ExtractOptions {
    /// What is usual: owners and special bits for root alone.
    fn default() -> Self {
        let root = rustix::process::geteuid().is_root();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            owner: root,
            special_bits: root,
            permissions: true,
            xattrs: true,
            xattr_patterns: AttributePatterns::default(),
            devices: true,
            existing: Existing::default(),
            include: PathPatterns::default(),
            exclude: PathPatterns::default(),
            strip_components: 0,
            keep_damaged: false,
            threads: processors.min(USUAL_THREADS),
            stop: Arc::default(),
        }
    }
}

/// What was extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Regular files, by inode.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links, by inode.
    pub symlinks: u64,
    /// Devices, fifos and sockets, by inode.
    pub others: u64,
    /// Further names of hard-linked files.
    pub hard_links: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Entries that are missing or lack something, each reported.
    pub problems: u64,
    /// Extended attributes that the system refused.
    pub refused_xattrs: u64,
    /// Those of them that the user could have expected to get: all but what is root's alone.
    pub missing_xattrs: u64,
}

impl Extracted {
    /// Names that were made.
    pub fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.others + self.hard_links
    }
}
