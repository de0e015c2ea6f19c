//! A disk in memory that writes down what was done to it, in order: a FUSE file system of two directories.

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The root directory, and the directory `second` in it.
const ROOT: u64 = 1;
const SECOND: u64 = 2;

/// A name in one of the directories.
pub(crate) type Name = (u64, OsString);

/// What was done.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    /// A file got a name.
    Create(Name, u64),
    Remove(Name),
    Rename(Name, Name),
    /// Bytes of a file were written at an offset.
    Write(u64, usize, Vec<u8>),
    SetLength(u64, usize),
    SyncFile(u64),
    SyncDirectory(u64),
}

/// Files by number, and their names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    pub(crate) files: BTreeMap<u64, Vec<u8>>,
    pub(crate) names: BTreeMap<Name, u64>,
}

/// The path of a name below the mount point.
pub(crate) fn path_of((directory, name): &Name, root: &Path) -> std::path::PathBuf {
    match *directory {
        SECOND => root.join("second").join(name),
        _ => root.join(name),
    }
}

/// Applies a change of contents to a file.
pub(crate) fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
struct State {
    now: Contents,
    log: Vec<Operation>,
    next: u64,
}

/// The disk while it is mounted.
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    _session: fuser::BackgroundSession,
}

impl Disk {
    pub(crate) fn mount(point: &Path) -> Self {
        let state = Arc::new(Mutex::new(State {
            next: SECOND + 1,
            ..State::default()
        }));
        let files = Files(state.clone());
        let session = fuser::spawn_mount(files, point, &Config::default()).unwrap();
        Self {
            state,
            _session: session,
        }
    }

    /// What is there, and what was done since the last call.
    pub(crate) fn take(&self) -> (Contents, Vec<Operation>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.now.clone(), std::mem::take(&mut state.log))
    }
}

struct Files(Arc<Mutex<State>>);

/// Nothing is remembered, so that everything arrives here.
const NOT_AT_ALL: Duration = Duration::ZERO;

impl Files {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn attributes(&self, ino: u64) -> Option<FileAttr> {
        let is_directory = ino <= SECOND;
        let size = match is_directory {
            true => 0,
            false => self.now.files.get(&ino)?.len() as u64,
        };
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_directory {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        if parent.0 == ROOT && name == "second" {
            return Some(SECOND);
        }
        let known = self.now.names.get(&(parent.0, name.to_owned()));
        known.copied()
    }
}

impl Filesystem for Files {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Small requests, so that files grow in many steps.
        let _ = config.set_max_write(16 << 10);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        let found = state.find(parent, name);
        match found.and_then(|ino| state.attributes(ino)) {
            Some(attributes) => reply.entry(&NOT_AT_ALL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attributes(ino.0) {
            Some(attributes) => reply.attr(&NOT_AT_ALL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let Some(size) = size {
            let size = usize::try_from(size).unwrap();
            state.now.files.get_mut(&ino.0).unwrap().resize(size, 0);
            state.log.push(Operation::SetLength(ino.0, size));
        }
        reply.attr(&NOT_AT_ALL, &state.attributes(ino.0).unwrap());
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.state();
        let ino = state.next;
        state.next += 1;
        let name = (parent.0, name.to_owned());
        state.now.files.insert(ino, Vec::new());
        state.now.names.insert(name.clone(), ino);
        state.log.push(Operation::Create(name, ino));
        let attributes = state.attributes(ino).unwrap();
        let (handle, flags) = (FileHandle(0), FopenFlags::empty());
        reply.created(&NOT_AT_ALL, &attributes, Generation(0), handle, flags);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let name = (parent.0, name.to_owned());
        match state.now.names.remove(&name) {
            Some(_) => {
                state.log.push(Operation::Remove(name));
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        let (from, to) = (
            (parent.0, name.to_owned()),
            (new_parent.0, new_name.to_owned()),
        );
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && state.now.names.contains_key(&to) {
            return reply.error(Errno::EEXIST);
        }
        match state.now.names.remove(&from) {
            Some(ino) => {
                state.now.names.insert(to.clone(), ino);
                state.log.push(Operation::Rename(from, to));
                reply.ok();
            }
            None => reply.error(Errno::ENOENT),
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
        let state = self.state();
        let file = &state.now.files[&ino.0];
        let start = file.len().min(usize::try_from(offset).unwrap());
        let end = file.len().min(start + size as usize);
        reply.data(&file[start..end]);
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
        let mut state = self.state();
        let offset = usize::try_from(offset).unwrap();
        write(state.now.files.get_mut(&ino.0).unwrap(), offset, data);
        let operation = Operation::Write(ino.0, offset, data.to_vec());
        state.log.push(operation);
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.state().log.push(Operation::SyncFile(ino.0));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.state().log.push(Operation::SyncDirectory(ino.0));
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state();
        let here = state.now.names.iter();
        let here = here.filter(|((directory, _), _)| *directory == ino.0);
        for (place, ((_, name), child)) in (1..).zip(here).skip(usize::try_from(offset).unwrap()) {
            if reply.add(INodeNo(*child), place, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = 1 << 20;
        reply.statfs(blocks, blocks, blocks, blocks, blocks, 4096, 255, 4096);
    }
}
