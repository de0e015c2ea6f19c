//! First and last page of a data volume, and the section that lists the volumes.

use super::bytes::ByteReader;
use super::header::{check_features, check_seal, check_version, seal};
use super::{MAX_VOLUMES, Malformed, PAGE_BYTES, PAGE_SIZE, Parsed, Uuid, VERSION_MAJOR};

/// First bytes of a volume.
pub const HEADER_MAGIC: [u8; 8] = *b"\x89dgfv\r\n\x1a";

/// First bytes of the last page of a volume.
pub const TRAILER_MAGIC: [u8; 8] = *b"\x89dgft\r\n\x1a";

/// Kind of the section in the section table.
pub const SECTION: u32 = 2;

/// Bytes of a row of the section.
pub const ROW: usize = 16;

/// Minor version that volumes have carried since 1.2, the last that changed anything in them.
const MINOR: u16 = 2;

/// Which volume this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The image it belongs to.
    pub uuid: Uuid,
    /// Its number, from 0.
    pub number: u32,
    /// How many volumes the image has.
    pub count: u32,
}

/// Where the parts of a finished volume lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// Offset of the first byte behind the extents.
    pub extents_end: u64,
    /// Offset of the copy of the index; 0 if there is none.
    pub index_offset: u64,
    /// Length of the copy of the index.
    pub index_length: u64,
    /// Length of the file.
    pub file_length: u64,
}

fn encode(magic: [u8; 8], identity: &Identity, layout: &Layout) -> [u8; PAGE_SIZE] {
    let mut out = Vec::with_capacity(PAGE_SIZE);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&VERSION_MAJOR.to_le_bytes());
    out.extend_from_slice(&MINOR.to_le_bytes());
    out.extend_from_slice(&identity.number.to_le_bytes());
    out.extend_from_slice(&identity.count.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&0u64.to_le_bytes());
    out.extend_from_slice(&identity.uuid);
    for number in [
        layout.extents_end,
        layout.index_offset,
        layout.index_length,
        layout.file_length,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    seal(out)
}

fn decode(page: &[u8; PAGE_SIZE], magic: [u8; 8]) -> crate::Result<(Identity, Layout)> {
    let mut reader = ByteReader::new(page);
    if reader.take(magic.len())? != magic {
        return Err(crate::Error::new(
            crate::ErrorKind::NotAnImage,
            "not a dgfs volume",
        ));
    }
    let (major, minor) = (reader.u16()?, reader.u16()?);
    check_version(major, minor)?;
    check_seal(page)?;
    let (number, count) = (reader.u32()?, reader.u32()?);
    reader.u32()?;
    check_features(reader.u64()?)?;
    let uuid = reader.uuid()?;
    let layout = Layout {
        extents_end: reader.u64()?,
        index_offset: reader.u64()?,
        index_length: reader.u64()?,
        file_length: reader.u64()?,
    };
    if number >= count || count as usize > MAX_VOLUMES {
        return Err(Malformed("volume has an impossible number").into());
    }
    Ok((
        Identity {
            uuid,
            number,
            count,
        },
        layout,
    ))
}

/// The header page of a volume.
pub fn encode_header(identity: &Identity) -> [u8; PAGE_SIZE] {
    encode(HEADER_MAGIC, identity, &Layout::default())
}

/// The trailer page of a volume.
pub fn encode_trailer(identity: &Identity, layout: &Layout) -> [u8; PAGE_SIZE] {
    encode(TRAILER_MAGIC, identity, layout)
}

/// Parses the header page of a volume.
pub fn decode_header(page: &[u8; PAGE_SIZE]) -> crate::Result<Identity> {
    decode(page, HEADER_MAGIC).map(|(identity, _)| identity)
}

