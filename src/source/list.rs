//! Reads a list of paths and has a walk describe what they name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::mpsc::SyncSender;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::events::WalkEvent;
use super::queue::{Names, WorkQueue};
use super::selection::PathList;
use super::tree::{Tree, join};
use super::worker::{Message, NAMES_BATCH};
use crate::sort::PATH_LIMIT;
use crate::{Error, ErrorKind, Result};

/// Reads a list and feeds a queue with what it names.
pub(super) struct ListFeeder<'a> {
    tree: &'a Tree<'a>,
    list: &'a PathList,
    queue: &'a WorkQueue,
    sender: SyncSender<Message>,
    /// The directory of the last path, `None` if it is left out.
    directory: Option<Vec<u8>>,
    /// A directory that was fed together with all those above it.
    known: Vec<u8>,
    /// Names in `directory`, still to be fed, a NUL behind each; and how many.
    names: Vec<u8>,
    count: usize,
}

/// The end of the walk, by whomever.
struct Stopped;

impl<'a> ListFeeder<'a> {
    pub(super) fn new(
        tree: &'a Tree<'a>,
        list: &'a PathList,
        queue: &'a WorkQueue,
        sender: SyncSender<Message>,
    ) -> Self {
        Self {
            tree,
            list,
            queue,
            sender,
            directory: None,
            known: Vec::new(),
            names: Vec::new(),
            count: 0,
        }
    }

    /// Feeds all of the list. [`WorkQueue::begin_feeding`] was called before.
    pub(super) fn run(mut self, input: File) {
        if let Err(error) = self.feed(input) {
            // Nobody is left to tell if the receiver has gone.
            let _ = self.sender.send(Message::Failed(error));
        }
        self.queue.done();
    }

    fn feed(&mut self, input: File) -> Result<()> {
        let end = if self.list.null { 0 } else { b'\n' };
        let input = Input {
            file: input,
            queue: self.queue,
        };
        let mut input = BufReader::with_capacity(64 << 10, input);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = PATH_LIMIT as u64 + 2;
            let mut limited = Read::take(&mut input, limit);
            let length = limited
                .read_until(end, &mut line)
                .map_err(|error| Error::io(&self.list.file, "read this list", error))?;
            if length as u64 == limit {
                let what = "a path in this list is longer than any can be";
                return Err(Error::new(ErrorKind::Limit, what).at_path(&self.list.file));
            }
            if line.last() == Some(&end) {
                line.pop();
            }
            let fed = if length == 0 {
                self.flush()
            } else {
                self.path(&line)
            };
            if length == 0 || fed.is_err() {
                return Ok(());
            }
        }
    }

    /// Takes one path of the list.
    fn path(&mut self, line: &[u8]) -> std::result::Result<(), Stopped> {
        let path = match normal(line, self.tree.path) {
            Ok(path) => path,
            Err(what) => {
                let error = Error::new(ErrorKind::Source, what);
                let path = OsStr::from_bytes(line);
                return self.problem(error.at_path(path));
            }
        };
        let Some(path) = path else {
            return Ok(());
        };
        if path.is_empty() {
            return self.whole_tree();
        }
        let split = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match split {
            Some(at) => (path.get(..at), path.get(at + 1..)),
            None => (None, Some(path.as_slice())),
        };
        let (parent, name) = (parent.unwrap_or_default(), name.unwrap_or_default());
        if self.directory.as_deref() != Some(parent) {
            self.flush()?;
            self.directory = None;
            if self.is_excluded(parent) {
                return Ok(());
            }
            self.ancestors(parent)?;
            self.directory = Some(parent.to_vec());
        }
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.count += 1;
        if self.count >= NAMES_BATCH {
            self.flush()?;
        }
        Ok(())
    }

    /// The root is named, whose record every walk has.
    fn whole_tree(&self) -> std::result::Result<(), Stopped> {
        if self.list.recurse {
            if let Err(error) = self.queue.add(&mut vec![Vec::new()]) {
                let _ = self.sender.send(Message::Failed(error));
                return Err(Stopped);
            }
        }
        Ok(())
    }

    /// Has the directories on the way to `parent`, that one included, described, but for those that
    /// were so for the last path.
    fn ancestors(&mut self, parent: &[u8]) -> std::result::Result<(), Stopped> {
        let known = std::mem::take(&mut self.known);
        let mut above = Vec::new();
        for name in parent.split(|byte| *byte == b'/').filter(|n| !n.is_empty()) {
            let path = join(&above, name);
            let rest = known.strip_prefix(path.as_slice());
            if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")) {
                let mut names = name.to_vec();
                names.push(0);
                self.send(above, names, false)?;
            }
            above = path;
        }
        self.known = above;
        Ok(())
    }

    /// Whether a directory on the way is left out, and so all below it.
    fn is_excluded(&self, directory: &[u8]) -> bool {
        let exclude = &self.tree.options.selection.exclude;
        if exclude.is_empty() || directory.is_empty() {
            return false;
        }
        let slashes = directory.iter().enumerate();
        slashes
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at)
            .chain(std::iter::once(directory.len()))
            .any(|end| {
                directory
                    .get(..end)
                    .is_some_and(|path| self.tree.excludes(path, true))
            })
    }

    fn flush(&mut self) -> std::result::Result<(), Stopped> {
        if self.count == 0 {
            return Ok(());
        }
        self.count = 0;
        let directory = self.directory.clone().unwrap_or_default();
        let names = std::mem::take(&mut self.names);
        self.send(directory, names, self.list.recurse)
    }

    fn send(
        &self,
        directory: Vec<u8>,
        names: Vec<u8>,
        recurse: bool,
    ) -> std::result::Result<(), Stopped> {
        let names = Names {
            directory,
            bytes: names,
            recurse,
        };
        if self.queue.feed(names) {
            Ok(())
        } else {
            Err(Stopped)
        }
    }

    fn problem(&self, error: Error) -> std::result::Result<(), Stopped> {
        let message = Message::Event(WalkEvent::Problem(error));
        self.sender.send(message).map_err(|_| Stopped)
    }
}

