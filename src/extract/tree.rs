//! A tree out of an image, in key order: contents are read front to back, and a directory is finished when
//! everything below it is.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::{Job, Shared};
use super::metadata::{Restorer, Target};
use super::options::{Existing, ExtractOptions, Extracted};
use super::outcome::{Fate, Outcome, ends_all};
use super::paths::{is_safe, join, split};
use super::place::{Place, open_failed};
use super::pool::Pool;
use super::selection::{Filter, Selection, is_within};
use crate::beneath::Beneath;
use crate::entry::{Ino, Kind};
use crate::read::{Image, Node, ReadAhead, Remains};
use crate::{Error, ErrorKind, Result};

/// Extracts the entries at `paths` (relative to the root; none stands for everything) and all below them into
/// the directory `destination`, which is made if it is missing.
///
/// Nothing is written outside of `destination`: no symbolic link below it is followed. What goes wrong with single
/// entries goes to `problem`, and extraction goes on; it ends early only when the destination cannot be used or is
/// full, or when it is to stop.
pub fn extract_tree(
    image: &Image,
    destination: &Path,
    paths: &[Vec<u8>],
    options: &ExtractOptions,
    problem: &mut dyn FnMut(Error),
) -> Result<Extracted> {
    extract_remains(image, destination, paths, options, &mut |outcome| {
        if let Some(error) = outcome.error {
            problem(error);
        }
    })
}

/// As [`extract_tree`], but says of every entry what became of it, in no particular order.
pub fn extract_remains(
    image: &Image,
    destination: &Path,
    paths: &[Vec<u8>],
    options: &ExtractOptions,
    sink: &mut dyn FnMut(Outcome),
) -> Result<Extracted> {
    std::fs::create_dir_all(destination).map_err(|e| Error::io(destination, "create", e))?;
    let was_empty = std::fs::read_dir(destination)
        .map_err(|e| Error::io(destination, "read", e))?
        .next()
        .is_none();
    let root = Beneath::root(destination)?;
    let shared = Shared {
        image,
        options,
        restorer: Restorer::new(options),
    };
    // Where several paths become one, the later is to find the earlier.
    let in_order = options.threads <= 1 || options.strip_components > 0;
    let done = std::thread::scope(|scope| {
        let pool = (!in_order).then(|| Pool::start(scope, &shared, options.threads));
        let mut extractor = Extractor {
            shared: &shared,
            pool,
            destination,
            selection: Selection::new(paths),
            filter: Filter::new(&options.include, &options.exclude),
            sink,
            places: Beneath::to_pass(Arc::clone(&root)),
            first_names: Beneath::to_pass(Arc::clone(&root)),
            root,
            current: None,
            path: Vec::new(),
            open: Vec::new(),
            finishing: VecDeque::new(),
            unusable: Vec::new(),
            skipping: false,
            elsewhere: HashMap::new(),
            ahead: ReadAhead::default(),
            scratch: Vec::new(),
            last: Vec::new(),
            done: Extracted::default(),
        };
        extractor.run(was_empty).map(|()| extractor.done)
    });
    let (refused_xattrs, missing_xattrs) = shared.restorer.refused_xattrs();
    done.map(|done| Extracted {
        refused_xattrs,
        missing_xattrs,
        ..done
    })
}

/// A directory that is not finished.
pub(super) struct Open {
    /// Length of its path, which is a prefix of the current one.
    pub(super) path_length: usize,
    /// Its entry; `None` if that is lost.
    pub(super) node: Option<Node>,
    /// Whether its metadata is set at the end.
    pub(super) restore: bool,
}

/// A directory that waits for files in it to be made.
pub(super) struct Finishing {
    /// All files before this number.
    pub(super) number: u64,
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
}

