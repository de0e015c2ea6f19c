//! Descriptors that a process in the background has of its caller, who did not mean to give them.

use std::os::fd::RawFd;

/// The first descriptor behind the standard ones.
const FIRST: RawFd = 3;

/// Closes every descriptor but the standard ones. To be called before this process opens any of its own, as those
/// would be closed as well.
///
/// Where `/proc` is not mounted nothing is closed.
pub(super) fn close() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = list
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor >= FIRST)
        .collect();
    for descriptor in open {
        // One of them was the list's own, which is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}
