//! The directories that an extraction is in: entered when the first entry in them comes, finished when all are made.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::file::cannot;
use super::metadata::Target;
use super::options::Existing;
use super::outcome::Fate;
use super::paths::{is_safe, split};
use super::place::{Place, open_failed};
use super::pool::Pool;
use super::selection::is_within;
use super::tree::{Extractor, Finishing, Open};
use crate::read::Node;
use crate::{Error, ErrorKind, Result};

/// Directories that are remembered as unusable. Below further ones, every entry is reported.
const MOST_UNUSABLE: usize = 1 << 10;

/// Directories that wait for the last of their files.
const MOST_FINISHING: usize = 1 << 10;

impl Extractor<'_> {
    /// Makes the directories on the way to a selected path and enters them.
    pub(super) fn enter_missing(&mut self, path: &[u8]) -> Result<()> {
        self.leave_to(path, false)?;
        let mut done = self.path.len();
        while done < path.len() {
            let from = if done == 0 { 0 } else { done + 1 };
            let rest = path.get(from..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(rest.len());
            let name = rest.get(..length).unwrap_or_default();
            let own = path.get(..from + length).unwrap_or_default();
            match self.child(name) {
                Some(node) => {
                    if !self.is_unusable(own) {
                        self.make_entry(name, own.to_vec(), &node)?;
                    }
                    self.enter(own, Some(node));
                }
                None => self.enter_lost(own),
            }
            done = from + length;
        }
        self.skipping = self.is_unusable(path);
        Ok(())
    }

    /// The child `name` of the current directory, as far as it can be read.
    pub(super) fn child(&mut self, name: &[u8]) -> Option<Node> {
        let directory = self.open.last()?.node.as_ref()?;
        let found = self.shared.image.lookup_in(directory, name);
        found.ok().flatten().filter(Node::is_directory)
    }

    pub(super) fn enter(&mut self, path: &[u8], node: Option<Node>) {
        self.path.clear();
        self.path.extend_from_slice(path);
        self.open.push(Open {
            path_length: path.len(),
            restore: node.is_some(),
            node,
        });
    }

    /// Enters a directory whose own entry is lost; it is made for what lies in it, its owner's alone.
    pub(super) fn enter_lost(&mut self, path: &[u8]) {
        let (parent, name) = split(path);
        let made = match (self.target(path), is_safe(name)) {
            (Some(target), true) if !self.is_unusable(parent) => {
                let (parent, name) = split(target);
                self.places
                    .directory(parent)
                    .map_err(open_failed)
                    .and_then(|directory| {
                        let place = Place {
                            directory,
                            name,
                            existing: Existing::Keep,
                        };
                        place.make_directory()
                    })
            }
            _ => Ok(()),
        };
        if let Err(error) = made {
            self.give_up_below(path);
            self.report_about(path, Fate::Failed, error);
        }
        self.enter(path, None);
    }

    pub(super) fn give_up_below(&mut self, path: &[u8]) {
        if self.unusable.len() < MOST_UNUSABLE {
            self.unusable.push(path.to_vec());
        }
    }

    /// Leaves the directories that `path` does not lie in, and finishes each; with `all`, the root as well.
    pub(super) fn leave_to(&mut self, path: &[u8], all: bool) -> Result<()> {
        while let Some(open) = self.open.last() {
            let own = self.path.get(..open.path_length).unwrap_or_default();
            if is_within(own, path) && !all {
                break;
            }
            let own = own.to_vec();
            if let Some(open) = self.open.pop() {
                match open.node {
                    Some(node) if open.restore => self.finish(own, node)?,
                    Some(_) => self.report(&own, Fate::Whole, None),
                    None => {}
                }
            }
            let length = self.open.last().map_or(0, |open| open.path_length);
            self.path.truncate(length);
        }
        Ok(())
    }

    pub(super) fn is_unusable(&self, path: &[u8]) -> bool {
        self.unusable.iter().any(|own| is_within(own, path))
    }

    /// Finishes a directory as soon as the files in it are made.
    pub(super) fn finish(&mut self, path: Vec<u8>, node: Node) -> Result<()> {
        let number = self.pool.as_ref().map_or(0, Pool::submitted);
        self.finishing.push_back(Finishing { number, path, node });
        if self.finishing.len() > MOST_FINISHING {
            if let Some(oldest) = self.finishing.front().map(|oldest| oldest.number) {
                self.wait(oldest)?;
            }
        }
        self.finish_ready();
        Ok(())
    }

    /// Finishes the directories whose files are made, those deeper down first.
    pub(super) fn finish_ready(&mut self) {
        while let Some(next) = self.finishing.pop_front() {
            if self
                .pool
                .as_ref()
                .is_some_and(|pool| !pool.is_done(next.number))
            {
                self.finishing.push_front(next);
                break;
            }
            self.finish_directory(&next.path, &next.node);
        }
    }

    pub(super) fn finish_all(&mut self) -> Result<()> {
        let number = self.pool.as_ref().map_or(0, Pool::submitted);
        self.wait(number)?;
        self.finish_ready();
        Ok(())
    }

    pub(super) fn wait(&mut self, number: u64) -> Result<()> {
        let mut made = Vec::new();
        if let Some(pool) = &mut self.pool {
            pool.wait(number, &mut |file| made.push(file));
        }
        self.take(made)
    }

    pub(super) fn finish_directory(&mut self, path: &[u8], node: &Node) {
        if self.is_unusable(path) {
            return;
        }
        let Some(target) = self.target(path) else {
            return self.report(path, Fate::Whole, None);
        };
        let (parent, name) = split(target);
        let opened = if target.is_empty() {
            Ok(None)
        } else {
            self.places.directory(parent).and_then(|directory| {
                Place {
                    directory,
                    name,
                    existing: Existing::Keep,
                }
                .open_directory()
                .map(Some)
            })
        };
        let (fate, error) = match opened {
            Ok(opened) => {
                let directory = opened.as_ref().unwrap_or(&self.root).as_fd();
                self.shared.restore(Target::Open(directory), node)
            }
            Err(errno) => {
                let error = cannot(("open this directory", errno));
                (Fate::Failed, Some(error))
            }
        };
        match error {
            Some(error) => self.report_about(path, fate, error),
            None => self.report(path, fate, None),
        }
    }

    /// Makes `parent` the current directory.
    pub(super) fn go_to(&mut self, parent: &[u8]) -> Result<()> {
        if parent == self.path {
            return Ok(());
        }
        self.leave_to(parent, false)?;
        // In key order, a directory comes right behind all that leads to it; only behind lost pages not.
        while self.path.len() < parent.len() {
            let from = match self.path.len() {
                0 => 0,
                length => length + 1,
            };
            let rest = parent.get(from..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(rest.len());
            let own = parent.get(..from + length).unwrap_or_default();
            match self.child(rest.get(..length).unwrap_or_default()) {
                Some(node) => self.enter(own, Some(node)),
                None => self.enter_lost(own),
            }
        }
        self.skipping = self.is_unusable(parent);
        Ok(())
    }

    pub(super) fn current_directory(&mut self, path: &[u8]) -> Result<Arc<OwnedFd>> {
        if let Some((own, directory)) = &self.current {
            if own == path {
                return Ok(Arc::clone(directory));
            }
        }
        let directory = self.places.directory(path).map_err(open_failed)?;
        let directory = directory.try_clone_to_owned();
        let directory = Arc::new(directory.map_err(|error| {
            Error::new(ErrorKind::Io, "cannot open its directory").caused_by(error)
        })?);
        self.current = Some((path.to_vec(), Arc::clone(&directory)));
        Ok(directory)
    }
}
