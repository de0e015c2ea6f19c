//! The answers over rings: the threads, places and headers are those of dgfs, the structures of `linux/fuse.h` are
//! written here.

#[path = "../../src/mount/uring/processors.rs"]
mod processors;
#[expect(dead_code, reason = "dgfs looks at who asks")]
#[path = "../../src/mount/uring/request.rs"]
mod request;
#[path = "../../src/mount/uring/rings.rs"]
pub(crate) mod rings;

use crate::native::fuse_ring::HEADER;
use crate::service::{FOR_EVER, NullFileSystem};
use fuser::{Errno, FileAttr, FileType};
use request::Request;
use std::os::unix::ffi::OsStrExt;

/// The operations that this file system knows, by their numbers in `linux/fuse.h`.
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const READ: u32 = 15;
const READDIR: u32 = 28;
const READDIRPLUS: u32 = 44;

/// Offsets among the arguments of `read` and `readdir`: where to begin and how much.
const OFFSET: usize = 8;
const SIZE: usize = 16;

/// Bytes of an entry of a listing without its name, and of the attributes that may stand before it.
const LISTED: usize = 24;
const ENTRY: usize = 128;

/// Answers the request in a header and payload; returns the number to hand the answer over with.
pub(crate) fn answer(
    service: &NullFileSystem,
    header: &mut [u8; HEADER],
    payload: &mut [u8],
) -> u64 {
    let request = Request::parse(header);
    match fill(service, &request, payload) {
        Ok(length) => request.answer(header, 0, length),
        Err(errno) => request.answer(header, errno.into(), 0),
    }
    request.commit
}

fn fill(service: &NullFileSystem, request: &Request, payload: &mut [u8]) -> Result<usize, Errno> {
    let mut output = Output { payload, length: 0 };
    match request.opcode {
        LOOKUP => {
            let given = output.payload.get(..request.payload).unwrap_or_default();
            let name = given.split(|byte| *byte == 0).next().unwrap_or_default();
            let found = service.child(request.inode, name).ok_or(Errno::ENOENT)?;
            output.entry(&found);
        }
        GETATTR => {
            let found = service.attributes(request.inode).ok_or(Errno::ENOENT)?;
            output.numbers(&[FOR_EVER.as_secs(), 0]);
            output.attributes(&found);
        }
        READ => {
            let (offset, size) = (request.own_u64(OFFSET), request.own_u32(SIZE));
            let contents = service.contents(request.inode, offset, size);
            output.bytes(contents.ok_or(Errno::ENOENT)?);
        }
        READDIR | READDIRPLUS => {
            let with_attributes = request.opcode == READDIRPLUS;
            let limit = request.own_u32(SIZE) as usize;
            let offset = request.own_u64(OFFSET);
            service.list(request.inode, offset, |attributes, cookie, name| {
                let before = if with_attributes { ENTRY } else { 0 };
                let name = name.as_bytes();
                let end = output.length + (before + LISTED + name.len()).next_multiple_of(8);
                if end > limit.min(output.payload.len()) {
                    return true;
                }
                if with_attributes {
                    output.entry(&attributes);
                }
                output.numbers(&[attributes.ino.0, cookie]);
                let kind = mode(attributes.kind) >> 12;
                output.halves(&[u32::try_from(name.len()).unwrap_or(0), kind]);
                output.bytes(name);
                while output.length < end {
                    output.bytes(&[0]);
                }
                false
            });
        }
        // As dgfs does, for good: the kernel opens files by itself.
        _ => return Err(Errno::ENOSYS),
    }
    Ok(output.length)
}

/// A payload that is being filled; what does not fit is left out.
struct Output<'p> {
    payload: &'p mut [u8],
    length: usize,
}

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.payload.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }

    fn numbers(&mut self, values: &[u64]) {
        for value in values {
            self.bytes(&value.to_ne_bytes());
        }
    }

    fn halves(&mut self, values: &[u32]) {
        for value in values {
            self.bytes(&value.to_ne_bytes());
        }
    }

    /// `struct fuse_entry_out`.
    fn entry(&mut self, found: &FileAttr) {
        let valid = FOR_EVER.as_secs();
        self.numbers(&[found.ino.0, 0, valid, valid, 0]);
        self.attributes(found);
    }

    /// `struct fuse_attr`, whose times are all 0.
    fn attributes(&mut self, found: &FileAttr) {
        self.numbers(&[found.ino.0, found.size, found.blocks, 0, 0, 0]);
        let mode = mode(found.kind) | u32::from(found.perm);
        self.halves(&[0, 0, 0, mode, found.nlink, found.uid, found.gid]);
        self.halves(&[found.rdev, found.blksize, 0]);
    }
}

/// The bits of a mode that say what an entry is.
fn mode(kind: FileType) -> u32 {
    match kind {
        FileType::Directory => 0o040_000,
        _ => 0o100_000,
    }
}
