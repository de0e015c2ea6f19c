//! One place for one FUSE request at a time, in memory that this process shares with the kernel (Linux 6.14).
//!
//! The place belongs to a queue of the connection. The kernel puts a request into it, which completes a command of an
//! `io_uring`; the answer is put in the same place, and the next command hands it over and asks for another request.
//! So an answer and the next request cost one system call. The layout is that of `struct fuse_uring_req_header` in
//! `linux/fuse.h`: 128 bytes of header, 128 bytes of the operation's own, 32 bytes about the place; everything
//! else is in the payload.
//!
//! A ring holds no more than this one place and takes no other command than these (its restrictions see to that): a
//! process whose system calls are limited cannot use it to open a file past that limit.

#![expect(
    unsafe_code,
    reason = "the kernel writes into this memory behind the compiler's back; no crate has a safe interface to it"
)]
#![expect(
    clippy::host_endian_bytes,
    reason = "kernel and process are on the same machine"
)]

use io_uring::register::Restriction;
use io_uring::squeue::{Entry128, Flags};
use io_uring::{IoUring, cqueue, opcode, types};
use rustix::io::Errno;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// Bytes of the header of a request.
pub(crate) const HEADER: usize = 288;

/// The commands: show the kernel this place, and hand over an answer for the next request.
pub(super) const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Where a submission entry has its 32-bit length, which for [`REGISTER`] counts the pieces of memory.
const LENGTH_IN_ENTRY: usize = 24;

/// The pieces: header and payload.
const PIECES: u32 = 2;

/// Of the pieces, in bytes: the header is a structure of 64-bit numbers. More would make the allocator write zeros
/// where it has fresh pages of them, and a payload of 1 MiB take room before it is used.
const ALIGNMENT: usize = 8;

/// Where the command's own 80 bytes have the number of the request, and the queue.
const COMMIT_IN_COMMAND: std::ops::Range<usize> = 8..16;
const QUEUE_IN_COMMAND: std::ops::Range<usize> = 16..18;

/// Who may touch the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This process.
    Us,
    /// The kernel, for an answer is about to be handed over, or was.
    Kernel,
}

/// A place for a request.
pub(crate) struct Place {
    pub(super) ring: IoUring<Entry128, cqueue::Entry>,
    memory: Memory,
    queue: u16,
    owner: Owner,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("queue", &self.queue)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

// SAFETY: the ring and the memory belong to this value alone, and nothing in them is bound to a thread.
unsafe impl Send for Place {}

impl Place {
    /// A place for requests of `queue` whose payload takes `payload` bytes. The kernel does not know of it yet.
    ///
    /// Fails where the system allows no `io_uring`.
    pub(crate) fn new(queue: u16, payload: usize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .build(1)?;
        Ok(Self {
            ring,
            memory: Memory::new(payload)?,
            queue,
            owner: Owner::Us,
        })
    }

    /// The queue that it belongs to.
    pub(crate) fn queue(&self) -> u16 {
        self.queue
    }

    /// Gives the place to the connection behind `device`, for good. From now on only the calling thread may use it.
    ///
    /// Fails if the kernel does not take it.
    pub(crate) fn register(&mut self, device: BorrowedFd<'_>) -> io::Result<()> {
        self.limit(device)?;
        self.push(REGISTER, 0)?;
        self.ring.submit()?;
        // A refusal is there at once. A first request may be, too.
        match self.completed() {
            Some(outcome) => outcome,
            None => Ok(()),
        }
    }

    /// Limits the ring, for good, to commands for `device`, and to submissions by the calling thread.
    pub(super) fn limit(&self, device: BorrowedFd<'_>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        submitter.register_files(&[device.as_raw_fd()])?;
        submitter.register_restrictions(&mut [
            Restriction::sqe_op(opcode::UringCmd80::CODE),
            Restriction::sqe_flags_required(Flags::FIXED_FILE.bits()),
        ])?;
        submitter.register_enable_rings()
    }

    /// Waits for a request, handing over the answer to the last one if there is one. `false` says that the
    /// connection has ended.
    pub(crate) fn wait(&mut self) -> io::Result<bool> {
        while self.owner == Owner::Kernel {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            match self.completed() {
                Some(Err(error)) if is_end(&error) => return Ok(false),
                Some(outcome) => outcome?,
                None => {}
            }
        }
        Ok(true)
    }

    /// Header and payload of the request that [`Place::wait`] brought; `None` while the kernel has them.
    pub(crate) fn contents(&mut self) -> Option<(&mut [u8; HEADER], &mut [u8])> {
        match self.owner {
            Owner::Us => Some(self.memory.parts()),
            Owner::Kernel => None,
        }
    }

