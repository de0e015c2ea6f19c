//! A tree out of an image, in key order: contents are read front to back, and a directory is finished when
//! everything below it is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents;
use super::metadata::{Refused, Restorer, Target};
use super::options::{ExtractOptions, Extracted};
use super::place::{Place, is_extracted};
use super::selection::{Selection, is_within};
use crate::beneath::Beneath;
use crate::entry::{Ino, Kind};
use crate::read::{Image, Node, ReadAhead};
use crate::{Error, ErrorKind, Result};

/// Hard-linked files whose first name is not extracted and whose extracted name is remembered.
const MOST_REMEMBERED: usize = 1 << 16;

/// Directories that are remembered as unusable. Below further ones, every entry is reported.
const MOST_UNUSABLE: usize = 1 << 10;

/// Extracts the entries at `paths` (relative to the root; none stands for everything) and all below them into
/// the directory `destination`, which is made if it is missing.
///
/// Nothing is written outside of `destination`: no symbolic link below it is followed. What goes wrong with single
/// entries goes to `problem`, and extraction goes on; it ends early only when the destination cannot be used or is
/// full.
pub fn extract_tree(
    image: &Image,
    destination: &Path,
    paths: &[Vec<u8>],
    options: &ExtractOptions,
    problem: &mut dyn FnMut(Error),
) -> Result<Extracted> {
    std::fs::create_dir_all(destination).map_err(|e| Error::io(destination, "create", e))?;
    let was_empty = std::fs::read_dir(destination)
        .map_err(|e| Error::io(destination, "read", e))?
        .next()
        .is_none();
    let root = Beneath::root(destination)?;
    let mut extractor = Extractor {
        image,
        destination,
        selection: Selection::new(paths),
        force: options.force,
        restorer: Restorer::new(*options),
        problem,
        places: Beneath::to_pass(Arc::clone(&root)),
        first_names: Beneath::to_pass(Arc::clone(&root)),
        root,
        path: Vec::new(),
        open: Vec::new(),
        unusable: Vec::new(),
        skipping: false,
        elsewhere: HashMap::new(),
        ahead: ReadAhead::default(),
        scratch: Vec::new(),
        done: Extracted::default(),
    };
    extractor.run(was_empty)?;
    extractor.done.refused_xattrs = extractor.restorer.refused_xattrs;
    Ok(extractor.done)
}

/// A directory that is not finished.
struct Open {
    /// Length of its path, which is a prefix of the current one.
    path_length: usize,
    node: Node,
    /// Whether its metadata is set at the end.
    restore: bool,
}

struct Extractor<'a> {
    image: &'a Image,
    destination: &'a Path,
    selection: Selection,
    force: bool,
    restorer: Restorer,
    problem: &'a mut dyn FnMut(Error),
    root: Arc<OwnedFd>,
    places: Beneath,
    first_names: Beneath,
    /// The current directory, and those above it from the root on.
    path: Vec<u8>,
    open: Vec<Open>,
    /// Directories that could not be made; nothing below them is tried.
    unusable: Vec<Vec<u8>>,
    /// Whether the current directory lies below one of them.
    skipping: bool,
    /// Inodes whose first name is not selected, with the ordinal of the name that was extracted.
    elsewhere: HashMap<Ino, u64>,
    ahead: ReadAhead,
    scratch: Vec<u8>,
    done: Extracted,
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        parent => [parent, name].join(&b'/'),
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

