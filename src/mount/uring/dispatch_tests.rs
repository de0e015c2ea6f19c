//! Requests as bytes, whatever they hold.

#![expect(
    clippy::host_endian_bytes,
    reason = "kernel and process are on the same machine"
)]

use super::*;
use crate::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
use crate::entry::{Kind, Metadata};
use crate::fs::{Options, PackFs};
use crate::mount::counters::Counters;
use crate::mount::faults::Faults;
use crate::read::Image;
use proptest::prelude::*;
use std::sync::Arc;

const EVERYBODY: Access = Access {
    acl: SessionACL::All,
    owner: 0,
};

/// Answers from an image of one file.
fn answers() -> (tempfile::TempDir, Answers) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("image");
    let mut builder = Builder::new(&path, BuildOptions::default()).unwrap();
    builder
        .add(NewEntry {
            path: b"directory/file",
            metadata: Metadata::new(Kind::File, 0o640),
            contents: Contents::Bytes(b"contents"),
            target: b"",
            identity: None,
        })
        .unwrap();
    builder.finish(&mut LogObserver).unwrap();
    let image = Arc::new(Image::open(&path).unwrap());
    let fs = PackFs::new(image, Options::default()).unwrap();
    let counters = Arc::new(Counters::new());
    let faults = Arc::new(Faults::new());
    (scratch, Answers::new(fs, counters, faults, None))
}

/// A request's header.
fn header(opcode: u32, inode: u64, user: u32, own: &[u64], payload: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(4, &opcode.to_ne_bytes());
    put(8, &77u64.to_ne_bytes());
    put(16, &inode.to_ne_bytes());
    put(24, &user.to_ne_bytes());
    for (place, value) in own.iter().enumerate() {
        put(128 + place * 8, &value.to_ne_bytes());
    }
    put(264, &99u64.to_ne_bytes());
    put(272, &payload.to_ne_bytes());
    header
}

/// What comes of a request: the error number, and the payload of the answer.
fn ask(
    answers: &Answers,
    access: Access,
    mut header: [u8; HEADER],
    payload: &mut [u8],
) -> (i32, Vec<u8>) {
    let commit = answer(answers, access, &mut header, payload, &mut Vec::new());
    assert_eq!(commit, 99);
    assert_eq!(header[8..16], 77u64.to_ne_bytes());
    let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    let length = number(272);
    assert_eq!(number(0), length + 16);
    (number(4).cast_signed(), payload[..length as usize].to_vec())
}

fn looked_up(answers: &Answers, parent: u64, name: &[u8]) -> u64 {
    let length = u32::try_from(name.len()).unwrap();
    let mut payload = vec![0; 8192];
    payload[..name.len()].copy_from_slice(name);
    let header = header(1, parent, 0, &[], length + 1);
    let (error, entry) = ask(answers, EVERYBODY, header, &mut payload);
    assert_eq!((error, entry.len()), (0, 128));
    u64::from_ne_bytes(entry[..8].try_into().unwrap())
}

#[test]
fn requests_are_found_in_their_bytes() {
    let (_scratch, answers) = answers();
    let directory = looked_up(&answers, 1, b"directory");
    let file = looked_up(&answers, directory, b"file");
    assert_eq!(looked_up(&answers, directory, b"fil"), 0, "no such entry");
    let mut payload = vec![0; 8192];
    let mut ask = |opcode, inode, own: &[u64]| {
        let header = header(opcode, inode, 0, own, 0);
        ask(&answers, EVERYBODY, header, &mut payload)
    };
    assert_eq!(ask(15, file, &[0, 3, 100]), (0, b"tents".to_vec()));
    assert_eq!(ask(15, file, &[0, 3, 2]), (0, b"te".to_vec()));
    let (error, attributes) = ask(3, file, &[]);
    assert_eq!((error, attributes.len()), (0, 104));
    assert_eq!(attributes[24..32], 8u64.to_ne_bytes());
    assert_eq!(attributes[16 + 60..16 + 64], 0o100_640u32.to_ne_bytes());
    assert_eq!(ask(17, 1, &[]).1.len(), 80);
    let (_, names) = ask(28, directory, &[0, 0, 4096]);
    assert_eq!(names.len(), 32 + 32 + 32);
    assert_eq!(&names[64 + 24..64 + 28], b"file");
    assert_eq!(ask(28, directory, &[0, 0, 64]).1.len(), 64, "no room");
    assert_eq!(ask(44, directory, &[0, 0, 4096]).1.len(), 3 * (128 + 32));
    assert_eq!(ask(16, file, &[]), (-30, Vec::new()), "EROFS");
    assert_eq!(ask(39, file, &[]), (-25, Vec::new()), "ENOTTY");
    assert_eq!(ask(9999, file, &[]), (-38, Vec::new()), "ENOSYS");
    assert_eq!(ask(15, 12345, &[0, 0, 10]).0, -2, "ENOENT");
}

#[test]
fn only_those_who_may_are_answered() {
    let (_scratch, answers) = answers();
    let cases = [
        (SessionACL::All, 5, true),
        (SessionACL::Owner, 7, true),
        (SessionACL::Owner, 0, false),
        (SessionACL::RootAndOwner, 0, true),
        (SessionACL::RootAndOwner, 7, true),
        (SessionACL::RootAndOwner, 5, false),
    ];
    for (acl, user, is_admitted) in cases {
        let access = Access { acl, owner: 7 };
        let mut payload = vec![0; 8192];
        let (error, _) = ask(&answers, access, header(3, 1, user, &[], 0), &mut payload);
        assert_eq!(error == 0, is_admitted, "{acl:?} and user {user}");
        assert!(is_admitted || error == -13, "{error}");
        // What the kernel reads ahead is in nobody's name.
        let read = header(44, 1, user, &[0, 0, 4096], 0);
        assert_eq!(ask(&answers, access, read, &mut payload).0, 0);
    }
}

#[test]
fn whatever_comes_is_answered() {
    let (_scratch, answers) = answers();
    proptest!(|(
        opcode in 0u32..60,
        inode in prop_oneof![0u64..6, any::<u64>()],
        own in proptest::collection::vec(any::<u64>(), 16),
        name in proptest::collection::vec(any::<u8>(), 0..400),
        length in prop_oneof![0u32..400, any::<u32>()],
        room in prop_oneof![Just(8192usize), 0usize..400],
    )| {
        let mut payload = vec![0; room];
        let given = name.len().min(room);
        payload[..given].copy_from_slice(&name[..given]);
        let header = header(opcode, inode, 0, &own, length);
        let (error, answer) = ask(&answers, EVERYBODY, header, &mut payload);
        prop_assert!((-4095..=0).contains(&error));
        prop_assert!(answer.len() <= room);
        prop_assert!(error == 0 || answer.is_empty());
    });
}
