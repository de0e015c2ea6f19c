//! The answers, given as dgfs gives them: `open` and `opendir` refused for good, everything valid for ever,
//! listings with attributes.

use crate::layout::{Layout, Place, digits};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEntry, ReplyOpen, Request,
};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

pub(crate) const FOR_EVER: Duration = Duration::from_secs(1 << 30);
const GENERATION: Generation = Generation(0);
pub(crate) const REQUEST_MAX: u32 = 1 << 20;
const BACKGROUND_MAX: u16 = 64;

/// Larger than the processor's cache, so that contents come from memory as they do elsewhere.
const REGION_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct NullFileSystem {
    layout: Layout,
    sizes: RangeInclusive<u64>,
    large_size: u64,
    listing: InitFlags,
    region: Vec<u8>,
    /// Whether the kernel agreed to send requests by rings.
    pub(crate) has_rings: AtomicBool,
}

/// What `/dev/fuse` carries.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) service: Arc<NullFileSystem>,
    /// Whether to ask the kernel for rings.
    pub(crate) wants_rings: bool,
}

impl NullFileSystem {
    pub(crate) fn new(
        layout: Layout,
        sizes: RangeInclusive<u64>,
        large_size: u64,
        readdirplus: &str,
    ) -> Self {
        let listing = match readdirplus {
            "never" => InitFlags::empty(),
            "auto" => InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
            _ => InitFlags::FUSE_DO_READDIRPLUS,
        };
        let pattern = (0..=u8::MAX)
            .cycle()
            .take(REGION_BYTES + REQUEST_MAX as usize);
        Self {
            layout,
            sizes,
            large_size,
            listing,
            region: pattern.collect(),
            has_rings: AtomicBool::new(false),
        }
    }

    fn size(&self, file: u64) -> u64 {
        let spread = file.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let (least, greatest) = (*self.sizes.start(), *self.sizes.end());
        least + spread % (greatest - least + 1)
    }

    pub(crate) fn attributes(&self, ino: u64) -> Option<FileAttr> {
        let (kind, size, perm, nlink) = match self.layout.place(ino)? {
            Place::Directory { .. } => (FileType::Directory, 0, 0o755, 2),
            Place::File(number) => (FileType::RegularFile, self.size(number), 0o644, 1),
            Place::Large => (FileType::RegularFile, self.large_size, 0o644, 1),
        };
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// The attributes of the child called `name` of a directory, if there is one.
    pub(crate) fn child(&self, directory: u64, name: &[u8]) -> Option<FileAttr> {
        self.attributes(self.layout.child(directory, name)?)
    }

    /// What a file has from `offset` on, at most `size` bytes.
    pub(crate) fn contents(&self, ino: u64, offset: u64, size: u32) -> Option<&[u8]> {
        let left = self.attributes(ino)?.size.saturating_sub(offset);
        let length = usize::try_from(left.min(size.min(REQUEST_MAX).into())).unwrap_or(0);
        let spread = offset.wrapping_add(ino.wrapping_mul(8192));
        let start = usize::try_from(spread % REGION_BYTES as u64).unwrap_or(0);
        Some(self.region.get(start..start + length).unwrap_or_default())
    }

    /// Offers the entries of a directory from `offset` on until `add` says that the answer is full. The large file
    /// is in no listing, so that a walk sees the tree alone.
    pub(crate) fn list(
        &self,
        directory: u64,
        offset: u64,
        mut add: impl FnMut(FileAttr, u64, &OsStr) -> bool,
    ) {
        let children = self.layout.children(directory);
        let width = digits(children.end - children.start);
        let first = children.start;
        let mut name = Vec::new();
        for child in children.skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            name.clear();
            // Writing to memory cannot fail.
            let _ = write!(name, "{:0width$}", child - first);
            let Some(attributes) = self.attributes(child) else {
                return;
            };
            if add(attributes, child - first + 1, OsStr::from_bytes(&name)) {
                return;
            }
        }
    }
}

impl Filesystem for Device {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            self.service.listing,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_EXPORT_SUPPORT,
        ];
        for capability in wanted {
            // What this kernel does not offer, dgfs has to do without as well.
            let _ = config.add_capabilities(capability);
        }
        let rings = InitFlags::FUSE_OVER_IO_URING;
        let has_rings = self.wants_rings && config.add_capabilities(rings).is_ok();
        self.service.has_rings.store(has_rings, Ordering::Release);
        let _ = config.set_max_write(REQUEST_MAX);
        let _ = config.set_max_background(BACKGROUND_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.service.child(parent.0, name.as_bytes()) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, GENERATION),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.service.attributes(ino.0) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
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
        match self.service.contents(ino.0, offset, size) {
            Some(contents) => reply.data(contents),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.service
            .list(ino.0, offset, |attributes, cookie, name| {
                reply.add(attributes.ino, cookie, attributes.kind, name)
            });
        reply.ok();
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.service
            .list(ino.0, offset, |attributes, cookie, name| {
                reply.add(
                    attributes.ino,
                    cookie,
                    name,
                    &FOR_EVER,
                    &attributes,
                    GENERATION,
                )
            });
        reply.ok();
    }
}