    /// Gives header and payload back with an answer in them, to be handed over by the next [`Place::wait`].
    /// `commit` is the number that the header gave for this.
    pub(crate) fn answer(&mut self, commit: u64) -> io::Result<()> {
        self.push(COMMIT_AND_FETCH, commit)
    }

    /// Queues a command, after which the memory is the kernel's.
    fn push(&mut self, command: u32, commit: u64) -> io::Result<()> {
        if self.owner == Owner::Kernel {
            return Err(io::Error::other("a request is answered once"));
        }
        let mut own = [0; 80];
        own[COMMIT_IN_COMMAND].copy_from_slice(&commit.to_ne_bytes());
        own[QUEUE_IN_COMMAND].copy_from_slice(&self.queue.to_ne_bytes());
        let mut entry = opcode::UringCmd80::new(types::Fixed(0), command)
            .cmd(own)
            .addr(Some(self.memory.pieces() as u64))
            .build();
        if command == REGISTER {
            // SAFETY: `Entry128` is `repr(C)` and begins with the kernel's `struct io_uring_sqe`, whose `len` are
            // four bytes at this offset of its 64; any value is valid for them. The crate has no setter for it.
            unsafe {
                std::ptr::from_mut(&mut entry)
                    .cast::<u8>()
                    .add(LENGTH_IN_ENTRY)
                    .cast::<u32>()
                    .write_unaligned(PIECES);
            }
        }
        // SAFETY: the command makes the kernel use the pieces of `memory`, which are not touched and not freed
        // before it completes: `owner` keeps `contents` from giving them out, and `drop` from freeing them.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.map_err(io::Error::other)?;
        self.owner = Owner::Kernel;
        Ok(())
    }

    /// How the command ended that has the memory, if it has; the memory is ours then.
    fn completed(&mut self) -> Option<io::Result<()>> {
        let entry = self.ring.completion().next()?;
        self.owner = Owner::Us;
        Some(match entry.result() {
            0.. => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.owner == Owner::Us {
            self.memory.free();
        }
        // Else the kernel may still write there, so the memory is left to it. That happens only if serving failed.
    }
}

/// Whether a command failed because the mount is gone.
fn is_end(error: &io::Error) -> bool {
    let ends = [Errno::NOTCONN, Errno::CONNABORTED, Errno::NODEV];
    Errno::from_io_error(error).is_some_and(|errno| ends.contains(&errno))
}

/// A piece of memory as the kernel's `struct iovec` names it.
#[repr(C)]
struct Piece {
    start: *mut u8,
    length: usize,
}

/// Header, payload, and the list of the two that the kernel is given.
struct Memory {
    header: NonNull<u8>,
    payload: NonNull<u8>,
    length: usize,
    pieces: NonNull<[Piece; 2]>,
}

impl Memory {
    fn new(length: usize) -> io::Result<Self> {
        let header = allocate(HEADER)?;
        let payload = allocate(length)?;
        let piece = |start: NonNull<u8>, length| Piece {
            start: start.as_ptr(),
            length,
        };
        let pieces = [piece(header, HEADER), piece(payload, length)];
        let pieces = NonNull::from(Box::leak(Box::new(pieces)));
        Ok(Self {
            header,
            payload,
            length,
            pieces,
        })
    }

    /// The address of the list.
    fn pieces(&self) -> usize {
        self.pieces.addr().get()
    }

    fn parts(&mut self) -> (&mut [u8; HEADER], &mut [u8]) {
        // SAFETY: both were allocated with these lengths, zeroed, and are freed by `free` alone, which takes place
        // in `Place::drop`. They are apart from each other. The kernel does not touch them, as the caller knows
        // (`Owner::Us`), for as long as `self` is borrowed.
        unsafe {
            (
                self.header.cast::<[u8; HEADER]>().as_mut(),
                std::slice::from_raw_parts_mut(self.payload.as_ptr(), self.length),
            )
        }
    }

    /// To be called once, when nothing uses this any more.
    fn free(&mut self) {
        for (start, length) in [(self.header, HEADER), (self.payload, self.length)] {
            if let Ok(layout) = layout(length) {
                // SAFETY: `allocate` gave this memory for the same layout.
                unsafe { dealloc(start.as_ptr(), layout) };
            }
        }
        // SAFETY: the list was a box, and is one again once.
        drop(unsafe { Box::from_raw(self.pieces.as_ptr()) });
    }
}

fn layout(length: usize) -> io::Result<Layout> {
    Layout::from_size_align(length.max(1), ALIGNMENT).map_err(io::Error::other)
}

/// Zeroed memory; what is never written to takes no room.
fn allocate(length: usize) -> io::Result<NonNull<u8>> {
    let layout = layout(length)?;
    // SAFETY: the layout is not of size 0.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}
