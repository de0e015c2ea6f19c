//! The kernel's requests, turned into calls of [`PackFs`] and answered.
//!
//! Nothing is decided here but what the protocol needs: which answers make the kernel ask less.
//! `open`, `opendir` and `flush` are refused for good (`ENOSYS`), so that the kernel opens files
//! by itself and keeps what it read; entries, attributes and misses are valid for ever, as an image
//! never changes; listings come with attributes. A file then costs one lookup and one read, and
//! nothing after that.

use super::answers::always;
use super::counters::{Counters, Operation};
use super::faults::Faults;
use super::options::{ListAttributes, MountOptions};
use super::replies::{
    ABSENT, FOR_EVER, GENERATION, Names, NamesAndAttributes, file_attr, reply_xattr,
};
use crate::entry::Ino;
use crate::fs::PackFs;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags,
    PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

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

thread_local! {
    /// Where a serving thread collects what it read before it answers.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The service of one mount.
#[derive(Debug)]
pub(super) struct Adapter {
    pub(super) fs: PackFs,
    pub(super) counters: Arc<Counters>,
    pub(super) faults: Arc<Faults>,
    has_xattrs: bool,
    /// What the kernel is asked for.
    wanted: InitFlags,
    /// Whether the kernel opens files and directories by itself once `open` was refused.
    opens_itself: bool,
    opens_directories_itself: bool,
}

impl Adapter {
    pub(super) fn new(
        fs: PackFs,
        counters: Arc<Counters>,
        faults: Arc<Faults>,
        options: &MountOptions,
    ) -> Self {
        let has_xattrs = fs.image().has_xattrs();
        let wanted = wanted(&fs, options);
        Self {
            fs,
            counters,
            faults,
            has_xattrs,
            wanted,
            opens_itself: false,
            opens_directories_itself: false,
        }
    }
}

/// What makes the kernel ask less, or as the options have it.
fn wanted(fs: &PackFs, options: &MountOptions) -> InitFlags {
    let mut wanted = InitFlags::FUSE_NO_OPEN_SUPPORT
        | InitFlags::FUSE_NO_OPENDIR_SUPPORT
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_CACHE_SYMLINKS
        | InitFlags::FUSE_EXPLICIT_INVAL_DATA
        | InitFlags::FUSE_EXPORT_SUPPORT;
    wanted |= match options.list_attributes {
        ListAttributes::Always => InitFlags::FUSE_DO_READDIRPLUS,
        ListAttributes::Adaptive => {
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO
        }
        ListAttributes::Never => InitFlags::empty(),
    };
    // With this, the kernel asks for the ACL of each inode that another than its owner wants to use. An image
    // without ACLs shall not pay that. It implies that the kernel checks permissions.
    if options.default_permissions && options.acl && fs.image().has_acls() {
        wanted |= InitFlags::FUSE_POSIX_ACL;
    }
    wanted
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in self.wanted.iter() {
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
        if name.len() > NAME_MAX {
            self.counters.count(Operation::Lookup);
            return reply.error(Errno::ENAMETOOLONG);
        }
        let work = || self.fs.lookup(Ino(parent.0), name.as_bytes());
        match self.answer_about(Operation::Lookup, parent, Some(name), work) {
            Ok(Some(found)) => reply.entry(&FOR_EVER, &file_attr(&found), GENERATION),
            Ok(None) => reply.entry(&FOR_EVER, &ABSENT, GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {
        self.counters.count(Operation::Forget);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answer(Operation::Getattr, ino, || self.fs.attributes(Ino(ino.0))) {
            Ok(attributes) => reply.attr(&FOR_EVER, &file_attr(&attributes)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.answer(Operation::Readlink, ino, || self.fs.read_link(Ino(ino.0))) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
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
        SCRATCH.with_borrow_mut(|scratch| {
            let bytes = self.answer(Operation::Read, ino, move || {
                self.fs.read(Ino(ino.0), offset, size as usize, scratch)
            });
            match bytes {
                Ok(bytes) => reply.data(bytes),
                Err(errno) => reply.error(errno),
            }
        });
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
        let mut sink = Names::new(reply);
        match self.collect(Operation::Readdir, ino, offset, &mut sink) {
            Ok(()) => sink.reply.ok(),
            Err(errno) => sink.reply.error(errno),
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
        let mut sink = NamesAndAttributes::new(reply);
        match self.collect(Operation::Readdirplus, ino, offset, &mut sink) {
            Ok(()) => sink.reply.ok(),
            Err(errno) => sink.reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.counters.count(Operation::Releasedir);
        reply.ok();
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
        let work = || self.fs.xattr(Ino(ino.0), name.as_bytes());
        match self.answer(Operation::Getxattr, ino, work) {
            Ok(Some(value)) => reply_xattr(&value, size, reply),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.has_xattrs {
            return reply.error(self.decline(Operation::Listxattr));
        }
        match self.answer(Operation::Listxattr, ino, || {
            self.fs.xattr_names(Ino(ino.0))
        }) {
            Ok(names) => reply_xattr(&names, size, reply),
            Err(errno) => reply.error(errno),
        }
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
        let found = self.answer(Operation::Lseek, ino, || {
            match (whence, u64::try_from(offset)) {
                (SEEK_DATA, Ok(offset)) => self.fs.next_data(Ino(ino.0), offset),
                (SEEK_HOLE, Ok(offset)) => self.fs.next_hole(Ino(ino.0), offset),
                _ => Ok(None),
            }
        });
        match found {
            Ok(Some(found)) => reply.offset(found.cast_signed()),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(errno) => reply.error(errno),
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

    always! { decline:
        flush(INodeNo, FileHandle, LockOwner; ReplyEmpty) Flush,
        fsync(INodeNo, FileHandle, bool; ReplyEmpty) Fsync,
        fsyncdir(INodeNo, FileHandle, bool; ReplyEmpty) Fsyncdir,
        access(INodeNo, AccessFlags; ReplyEmpty) Access,
        getlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32; ReplyLock) Lock,
        setlk(INodeNo, FileHandle, LockOwner, u64, u64, i32, u32, bool; ReplyEmpty) Lock,
        bmap(INodeNo, u32, u64; ReplyBmap) Bmap,
        poll(INodeNo, FileHandle, PollNotifier, PollEvents, PollFlags; ReplyPoll) Poll,
    }

    // The kernel refuses all of the following by itself as long as the mount is read-only; these
    // answers count when somebody remounts it for writing.
    always! { refuse:
        setattr(
            INodeNo, Option<u32>, Option<u32>, Option<u32>, Option<u64>, Option<TimeOrNow>,
            Option<TimeOrNow>, Option<SystemTime>, Option<FileHandle>, Option<SystemTime>,
            Option<SystemTime>, Option<SystemTime>, Option<BsdFileFlags>; ReplyAttr
        ) Setattr,
        mknod(INodeNo, &OsStr, u32, u32, u32; ReplyEntry) Mknod,
        mkdir(INodeNo, &OsStr, u32, u32; ReplyEntry) Mkdir,
        unlink(INodeNo, &OsStr; ReplyEmpty) Unlink,
        rmdir(INodeNo, &OsStr; ReplyEmpty) Rmdir,
        symlink(INodeNo, &OsStr, &Path; ReplyEntry) Symlink,
        rename(INodeNo, &OsStr, INodeNo, &OsStr, RenameFlags; ReplyEmpty) Rename,
        link(INodeNo, INodeNo, &OsStr; ReplyEntry) Link,
        write(
            INodeNo, FileHandle, u64, &[u8], WriteFlags, OpenFlags, Option<LockOwner>; ReplyWrite
        ) Write,
        create(INodeNo, &OsStr, u32, u32, i32; ReplyCreate) Create,
        setxattr(INodeNo, &OsStr, &[u8], i32, u32; ReplyEmpty) Setxattr,
        removexattr(INodeNo, &OsStr; ReplyEmpty) Removexattr,
        fallocate(INodeNo, FileHandle, u64, u64, i32; ReplyEmpty) Fallocate,
        copy_file_range(
            INodeNo, FileHandle, u64, INodeNo, FileHandle, u64, u64, CopyFileRangeFlags; ReplyWrite
        ) CopyFileRange,
    }
}
