//! A request from a ring, handed on to [`Answers`], and the answer written into the same place.

use super::super::answers::{Answer, Answers};
use super::super::counters::Operation;
use super::super::replies::FOR_EVER;
use super::output::{List, Output};
use super::request::Request;
use crate::entry::Ino;
use crate::native::fuse_ring::HEADER;
use fuser::{Errno, SessionACL};

/// Offsets among the arguments of `read` and `readdir`: where to begin and how much.
const READ_OFFSET: usize = 8;
const READ_SIZE: usize = 16;

/// Offsets among the arguments of `lseek`.
const SEEK_OFFSET: usize = 8;
const SEEK_WHENCE: usize = 16;

/// Offset among the arguments of `getxattr` and `listxattr`: the asker's room.
const XATTR_SIZE: usize = 0;

/// Who may ask. The kernel knows two of these rules by itself, but not that root is let in besides the owner.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Access {
    pub(in super::super) acl: SessionACL,
    /// The user who mounted.
    pub(in super::super) owner: u32,
}

impl Access {
    fn admits(self, user: u32) -> bool {
        match self.acl {
            SessionACL::All => true,
            SessionACL::RootAndOwner => user == self.owner || user == 0,
            SessionACL::Owner => user == self.owner,
        }
    }
}

/// Answers the request in a header and payload. Returns the number to hand the answer over with.
///
/// What the request reads is collected in `scratch`, whatever that held before.
pub(super) fn answer(
    answers: &Answers,
    access: Access,
    header: &mut [u8; HEADER],
    payload: &mut [u8],
    scratch: &mut Vec<u8>,
) -> u64 {
    let request = Request::parse(header);
    match fill(answers, access, &request, payload, scratch) {
        Ok(length) => request.answer(header, 0, length),
        Err(errno) => request.answer(header, errno.into(), 0),
    }
    request.commit
}

/// Fills the payload with the answer; returns its length.
fn fill(
    answers: &Answers,
    access: Access,
    request: &Request,
    payload: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Answer<usize> {
    let opcode = Opcode::of(request.opcode).ok_or(Errno::ENOSYS)?;
    if !access.admits(request.user) && !opcode.is_open_to_all() {
        return Err(Errno::EACCES);
    }
    let ino = Ino(request.inode);
    match opcode {
        Opcode::Lookup => {
            let found = answers.lookup(ino, name(payload, request.payload)?)?;
            Ok(filled(payload, |output| {
                output.entry(found.as_ref(), FOR_EVER);
            }))
        }
        Opcode::Getattr => {
            let attributes = answers.attributes(ino)?;
            Ok(filled(payload, |output| {
                output.attributes(&attributes);
            }))
        }
        Opcode::Readlink => {
            let target = answers.read_link(ino)?;
            Ok(filled(payload, |output| output.bytes(&target)))
        }
        Opcode::Open => {
            let flags = answers.open()?;
            Ok(filled(payload, |output| output.opened(flags)))
        }
        Opcode::Opendir => {
            let flags = answers.open_directory()?;
            Ok(filled(payload, |output| output.opened(flags)))
        }
        Opcode::Read => {
            let room = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let size = request.own_u32(READ_SIZE).min(room);
            let bytes = answers.read(ino, request.own_u64(READ_OFFSET), size, scratch)?;
            Ok(filled(payload, |output| output.bytes(&bytes)))
        }
        Opcode::Readdir | Opcode::Readdirplus => {
            let with_attributes = opcode == Opcode::Readdirplus;
            let operation = if with_attributes {
                Operation::Readdirplus
            } else {
                Operation::Readdir
            };
            let mut output = Output::new(payload, request.own_u32(READ_SIZE) as usize);
            let mut list = List {
                output: &mut output,
                with_attributes,
            };
            answers.list(operation, ino, request.own_u64(READ_OFFSET), &mut list)?;
            Ok(output.length())
        }
        Opcode::Statfs => {
            let totals = answers.totals();
            Ok(filled(payload, |output| output.totals(&totals)))
        }
        Opcode::Getxattr => {
            let value = answers.xattr(ino, name(payload, request.payload)?)?;
            value_or_length(payload, request.own_u32(XATTR_SIZE), &value)
        }
        Opcode::Listxattr => {
            let names = answers.xattr_names(ino)?;
            value_or_length(payload, request.own_u32(XATTR_SIZE), &names)
        }
        Opcode::Lseek => {
            let offset = request.own_u64(SEEK_OFFSET).cast_signed();
            let found = answers.seek(ino, offset, request.own_u32(SEEK_WHENCE))?;
            Ok(filled(payload, |output| output.offset(found)))
        }
        Opcode::Done(operation) => {
            answers.count(operation);
            Ok(0)
        }
        Opcode::Ioctl => {
            answers.count(Operation::Ioctl);
            Err(Errno::ENOTTY)
        }
        Opcode::Declined(operation) => Err(answers.decline(operation)),
        Opcode::Refused(operation) => Err(answers.refuse(operation)),
    }
}

fn filled(payload: &mut [u8], fill: impl FnOnce(&mut Output<'_>)) -> usize {
    let room = payload.len();
    let mut output = Output::new(payload, room);
    fill(&mut output);
    output.length()
}

/// A value, or its length if that was asked.
fn value_or_length(payload: &mut [u8], size: u32, value: &[u8]) -> Answer<usize> {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => Ok(filled(payload, |output| output.size(length))),
        Ok(length) if length <= size => Ok(filled(payload, |output| output.bytes(value))),
        _ => Err(Errno::ERANGE),
    }
}

/// The name that a payload begins with; it ends with a NUL.
fn name(payload: &[u8], length: usize) -> Answer<&[u8]> {
    let bytes = payload.get(..length).ok_or(Errno::EIO)?;
    bytes.split(|byte| *byte == 0).next().ok_or(Errno::EIO)
}

/// The operations that a kernel asks for, as far as this transport knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Lookup,
    Getattr,
    Readlink,
    Open,
    Opendir,
    Read,
    Readdir,
    Readdirplus,
    Statfs,
    Getxattr,
    Listxattr,
    Lseek,
    Ioctl,
    /// What needs no doing.
    Done(Operation),
    /// What the kernel shall not ask again.
    Declined(Operation),
    /// What would change something.
    Refused(Operation),
}

