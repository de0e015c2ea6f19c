//! Verification: everything an image promises, checked to the end whatever is found.
//!
//! # Overview
//! One pass over the leaf pages in key order. [`levels`] follows it through the inner pages above and
//! compares what they say of each page with the page; [`directories`] follows runs, names and subtrees;
//! [`links`] the names of hard-linked files; [`extents`] positions and contents; [`parts`] is about what
//! lies outside the pages. Memory grows with the depth of the tree alone.

mod directories;
mod entries;
mod extents;
mod levels;
mod links;
mod parts;

use super::Image;
use crate::Error;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Damaged pages that are remembered, so that what follows from them is not reported again.
const MOST_REMEMBERED: usize = 1 << 16;

/// How much is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Leave out the contents of files; their places are checked.
    pub quick: bool,
}

/// What was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries found in sound pages.
    pub entries: u64,
    /// Bytes of contents read and found right.
    pub bytes: u64,
    /// Faults reported.
    pub faults: u64,
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// Path inside the image of the entry it is about; of a leaf page that cannot be read, the key from
    /// which on entries are lost.
    pub entry: Option<Vec<u8>>,
    /// What is wrong, in which file, page and at which offset.
    pub error: Error,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.entry {
            let entry = if entry.is_empty() { b"." } else { &**entry };
            write!(f, "{}: ", Path::new(OsStr::from_bytes(entry)).display())?;
        }
        self.error.fmt(f)
    }
}

/// Where faults go.
struct Report<'a> {
    index: &'a Path,
    sink: &'a mut dyn FnMut(Fault),
    faults: u64,
    damaged_pages: BTreeSet<u64>,
}

impl Report<'_> {
    fn add(&mut self, entry: Option<Vec<u8>>, error: Error) {
        self.faults += 1;
        (self.sink)(Fault { entry, error });
    }

    /// A page contradicts others.
    fn page(&mut self, page: u64, what: impl Into<String>) {
        let error = Error::corrupt(what).at_path(self.index).at_page(page);
        self.add(None, error);
    }

    /// A page cannot be used at all; entries from `entry` on are lost.
    fn damaged_page(&mut self, page: u64, entry: Option<Vec<u8>>, error: Error) {
        if self.damaged_pages.len() < MOST_REMEMBERED {
            self.damaged_pages.insert(page);
        }
        self.add(entry, error);
    }

    /// Something that was looked up was not found readable. Pages that were reported are not reported again.
    fn lookup(&mut self, entry: Vec<u8>, error: Error) {
        let known = error
            .page()
            .is_some_and(|page| self.damaged_pages.contains(&page));
        if !known {
            self.add(Some(entry), error);
        }
    }

    /// An entry is wrong.
    fn entry(&mut self, entry: Vec<u8>, what: impl Into<String>) {
        self.add(Some(entry), Error::corrupt(what).at_path(self.index));
    }
}

/// `parent/name`.
fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

impl Image {
    /// Checks every page, table, blob and extent, and that they agree with each other. Each fault goes to
    /// `sink`; none ends the pass. What could not even be opened is for [`Image::open`] to say.
    pub fn verify(&self, options: &VerifyOptions, sink: &mut dyn FnMut(Fault)) -> Verified {
        let mut report = Report {
            index: self.index_path(),
            sink,
            faults: 0,
            damaged_pages: BTreeSet::new(),
        };
        parts::check_index(self, &mut report);
        let (entries, bytes) = entries::check(self, *options, &mut report);
        parts::check_volumes(self, &mut report);
        Verified {
            entries,
            bytes,
            faults: report.faults,
        }
    }
}

#[cfg(test)]
mod sketch;
#[cfg(test)]
mod tests;
