//! Runs, one after the other: whether each is where its directory says, in order and complete.

use super::{Report, join};
use crate::entry::{Ino, compare_paths};
use crate::read::{Image, Node};
use std::cmp::Ordering;

/// A directory on the way to the current run.
#[derive(Debug)]
struct Open {
    /// Length of its path, which is a prefix of the current one.
    path_length: usize,
    /// Ordinal behind the last entry below it.
    end: u64,
}

/// The run that is being read.
#[derive(Debug)]
struct Run {
    /// Ordinal behind its last entry, as its directory says.
    end: u64,
    /// Directories that its directory promises and that were not seen yet; unknown if part of the run is lost.
    directories_left: Option<u64>,
}

/// The current place in the tree.
#[derive(Debug, Default)]
pub(super) struct Directories {
    path: Vec<u8>,
    name: Vec<u8>,
    open: Vec<Open>,
    run: Option<Run>,
    /// Ordinal of the next entry.
    next: u64,
    /// Entries before the next one could not be read.
    lost: bool,
    /// Whether entries were ever lost.
    ever_lost: bool,
    /// Directories with children, less the runs that were seen.
    without_run: u64,
    runs: u64,
}

impl Directories {
    /// Ordinal that must come next, unless entries are lost.
    pub(super) fn next(&self) -> Option<u64> {
        (!self.lost).then_some(self.next)
    }

    /// Key of the last entry, unless it is lost. The root has none before it.
    pub(super) fn last_key(&self) -> Option<(&[u8], &[u8])> {
        (!self.lost && self.next > 0).then_some((&self.path, &self.name))
    }

    /// A page could not be read.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.ever_lost = true;
    }

    /// The entries from `ordinal` on are children of the directory at `path`, whose ordinal is `far_parent` if the
    /// page says so. A run that goes on in a new page comes here again.
    pub(super) fn begin_run(
        &mut self,
        image: &Image,
        path: &[u8],
        far_parent: Option<u64>,
        ordinal: u64,
        report: &mut Report<'_>,
    ) {
        // The root is a run of its own, with the same path as its children.
        if !self.lost && self.next > 1 && path == self.path {
            return;
        }
        if !self.lost {
            self.finish_run(report);
        }
        self.run = None;
        let ascends = match compare_paths(&self.path, path) {
            Ordering::Less => true,
            Ordering::Equal => self.lost || self.next <= 1,
            Ordering::Greater => false,
        };
        if !ascends {
            report.entry(path.to_vec(), "directories are not in order");
        }
        self.close(path, ordinal, report);
        self.path.clear();
        self.path.extend_from_slice(path);
        self.name.clear();
        if ordinal == 0 {
            return;
        }
        let parent = match far_parent {
            Some(parent) => image.node(Ino::from_ordinal(parent)).map(Some),
            None => image.lookup(path),
        };
        let parent = match parent {
            Ok(Some(parent)) => parent,
            Ok(None) => return report.entry(path.to_vec(), "directory of entries is missing"),
            Err(error) => return report.lookup(path.to_vec(), error),
        };
        self.enter(&parent, ordinal, report);
    }

    fn enter(&mut self, parent: &Node, ordinal: u64, report: &mut Report<'_>) {
        let children = parent.children;
        let within = ordinal > children.first && ordinal < children.end() && self.lost;
        if !parent.is_directory() || ordinal != children.first && !within {
            let what =
                format!("entry {ordinal} and those behind it are not where their directory says");
            return report.entry(self.path.clone(), what);
        }
        let end = children.first.saturating_add(children.descendants);
        let outer = self.open.last().map(|open| open.end);
        if outer.is_some_and(|outer| end > outer) {
            report.entry(
                self.path.clone(),
                "directory counts entries that are not below it",
            );
        }
        let again = self
            .open
            .last()
            .is_some_and(|open| open.path_length == self.path.len());
        if !again {
            self.open.push(Open {
                path_length: self.path.len(),
                end,
            });
        }
        self.runs += 1;
        self.run = Some(Run {
            end: children.end(),
            directories_left: (!self.lost).then_some(children.subdirs),
        });
    }

    /// Closes the directories that `path` is not below; the entries below each end with `ordinal`.
    fn close(&mut self, path: &[u8], ordinal: u64, report: &mut Report<'_>) {
        while let Some(open) = self.open.last() {
            let own = self.path.get(..open.path_length).unwrap_or_default();
            let rest = path.strip_prefix(own);
            let below = own.is_empty()
                || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
            if below {
                break;
            }
            if open.end != ordinal && !(self.lost && open.end < ordinal) {
                let what = format!(
                    "directory says that the last entry below it is {}, but it is {}",
                    open.end.saturating_sub(1),
                    ordinal.saturating_sub(1)
                );
                report.entry(own.to_vec(), what);
            }
            self.open.pop();
        }
    }

    /// Takes note of the next entry of the run.
    pub(super) fn entry(&mut self, name: &[u8], node: &Node, report: &mut Report<'_>) {
        let ascends = self.name.as_slice() < name || self.name.is_empty();
        if !ascends {
            report.entry(
                join(&self.path, name),
                "names of a directory are not in order",
            );
        }
        if name == b"." || name == b".." {
            report.entry(join(&self.path, name), "name is . or ..");
        }
        self.name.clear();
        self.name.extend_from_slice(name);
        self.next = node.ordinal + 1;
        self.lost = false;
        if !node.is_directory() {
            if node.ordinal == 0 {
                report.entry(Vec::new(), "root is not a directory");
            }
            return;
        }
        self.without_run += u64::from(node.children.count > 0);
        if node.ordinal == 0 {
            return;
        }
        let left = self
            .run
            .as_mut()
            .and_then(|run| run.directories_left.as_mut());
        if let Some(left) = left {
            // Below zero, it does not come back to zero: no run has 2^63 entries.
            *left = left.wrapping_sub(1);
        }
    }

    fn finish_run(&mut self, report: &mut Report<'_>) {
        let Some(run) = self.run.take() else { return };
        if run.end != self.next {
            let what = format!(
                "directory says that its last child is entry {}, but it is {}",
                run.end.saturating_sub(1),
                self.next.saturating_sub(1)
            );
            report.entry(self.path.clone(), what);
        } else if run.directories_left.is_some_and(|left| left != 0) {
            report.entry(self.path.clone(), "directory miscounts its sub-directories");
        }
    }

    /// All `entries` were seen. Says whether none was lost.
    pub(super) fn finish(&mut self, image: &Image, entries: u64, report: &mut Report<'_>) -> bool {
        if !self.lost {
            self.finish_run(report);
            // No path is below this one, since paths hold no NUL and do not begin with a slash.
            self.close(b"/\0", entries, report);
            let root = self.open.first().map_or(1, |root| root.end);
            if root != entries {
                report.entry(Vec::new(), "root miscounts the entries below it");
            }
        }
        if !self.ever_lost && self.without_run != self.runs {
            let what = format!(
                "{} directories have children, but {} children are there",
                self.without_run, self.runs
            );
            report.add(
                None,
                crate::Error::corrupt(what).at_path(image.index_path()),
            );
        }
        !self.ever_lost
    }
}
