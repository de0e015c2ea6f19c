//! The attribute section: (mode, uid, gid), shared by many entries.

use super::bytes::ByteReader;
use super::{MAX_ATTRIBUTES, Malformed, Parsed};
use crate::entry::Kind;

/// Bytes of a row of the section.
pub const ROW: usize = 12;

/// Kind of the section in the section table.
pub const SECTION: u32 = 1;

/// What a leaf page says of an entry by one small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `st_mode`, type bits included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Attributes {
    /// Appends the row.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.gid.to_le_bytes());
    }
}

/// Decodes a whole section; refuses modes that no kind of entry has.
pub fn decode(section: &[u8], rows: u64) -> Parsed<Vec<(Attributes, Kind)>> {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    if rows == 0 || rows > MAX_ATTRIBUTES || section.len() != rows * ROW {
        return Err(Malformed("attribute section has an impossible size"));
    }
    let mut reader = ByteReader::new(section);
    let mut table = Vec::with_capacity(rows);
    for _ in 0..rows {
        let row = Attributes {
            mode: reader.u32()?,
            uid: reader.u32()?,
            gid: reader.u32()?,
        };
        let kind = Kind::from_mode(row.mode)
            .filter(|_| row.mode <= 0o177_777)
            .ok_or(Malformed("attribute section has a mode of no known kind"))?;
        table.push((row, kind));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_and_odd_modes_are_refused() {
        let rows = [
            Attributes {
                mode: 0o100_644,
                uid: 0,
                gid: 7,
            },
            Attributes {
                mode: 0o041_777,
                uid: u32::MAX,
                gid: 1,
            },
        ];
        let mut section = Vec::new();
        for row in &rows {
            row.encode_into(&mut section);
        }
        let table = decode(&section, 2).unwrap();
        assert_eq!(table, [(rows[0], Kind::File), (rows[1], Kind::Directory)]);
        assert!(decode(&section, 1).is_err());
        assert!(decode(&section, u64::MAX).is_err());
        assert!(decode(&[], 0).is_err());
        for mode in [0o644, 0o030_644, 0o200_000 | 0o100_644] {
            let mut section = Vec::new();
            Attributes {
                mode,
                uid: 0,
                gid: 0,
            }
            .encode_into(&mut section);
            assert!(decode(&section, 1).is_err(), "{mode:o}");
        }
    }
}
