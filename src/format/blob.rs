//! Blobs: extended attributes and long link targets, too large for a leaf page.

use super::bytes::ByteReader;
use super::checksum::{crc, crc_append};
use super::{MAX_BLOB, Malformed, Parsed};

/// Bytes before a blob's contents: checksum and length.
pub const BLOB_HEADER: usize = 8;

/// Kind of the section in the section table.
pub const SECTION: u32 = 3;

fn blob_crc(offset: u64, contents: &[u8]) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "blobs have at most 2^24 bytes"
    )]
    let length = contents.len() as u32;
    crc_append(
        crc_append(crc(&offset.to_le_bytes()), &length.to_le_bytes()),
        contents,
    )
}

/// Appends the blob of `contents` that will lie at `offset` of the section.
pub fn encode_into(offset: u64, contents: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&blob_crc(offset, contents).to_le_bytes());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "blobs have at most 2^24 bytes"
    )]
    out.extend_from_slice(&(contents.len() as u32).to_le_bytes());
    out.extend_from_slice(contents);
}

/// The length of the contents, from a blob's header.
pub fn length(header: &[u8; BLOB_HEADER]) -> Parsed<usize> {
    let mut reader = ByteReader::new(header);
    reader.u32()?;
    let length = reader.u32()? as usize;
    if length > MAX_BLOB {
        return Err(Malformed("blob is too long"));
    }
    Ok(length)
}

/// Checks the blob at `offset` of the section.
pub fn check(offset: u64, header: &[u8; BLOB_HEADER], contents: &[u8]) -> Parsed<()> {
    let stored = ByteReader::new(header).u32()?;
    if length(header)? != contents.len() || stored != blob_crc(offset, contents) {
        return Err(Malformed("blob checksum does not match"));
    }
    Ok(())
}

/// Extended attributes of one entry, sorted by name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Whether an extended attribute of this name is a POSIX ACL.
pub fn is_acl(name: &[u8]) -> bool {
    name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
}

/// The contents of the blob of `xattrs`, which must be sorted by name; `None` if a name or the whole is too long.
pub fn encode_xattrs(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut out = u16::try_from(xattrs.len()).ok()?.to_le_bytes().to_vec();
    for (name, value) in xattrs {
        out.push(u8::try_from(name.len()).ok()?);
        out.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    (out.len() <= MAX_BLOB).then_some(out)
}

/// The extended attributes in the contents of a blob.
pub fn decode_xattrs(contents: &[u8]) -> Parsed<Xattrs> {
    let mut reader = ByteReader::new(contents);
    let count = reader.u16()?;
    let mut xattrs = Xattrs::new();
    for _ in 0..count {
        let name_length = usize::from(reader.u8()?);
        let value_length = reader.u32()? as usize;
        let name = reader.take(name_length)?;
        let value = reader.take(value_length)?;
        if name.is_empty() || name.contains(&0) {
            return Err(Malformed("extended attribute has an impossible name"));
        }
        if xattrs
            .last()
            .is_some_and(|(before, _)| before.as_slice() >= name)
        {
            return Err(Malformed("extended attributes are not in order"));
        }
        xattrs.push((name.to_vec(), value.to_vec()));
    }
    if !reader.rest().is_empty() {
        return Err(Malformed(
            "extended attributes are followed by bytes that mean nothing",
        ));
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_bound_to_their_place() {
        let mut out = Vec::new();
        encode_into(40, b"target", &mut out);
        let header = *out.first_chunk::<BLOB_HEADER>().unwrap();
        assert_eq!(length(&header), Ok(6));
        assert_eq!(check(40, &header, b"target"), Ok(()));
        assert!(check(41, &header, b"target").is_err());
        assert!(check(40, &header, b"targex").is_err());
        assert!(check(40, &header, b"targe").is_err());
    }

    #[test]
    fn xattrs_round_trip_and_disorder_is_refused() {
        let xattrs = vec![
            (b"trusted.a".to_vec(), vec![]),
            (b"user.b".to_vec(), vec![0; 300]),
        ];
        let contents = encode_xattrs(&xattrs).unwrap();
        assert_eq!(decode_xattrs(&contents), Ok(xattrs.clone()));
        for cut in 0..contents.len() {
            assert!(decode_xattrs(&contents[..cut]).is_err(), "cut at {cut}");
        }
        let swapped: Xattrs = xattrs.into_iter().rev().collect();
        assert!(decode_xattrs(&encode_xattrs(&swapped).unwrap()).is_err());
    }
}