/// Parses the trailer page of a volume that is `file_length` bytes long.
pub fn decode_trailer(
    page: &[u8; PAGE_SIZE],
    file_length: u64,
) -> crate::Result<(Identity, Layout)> {
    let (identity, layout) = decode(page, TRAILER_MAGIC).map_err(|error| {
        if error.kind() == crate::ErrorKind::NotAnImage {
            crate::Error::corrupt("volume is truncated or was never finished: it has no trailer")
        } else {
            error
        }
    })?;
    let index_end = layout.index_offset.checked_add(layout.index_length);
    let has_index = layout.index_offset != 0 || layout.index_length != 0;
    if layout.file_length != file_length
        || layout.extents_end < PAGE_BYTES
        || layout.extents_end > file_length - PAGE_BYTES
        || has_index
            && (layout.index_offset < layout.extents_end
                || !layout.index_offset.is_multiple_of(PAGE_BYTES)
                || index_end.is_none_or(|end| end > file_length - PAGE_BYTES))
    {
        return Err(Malformed("volume trailer contradicts the length of the file").into());
    }
    Ok((identity, layout))
}

/// The positions that a volume covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Position of the first byte of its file.
    pub start: u64,
    /// Position behind its last extent.
    pub end: u64,
}

impl Span {
    /// Appends the row of the section.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
    }
}

/// Decodes the whole section; the spans join without a gap.
pub fn decode_spans(section: &[u8], rows: u64) -> Parsed<Vec<Span>> {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    if rows == 0 || rows > MAX_VOLUMES || section.len() != rows * ROW {
        return Err(Malformed("volume section has an impossible size"));
    }
    let mut reader = ByteReader::new(section);
    let mut spans = Vec::with_capacity(rows);
    let mut at = 0;
    for _ in 0..rows {
        let span = Span {
            start: reader.u64()?,
            end: reader.u64()?,
        };
        let length = span.end.checked_sub(span.start);
        if span.start != at || length.is_none_or(|l| l < PAGE_BYTES) || span.end >= 1 << 63 {
            return Err(Malformed("volume section has impossible positions"));
        }
        at = span.end;
        spans.push(span);
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        uuid: [9; 16],
        number: 1,
        count: 3,
    };
    const LAYOUT: Layout = Layout {
        extents_end: 5000,
        index_offset: 8192,
        index_length: 4096,
        file_length: 16384,
    };

    #[test]
    fn pages_round_trip_and_every_flipped_byte_is_noticed() {
        let header = encode_header(&IDENTITY);
        let trailer = encode_trailer(&IDENTITY, &LAYOUT);
        assert_eq!(decode_header(&header).unwrap(), IDENTITY);
        assert_eq!(decode_trailer(&trailer, 16384).unwrap(), (IDENTITY, LAYOUT));
        assert!(decode_header(&trailer).is_err());
        assert!(decode_trailer(&header, 16384).is_err());
        for at in 0..PAGE_SIZE {
            for page in [&header, &trailer] {
                let mut damaged = *page;
                damaged[at] ^= 0x10;
                assert!(decode_header(&damaged).is_err(), "byte {at}");
                assert!(decode_trailer(&damaged, 16384).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn refuses_layouts_outside_the_file() {
        let wrong = [
            Layout {
                file_length: 20480,
                ..LAYOUT
            },
            Layout {
                extents_end: 100,
                ..LAYOUT
            },
            Layout {
                extents_end: 16384,
                ..LAYOUT
            },
            Layout {
                index_offset: 4096,
                ..LAYOUT
            },
            Layout {
                index_offset: 8193,
                ..LAYOUT
            },
            Layout {
                index_length: u64::MAX,
                ..LAYOUT
            },
            Layout {
                index_length: 4097,
                ..LAYOUT
            },
        ];
        for layout in wrong {
            let page = encode_trailer(&IDENTITY, &layout);
            assert!(decode_trailer(&page, 16384).is_err(), "{layout:?}");
        }
    }

    #[test]
    fn spans_round_trip_and_gaps_are_refused() {
        let spans = [
            Span {
                start: 0,
                end: 5000,
            },
            Span {
                start: 5000,
                end: 9096,
            },
        ];
        let mut section = Vec::new();
        for span in &spans {
            span.encode_into(&mut section);
        }
        assert_eq!(decode_spans(&section, 2).unwrap(), spans);
        section[16] ^= 1;
        assert!(decode_spans(&section, 2).is_err());
        assert!(decode_spans(&section[..16], 1 << 40).is_err());
    }
}
