//! What can be told of a leaf page without the attribute section, in which the kinds of its entries are: names, and
//! which rows of that section it uses.

use crate::format::bits::BitReader;
use crate::format::bytes::ByteReader;
use crate::format::column::{Column, Streams};
use crate::format::{MAX_LEAF_ENTRIES, Malformed, PAGE_SIZE, Parsed, frame};

/// A run in an outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlinedRun {
    /// Entries of the run in the page.
    pub entries: usize,
    /// Path of the directory, or its ordinal.
    pub parent: Result<Vec<u8>, u64>,
}

/// What can be told of a page without the attribute section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Ordinal of the first entry.
    pub first_ordinal: u64,
    /// The runs, in order.
    pub runs: Vec<OutlinedRun>,
    /// Name of each entry.
    pub names: Vec<Vec<u8>>,
    /// Row of the attribute section of each entry.
    pub rows: Vec<u64>,
    /// How many of the entries are symbolic links.
    pub symlinks: usize,
}

/// The bytes before the next NUL, and those behind it.
fn next_string(stream: &[u8]) -> Parsed<(&[u8], &[u8])> {
    let end = stream.iter().position(|&byte| byte == 0);
    let end = end.ok_or(Malformed("names stream ends early"))?;
    let (string, rest) = stream.split_at(end);
    Ok((string, rest.get(1..).unwrap_or(&[])))
}

/// The string that begins with the first `shared` bytes of `before`.
fn with_shared(before: &[u8], shared: u64, rest: &[u8]) -> Parsed<Vec<u8>> {
    let shared = usize::try_from(shared).ok().and_then(|s| before.get(..s));
    let shared = shared.ok_or(Malformed(
        "string shares more bytes than the one before has",
    ))?;
    Ok([shared, rest].concat())
}

impl Outline {
    /// Parses a page whose checksum was found right, as far as that is possible.
    pub fn decode(page: &[u8; PAGE_SIZE]) -> Parsed<Self> {
        let mut reader = ByteReader::new(page);
        reader.take(4)?;
        if reader.u16()? != 0 {
            return Err(Malformed("not a leaf page"));
        }
        let count = usize::from(reader.u16()?);
        let first_ordinal = reader.u64()?;
        reader.take(12)?;
        let run_count = usize::from(reader.u16()?);
        let names_length = usize::from(reader.u16()?);
        let control_length = usize::from(reader.u16()?);
        reader.u16()?;
        if count == 0 || count > MAX_LEAF_ENTRIES || run_count > count {
            return Err(Malformed("leaf page has an impossible number of entries"));
        }
        let (mut stream, mut whole) = (Vec::new(), Vec::new());
        frame::decode(reader.take(names_length)?, &mut stream)?;
        frame::decode(reader.take(control_length)?, &mut whole)?;
        let (mut stream, mut control) = (stream.as_slice(), ByteReader::new(&whole));
        let mut runs: Vec<OutlinedRun> = Vec::with_capacity(run_count);
        let mut path = Vec::new();
        let mut start = 0;
        for _ in 0..run_count {
            let (rest, behind) = next_string(stream)?;
            stream = behind;
            let (head, number) = (control.varint()?, control.varint()?);
            let entries = usize::try_from(head >> 1).unwrap_or(usize::MAX);
            if entries > count - start {
                return Err(Malformed("runs have more entries than the page"));
            }
            let parent = if head & 1 == 1 {
                path.clear();
                Err((first_ordinal.saturating_add(start as u64)).saturating_sub(number))
            } else {
                path = with_shared(&path, number, rest)?;
                Ok(path.clone())
            };
            start += entries;
            runs.push(OutlinedRun { entries, parent });
        }
        let shared = control.take(count)?;
        let mut names = Vec::with_capacity(count);
        let mut name = Vec::new();
        for &shared in shared {
            let (rest, behind) = next_string(stream)?;
            stream = behind;
            name = with_shared(&name, shared.into(), rest)?;
            names.push(name.clone());
        }
        let bits = BitReader::new(reader.rest());
        let (mut at, mut dictionaries) = (0, Vec::new());
        let rows_column = Column::locate(
            count,
            &whole,
            &mut control,
            bits,
            &mut at,
            &mut dictionaries,
        )?;
        let streams = Streams {
            control: &whole,
            bits,
            dictionaries: &dictionaries,
        };
        let mut rows = Vec::with_capacity(count);
        rows_column
            .for_each(&streams, count, |row| rows.push(row))
            .ok_or(Malformed("column value exceeds 64 bits"))?;
        Ok(Self {
            first_ordinal,
            runs,
            names,
            rows,
            // Each target ends with a NUL.
            symlinks: stream.split(|&byte| byte == 0).count() - 1,
        })
    }
}
