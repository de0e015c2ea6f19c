//! Reads the contents of entries ahead in several threads and stores them in key order.
//!
//! # Overview
//! - an [`Entries`] yields entries in key order and says what is to be read for each ([`Work`]);
//! - worker threads take turns in filling a batch of them and then read its files, all at the same
//!   time ([`batch`], [`reading`]); a file larger than a batch, or with holes, is read
//!   in pieces, which are batches of their own ([`large`]);
//! - each worker compresses what it has read ([`compress`]), small files several in one frame ([`grouping`]), of which
//!   the storing thread leaves out what it has stored before ([`member_store`]);
//! - they take digests of it ([`digest`]), if files with equal contents are to share them, and leave uncompressed what
//!   another has in hand ([`claims`]);
//! - if files are to share chunks, those larger than one are cut by content ([`cutter`], [`cutting`]): by the worker that
//!   has all of a file, or by the storing thread, which has chunks of pieces prepared by further threads;
//! - [`store_contents`] receives the batches in the order in which they were filled ([`pipeline`]),
//!   appends the contents to the volumes and hands every entry back with its place.
//!
//! Entries move from hand to hand in batches, since two locks for each of them would cost as much as
//! reading a small file. What comes out does not depend on the number of threads.

mod batch;
mod claims;
mod compress;
mod cut_store;
mod cutter;
mod cutting;
mod digest;
mod exchange;
mod grouping;
mod large;
mod lengths;
mod member_store;
mod pipeline;
mod planned;
mod reading;
mod source;

pub use claims::Claims;
pub use compress::Codecs;
pub(in crate::build) use cutter::Cutter;
pub use cutting::Cutting;
pub use digest::Digest;
pub use lengths::Lengths;
pub use pipeline::{ContentOptions, Receiver, store_contents};
pub use planned::Planned;
pub use source::{Entries, OpenFile, Work};