impl Extractor<'_> {
    fn run(&mut self, was_empty: bool) -> Result<()> {
        let root = self.image.root()?;
        let whole = self.selection.holds(b"");
        self.open.push(Open {
            path_length: 0,
            node: root,
            // The mode of a directory like /tmp is not to be changed by what is put into it.
            restore: whole && was_empty,
        });
        for path in self.selection.paths().to_vec() {
            match self.image.lookup(&path) {
                Ok(Some(node)) => self.select(&path, &node)?,
                Ok(None) => {
                    let what = format!("is not in image {}", self.image.index_path().display());
                    let error = Error::new(ErrorKind::NotFound, what);
                    self.report(error.at_path(OsStr::from_bytes(&path)));
                }
                Err(error) => self.report_about(&path, error),
            }
        }
        self.leave_to(b"", true);
        Ok(())
    }

    /// Extracts the entry at `path` and everything below it.
    fn select(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let (parent, name) = split(path);
        if path.is_empty() {
            self.done.directories += 1;
        } else {
            self.enter_missing(parent)?;
            self.entry(parent, name, node)?;
        }
        if node.is_directory() {
            self.below(node)?;
        }
        Ok(())
    }

    /// Extracts everything below a directory.
    fn below(&mut self, directory: &Node) -> Result<()> {
        let children = directory.children;
        let end = children.first.saturating_add(children.descendants);
        let mut next = children.first;
        while next < end {
            let mut result = Ok(());
            let image = self.image;
            let walked = image.walk(next, &mut |parent, name, node| {
                if node.ordinal >= end {
                    return false;
                }
                next = node.ordinal + 1;
                result = self.entry(parent, name, node);
                result.is_ok()
            });
            result?;
            match walked {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let readable = self.next_readable(next, end);
                    self.done.problems += (readable - next).saturating_sub(1);
                    self.report(Error::new(
                        error.kind(),
                        format!("{} entries are lost: {error}", readable - next),
                    ));
                    next = readable;
                }
            }
        }
        Ok(())
    }

    /// The first ordinal behind `lost`, whose page cannot be read, whose page can; `end` if there is none before.
    fn next_readable(&self, lost: u64, end: u64) -> u64 {
        let readable = |ordinal| self.image.node(Ino::from_ordinal(ordinal)).is_ok();
        let (mut low, mut step) = (lost, 1);
        let mut high = loop {
            let probe = low.saturating_add(step).min(end);
            if probe == end || readable(probe) {
                break probe;
            }
            low = probe;
            step *= 2;
        };
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            if readable(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    fn report(&mut self, error: Error) {
        self.done.problems += 1;
        (self.problem)(error);
    }

    fn target_path(&self, path: &[u8]) -> PathBuf {
        if path.is_empty() {
            return self.destination.to_path_buf();
        }
        self.destination.join(OsStr::from_bytes(path))
    }

    /// Reports what went wrong with the entry at `path`. An error that names another file keeps it in its text.
    fn report_about(&mut self, path: &[u8], error: Error) {
        let error = match error.path() {
            Some(_) => Error::new(error.kind(), error.to_string()),
            None => error,
        };
        let error = error.at_path(self.target_path(path));
        self.report(error);
    }

    fn report_refused(&mut self, path: &[u8], (doing, errno): Refused) {
        self.report_about(
            path,
            Error::new(ErrorKind::Io, format!("cannot {doing}")).caused_by(errno),
        );
    }

    /// Makes the directories on the way to a selected path and enters them.
    fn enter_missing(&mut self, path: &[u8]) -> Result<()> {
        self.leave_to(path, false);
        let mut done = self.path.len();
        while done < path.len() {
            let from = if done == 0 { 0 } else { done + 1 };
            let rest = path.get(from..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(rest.len());
            let name = rest.get(..length).unwrap_or_default();
            let Some(node) = self.child(name) else {
                return Ok(());
            };
            let parent = self.path.clone();
            self.entry(&parent, name, &node)?;
            done = from + length;
            self.enter(path.get(..done).unwrap_or_default(), node);
        }
        Ok(())
    }

    /// The child `name` of the current directory.
    fn child(&mut self, name: &[u8]) -> Option<Node> {
        let found = self.image.lookup_in(&self.open.last()?.node, name);
        found.unwrap_or_else(|error| {
            let path = join(&self.path, name);
            self.report_about(&path, error);
            None
        })
    }

    fn enter(&mut self, path: &[u8], node: Node) {
        self.path.clear();
        self.path.extend_from_slice(path);
        self.open.push(Open {
            path_length: path.len(),
            node,
            restore: true,
        });
    }

    /// Leaves the directories that `path` does not lie in, and finishes each; with `all`, the root as well.
    fn leave_to(&mut self, path: &[u8], all: bool) {
        while let Some(open) = self.open.last() {
            let own = self.path.get(..open.path_length).unwrap_or_default();
            if is_within(own, path) && !all {
                break;
            }
            let own = own.to_vec();
            if let Some(open) = self.open.pop() {
                if open.restore {
                    self.finish_directory(&own, &open.node);
                }
            }
            let length = self.open.last().map_or(0, |open| open.path_length);
            self.path.truncate(length);
        }
    }

    fn is_unusable(&self, path: &[u8]) -> bool {
        self.unusable.iter().any(|own| is_within(own, path))
    }

    fn finish_directory(&mut self, path: &[u8], node: &Node) {
        if self.is_unusable(path) {
            return;
        }
        let xattrs = self.xattrs(path, node);
        let (parent, name) = split(path);
        let opened = if path.is_empty() {
            Ok(None)
        } else {
            self.places.directory(parent).and_then(|directory| {
                Place {
                    directory,
                    name,
                    force: false,
                }
                .open_directory()
                .map(Some)
            })
        };
        match opened {
            Ok(opened) => {
                let directory = opened.as_ref().unwrap_or(&self.root).as_fd();
                let restored = self
                    .restorer
                    .restore(Target::Open(directory), node, &xattrs);
                if let Err(refused) = restored {
                    self.report_refused(path, refused);
                }
            }
            Err(errno) => self.report_refused(path, ("open this directory", errno)),
        }
    }

    fn xattrs(&mut self, path: &[u8], node: &Node) -> Vec<(Vec<u8>, Vec<u8>)> {
        if !self.restorer.wants_xattrs() || !node.has_xattrs() {
            return Vec::new();
        }
        self.image.xattrs(node).unwrap_or_else(|error| {
            self.report_about(path, error);
            Vec::new()
        })
    }

    /// Makes `parent` the current directory.
    fn go_to(&mut self, parent: &[u8]) -> Result<()> {
        if parent == self.path {
            return Ok(());
        }
        self.leave_to(parent, false);
        if parent.len() > self.path.len() {
            let (above, name) = split(parent);
            // In key order, a directory comes right behind all that leads to it; only behind lost pages not.
            if above == self.path {
                if let Some(node) = self.child(name) {
                    self.enter(parent, node);
                }
            } else {
                self.enter_missing(parent)?;
            }
        }
        self.skipping = self.is_unusable(parent);
        Ok(())
    }

    /// Extracts one entry, and nothing below it. Only what ends everything is an error.
    fn entry(&mut self, parent: &[u8], name: &[u8], node: &Node) -> Result<()> {
        self.go_to(parent)?;
        if self.skipping {
            self.done.problems += 1;
            return Ok(());
        }
        let path = join(parent, name);
        match self.make(parent, name, &path, node) {
            Ok(()) => {}
            Err(error) if error.is_out_of_space() => {
                return Err(error.at_path(self.target_path(&path)));
            }
            Err(error) => {
                if node.is_directory() && self.unusable.len() < MOST_UNUSABLE {
                    self.unusable.push(path.clone());
                }
                self.report_about(&path, error);
            }
        }
        Ok(())
    }

    fn make(&mut self, parent: &[u8], name: &[u8], path: &[u8], node: &Node) -> Result<()> {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
            return Err(Error::corrupt("name leads elsewhere"));
        }
        if node.ino != Ino::from_ordinal(node.ordinal) && self.link(parent, name, node)? {
            self.done.hard_links += 1;
            return Ok(());
        }
        let xattrs = self.xattrs(path, node);
        let directory = self.places.directory(parent).map_err(|errno| {
            Error::new(ErrorKind::Io, "cannot open its directory").caused_by(errno)
        })?;
        let place = Place {
            directory,
            name,
            force: self.force,
        };
        let restored = match node.kind() {
            Kind::Directory => {
                place.make_directory()?;
                self.done.directories += 1;
                // Others are finished when everything below them is.
                if node.children.count == 0 {
                    self.finish_directory(path, node);
                }
                return Ok(());
            }
            Kind::File => {
                self.ahead.advance(self.image, node);
                let file = place.make_file()?;
                if let Err(error) = contents::write(self.image, node, &file, &mut self.scratch) {
                    // Half a file looks like a whole one.
                    let _ = place.remove();
                    return Err(error);
                }
                self.done.files += 1;
                self.done.bytes = self.done.bytes.saturating_add(node.size);
                let target = Target::Open(file.as_fd());
                self.restorer.restore(target, node, &xattrs)
            }
            Kind::Symlink => {
                place.make_symlink(&self.image.read_link(node)?)?;
                self.done.symlinks += 1;
                let target = Target::Named(directory, name);
                self.restorer.restore(target, node, &xattrs)
            }
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                place.make_special(node)?;
                self.done.others += 1;
                let target = Target::Named(directory, name);
                self.restorer.restore(target, node, &xattrs)
            }
        };
        if let Err(refused) = restored {
            self.report_refused(path, refused);
        }
        Ok(())
    }

    /// Makes `name` a further name of a file that was extracted; says no if there is none.
    fn link(&mut self, parent: &[u8], name: &[u8], node: &Node) -> Result<bool> {
        let mut first = self.image.path_of(node.ino)?;
        if !self.selection.holds(&first) {
            if let Some(&ordinal) = self.elsewhere.get(&node.ino) {
                first = self.image.path_of(Ino::from_ordinal(ordinal))?;
            } else {
                if self.elsewhere.len() < MOST_REMEMBERED {
                    self.elsewhere.insert(node.ino, node.ordinal);
                }
                return Ok(false);
            }
        }
        let (first_parent, first_name) = split(&first);
        let Ok(from) = self.first_names.directory(first_parent) else {
            return Ok(false);
        };
        if !is_extracted(from, first_name, node) {
            return Ok(false);
        }
        let directory = self.places.directory(parent).map_err(|errno| {
            Error::new(ErrorKind::Io, "cannot open its directory").caused_by(errno)
        })?;
        Place {
            directory,
            name,
            force: self.force,
        }
        .make_link(from, first_name)
        // A file system without hard links, or with too few, gets copies.
        .map_or_else(
            |error| match error.kind() {
                ErrorKind::Exists => Err(error),
                _ => Ok(false),
            },
            |()| Ok(true),
        )
    }
}
