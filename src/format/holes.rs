//! Where the data of a file with holes lies: the contents of its hole map.

use super::bytes::{ByteReader, put_varint};
use super::{MAX_HOLE_SEGMENTS, Malformed, Parsed};
use std::ops::Range;

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Byte offset in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Bytes of data before it, which is where it lies in what is stored.
    pub stored_at: u64,
}

impl Segment {
    /// Offset in the file behind its last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The data segments of a file, in order and with holes between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HoleMap {
    segments: Vec<Segment>,
    size: u64,
}

impl HoleMap {
    /// The map of a file of `size` bytes that is one hole.
    pub fn empty(size: u64) -> Self {
        Self {
            segments: Vec::new(),
            size,
        }
    }

    /// The map of a file of `size` bytes without a hole.
    pub fn dense(size: u64) -> Self {
        let mut map = Self::empty(size);
        map.push(0, size);
        map
    }

    /// Adds `length` bytes of data at `offset`, which is not before the end of the last segment; data that
    /// follows at once lengthens that.
    pub fn push(&mut self, offset: u64, length: u64) {
        let (end, stored_at) = match self.segments.last_mut() {
            Some(last) if last.end() == offset => {
                last.length = last.length.saturating_add(length);
                return;
            }
            Some(last) => (last.end(), last.stored_at.saturating_add(last.length)),
            None => (0, 0),
        };
        if length > 0 && offset >= end {
            self.segments.push(Segment {
                offset,
                length,
                stored_at,
            });
        }
    }

    /// Turns holes of fewer than `least` bytes into data.
    pub fn fill_holes_below(&mut self, least: u64) {
        let old = std::mem::take(&mut self.segments);
        for segment in old {
            let end = self.segments.last().map_or(0, Segment::end);
            if segment.offset - end < least {
                self.push(end, segment.end() - end);
            } else {
                self.push(segment.offset, segment.length);
            }
        }
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes of data.
    pub fn data_length(&self) -> u64 {
        self.segments
            .last()
            .map_or(0, |last| last.stored_at.saturating_add(last.length))
    }

    /// The segments that have bytes in `range` of the file.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Segment> {
        let first = self
            .segments
            .partition_point(|segment| segment.end() <= range.start);
        self.segments
            .get(first..)
            .unwrap_or(&[])
            .iter()
            .take_while(move |segment| segment.offset < range.end)
    }

    /// The first byte of data at or behind `offset`; `None` if only a hole follows.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        let segment = self.overlapping(offset..u64::MAX).next()?;
        Some(segment.offset.max(offset))
    }

    /// The first byte in a hole at or behind `offset`; the end of the file counts as one. `None` behind it.
    pub fn next_hole(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let segment = self.overlapping(offset..offset + 1).next();
        Some(segment.map_or(offset, Segment::end))
    }

    /// The contents of the blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut end = 0;
        for segment in &self.segments {
            put_varint(&mut out, segment.offset - end);
            put_varint(&mut out, segment.length);
            end = segment.end();
        }
        out
    }

    /// Parses the contents of the blob of a file of `size` bytes, `hole_bytes` of them in holes.
    pub fn decode(contents: &[u8], size: u64, hole_bytes: u64) -> Parsed<Self> {
        let mut reader = ByteReader::new(contents);
        let mut map = Self::empty(size);
        let mut end = 0u64;
        while !reader.rest().is_empty() {
            let (gap, length) = (reader.varint()?, reader.varint()?);
            if length == 0 || gap == 0 && end > 0 || map.segments.len() >= MAX_HOLE_SEGMENTS {
                return Err(Malformed("hole map has impossible segments"));
            }
            let offset = end.checked_add(gap);
            end = offset
                .and_then(|offset| offset.checked_add(length))
                .filter(|&end| end <= size)
                .ok_or(Malformed("hole map goes beyond the end of the file"))?;
            map.push(end - length, length);
        }
        if Some(map.data_length()) != size.checked_sub(hole_bytes) {
            return Err(Malformed("hole map does not agree with the bytes of holes"));
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A map, and for each byte of the file whether it is data.
    fn map() -> impl Strategy<Value = (HoleMap, Vec<bool>)> {
        (
            prop::collection::vec((0usize..5, 1usize..5), 0..10),
            0usize..4,
        )
            .prop_map(|(parts, tail)| {
                let mut bytes = Vec::new();
                for (gap, length) in parts {
                    bytes.resize(bytes.len() + gap, false);
                    bytes.resize(bytes.len() + length, true);
                }
                bytes.resize(bytes.len() + tail, false);
                let mut map = HoleMap::empty(bytes.len() as u64);
                for (at, _) in bytes.iter().enumerate().filter(|(_, data)| **data) {
                    map.push(at as u64, 1);
                }
                (map, bytes)
            })
    }

    fn count(bytes: &[bool], wanted: bool) -> u64 {
        bytes.iter().filter(|&&data| data == wanted).count() as u64
    }

    proptest! {
        #[test]
        fn maps_round_trip_and_answer_as_the_bytes_do((map, bytes) in map()) {
            let size = bytes.len() as u64;
            let decoded = HoleMap::decode(&map.encode(), size, count(&bytes, false)).unwrap();
            prop_assert_eq!(&decoded, &map);
            prop_assert_eq!(map.data_length(), count(&bytes, true));
            prop_assert!(HoleMap::decode(&map.encode(), size, count(&bytes, false) + 1).is_err());
            for at in 0..bytes.len() + 2 {
                let find = |wanted| (at..bytes.len()).find(|&i| bytes[i] == wanted).map(|i| i as u64);
                prop_assert_eq!(map.next_data(at as u64), find(true));
                let end = (at < bytes.len()).then_some(size);
                prop_assert_eq!(map.next_hole(at as u64), find(false).or(end));
            }
            for segment in map.segments() {
                let before = usize::try_from(segment.offset).unwrap();
                prop_assert_eq!(segment.stored_at, count(&bytes[..before], true));
            }
        }

        #[test]
        fn small_holes_fill((map, mut bytes) in map(), least in 0u64..4) {
            let mut filled = map.clone();
            filled.fill_holes_below(least);
            let mut at = 0;
            while let Some(hole) = (at..bytes.len()).find(|&i| !bytes[i]) {
                let end = (hole..bytes.len()).find(|&i| bytes[i]).unwrap_or(bytes.len());
                if ((end - hole) as u64) < least && end < bytes.len() {
                    bytes[hole..end].fill(true);
                }
                at = end;
            }
            let mut expected = HoleMap::empty(bytes.len() as u64);
            for (at, _) in bytes.iter().enumerate().filter(|(_, data)| **data) {
                expected.push(at as u64, 1);
            }
            prop_assert_eq!(filled, expected);
        }
    }

    #[test]
    fn lies_are_refused() {
        let encode = |numbers: &[u64]| {
            let mut out = Vec::new();
            for &number in numbers {
                put_varint(&mut out, number);
            }
            out
        };
        assert!(HoleMap::decode(&encode(&[1, 4]), 10, 6).is_ok());
        for (numbers, size, holes) in [
            (&[1, 4][..], 4, 0),
            (&[1, 4, 0, 2], 10, 4),
            (&[1, 0], 10, 10),
            (&[1], 10, 10),
            (&[1, 4, 5], 10, 6),
            (&[u64::MAX, 4], 10, 6),
            (&[1, u64::MAX], 10, 6),
            (&[1, 4], 10, 5),
            (&[1, 4], 10, 11),
        ] {
            assert!(
                HoleMap::decode(&encode(numbers), size, holes).is_err(),
                "{numbers:?}"
            );
        }
    }
}
