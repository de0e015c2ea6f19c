//! What can be told of a leaf page without the attribute section, in which the kinds of its entries are: names, and
//! which rows of that section it uses.

use super::page::{LeafPage, SegmentHead};
use crate::format::bits::BitReader;
use crate::format::bytes::ByteReader;
use crate::format::column::{Column, Streams};
use crate::format::frame::PageFrame;
use crate::format::page_dictionaries::PageDictionaries;
use crate::format::{Malformed, PAGE_SIZE, Parsed};

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
    /// The runs, in order; one that several segments have parts of is several.
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
    /// Parses a page whose checksum was found right, as far as that is possible; its frames refer to `dictionaries`.
    pub fn decode(page: &[u8; PAGE_SIZE], dictionaries: &PageDictionaries) -> Parsed<Self> {
        let page = LeafPage::open(Box::new(*page))?;
        let mut outline = Self {
            first_ordinal: page.first_ordinal,
            runs: Vec::new(),
            names: Vec::with_capacity(page.len()),
            rows: Vec::with_capacity(page.len()),
            symlinks: 0,
        };
        for head in page.heads() {
            outline.add(&page, head, dictionaries)?;
        }
        Ok(outline)
    }

    fn add(
        &mut self,
        page: &LeafPage,
        head: &SegmentHead,
        dictionaries: &PageDictionaries,
    ) -> Parsed<()> {
        let (count, first_ordinal) = (head.entries, head.first_ordinal);
        let stream = dictionaries.decode(PageFrame::Names, page.bytes(&head.names))?;
        let whole = dictionaries.decode(PageFrame::Control, page.bytes(&head.control))?;
        let (mut stream, mut control) = (stream.as_slice(), ByteReader::new(&whole));
        let mut path = Vec::new();
        let mut start = 0;
        for _ in 0..head.runs {
            let (rest, behind) = next_string(stream)?;
            stream = behind;
            let (head, number) = (control.varint()?, control.varint()?);
            let entries = usize::try_from(head >> 1).unwrap_or(usize::MAX);
            if entries > count - start {
                return Err(Malformed("runs have more entries than the leaf page"));
            }
            let parent = if head & 1 == 1 {
                path.clear();
                Err((first_ordinal.saturating_add(start as u64)).saturating_sub(number))
            } else {
                path = with_shared(&path, number, rest)?;
                Ok(path.clone())
            };
            start += entries;
            self.runs.push(OutlinedRun { entries, parent });
        }
        let shared = control.take(count)?;
        let mut name = Vec::new();
        for &shared in shared {
            let (rest, behind) = next_string(stream)?;
            stream = behind;
            name = with_shared(&name, shared.into(), rest)?;
            self.names.push(name.clone());
        }
        let bits = BitReader::new(page.bytes(&head.area));
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
        rows_column
            .for_each(&streams, count, |row| self.rows.push(row))
            .ok_or(Malformed("column value exceeds 64 bits"))?;
        // Each target ends with a NUL.
        self.symlinks += stream.split(|&byte| byte == 0).count() - 1;
        Ok(())
    }
}
