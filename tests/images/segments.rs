//! Leaf pages taken apart into their segments, and put together again with other numbers.

use dgfs::format::PAGE_SIZE;
use dgfs::format::bytes::{ByteReader, put_varint};

/// Where the segments of a page begin.
const FIRST: usize = 24;

/// What a page says of a segment, and what lies behind that.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentBytes {
    pub(crate) entries: u64,
    pub(crate) runs: u64,
    /// Lengths of the names frame, the control frame and the bit area.
    pub(crate) names: u64,
    pub(crate) control: u64,
    pub(crate) area: u64,
    pub(crate) present: u64,
    pub(crate) step: u64,
    /// Length of the separator.
    pub(crate) length: u64,
    pub(crate) separator: Vec<u8>,
    /// Frames and bit area.
    pub(crate) bytes: Vec<u8>,
}

impl SegmentBytes {
    fn read(reader: &mut ByteReader<'_>) -> Self {
        let mut number = || reader.varint().unwrap();
        let mut segment = Self {
            entries: number(),
            runs: number(),
            names: number(),
            control: number(),
            area: number(),
            present: number(),
            step: number(),
            length: number(),
            ..Self::default()
        };
        let mut take = |length| reader.take(length as usize).unwrap().to_vec();
        segment.separator = take(segment.length);
        segment.bytes = take(segment.names + segment.control + segment.area);
        segment
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [
            self.entries,
            self.runs,
            self.names,
            self.control,
            self.area,
            self.present,
            self.step,
            self.length,
        ] {
            put_varint(out, number);
        }
        out.extend_from_slice(&self.separator);
        out.extend_from_slice(&self.bytes);
    }

    /// Bytes of the page that it takes.
    pub(crate) fn size(&self) -> usize {
        let mut out = Vec::new();
        self.write(&mut out);
        out.len()
    }

    /// Puts another separator in, with its length.
    pub(crate) fn separate(&mut self, name: &[u8]) {
        self.separator = name.to_vec();
        self.length = name.len() as u64;
    }
}

/// Has `change` alter the segments of a page. The number of segments stays what the page says of it.
pub(crate) fn change(page: &mut [u8; PAGE_SIZE], change: impl FnOnce(&mut Vec<SegmentBytes>)) {
    let mut reader = ByteReader::new(&page[FIRST..]);
    let segments = (0..page[5]).map(|_| SegmentBytes::read(&mut reader));
    let mut segments = segments.collect();
    change(&mut segments);
    put(page, FIRST, |out| {
        for segment in &segments {
            segment.write(out);
        }
    });
}

/// Makes a page of one segment one as of version 1.4.
pub(crate) fn make_sole(page: &mut [u8; PAGE_SIZE]) {
    let segment = SegmentBytes::read(&mut ByteReader::new(&page[FIRST..]));
    assert_eq!(page[5], 1, "only one segment can be all of a page");
    page[5] = 0;
    put(page, FIRST, |out| {
        out.extend_from_slice(&(segment.present as u32).to_le_bytes());
        for number in [segment.runs, segment.names, segment.control, 0] {
            out.extend_from_slice(&(number as u16).to_le_bytes());
        }
        out.extend_from_slice(&segment.bytes);
    });
}

/// Writes what `fill` makes from byte `at` of a page on, and zeros behind that.
fn put(page: &mut [u8; PAGE_SIZE], at: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    fill(&mut bytes);
    let (filled, rest) = page[at..].split_at_mut(bytes.len());
    filled.copy_from_slice(&bytes);
    rest.fill(0);
}
