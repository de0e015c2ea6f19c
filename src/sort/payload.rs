//! What a record holds besides its key, as scratch bytes.

use super::varint::{put, take, take_len};
use super::{Content, Record};
use crate::entry::{OtherTimes, Timestamp};

const CONTENT_MASK: u8 = 0b11;
const CONTENT_NONE: u8 = 0;
const CONTENT_TREE: u8 = 1;
const CONTENT_SPOOL: u8 = 2;
const CONTENT_IMPLIED: u8 = 3;
const HAS_IDENTITY: u8 = 1 << 2;
const HAS_XATTRS: u8 = 1 << 3;
const HAS_TARGET: u8 = 1 << 4;
const HAS_MORE: u8 = 1 << 5;
const HAS_SIZE: u8 = 1 << 6;
const HAS_NANOSECONDS: u8 = 1 << 7;

/// Flags in a second byte, for what few entries have.
const HAS_RDEV: u8 = 1 << 0;
const HAS_HOLES: u8 = 1 << 1;
const HAS_TIMES: u8 = 1 << 2;
const HAS_BIRTH: u8 = 1 << 3;

/// Appends the payload of `record`.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) {
    let metadata = &record.metadata;
    let content = match record.content {
        Content::None => CONTENT_NONE,
        Content::Tree => CONTENT_TREE,
        Content::Spool { .. } => CONTENT_SPOOL,
        Content::ImpliedDirectory => CONTENT_IMPLIED,
    };
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let times = metadata.other_times;
    let more = flag(metadata.rdev != 0, HAS_RDEV)
        | flag(record.holes_hint != 0, HAS_HOLES)
        | flag(times.is_some(), HAS_TIMES)
        | flag(times.is_some_and(|times| times.btime.is_some()), HAS_BIRTH);
    out.push(
        content
            | flag(record.identity.is_some(), HAS_IDENTITY)
            | flag(!metadata.xattrs.is_empty(), HAS_XATTRS)
            | flag(!record.target.is_empty(), HAS_TARGET)
            | flag(more != 0, HAS_MORE)
            | flag(record.size != 0, HAS_SIZE)
            | flag(metadata.mtime.nanoseconds != 0, HAS_NANOSECONDS),
    );
    if more != 0 {
        out.push(more);
    }
    put(u64::from(metadata.mode), out);
    put(u64::from(metadata.uid), out);
    put(u64::from(metadata.gid), out);
    put(zigzag(metadata.mtime.seconds), out);
    if metadata.mtime.nanoseconds != 0 {
        put(u64::from(metadata.mtime.nanoseconds), out);
    }
    if record.size != 0 {
        put(record.size, out);
    }
    if metadata.rdev != 0 {
        put(metadata.rdev, out);
    }
    if record.holes_hint != 0 {
        put(record.holes_hint, out);
    }
    if let Some(times) = times {
        put_time(times.atime, out);
        put_time(times.ctime, out);
        if let Some(birth) = times.btime {
            put_time(birth, out);
        }
    }
    if let Content::Spool { offset } = record.content {
        put(offset, out);
    }
    if let Some((device, inode)) = record.identity {
        put(device, out);
        put(inode, out);
    }
    if !record.target.is_empty() {
        put_bytes(&record.target, out);
    }
    if !metadata.xattrs.is_empty() {
        put(metadata.xattrs.len() as u64, out);
        for (name, value) in &metadata.xattrs {
            put_bytes(name, out);
            put_bytes(value, out);
        }
    }
}

