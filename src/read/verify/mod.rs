//! Verification: everything an image promises, checked to the end whatever is found.
//!
//! # Overview
//! One pass over the leaf pages in key order. [`levels`] follows it through the inner pages above and
//! compares what they say of each page with the page; [`directories`] follows runs, names and subtrees;
//! [`links`] the names of hard-linked files; [`extents`] positions; [`parts`] is about what lies outside the
//! pages. Contents are read by [`reading`], in other threads if that is wanted, while the pass goes on. Memory
//! grows with the depth of the tree alone.

mod directories;
mod entries;
mod extents;
mod levels;
mod links;
mod parts;
mod reading;

use super::Image;
use crate::Error;
use reading::Reading;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

/// Damaged pages that are remembered, so that what follows from them is not reported again.
const MOST_REMEMBERED: usize = 1 << 16;

/// How much is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Leave out the contents of files; their places are checked.
    pub quick: bool,
    /// Threads that read contents beside the calling one; with 0 or 1 that does it itself. What is reported, and in
    /// which order, does not depend on it.
    pub threads: usize,
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
    /// Entries that the header counts and no sound page holds.
    pub lost_entries: u64,
    /// Files whose contents cannot all be read, those in volumes that are missing included.
    pub damaged_files: u64,
    /// Whether all of the tree can be read: no entry is lost and no file damaged, and no page says otherwise. Faults
    /// beside it are in what is there twice or means nothing.
    pub complete: bool,
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Fault {
    /// Path inside the image of the entry it is about; of a leaf page that cannot be read, the key from
    /// which on entries are lost.
    pub entry: Option<Vec<u8>>,
    /// Bytes of the file's contents that cannot be read for it.
    pub range: Option<Range<u64>>,
    /// What is wrong, in which file, page and at which offset.
    pub error: Error,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.entry {
            let entry = if entry.is_empty() { b"." } else { &**entry };
            write!(f, "{}: ", Path::new(OsStr::from_bytes(entry)).display())?;
        }
        if let Some(Range { start, end }) = self.range {
            write!(f, "bytes {start} to {end}: ")?;
        }
        self.error.fmt(f)
    }
}

/// What is told next.
enum Next {
    Fault(Fault),
    /// What a batch of contents comes to, by its number.
    Batch(u64),
}

/// Where faults go.
struct Report<'a> {
    index: &'a Path,
    sink: &'a mut dyn FnMut(Fault),
    faults: u64,
    damaged_pages: BTreeSet<u64>,
    /// Whether anything was found that readers of entries stumble over.
    tree_damaged: bool,
    /// Faults that are told once batches before them are done.
    waiting: VecDeque<Next>,
}

impl Report<'_> {
    fn tell(&mut self, fault: Fault) {
        if self.waiting.is_empty() {
            (self.sink)(fault);
        } else {
            self.waiting.push_back(Next::Fault(fault));
        }
    }

    fn add(&mut self, entry: Option<Vec<u8>>, error: Error) {
        self.faults += 1;
        let range = None;
        self.tell(Fault {
            entry,
            range,
            error,
        });
    }

    /// The faults of batch `number` are told here, when it is done.
    fn expect(&mut self, number: u64) {
        self.waiting.push_back(Next::Batch(number));
    }

    /// Batch `number` is done, and all before it were.
    fn settle(&mut self, number: u64, faults: Vec<Fault>) {
        self.faults += faults.len() as u64;
        while let Some(next) = self.waiting.pop_front() {
            match next {
                Next::Fault(fault) => (self.sink)(fault),
                Next::Batch(done) if done == number => break,
                Next::Batch(_) => {}
            }
        }
        for fault in faults {
            (self.sink)(fault);
        }
        while let Some(Next::Fault(_)) = self.waiting.front() {
            if let Some(Next::Fault(fault)) = self.waiting.pop_front() {
                (self.sink)(fault);
            }
        }
    }

    /// A page contradicts others.
    fn page(&mut self, page: u64, what: impl Into<String>) {
        let error = Error::corrupt(what).at_path(self.index).at_page(page);
        self.tree_damaged = true;
        self.add(None, error);
    }

    /// A page cannot be used at all; entries from `entry` on are lost.
    fn damaged_page(&mut self, page: u64, entry: Option<Vec<u8>>, error: Error) {
        if self.damaged_pages.len() < MOST_REMEMBERED {
            self.damaged_pages.insert(page);
        }
        self.tree_damaged = true;
        self.add(entry, error);
    }

    /// Something that was looked up was not found readable. Pages that were reported are not reported again.
    fn lookup(&mut self, entry: Vec<u8>, error: Error) {
        let known = error
            .page()
            .is_some_and(|page| self.damaged_pages.contains(&page));
        self.tree_damaged = true;
        if !known {
            self.add(Some(entry), error);
        }
    }

    /// An entry is wrong.
    fn entry(&mut self, entry: Vec<u8>, what: impl Into<String>) {
        self.tree_damaged = true;
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
            tree_damaged: false,
            waiting: VecDeque::new(),
        };
        parts::check_index(self, &mut report);
        // The footer stands in for a header; damage to blobs is found again by the entries that have them.
        report.tree_damaged = false;
        let (entries, contents) = thread::scope(|scope| {
            let reading = Reading::new(scope, self, options.threads);
            entries::check(self, *options, reading, &mut report)
        });
        let tree_damaged = report.tree_damaged;
        parts::check_volumes(self, &mut report);
        let lost_entries = self.header().entries.saturating_sub(entries);
        Verified {
            entries,
            bytes: contents.bytes,
            faults: report.faults,
            lost_entries,
            damaged_files: contents.damaged_files,
            complete: !tree_damaged && lost_entries == 0 && contents.damaged_files == 0,
        }
    }
}

#[cfg(test)]
mod sketch;
#[cfg(test)]
mod tests;
