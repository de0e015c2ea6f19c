//! The disk as a file system of two files.
//!
//! `stats` is one line: reads, seeks, bytes read and nanoseconds of the model, separated by spaces.

use crate::model::Model;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

const ROOT: INodeNo = INodeNo(1);
const DISK: INodeNo = INodeNo(2);
const STATS: INodeNo = INodeNo(3);

const FOR_EVER: Duration = Duration::from_secs(1 << 30);
const GENERATION: Generation = Generation(0);
const REQUEST_MAX: u32 = 1 << 20;

pub(crate) struct SimulatedDisk {
    backing: File,
    size: u64,
    is_real: bool,
    state: Mutex<State>,
}

struct State {
    model: Box<dyn Model>,
    reads: u64,
    seeks: u64,
    bytes: u64,
    time: Duration,
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl SimulatedDisk {
    pub(crate) fn new(backing: File, size: u64, model: Box<dyn Model>, is_real: bool) -> Self {
        let state = State {
            model,
            reads: 0,
            seeks: 0,
            bytes: 0,
            time: Duration::ZERO,
        };
        Self {
            backing,
            size,
            is_real,
            state: Mutex::new(state),
        }
    }

    /// Adds the cost of a read, and waits for as long if the disk is to be real.
    fn account(&self, offset: u64, length: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = state.model.read(offset, length);
        state.reads += 1;
        state.seeks += u64::from(cost.is_seek);
        state.bytes += length;
        state.time += cost.time;
        if self.is_real {
            // The head is taken as long as the lock is.
            std::thread::sleep(cost.time);
        }
    }

    fn stats(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let nanoseconds = state.time.as_nanos();
        format!(
            "{} {} {} {nanoseconds}\n",
            state.reads, state.seeks, state.bytes
        )
    }

    fn read_disk(&self, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let left = self.size.saturating_sub(offset);
        let length = u64::from(size.min(REQUEST_MAX)).min(left);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.backing.read_exact_at(&mut bytes, offset)?;
        self.account(offset, length);
        Ok(bytes)
    }

    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match ino {
            ROOT => (FileType::Directory, 0o700, 0),
            DISK => (FileType::RegularFile, 0o600, self.size),
            STATS => (FileType::RegularFile, 0o400, 0),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_i32)
}

impl Filesystem for SimulatedDisk {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A loop device then has several requests in flight, as it would have on a real disk.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        let _ = config.set_max_write(REQUEST_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let ino = match name.to_str() {
            Some("disk") if parent == ROOT => DISK,
            Some("stats") if parent == ROOT => STATS,
            _ => return reply.error(Errno::ENOENT),
        };
        match self.attributes(ino) {
            Some(attributes) => reply.entry(&FOR_EVER, &attributes, GENERATION),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&FOR_EVER, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: the file system above has a cache of its own.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
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
        match ino {
            DISK => match self.read_disk(offset, size) {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(&error)),
            },
            STATS => {
                let line = self.stats();
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                reply.data(line.as_bytes().get(start..).unwrap_or_default());
            }
            _ => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if ino != DISK || offset.saturating_add(data.len() as u64) > self.size {
            return reply.error(Errno::ENOSPC);
        }
        match self.backing.write_all_at(data, offset) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // A simulated disk loses nothing that this process does not lose.
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let entries = [(DISK, "disk"), (STATS, "stats")];
        for (cookie, (ino, name)) in (1..).zip(entries) {
            if cookie > offset && reply.add(ino, cookie, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}
