//! What a walk says on its way and at its end.

use std::path::PathBuf;

use crate::Error;

/// Why an entry was left out without being a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is one of [`WalkOptions::exclude`]; it has no record.
    Excluded,
    /// Another file system is mounted on it; it has a record but nothing below it does.
    OtherFileSystem,
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalkEvent {
    /// An entry, or what lies below it, could not be read and is missing from the records. The
    /// error is of kind [`ErrorKind::Source`] and names the path.
    Problem(Error),
    /// An entry was left out as the options say.
    Skipped {
        /// Its path, root included.
        path: PathBuf,
        /// Why.
        reason: SkipReason,
    },
    /// Nothing was found for a while, as on a slow file system, or in a list that is still being
    /// written.
    Waiting,
}

/// How a walk went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalkSummary {
    /// Records handed to the sink.
    pub entries: u64,
    /// Problems reported.
    pub problems: u64,
    /// Entries left out as the options say, each of them reported.
    pub skipped: u64,
    /// Entries left out because [`Selection::exclude`] says so; what lies below them is not counted.
    pub excluded: u64,
}
