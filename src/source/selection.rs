//! Which entries of a tree are taken.

use std::path::PathBuf;

use super::patterns::{AttributePatterns, PathPatterns};

/// Which entries of a tree are taken, and what of them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Entries to leave out, directories with all that lies below.
    pub exclude: PathPatterns,
    /// Only what this list names, and the directories that lead there.
    pub list: Option<PathList>,
    /// Whether to take what symbolic links lead to instead of the links.
    pub follow: bool,
    /// Extended attributes to take.
    pub attributes: AttributePatterns,
}

/// A file that names paths relative to the root of a tree.
#[derive(Debug, Clone)]
pub struct PathList {
    /// The file.
    pub file: PathBuf,
    /// Whether paths end with NUL instead of a line feed.
    pub null: bool,
    /// Whether a directory that is named stands for all that lies below it, too.
    pub recurse: bool,
}
