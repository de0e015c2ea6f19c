//! The kernel's requests, turned into calls of [`PackFs`] and answered.
//!
//! Nothing is decided here but what the protocol needs: which answers make the kernel ask less.
//! `open`, `opendir` and `flush` are refused for good (`ENOSYS`), so that the kernel opens files
//! by itself and keeps what it read; entries, attributes and misses are valid for ever, as an image
//! never changes; listings come with attributes. A file then costs one lookup and one read, and
//! nothing after that.

use super::counters::{Counters, Operation};
use super::fault_log::FaultLog;
use super::options::ListAttributes;
use crate::Error;
use crate::entry::{Ino, Kind, Timestamp};
use crate::fs::{Attributes, DirEntry, DirSink, PackFs};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner,
    OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long the kernel may trust an answer: 34 years. Larger values overflow its clock on systems
/// with 32-bit time.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Inode numbers are never given to anything else, so there is one generation.
const GENERATION: Generation = Generation(0);

/// Largest request, in bytes. A reading kernel takes the number of pages in one request from the
/// largest write that the file system accepts; 1 MiB is also what it allows by default.
const REQUEST_MAX: u32 = 1 << 20;

/// Reads ahead that may be in flight at once. The kernel's own limit of 12 leaves a second reader
/// waiting for the first.
const BACKGROUND_MAX: u16 = 64;

/// Longest name in bytes, as everywhere on Linux.
const NAME_MAX: usize = 255;

/// The kinds of `lseek` that a kernel asks about.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// A name that does not exist, for the kernel to remember: an entry without an inode.
const ABSENT: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

