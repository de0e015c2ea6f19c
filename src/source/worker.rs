//! One thread of a walk: reads directories and describes what is in them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, RawDir, Statx, accessat, makedev, readlinkat};
use rustix::io::Errno;

use super::events::{SkipReason, WalkEvent};
use super::extended_attributes::AttributeReader;
use super::look::{
    Followed, LinkFollower, device, holes_hint, kind, look_at, other_times, timestamp,
};
use super::queue::{Names, Task, WorkQueue};
use super::tree::{Tree, join};
use crate::beneath::Beneath;
use crate::entry::{KeptTimes, Kind, Metadata};
use crate::sort::{Content, PATH_LIMIT, Record};
use crate::{Error, ErrorKind};

/// Directories, and bytes in their paths, that a thread finds before it offers them to the others.
const FOUND_BATCH: usize = 64;
const FOUND_BYTES: usize = 128 << 10;

/// Bytes that one call for directory entries returns at most.
const LISTING_BUFFER: usize = 64 << 10;

/// Names that are described, or handed to another thread, together.
pub(super) const NAMES_BATCH: usize = 1024;

/// Records, and bytes in them, that are handed over together: enough that threads seldom meet, and
/// so few that all batches under way take a few MiB.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 128 << 10;

/// How often, and with what pause, a directory is tried again that cannot be opened because there
/// are too many open files in all: two seconds together.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// What threads send to the caller of the walk.
pub(super) enum Message {
    Records(Vec<Record>),
    Event(WalkEvent),
    /// The walk cannot go on.
    Failed(Error),
}

/// Says that nobody listens any more.
struct HungUp;

type Sent = std::result::Result<(), HungUp>;

/// A thread's state.
pub(super) struct Worker<'a> {
    tree: &'a Tree<'a>,
    queue: &'a WorkQueue,
    sender: SyncSender<Message>,
    /// `None` if no attributes are wanted.
    attributes: Option<AttributeReader<'a>>,
    links: LinkFollower,
    batch: Vec<Record>,
    batch_bytes: usize,
    /// Directories found and not yet offered to all threads.
    found: Vec<Vec<u8>>,
    is_root: bool,
}

/// An entry, where it was found and what it is.
struct Found<'a> {
    /// The directory it lies in, or the root itself, and its path.
    directory: BorrowedFd<'a>,
    parent: &'a [u8],
    /// Empty for the root.
    name: &'a [u8],
    attributes: &'a Statx,
    /// Whether a link of that name led to it.
    followed: bool,
}

