//! Paths in few bytes, to be compared.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A directory's path in few bytes. The key is drawn for each process, so no image can be made for paths that are
/// taken for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathDigest(u64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl PathDigest {
    pub(super) fn of(path: &[u8]) -> Self {
        Self(KEY.hash_one(path))
    }
}
