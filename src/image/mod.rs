//! The files that make up an image: their names, and how their common UUID is written.
//!
//! # Overview
//! - [`volume_path`] and [`pending_path`] name the parts, finished and not yet published;
//! - [`pending_beside`] and [`parts_beside`] find parts in a directory;
//! - [`random_uuid`], [`format_uuid`] and [`parse_uuid`] make, write and read the identity that all
//!   parts of an image share.

mod names;
mod uuid;

pub(crate) use names::directory_of;
pub use names::{Part, parts_beside, pending_beside, pending_path, volume_path};
pub use uuid::{format_uuid, parse_uuid, random_uuid};