thread_local! {
    /// Where a serving thread collects what it read before it answers.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The service of one mount.
#[derive(Debug)]
pub(super) struct Adapter {
    fs: PackFs,
    counters: Arc<Counters>,
    faults: FaultLog,
    has_xattrs: bool,
    list_attributes: ListAttributes,
    /// Whether the kernel opens files and directories by itself once `open` was refused.
    opens_itself: bool,
    opens_directories_itself: bool,
}

impl Adapter {
    pub(super) fn new(
        fs: PackFs,
        counters: Arc<Counters>,
        list_attributes: ListAttributes,
    ) -> Self {
        let has_xattrs = fs.image().has_xattrs();
        Self {
            fs,
            counters,
            faults: FaultLog::new(),
            has_xattrs,
            list_attributes,
            opens_itself: false,
            opens_directories_itself: false,
        }
    }

    /// The error number for a failed request, which is logged.
    #[cold]
    fn fault(&self, operation: Operation, ino: INodeNo, error: &Error) -> Errno {
        self.faults.report(&self.fs, operation, Ino(ino.0), error);
        Errno::from_i32(error.errno())
    }

    /// The answer to every request that would change something.
    fn refuse(&self, operation: Operation) -> Errno {
        self.counters.count(operation);
        Errno::EROFS
    }

    /// The answer to a request that the kernel shall not repeat.
    fn decline(&self, operation: Operation) -> Errno {
        self.counters.count(operation);
        Errno::ENOSYS
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let listing = match self.list_attributes {
            ListAttributes::Always => InitFlags::FUSE_DO_READDIRPLUS,
            ListAttributes::Adaptive => {
                InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO
            }
            ListAttributes::Never => InitFlags::empty(),
        };
        let wanted = [
            listing,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_EXPORT_SUPPORT,
        ];
        for capability in wanted {
            if config.add_capabilities(capability).is_err() {
                log::debug!("the kernel does not offer {capability:?}");
            }
        }
        let offered = config.capabilities();
        self.opens_itself = offered.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.opens_directories_itself = offered.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        // Both take any value but 0 and, for the first, 16 MiB and more.
        let _ = config.set_max_write(REQUEST_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.counters.count(Operation::Lookup);
        if name.len() > NAME_MAX {
            return reply.error(Errno::ENAMETOOLONG);
        }
        match self.fs.lookup(Ino(parent.0), name.as_bytes()) {
            Ok(Some(found)) => reply.entry(&FOR_EVER, &file_attr(&found), GENERATION),
            Ok(None) => reply.entry(&FOR_EVER, &ABSENT, GENERATION),
            Err(error) => reply.error(self.fault(Operation::Lookup, parent, &error)),
        }
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {
        self.counters.count(Operation::Forget);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.counters.count(Operation::Getattr);
        match self.fs.attributes(Ino(ino.0)) {
            Ok(attributes) => reply.attr(&FOR_EVER, &file_attr(&attributes)),
            Err(error) => reply.error(self.fault(Operation::Getattr, ino, &error)),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.counters.count(Operation::Readlink);
        match self.fs.read_link(Ino(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(self.fault(Operation::Readlink, ino, &error)),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Open);
        if self.opens_itself {
            reply.error(Errno::ENOSYS);
        } else {
            let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
            reply.opened(FileHandle(0), keep);
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.counters.count(Operation::Read);
        SCRATCH.with_borrow_mut(|scratch| {
            match self.fs.read(Ino(ino.0), offset, size as usize, scratch) {
                Ok(bytes) => reply.data(bytes),
                Err(error) => reply.error(self.fault(Operation::Read, ino, &error)),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(self.decline(Operation::Flush));
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.counters.count(Operation::Release);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(self.decline(Operation::Fsync));
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Operation::Opendir);
        if self.opens_directories_itself {
            reply.error(Errno::ENOSYS);
        } else {
            let keep = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
            reply.opened(FileHandle(0), keep);
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.counters.count(Operation::Readdir);
        let mut sink = Names {
            reply,
            is_empty: true,
        };
        match self.fs.list(Ino(ino.0), offset, &mut sink) {
            Err(error) if sink.is_empty => {
                let errno = self.fault(Operation::Readdir, ino, &error);
                sink.reply.error(errno);
            }
            // A failure behind the first entry comes up again when the kernel asks for the rest.
            _ => sink.reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.counters.count(Operation::Readdirplus);
        let mut sink = NamesAndAttributes {
            reply,
            is_empty: true,
        };
        match self.fs.list(Ino(ino.0), offset, &mut sink) {
            Err(error) if sink.is_empty => {
                let errno = self.fault(Operation::Readdirplus, ino, &error);
                sink.reply.error(errno);
            }
            _ => sink.reply.ok(),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.counters.count(Operation::Releasedir);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(self.decline(Operation::Fsyncdir));
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.counters.count(Operation::Statfs);
        let totals = self.fs.totals();
        reply.statfs(
            totals.blocks,
            0,
            0,
            totals.entries,
            0,
            totals.block_size,
            totals.name_length,
            totals.block_size,
        );
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.has_xattrs {
            return reply.error(self.decline(Operation::Getxattr));
        }
        self.counters.count(Operation::Getxattr);
        match self.fs.xattr(Ino(ino.0), name.as_bytes()) {
            Ok(Some(value)) => reply_xattr(&value, size, reply),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(self.fault(Operation::Getxattr, ino, &error)),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.has_xattrs {
            return reply.error(self.decline(Operation::Listxattr));
        }
        self.counters.count(Operation::Listxattr);
        match self.fs.xattr_names(Ino(ino.0)) {
            Ok(names) => reply_xattr(&names, size, reply),
            Err(error) => reply.error(self.fault(Operation::Listxattr, ino, &error)),
        }
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(self.decline(Operation::Access));
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        if !self.fs.has_holes() {
            // Refused once, the kernel takes every file for all data without asking, where an answer
            // would cost `cp` one request for each file.
            return reply.error(self.decline(Operation::Lseek));
        }
        self.counters.count(Operation::Lseek);
        let found = u64::try_from(offset).map(|offset| match whence {
            SEEK_DATA => self.fs.next_data(Ino(ino.0), offset),
            SEEK_HOLE => self.fs.next_hole(Ino(ino.0), offset),
            _ => Ok(None),
        });
        match found {
            Ok(Ok(Some(found))) => reply.offset(found.cast_signed()),
            Ok(Ok(None)) | Err(_) => reply.error(Errno::ENXIO),
            Ok(Err(error)) => reply.error(self.fault(Operation::Lseek, ino, &error)),
        }
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.counters.count(Operation::Ioctl);
        reply.error(Errno::ENOTTY);
    }

    fn getlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        reply: ReplyLock,
    ) {
        reply.error(self.decline(Operation::Lock));
    }

    fn setlk(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: LockOwner,
        _: u64,
        _: u64,
        _: i32,
        _: u32,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(self.decline(Operation::Lock));
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(self.decline(Operation::Bmap));
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(self.decline(Operation::Poll));
    }

    // The kernel refuses all of the following by itself as long as the mount is read-only; these
    // answers count when somebody remounts it for writing.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(self.refuse(Operation::Setattr));
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(self.refuse(Operation::Mknod));
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(self.refuse(Operation::Mkdir));
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(self.refuse(Operation::Unlink));
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(self.refuse(Operation::Rmdir));
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(self.refuse(Operation::Symlink));
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Operation::Rename));
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(self.refuse(Operation::Link));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(self.refuse(Operation::Write));
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(self.refuse(Operation::Create));
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Operation::Setxattr));
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(self.refuse(Operation::Removexattr));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.refuse(Operation::Fallocate));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(self.refuse(Operation::CopyFileRange));
    }
}

/// A listing of names and kinds.
struct Names {
    reply: ReplyDirectory,
    is_empty: bool,
}

impl DirSink for Names {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let attributes = &entry.attributes;
        let is_full = self.reply.add(
            INodeNo(attributes.ino.0),
            entry.cookie,
            file_type(attributes.kind),
            OsStr::from_bytes(entry.name),
        );
        self.is_empty &= is_full;
        !is_full
    }
}

/// A listing of names and attributes, which saves the kernel a lookup of each.
struct NamesAndAttributes {
    reply: ReplyDirectoryPlus,
    is_empty: bool,
}

impl DirSink for NamesAndAttributes {
    fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let attributes = &entry.attributes;
        let is_full = self.reply.add(
            INodeNo(attributes.ino.0),
            entry.cookie,
            OsStr::from_bytes(entry.name),
            &FOR_EVER,
            &file_attr(attributes),
            GENERATION,
        );
        self.is_empty &= is_full;
        !is_full
    }
}

/// Answers with a value, or with its length if that was asked.
fn reply_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        _ => reply.error(Errno::ERANGE),
    }
}

fn file_attr(attributes: &Attributes) -> FileAttr {
    let mtime = system_time(attributes.mtime);
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: system_time(attributes.atime),
        mtime,
        ctime: system_time(attributes.ctime),
        crtime: mtime,
        kind: file_type(attributes.kind),
        perm: attributes.permissions,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.rdev,
        blksize: attributes.block_size,
        flags: 0,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_sign_and_fraction() {
        let cases = [
            (0, 0, UNIX_EPOCH),
            (5, 7, UNIX_EPOCH + Duration::new(5, 7)),
            (-2, 800_000_000, UNIX_EPOCH - Duration::new(1, 200_000_000)),
            (-1, 0, UNIX_EPOCH - Duration::from_secs(1)),
        ];
        for (seconds, nanoseconds, expected) in cases {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(system_time(time), expected, "{time:?}");
        }
    }
}
