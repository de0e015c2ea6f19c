//! What safe crates do not offer: the only files of this crate with `unsafe` code, one for each purpose.
//!
//! Each of them is safe to use from outside, whatever its caller does; the reasons stand beside each use of `unsafe`.

#[cfg(feature = "mount")]
pub(crate) mod fuse_ring;
#[cfg(feature = "mount")]
#[cfg(test)]
mod fuse_ring_tests;
#[cfg(feature = "mount")]
pub(crate) mod page_cache;
pub(crate) mod prefix;
mod prefix_parameters;
pub(crate) mod training;
