//! A request as the kernel puts it into the header, and where its answer goes.

#![expect(
    clippy::host_endian_bytes,
    reason = "kernel and process are on the same machine"
)]

use crate::native::fuse_ring::HEADER;

/// Bytes of an operation's own arguments.
const OWN: usize = 128;

/// Offsets in the header: of `struct fuse_in_header`, of an operation's own arguments, of what concerns the place.
const OPCODE: usize = 4;
const UNIQUE: usize = 8;
const INODE: usize = 16;
const USER: usize = 24;
const OWN_START: usize = 128;
const COMMIT: usize = 264;
const PAYLOAD_LENGTH: usize = 272;

/// Offsets in the answer's `struct fuse_out_header`, which takes the place of the request's.
const OUT_LENGTH: usize = 0;
const OUT_ERROR: usize = 4;
const OUT_UNIQUE: usize = 8;

/// Bytes of that header.
const OUT_HEADER: u32 = 16;

/// A request, but for what is in the payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    /// Which operation, as the kernel numbers them.
    pub(crate) opcode: u32,
    /// The request's number.
    unique: u64,
    /// The inode that it is about.
    pub(crate) inode: u64,
    /// The user who asks.
    pub(crate) user: u32,
    /// Bytes of the payload that belong to the request.
    pub(crate) payload: usize,
    /// The number to hand over the answer with.
    pub(crate) commit: u64,
    own: [u8; OWN],
}

impl Request {
    pub(crate) fn parse(header: &[u8; HEADER]) -> Self {
        let mut own = [0; OWN];
        for (to, from) in own.iter_mut().zip(header.iter().skip(OWN_START)) {
            *to = *from;
        }
        Self {
            opcode: u32_at(header, OPCODE),
            unique: u64_at(header, UNIQUE),
            inode: u64_at(header, INODE),
            user: u32_at(header, USER),
            payload: u32_at(header, PAYLOAD_LENGTH) as usize,
            commit: u64_at(header, COMMIT),
            own,
        }
    }

    /// A number of 32 bits among the operation's own arguments.
    pub(crate) fn own_u32(&self, offset: usize) -> u32 {
        u32_at(&self.own, offset)
    }

    /// A number of 64 bits among the operation's own arguments.
    pub(crate) fn own_u64(&self, offset: usize) -> u64 {
        u64_at(&self.own, offset)
    }

    /// Writes the header of the answer: the number of an error or none, and how much of the payload belongs to it.
    pub(crate) fn answer(&self, header: &mut [u8; HEADER], error: i32, payload: usize) {
        // A payload has at most 1 MiB.
        let payload = u32::try_from(payload).unwrap_or(0);
        put(header, OUT_LENGTH, &(OUT_HEADER + payload).to_ne_bytes());
        put(header, OUT_ERROR, &error.saturating_neg().to_ne_bytes());
        put(header, OUT_UNIQUE, &self.unique.to_ne_bytes());
        put(header, PAYLOAD_LENGTH, &payload.to_ne_bytes());
    }
}

/// Offsets are constants within the bytes; behind their end is nothing but 0.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let value = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    value.copied().map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let value = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    value.copied().map_or(0, u64::from_ne_bytes)
}

fn put(header: &mut [u8; HEADER], offset: usize, bytes: &[u8]) {
    let places = header.iter_mut().skip(offset);
    for (to, from) in places.zip(bytes) {
        *to = *from;
    }
}
