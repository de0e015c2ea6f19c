//! Not in the file itself, since `benches/null_file_system` compiles that, too.

#![expect(
    unsafe_code,
    reason = "a test pushes commands that the ring has to refuse"
)]

use super::fuse_ring::{HEADER, Place, REGISTER};
use io_uring::{opcode, types};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// A place, unless this system has no `io_uring`.
fn place(test: &str) -> Option<Place> {
    let place = Place::new(1, 8192);
    if let Err(error) = &place {
        println!("SKIPPED {test}: no io_uring: {error}");
    }
    place.ok()
}

#[test]
fn what_is_no_fuse_device_is_refused_and_the_memory_given_back() {
    let test = "what_is_no_fuse_device_is_refused_and_the_memory_given_back";
    let Some(mut place) = place(test) else {
        return;
    };
    let device = tempfile::tempfile().unwrap();
    assert!(place.register(device.as_fd()).is_err());
    let (header, payload) = place.contents().unwrap();
    assert_eq!((header.len(), payload.len()), (HEADER, 8192));
    assert!(payload.iter().all(|byte| *byte == 0));
}

#[test]
fn a_request_is_answered_once() {
    let Some(mut place) = place("a_request_is_answered_once") else {
        return;
    };
    place.answer(7).unwrap();
    assert!(place.contents().is_none(), "it is the kernel's");
    assert!(place.answer(7).is_err());
}

#[test]
fn a_ring_takes_nothing_but_commands_for_its_device() {
    let Some(mut place) = place("a_ring_takes_nothing_but_commands_for_its_device") else {
        return;
    };
    let device = File::open("/dev/null").unwrap();
    place.limit(device.as_fd()).unwrap();
    let other = types::Fd(device.as_raw_fd());
    let entries = [
        opcode::Nop::new().build().into(),
        opcode::Close::new(other).build().into(),
        opcode::UringCmd80::new(other, REGISTER).build(),
    ];
    for entry in entries {
        // SAFETY: none of these uses any memory.
        unsafe { place.ring.submission().push(&entry).unwrap() };
        place.ring.submit_and_wait(1).unwrap();
        let refused = place.ring.completion().next().map(|entry| entry.result());
        assert_eq!(refused, Some(-Errno::ACCESS.raw_os_error()));
    }
    assert!(place.ring.submitter().register_files(&[]).is_err());
}
