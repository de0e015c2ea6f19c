//! How many files the process may have open.

use rustix::process::{Resource, getrlimit};

/// Most files that may be open at the same time.
pub(crate) fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Most threads that read a tree. Each has up to four files open besides those that it reads ahead: its
/// directory, one on the way to the next, the ancestor of a link, and the file. So half of the limit is left to
/// others.
pub(crate) fn most_threads() -> usize {
    (limit() / 8).max(1)
}
