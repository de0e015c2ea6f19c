//! What a mount promises beyond showing the tree: permissions, limits of the server, being part of other file
//! systems, and failing devices. Root and FUSE are needed for all of it.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot be prepared has failed, and one left out says so"
)]

#[macro_use]
#[path = "../mounting/mod.rs"]
mod mounting;

mod acls;
mod failing_disk;
mod faults;
mod handles;
mod overlay;
mod page_cache;
mod privileges;
mod sandbox;
mod users;
