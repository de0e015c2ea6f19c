//! A disk that fails on demand: a FUSE file system of one directory, whose files come from another directory as long
//! as it is told to work.

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// What the disk does at present.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    fails: AtomicBool,
    refused: AtomicU64,
}

impl Switch {
    /// Makes all reads fail with `EIO` from now on, or none.
    pub(crate) fn set_failing(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// How many reads failed.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }
}

/// The disk while it is plugged in; dropping it is pulling it out.
pub(crate) struct Disk {
    _session: fuser::BackgroundSession,
    point: PathBuf,
    is_out: Arc<AtomicBool>,
}

impl Disk {
    /// Shows the files `names` of `behind` at `point`.
    pub(crate) fn plug_in(
        behind: &Path,
        names: &[&str],
        point: &Path,
        switch: &Arc<Switch>,
    ) -> Self {
        let disk = Files {
            paths: names.iter().map(|name| behind.join(name)).collect(),
            switch: switch.clone(),
            is_out: Arc::default(),
        };
        let is_out = disk.is_out.clone();
        let session = fuser::spawn_mount(disk, point, &Config::default()).unwrap();
        Self {
            _session: session,
            point: point.to_path_buf(),
            is_out,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Files that are open on it stay so, and fail.
        self.is_out.store(true, Ordering::SeqCst);
        let detach = rustix::mount::UnmountFlags::DETACH;
        let _ = rustix::mount::unmount(&self.point, detach);
    }
}

struct Files {
    paths: Vec<PathBuf>,
    switch: Arc<Switch>,
    is_out: Arc<AtomicBool>,
}

/// Nothing is remembered, so that every read arrives here.
const NOT_AT_ALL: Duration = Duration::ZERO;

impl Files {
    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let size = match ino.0.checked_sub(2) {
            None => 0,
            Some(place) => {
                let path = self.paths.get(usize::try_from(place).ok()?)?;
                fs::metadata(path).ok()?.len()
            }
        };
        let is_root = ino == INodeNo::ROOT;
        Some(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if is_root { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let place = self
            .paths
            .iter()
            .position(|path| path.file_name() == Some(name));
        let attributes = place.and_then(|place| self.attributes(INodeNo(place as u64 + 2)));
        match attributes {
            Some(attributes) => reply.entry(&NOT_AT_ALL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&NOT_AT_ALL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
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
        let is_out = self.is_out.load(Ordering::SeqCst);
        if is_out || self.switch.fails.load(Ordering::SeqCst) {
            self.switch.refused.fetch_add(1, Ordering::SeqCst);
            return reply.error(Errno::EIO);
        }
        let place = usize::try_from(ino.0 - 2).unwrap();
        let file = File::open(&self.paths[place]).unwrap();
        let mut bytes = vec![0; size as usize];
        let read = file.read_at(&mut bytes, offset).unwrap();
        reply.data(&bytes[..read]);
    }
}
