//! Takes things out of an image again: the index out of a volume.

pub mod index;