/// A list that may still be written by another program, which nobody need wait for after the end of
/// the walk.
struct Input<'a> {
    file: File,
    queue: &'a WorkQueue,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        let mut input = [PollFd::new(&self.file, PollFlags::IN)];
        // What cannot be waited for is read at once, and says itself what is wrong.
        while matches!(poll(&mut input, Some(&patience)), Ok(0) | Err(Errno::INTR)) {
            if self.queue.is_stopped() {
                return Ok(0);
            }
        }
        self.file.read(buffer)
    }
}

/// The path that `line` names, relative to the root and in its shortest form; `None` for an empty
/// line. Absolute paths must lie below `root`, as it was given.
fn normal(line: &[u8], root: &Path) -> std::result::Result<Option<Vec<u8>>, &'static str> {
    if line.is_empty() {
        return Ok(None);
    }
    if line.contains(&0) {
        return Err("has a NUL in its name; a list whose paths end with NUL needs --null");
    }
    let mut relative = Path::new(OsStr::from_bytes(line));
    if relative.is_absolute() {
        relative = relative
            .strip_prefix(root)
            .map_err(|_| "is not below the directory that is packed; list paths relative to it")?;
    }
    let mut path = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => path = join(&path, name.as_bytes()),
            Component::CurDir => {}
            _ => return Err("has a `..` on its way; list paths without"),
        }
    }
    if path.len() >= PATH_LIMIT {
        return Err("is too long to pack");
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_in_every_spelling() {
        let root = Path::new("/x/y");
        let good = |line: &str| normal(line.as_bytes(), root).unwrap();
        for (line, path) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("a/./b/.", "a/b"),
            ("/x/y/a", "a"),
            ("/x/y", ""),
            (".", ""),
            ("./", ""),
        ] {
            assert_eq!(good(line), Some(path.as_bytes().to_vec()), "{line}");
        }
        assert_eq!(good(""), None);
        for line in ["..", "a\0b\0", "a/../b", "/x/ya", "/x", "/"] {
            assert!(normal(line.as_bytes(), root).is_err(), "{line}");
        }
    }
}
