//! One thread of a walk: reads directories and describes what is in them.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rustix::fs::{
    Access, AtFlags, RawDir, Statx, StatxFlags, StatxTimestamp, accessat, makedev, readlinkat,
    statx,
};

use super::extended_attributes::AttributeReader;
use super::queue::DirectoryQueue;
use super::walk::{SkipReason, WalkEvent, WalkOptions};
use crate::beneath::Beneath;
use crate::entry::{KeptTimes, Kind, Metadata, OtherTimes, Timestamp};
use crate::sort::{Content, PATH_LIMIT, Record};
use crate::{Error, ErrorKind, Result};

/// Directories, and bytes in their paths, that a thread finds before it offers them to the others.
const FOUND_BATCH: usize = 64;
const FOUND_BYTES: usize = 128 << 10;

/// Bytes that one call for directory entries returns at most.
const LISTING_BUFFER: usize = 64 << 10;

/// Records, and bytes in them, that are handed over together: enough that threads seldom meet, and
/// so few that all batches under way take a few MiB.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 128 << 10;

/// What is walked, as all threads see it.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    path: &'a Path,
    options: &'a WalkOptions,
    root: Arc<OwnedFd>,
    root_attributes: Statx,
}

impl<'a> Tree<'a> {
    pub(super) fn open(path: &'a Path, options: &'a WalkOptions) -> Result<Self> {
        let root = Beneath::root(path)?;
        if options.xattrs {
            AttributeReader::check_access()?;
        }
        let root_attributes = stat(root.as_fd(), b".")
            .map_err(|e| Error::io(path, "read the attributes of this directory", e))?;
        Ok(Self {
            path,
            options,
            root,
            root_attributes,
        })
    }

    /// The path of an entry as its user would write it.
    fn full_path(&self, parent: &[u8], name: &[u8]) -> PathBuf {
        let mut path = self.path.to_path_buf();
        for part in [parent, name].into_iter().filter(|part| !part.is_empty()) {
            path.push(OsStr::from_bytes(part));
        }
        path
    }
}

/// What threads send to the caller of the walk.
pub(super) enum Message {
    Records(Vec<Record>),
    Event(WalkEvent),
    /// The walk cannot go on.
    Failed(Error),
}

/// Says that nobody listens any more.
struct HungUp;