impl<'a> Worker<'a> {
    /// State of the calling thread.
    pub(super) fn new(
        tree: &'a Tree<'a>,
        queue: &'a WorkQueue,
        sender: SyncSender<Message>,
    ) -> Self {
        Self {
            tree,
            queue,
            sender,
            attributes: tree
                .options
                .xattrs
                .then(|| AttributeReader::new(&tree.options.selection.attributes)),
            links: LinkFollower::new(tree.root.clone()),
            batch: Vec::new(),
            batch_bytes: 0,
            found: Vec::new(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Does what is in the queue until nothing is left. One worker of all describes the root as well.
    pub(super) fn run(mut self, with_root: bool) {
        let _stop = self.queue.stop_on_drop();
        // Nobody is left to tell if the receiver has gone; it knows why.
        let _: Sent = self.run_until_hang_up(with_root);
    }

    fn run_until_hang_up(&mut self, with_root: bool) -> Sent {
        if let Some(attributes) = &self.attributes {
            if let Err(error) = attributes.check_access() {
                return self.send(Message::Failed(error));
            }
        }
        let follow = self.tree.options.selection.follow;
        if with_root {
            self.enter(self.tree.root.as_fd());
            self.add(&Found {
                directory: self.tree.root.as_fd(),
                parent: b"",
                name: b"",
                attributes: &self.tree.root_attributes,
                followed: false,
            })?;
        }
        let mut directories = Beneath::to_list(self.tree.root.clone()).following(follow);
        let mut buffer = vec![MaybeUninit::uninit(); LISTING_BUFFER];
        loop {
            let task = match self.queue.take() {
                Ok(Some(task)) => task,
                Ok(None) => break,
                Err(error) => return self.send(Message::Failed(error)),
            };
            let path = match &task {
                Task::List(path) => path,
                Task::Describe(names) => &names.directory,
            };
            match open_patiently(&mut directories, path) {
                Ok(directory) => {
                    self.enter(directory);
                    match &task {
                        Task::List(path) => self.list(directory, path, &mut buffer)?,
                        Task::Describe(names) => self.describe(directory, names)?,
                    }
                }
                Err(errno) if is_exhaustion(errno) => {
                    let what = "cannot open this directory; raise the limit of open files \
                                (`ulimit -n`) or use fewer threads";
                    let error = Error::new(ErrorKind::Io, what)
                        .at_path(self.tree.full_path(path, b""))
                        .caused_by(errno);
                    return self.send(Message::Failed(error));
                }
                Err(errno) => self.problem(path, b"", "cannot open this directory", errno)?,
            }
            self.offer_found()?;
            self.queue.done();
        }
        self.flush()
    }

    /// Goes to the directory that entries are described in next.
    fn enter(&mut self, directory: BorrowedFd<'_>) {
        if let Some(attributes) = &mut self.attributes {
            attributes.enter(directory);
        }
    }

    /// Lists a directory. In a large one, other threads help to describe what is in it.
    fn list(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        buffer: &mut [MaybeUninit<u8>],
    ) -> Sent {
        let mut listing = RawDir::new(directory, buffer);
        let mut names = Vec::new();
        let mut count = 0;
        let mut failed = None;
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    failed = Some(errno);
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            names.extend_from_slice(name);
            names.push(0);
            count += 1;
            if count == NAMES_BATCH {
                let batch = Names {
                    directory: path.to_vec(),
                    bytes: std::mem::take(&mut names),
                    recurse: true,
                };
                if let Some(batch) = self.queue.offer(batch) {
                    self.describe(directory, &batch)?;
                }
                count = 0;
            }
        }
        let rest = Names {
            directory: path.to_vec(),
            bytes: names,
            recurse: true,
        };
        self.describe(directory, &rest)?;
        match failed {
            Some(errno) => self.problem(path, b"", "cannot list this directory to its end", errno),
            None => Ok(()),
        }
    }

    fn describe(&mut self, directory: BorrowedFd<'_>, names: &Names) -> Sent {
        names
            .iter()
            .try_for_each(|name| self.child(directory, &names.directory, name, names.recurse))
    }

    /// Looks at an entry that is not the root, and decides about it.
    fn child(
        &mut self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
        recurse: bool,
    ) -> Sent {
        let selection = &self.tree.options.selection;
        if parent.len() + name.len() >= PATH_LIMIT {
            let errno = Errno::NAMETOOLONG;
            return self.problem(parent, name, "the path is too long to pack", errno);
        }
        let mut attributes = match look_at(directory, name, false) {
            Ok(attributes) => attributes,
            Err(errno) => {
                return self.problem(parent, name, "cannot read the attributes", errno);
            }
        };
        let mut followed = false;
        let mut unfollowed = None;
        if selection.follow && kind(&attributes) == Some(Kind::Symlink) {
            match self.links.follow(directory, parent, name) {
                Followed::To(target) => {
                    attributes = *target;
                    followed = true;
                }
                Followed::Loop => {
                    let what = "leads to a directory that it lies in, packed as a link";
                    unfollowed = Some((what, Errno::LOOP));
                }
                Followed::Nowhere(errno) => {
                    unfollowed = Some(("cannot follow this link, packed as a link", errno));
                }
            }
        }
        let is_directory = kind(&attributes) == Some(Kind::Directory);
        if !selection.exclude.is_empty() && self.tree.excludes(&join(parent, name), is_directory) {
            return Ok(());
        }
        if let Some((what, errno)) = unfollowed {
            self.problem(parent, name, what, errno)?;
        }
        let device = device(&attributes);
        if self
            .tree
            .options
            .exclude
            .contains(&(device, attributes.stx_ino))
        {
            return self.skipped(parent, name, SkipReason::Excluded);
        }
        self.add(&Found {
            directory,
            parent,
            name,
            attributes: &attributes,
            followed,
        })?;
        if !is_directory || !recurse {
            return Ok(());
        }
        if self.tree.options.one_file_system && device != self.tree.device() {
            return self.skipped(parent, name, SkipReason::OtherFileSystem);
        }
        let path = join(parent, name);
        // What has been found in one directory has paths of about one length.
        let bytes = path.len() * (self.found.len() + 1);
        self.found.push(path);
        if self.found.len() >= FOUND_BATCH || bytes >= FOUND_BYTES {
            self.offer_found()?;
        }
        Ok(())
    }

    fn offer_found(&mut self) -> Sent {
        match self.queue.add(&mut self.found) {
            Ok(()) => Ok(()),
            Err(error) => self.send(Message::Failed(error)),
        }
    }

    /// Sends the record of an entry in the directory that was entered.
    fn add(&mut self, found: &Found<'_>) -> Sent {
        let &Found {
            directory,
            parent,
            name,
            attributes,
            followed,
        } = found;
        let kind = kind(attributes);
        let mut record = Record {
            parent: parent.to_vec(),
            name: name.to_vec(),
            metadata: Metadata {
                mode: u32::from(attributes.stx_mode),
                uid: attributes.stx_uid,
                gid: attributes.stx_gid,
                mtime: timestamp(&attributes.stx_mtime),
                other_times: (self.tree.options.times == KeptTimes::All)
                    .then(|| other_times(attributes)),
                rdev: 0,
                xattrs: Vec::new(),
            },
            size: 0,
            holes_hint: 0,
            target: Vec::new(),
            identity: None,
            content: Content::None,
        };
        match kind {
            Some(Kind::File) => {
                record.size = attributes.stx_size;
                if record.size > 0 {
                    // Now it can still be left out; once directories are counted it would have to
                    // be packed without its contents.
                    if let Err(errno) = self.may_read(directory, name) {
                        return self.problem(parent, name, "cannot read, left out", errno);
                    }
                    record.content = Content::Tree;
                    if self.tree.options.holes {
                        record.holes_hint = holes_hint(attributes);
                    }
                }
            }
            Some(Kind::Symlink) => match readlinkat(directory, name, Vec::new()) {
                Ok(target) => record.target = target.into_bytes(),
                Err(errno) => return self.problem(parent, name, "cannot read this link", errno),
            },
            Some(Kind::CharDevice | Kind::BlockDevice) => {
                record.metadata.rdev =
                    makedev(attributes.stx_rdev_major, attributes.stx_rdev_minor);
            }
            _ => {}
        }
        if attributes.stx_nlink > 1 && kind != Some(Kind::Directory) {
            record.identity = Some((device(attributes), attributes.stx_ino));
        }
        if let Some(attributes) = &mut self.attributes {
            let at = if name.is_empty() { b"." } else { name };
            let out = &mut record.metadata.xattrs;
            if let Err(errno) = attributes.read(at, followed, out) {
                let doing = "packed without extended attributes, which cannot be read";
                self.problem(parent, name, doing, errno)?;
            }
        }
        let xattrs = &record.metadata.xattrs;
        self.batch_bytes += record.parent.len()
            + record.name.len()
            + record.target.len()
            + xattrs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
        self.batch.push(record);
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether the file will open. Root may read everything, and is not worth a call for each file.
    fn may_read(&self, directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
        if self.is_root {
            return Ok(());
        }
        accessat(directory, name, Access::READ_OK, AtFlags::EACCESS)
    }

    fn flush(&mut self) -> Sent {
        self.batch_bytes = 0;
        let next = Vec::with_capacity(BATCH_RECORDS);
        let batch = std::mem::replace(&mut self.batch, next);
        self.send(Message::Records(batch))
    }

    fn send(&self, message: Message) -> Sent {
        self.sender.send(message).map_err(|_| HungUp)
    }

    #[cold]
    fn problem(&self, parent: &[u8], name: &[u8], what: &str, cause: Errno) -> Sent {
        let error = Error::new(ErrorKind::Source, what)
            .at_path(self.tree.full_path(parent, name))
            .caused_by(cause);
        self.send(Message::Event(WalkEvent::Problem(error)))
    }

    #[cold]
    fn skipped(&self, parent: &[u8], name: &[u8], reason: SkipReason) -> Sent {
        let path = self.tree.full_path(parent, name);
        self.send(Message::Event(WalkEvent::Skipped { path, reason }))
    }
}

/// Opens the directory at `path`; waits if only a lack of descriptors or memory is in the way, which
/// other threads or programs may end.
fn open_patiently<'d>(
    directories: &'d mut Beneath,
    path: &[u8],
) -> rustix::io::Result<BorrowedFd<'d>> {
    for _ in 1..TRIES {
        match directories.directory(path) {
            Err(errno) if is_exhaustion(errno) => thread::sleep(PAUSE),
            _ => break,
        }
    }
    directories.directory(path)
}

fn is_exhaustion(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}