pub(super) struct Extractor<'a> {
    pub(super) shared: &'a Shared<'a>,
    /// Threads that make files; without them, they are made at once.
    pub(super) pool: Option<Pool>,
    pub(super) destination: &'a Path,
    pub(super) selection: Selection,
    pub(super) filter: Filter<'a>,
    pub(super) sink: &'a mut dyn FnMut(Outcome),
    pub(super) root: Arc<OwnedFd>,
    pub(super) places: Beneath,
    pub(super) first_names: Beneath,
    /// The directory that files are made in, with its path in the destination.
    pub(super) current: Option<(Vec<u8>, Arc<OwnedFd>)>,
    /// The current directory of the image, and those above it from the root on.
    pub(super) path: Vec<u8>,
    pub(super) open: Vec<Open>,
    pub(super) finishing: VecDeque<Finishing>,
    /// Directories that could not be made; nothing below them is tried.
    pub(super) unusable: Vec<Vec<u8>>,
    /// Whether the current directory lies below one of them.
    pub(super) skipping: bool,
    /// Inodes whose first name is not extracted, with the ordinal of the name that was.
    pub(super) elsewhere: HashMap<Ino, u64>,
    pub(super) ahead: ReadAhead,
    pub(super) scratch: Vec<u8>,
    /// Path of the last entry visited.
    pub(super) last: Vec<u8>,
    pub(super) done: Extracted,
}

/// What making an entry came to.
enum Step {
    /// This.
    Done(Fate, Option<Error>),
    /// Something that is not known yet.
    Later,
    /// Nothing, and that is as it should be.
    Skipped,
}

