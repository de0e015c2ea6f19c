//! The requests that come over `/dev/fuse`, handed on to [`Answers`] and answered.

use super::answers::Answers;
use super::counters::Operation;
use super::options::{ListAttributes, MountOptions};
use super::replies::{
    ABSENT, FOR_EVER, GENERATION, Names, NamesAndAttributes, file_attr, reply_xattr,
};
use crate::entry::Ino;
use crate::read::Image;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
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
pub(super) const REQUEST_MAX: u32 = 1 << 20;

/// Reads ahead that may be in flight at once. The kernel's own limit of 12 leaves a second reader
/// waiting for the first.
const BACKGROUND_MAX: u16 = 64;

thread_local! {
    /// Where a serving thread collects what it read before it answers.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The service of one mount, as far as it goes over `/dev/fuse`.
#[derive(Debug)]
pub(super) struct Adapter {
    answers: Arc<Answers>,
    /// What the kernel is asked for.
    wanted: InitFlags,
}

impl Adapter {
    /// Asks the kernel for `wanted`, of which [`Answers`] learn what it granted.
    pub(super) fn new(answers: Arc<Answers>, wanted: InitFlags) -> Self {
        Self { answers, wanted }
    }
}

/// What makes the kernel ask less, or as the options have it.
pub(super) fn wanted(image: &Image, options: &MountOptions) -> InitFlags {
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
    if options.default_permissions && options.acl && image.has_acls() {
        wanted |= InitFlags::FUSE_POSIX_ACL;
    }
    wanted
}

/// Handlers that answer alike whatever is asked: `handler(types of its arguments; type of its reply) kind of request`.
macro_rules! always {
    ($answer:ident: $($handler:ident($($argument:ty),*; $reply:ty) $operation:ident,)+) => {$(
        fn $handler(&self, _: &Request, $(_: $argument,)* reply: $reply) {
            reply.error(self.answers.$answer(Operation::$operation));
        }
    )+};
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for capability in self.wanted.iter() {
            if config.add_capabilities(capability).is_err() {
                log::debug!("the kernel does not offer {capability:?}");
            }
        }
        self.answers.agree(config.capabilities() & self.wanted);
        // Both take any value but 0 and, for the first, 16 MiB and more.
        let _ = config.set_max_write(REQUEST_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.answers.lookup(Ino(parent.0), name.as_bytes()) {
            Ok(Some(found)) => reply.entry(&FOR_EVER, &file_attr(&found), GENERATION),
            Ok(None) => reply.entry(&FOR_EVER, &ABSENT, GENERATION),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {
        self.answers.count(Operation::Forget);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answers.attributes(Ino(ino.0)) {
            Ok(attributes) => reply.attr(&FOR_EVER, &file_attr(&attributes)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.answers.read_link(Ino(ino.0)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.answers.open() {
            Ok(flags) => reply.opened(FileHandle(0), flags),
            Err(errno) => reply.error(errno),
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
            match self.answers.read(Ino(ino.0), offset, size, scratch) {
                Ok(bytes) => reply.data(&bytes),
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
        self.answers.count(Operation::Release);
        reply.ok();
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.answers.open_directory() {
            Ok(flags) => reply.opened(FileHandle(0), flags),
            Err(errno) => reply.error(errno),
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
        let listed = self
            .answers
            .list(Operation::Readdir, Ino(ino.0), offset, &mut sink);
        match listed {
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
        let listed = self
            .answers
            .list(Operation::Readdirplus, Ino(ino.0), offset, &mut sink);
        match listed {
            Ok(()) => sink.reply.ok(),
            Err(errno) => sink.reply.error(errno),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.answers.count(Operation::Releasedir);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let totals = self.answers.totals();
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
        match self.answers.xattr(Ino(ino.0), name.as_bytes()) {
            Ok(value) => reply_xattr(&value, size, reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        match self.answers.xattr_names(Ino(ino.0)) {
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
        match self
            .answers
            .seek(Ino(ino.0), offset, whence.cast_unsigned())
        {
            Ok(found) => reply.offset(found),
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
        self.answers.count(Operation::Ioctl);
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