/// A thread's state.
pub(super) struct Worker<'a> {
    tree: &'a Tree<'a>,
    queue: &'a DirectoryQueue,
    sender: SyncSender<Message>,
    attributes: AttributeReader,
    batch: Vec<Record>,
    batch_bytes: usize,
    /// Directories found and not yet offered to all threads.
    found: Vec<Vec<u8>>,
    is_root: bool,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        tree: &'a Tree<'a>,
        queue: &'a DirectoryQueue,
        sender: SyncSender<Message>,
    ) -> Self {
        Self {
            tree,
            queue,
            sender,
            attributes: AttributeReader::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            found: Vec::new(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// Reads directories until there are no more. One worker of all describes the root as well.
    pub(super) fn run(mut self, with_root: bool) {
        let _stop = self.queue.stop_on_drop();
        // Nobody is left to tell if the receiver has gone; it knows why.
        let _: std::result::Result<(), HungUp> = self.run_until_hang_up(with_root);
    }

    fn run_until_hang_up(&mut self, with_root: bool) -> std::result::Result<(), HungUp> {
        if with_root {
            let root = self.tree.root.clone();
            self.add(root.as_fd(), b"", b"", &self.tree.root_attributes)?;
        }
        let mut directories = Beneath::to_list(self.tree.root.clone());
        let mut buffer = vec![MaybeUninit::uninit(); LISTING_BUFFER];
        loop {
            let path = match self.queue.take() {
                Ok(Some(path)) => path,
                Ok(None) => break,
                Err(error) => return self.send(Message::Failed(error)),
            };
            match directories.directory(&path) {
                Ok(directory) => self.read_directory(directory, &path, &mut buffer)?,
                Err(errno) => self.problem(&path, b"", "cannot open this directory", errno)?,
            }
            if let Err(error) = self.queue.add(&mut self.found) {
                return self.send(Message::Failed(error));
            }
            self.queue.done();
        }
        self.flush()
    }

    fn read_directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        buffer: &mut [MaybeUninit<u8>],
    ) -> std::result::Result<(), HungUp> {
        let mut listing = RawDir::new(directory, buffer);
        while let Some(entry) = listing.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    return self.problem(path, b"", "cannot list this directory to its end", errno);
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            match stat(directory, name) {
                Ok(attributes) => self.add_child(directory, path, name, &attributes)?,
                Err(errno) => self.problem(path, name, "cannot read the attributes", errno)?,
            }
        }
        Ok(())
    }

    /// Decides about an entry that is not the root.
    fn add_child(
        &mut self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
        attributes: &Statx,
    ) -> std::result::Result<(), HungUp> {
        let options = self.tree.options;
        let identity = (device(attributes), attributes.stx_ino);
        if options.exclude.contains(&identity) {
            return self.skipped(parent, name, SkipReason::Excluded);
        }
        if parent.len() + name.len() >= PATH_LIMIT {
            return self.problem(
                parent,
                name,
                "the path is too long to pack",
                rustix::io::Errno::NAMETOOLONG,
            );
        }
        self.add(directory, parent, name, attributes)?;
        if kind(attributes) == Some(Kind::Directory) {
            if options.one_file_system && identity.0 != device(&self.tree.root_attributes) {
                return self.skipped(parent, name, SkipReason::OtherFileSystem);
            }
            let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
            path.extend_from_slice(parent);
            if !parent.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            // What has been found in one directory has paths of about one length.
            let bytes = path.len() * (self.found.len() + 1);
            self.found.push(path);
            if self.found.len() >= FOUND_BATCH || bytes >= FOUND_BYTES {
                if let Err(error) = self.queue.add(&mut self.found) {
                    return self.send(Message::Failed(error));
                }
            }
        }
        Ok(())
    }

    /// Sends the record of an entry. `directory` is the one it lies in, or the root itself.
    fn add(
        &mut self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: &[u8],
        attributes: &Statx,
    ) -> std::result::Result<(), HungUp> {
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
                    record.holes_hint = holes_hint(attributes);
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
        if self.tree.options.xattrs {
            let at = if name.is_empty() { b"." } else { name };
            let out = &mut record.metadata.xattrs;
            if let Err(errno) = self.attributes.read(directory, at, kind, out) {
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

    fn flush(&mut self) -> std::result::Result<(), HungUp> {
        self.batch_bytes = 0;
        let next = Vec::with_capacity(BATCH_RECORDS);
        let batch = std::mem::replace(&mut self.batch, next);
        self.send(Message::Records(batch))
    }

    fn send(&self, message: Message) -> std::result::Result<(), HungUp> {
        self.sender.send(message).map_err(|_| HungUp)
    }

    #[cold]
    fn problem(
        &self,
        parent: &[u8],
        name: &[u8],
        what: &str,
        cause: rustix::io::Errno,
    ) -> std::result::Result<(), HungUp> {
        let error = Error::new(ErrorKind::Source, what)
            .at_path(self.tree.full_path(parent, name))
            .caused_by(cause);
        self.send(Message::Event(WalkEvent::Problem(error)))
    }

    #[cold]
    fn skipped(
        &self,
        parent: &[u8],
        name: &[u8],
        reason: SkipReason,
    ) -> std::result::Result<(), HungUp> {
        let path = self.tree.full_path(parent, name);
        self.send(Message::Event(WalkEvent::Skipped { path, reason }))
    }
}

fn stat(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let fields = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    statx(directory, name, flags, fields)
}

fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp {
        seconds: time.tv_sec,
        nanoseconds: time.tv_nsec,
    }
}

fn other_times(attributes: &Statx) -> OtherTimes {
    let knows_birth = StatxFlags::from_bits_retain(attributes.stx_mask).contains(StatxFlags::BTIME);
    OtherTimes {
        atime: timestamp(&attributes.stx_atime),
        ctime: timestamp(&attributes.stx_ctime),
        btime: knows_birth.then(|| timestamp(&attributes.stx_btime)),
    }
}

/// Bytes of a file that its blocks are too few for. Some file systems pack several files into a block, so they
/// need not lie in holes.
fn holes_hint(attributes: &Statx) -> u64 {
    attributes
        .stx_size
        .saturating_sub(attributes.stx_blocks.saturating_mul(512))
}

fn device(attributes: &Statx) -> u64 {
    makedev(attributes.stx_dev_major, attributes.stx_dev_minor)
}

fn kind(attributes: &Statx) -> Option<Kind> {
    Kind::from_mode(u32::from(attributes.stx_mode))
}
