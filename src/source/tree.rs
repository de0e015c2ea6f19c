//! What is walked, as all threads of a walk see it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Statx;

use super::look::{device, look_at};
use super::options::WalkOptions;
use crate::beneath::Beneath;
use crate::{Error, Result};

/// A tree, and what its threads count together.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    pub(super) path: &'a Path,
    pub(super) options: &'a WalkOptions,
    pub(super) root: Arc<OwnedFd>,
    pub(super) root_attributes: Statx,
    /// Entries left out because a pattern says so.
    pub(super) excluded: AtomicU64,
}

impl<'a> Tree<'a> {
    pub(super) fn open(path: &'a Path, options: &'a WalkOptions) -> Result<Self> {
        let root = Beneath::root(path)?;
        let root_attributes = look_at(root.as_fd(), b".", false)
            .map_err(|e| Error::io(path, "read the attributes of this directory", e))?;
        Ok(Self {
            path,
            options,
            root,
            root_attributes,
            excluded: AtomicU64::new(0),
        })
    }

    /// The path of an entry as its user would write it.
    pub(super) fn full_path(&self, parent: &[u8], name: &[u8]) -> PathBuf {
        let mut path = self.path.to_path_buf();
        for part in [parent, name].into_iter().filter(|part| !part.is_empty()) {
            path.push(OsStr::from_bytes(part));
        }
        path
    }

    /// Device of the file system that the root lies on.
    pub(super) fn device(&self) -> u64 {
        device(&self.root_attributes)
    }

    /// Whether a pattern excludes the entry at `path`; counts it if so.
    pub(super) fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        let excluded = self
            .options
            .selection
            .exclude
            .match_path(path, is_directory);
        if excluded {
            self.excluded.fetch_add(1, Ordering::Relaxed);
        }
        excluded
    }
}

/// Appends `name` to the path `parent`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