impl Opcode {
    /// By the number in `linux/fuse.h`. `forget` and what interrupts a request never come by a ring.
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Lookup,
            3 => Self::Getattr,
            4 => Self::Refused(Operation::Setattr),
            5 => Self::Readlink,
            6 => Self::Refused(Operation::Symlink),
            8 => Self::Refused(Operation::Mknod),
            9 => Self::Refused(Operation::Mkdir),
            10 => Self::Refused(Operation::Unlink),
            11 => Self::Refused(Operation::Rmdir),
            // With and without flags.
            12 | 45 => Self::Refused(Operation::Rename),
            13 => Self::Refused(Operation::Link),
            14 => Self::Open,
            15 => Self::Read,
            16 => Self::Refused(Operation::Write),
            17 => Self::Statfs,
            18 => Self::Done(Operation::Release),
            20 => Self::Declined(Operation::Fsync),
            21 => Self::Refused(Operation::Setxattr),
            22 => Self::Getxattr,
            23 => Self::Listxattr,
            24 => Self::Refused(Operation::Removexattr),
            25 => Self::Declined(Operation::Flush),
            27 => Self::Opendir,
            28 => Self::Readdir,
            29 => Self::Done(Operation::Releasedir),
            30 => Self::Declined(Operation::Fsyncdir),
            // Asking for one, and setting one without and with waiting.
            31..=33 => Self::Declined(Operation::Lock),
            34 => Self::Declined(Operation::Access),
            35 => Self::Refused(Operation::Create),
            37 => Self::Declined(Operation::Bmap),
            39 => Self::Ioctl,
            40 => Self::Declined(Operation::Poll),
            43 => Self::Refused(Operation::Fallocate),
            44 => Self::Readdirplus,
            46 => Self::Lseek,
            47 => Self::Refused(Operation::CopyFileRange),
            _ => return None,
        })
    }

    /// Whether the kernel may ask this on its own account, in nobody's name.
    fn is_open_to_all(self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Readdir
                | Self::Readdirplus
                | Self::Done(_)
                | Self::Refused(Operation::Write)
                | Self::Declined(Operation::Fsync | Operation::Fsyncdir)
        )
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
mod tests;