impl Extractor<'_> {
    fn run(&mut self, was_empty: bool) -> Result<()> {
        let image = self.shared.image;
        let whole = self.selection.holds(b"");
        self.open.push(Open {
            path_length: 0,
            node: image.root().ok(),
            // The mode of a directory like /tmp is not to be changed by what is put into it.
            restore: whole && was_empty && self.shared.options.strip_components == 0,
        });
        for path in self.selection.paths().to_vec() {
            if path.is_empty() {
                self.done.directories +=
                    u64::from(self.open.iter().any(|open| open.node.is_some()));
                self.range(0..image.header().entries, &path)?;
                continue;
            }
            match image.lookup(&path) {
                Ok(Some(node)) => self.select(&path, &node)?,
                Ok(None) => {
                    let what = format!("is not in image {}", image.index_path().display());
                    let error = Error::new(ErrorKind::NotFound, what);
                    let error = error.at_path(OsStr::from_bytes(&path));
                    self.report(&path, Fate::Failed, Some(error));
                }
                // The way to it is damaged, but what is below it need not be.
                Err(error) => {
                    self.report_about(&path, Fate::Failed, error);
                    self.range(0..image.header().entries, &path)?;
                }
            }
        }
        self.leave_to(b"", true)?;
        self.finish_all()
    }

    /// Extracts the entry at `path` and everything below it.
    fn select(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let (parent, name) = split(path);
        self.enter_missing(parent)?;
        self.entry(parent, name, node)?;
        if node.is_directory() {
            let children = node.children;
            let end = children.first.saturating_add(children.descendants);
            self.range(children.first..end, path)?;
        }
        Ok(())
    }

    /// Extracts the entries with ordinals in `range` that lie within `ancestor`.
    fn range(&mut self, range: Range<u64>, ancestor: &[u8]) -> Result<()> {
        let mut result = Ok(());
        let image = self.shared.image;
        image.walk_remains(range, &mut |remains| {
            result = match remains {
                // The root is there already.
                Remains::Entry(.., node) if node.ordinal == 0 => Ok(()),
                Remains::Entry(parent, name, node) => {
                    let is_within = is_within(ancestor, parent) || join(parent, name) == ancestor;
                    if is_within {
                        self.entry(parent, name, node)
                    } else {
                        Ok(())
                    }
                }
                Remains::Lost(lost) => {
                    self.report_lost(&lost);
                    Ok(())
                }
            };
            result.is_ok()
        });
        result
    }

    /// Extracts one entry, and nothing below it. Only what ends everything is an error.
    fn entry(&mut self, parent: &[u8], name: &[u8], node: &Node) -> Result<()> {
        if self.shared.options.stop.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let path = join(parent, name);
        if !self.filter.wants(parent, &path, node.is_directory()) {
            return Ok(());
        }
        if self.filter.is_partial() {
            self.enter_missing(parent)?;
        }
        self.go_to(parent)?;
        if self.skipping {
            self.done.problems += 1;
            return Ok(());
        }
        self.make_entry(name, path, node)
    }

    pub(super) fn make_entry(&mut self, name: &[u8], path: Vec<u8>, node: &Node) -> Result<()> {
        let step = self.make(name, &path, node);
        match step {
            Ok(Step::Done(fate, None)) => self.report(&path, fate, None),
            Ok(Step::Done(fate, Some(error))) => self.report_about(&path, fate, error),
            Ok(Step::Later | Step::Skipped) => {}
            Err(error) if ends_all(&error) => return Err(self.about(&path, error)),
            Err(error) => {
                if node.is_directory() {
                    self.give_up_below(&path);
                }
                self.report_about(&path, Fate::Failed, error);
            }
        }
        self.last = path;
        Ok(())
    }

    /// Makes an entry; an error is one of the destination.
    fn make(&mut self, name: &[u8], path: &[u8], node: &Node) -> Result<Step> {
        if !is_safe(name) {
            return Err(Error::corrupt("name leads elsewhere"));
        }
        let Some(target) = self.target(path) else {
            return Ok(Step::Skipped);
        };
        let (parent, _) = split(target);
        if node.kind().is_device() && !self.shared.options.devices {
            return Ok(Step::Skipped);
        }
        let skip = self.shared.options.existing == Existing::Skip;
        match self.make_in(parent, name, path, node) {
            Err(error) if skip && error.kind() == ErrorKind::Exists => Ok(Step::Skipped),
            step => step,
        }
    }

    fn make_in(&mut self, parent: &[u8], name: &[u8], path: &[u8], node: &Node) -> Result<Step> {
        if node.ino != Ino::from_ordinal(node.ordinal) && self.link(parent, name, node)? {
            self.done.hard_links += 1;
            return Ok(Step::Done(Fate::Whole, None));
        }
        if node.kind() == Kind::File {
            return self.make_file(parent, name, path, node);
        }
        let directory = self.places.directory(parent).map_err(open_failed)?;
        let place = Place {
            directory,
            name,
            existing: self.shared.options.existing,
        };
        match node.kind() {
            Kind::Directory => {
                place.make_directory()?;
                self.done.directories += 1;
                // Others are finished when everything below them is.
                if node.children.count == 0 {
                    self.finish_directory(path, node);
                }
                return Ok(Step::Later);
            }
            Kind::Symlink => {
                let target = match self.shared.image.read_link(node) {
                    Ok(target) => target,
                    Err(error) => return Ok(Step::Done(Fate::MetadataOnly, Some(error))),
                };
                place.make_symlink(&target)?;
                self.done.symlinks += 1;
            }
            _ => {
                place.make_special(node)?;
                self.done.others += 1;
            }
        }
        let (fate, error) = self.shared.restore(Target::Named(directory, name), node);
        Ok(Step::Done(fate, error))
    }

    fn make_file(&mut self, parent: &[u8], name: &[u8], path: &[u8], node: &Node) -> Result<Step> {
        self.ahead.advance(self.shared.image, node);
        let job = Job {
            directory: self.current_directory(parent)?,
            name: name.to_vec(),
            path: path.to_vec(),
            node: node.clone(),
        };
        let mut made = Vec::new();
        match &mut self.pool {
            // A further name can only be made when the first is there.
            Some(pool) if node.links <= 1 => pool.submit(job, &mut |file| made.push(file)),
            _ => made.push(self.shared.make(job, &mut self.scratch)),
        }
        self.take(made)?;
        self.finish_ready();
        Ok(Step::Later)
    }
}