/// Fills everything but the key of `into`; `None` if `bytes` are not what [`encode`] wrote.
pub(super) fn decode(mut bytes: &[u8], into: &mut Record) -> Option<()> {
    let bytes = &mut bytes;
    let (&flags, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut more = 0;
    if flags & HAS_MORE != 0 {
        let (&second, rest) = bytes.split_first()?;
        (more, *bytes) = (second, rest);
    }
    let optional = |present: bool, bytes: &mut &[u8]| {
        if present { take(bytes) } else { Some(0) }
    };
    let metadata = &mut into.metadata;
    metadata.mode = take_u32(bytes)?;
    metadata.uid = take_u32(bytes)?;
    metadata.gid = take_u32(bytes)?;
    metadata.mtime = Timestamp {
        seconds: unzigzag(take(bytes)?),
        nanoseconds: u32::try_from(optional(flags & HAS_NANOSECONDS != 0, bytes)?).ok()?,
    };
    into.size = optional(flags & HAS_SIZE != 0, bytes)?;
    metadata.rdev = optional(more & HAS_RDEV != 0, bytes)?;
    into.holes_hint = optional(more & HAS_HOLES != 0, bytes)?;
    metadata.other_times = if more & HAS_TIMES == 0 {
        None
    } else {
        Some(OtherTimes {
            atime: take_time(bytes)?,
            ctime: take_time(bytes)?,
            btime: if more & HAS_BIRTH == 0 {
                None
            } else {
                Some(take_time(bytes)?)
            },
        })
    };
    into.content = match flags & CONTENT_MASK {
        CONTENT_NONE => Content::None,
        CONTENT_TREE => Content::Tree,
        CONTENT_SPOOL => Content::Spool {
            offset: take(bytes)?,
        },
        _ => Content::ImpliedDirectory,
    };
    into.identity = if flags & HAS_IDENTITY == 0 {
        None
    } else {
        Some((take(bytes)?, take(bytes)?))
    };
    into.target.clear();
    if flags & HAS_TARGET != 0 {
        into.target.extend_from_slice(take_bytes(bytes)?);
    }
    metadata.xattrs.clear();
    if flags & HAS_XATTRS != 0 {
        for _ in 0..take(bytes)? {
            let name = take_bytes(bytes)?.to_vec();
            metadata.xattrs.push((name, take_bytes(bytes)?.to_vec()));
        }
    }
    bytes.is_empty().then_some(())
}

/// Folds the sign into the lowest bit, so that times before 1970 stay short.
fn zigzag(value: i64) -> u64 {
    let folded = (value << 1) ^ (value >> 63);
    u64::from_le_bytes(folded.to_le_bytes())
}

fn unzigzag(value: u64) -> i64 {
    let unsigned = (value >> 1) ^ (value & 1).wrapping_neg();
    i64::from_le_bytes(unsigned.to_le_bytes())
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes)?).ok()
}

fn put_time(time: Timestamp, out: &mut Vec<u8>) {
    put(zigzag(time.seconds), out);
    put(u64::from(time.nanoseconds), out);
}

fn take_time(bytes: &mut &[u8]) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: unzigzag(take(bytes)?),
        nanoseconds: take_u32(bytes)?,
    })
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_len(bytes)?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Metadata};
    use proptest::prelude::*;

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![
            Just(Content::None),
            Just(Content::Tree),
            any::<u64>().prop_map(|offset| Content::Spool { offset }),
            Just(Content::ImpliedDirectory),
        ]
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), any::<u32>()).prop_map(|(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        })
    }

    prop_compose! {
        fn other_times()(
            atime in time(), ctime in time(), btime in prop::option::of(time()),
        ) -> OtherTimes {
            OtherTimes { atime, ctime, btime }
        }
    }

    prop_compose! {
        fn record()(
            numbers: [u32; 4], seconds: i64, rdev: u64, size: u64, zero in 0u8..16,
            identity: Option<(u64, u64)>, target: Vec<u8>, content in content(),
            xattrs in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..3),
            other_times in prop::option::of(other_times()), holes_hint: u64,
        ) -> Record {
            let unless = |bit: u8, value: u64| if zero & bit == 0 { value } else { 0 };
            Record {
                parent: b"p".to_vec(),
                name: b"n".to_vec(),
                metadata: Metadata {
                    mode: numbers[0],
                    uid: numbers[1],
                    gid: numbers[2],
                    mtime: Timestamp {
                        seconds,
                        nanoseconds: if zero & 1 == 0 { numbers[3] } else { 0 },
                    },
                    other_times,
                    rdev: unless(2, rdev),
                    xattrs,
                },
                size: unless(4, size),
                holes_hint: unless(8, holes_hint),
                target,
                identity,
                content,
            }
        }
    }

    proptest! {
        #[test]
        fn payloads_round_trip_over_any_former_record(a in record(), mut into in record()) {
            let mut bytes = Vec::new();
            encode(&a, &mut bytes);
            prop_assert_eq!(decode(&bytes, &mut into), Some(()));
            prop_assert_eq!(&into, &a);
            for cut in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..cut], &mut into), None);
            }
        }
    }

    #[test]
    fn a_plain_file_is_short() {
        let mut record = Record {
            parent: Vec::new(),
            name: Vec::new(),
            metadata: Metadata::new(Kind::File, 0o644),
            size: 1000,
            holes_hint: 0,
            target: Vec::new(),
            identity: None,
            content: Content::Tree,
        };
        record.metadata.mtime.seconds = 1_700_000_000;
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        assert_eq!(bytes.len(), 13);
    }
}
