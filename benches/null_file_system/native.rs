//! The memory that requests come in, the same code as in dgfs.

#[path = "../../src/native/fuse_ring.rs"]
pub(crate) mod fuse_ring;
