//! Builds the inner pages level by level; what a level has to say of its pages waits in scratch space.

#![expect(
    clippy::cast_possible_truncation,
    reason = "separators have at most 1024 and 255 bytes, levels are at most 24"
)]

use crate::format::bytes::ByteReader;
use crate::format::inner::{InnerBuilder, Separator};
use crate::format::{MAX_LEVELS, PAGE_SIZE};
use crate::{Error, ErrorKind, Result};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::SpooledTempFile;

/// Descriptions of pages up to this many bytes wait in memory.
const IN_MEMORY: usize = 1 << 20;

/// Bytes of a description before its two strings.
const FIXED: usize = 28;

#[derive(Debug)]
struct Level {
    descriptions: BufWriter<SpooledTempFile>,
    pages: u64,
}

impl Level {
    fn new(scratch_dir: &Path) -> Self {
        let scratch = tempfile::spooled_tempfile_in(IN_MEMORY, scratch_dir);
        Self {
            descriptions: BufWriter::new(scratch),
            pages: 0,
        }
    }

    fn push(
        &mut self,
        number: u64,
        first_ordinal: u64,
        position: u64,
        separator: &Separator,
    ) -> std::io::Result<()> {
        for value in [number, first_ordinal, position] {
            self.descriptions.write_all(&value.to_le_bytes())?;
        }
        let path_length = separator.path.len() as u16;
        self.descriptions.write_all(&path_length.to_le_bytes())?;
        self.descriptions
            .write_all(&[u8::from(separator.cut), separator.name.len() as u8])?;
        self.descriptions.write_all(&separator.path)?;
        self.descriptions.write_all(&separator.name)?;
        self.pages += 1;
        Ok(())
    }
}

/// Receives leaf pages in order, and turns them into inner pages at the end.
#[derive(Debug)]
pub(crate) struct InnerLevels {
    leaves: Level,
    scratch_dir: PathBuf,
}

impl InnerLevels {
    pub(crate) fn new(scratch_dir: &Path) -> Self {
        Self {
            leaves: Level::new(scratch_dir),
            scratch_dir: scratch_dir.to_path_buf(),
        }
    }

    fn scratch_error(&self) -> impl Fn(std::io::Error) -> Error + use<> {
        let path = self.scratch_dir.clone();
        move |error| Error::io(&path, "write scratch data in", error)
    }

    /// Adds the next leaf page.
    pub(crate) fn push(
        &mut self,
        number: u64,
        first_ordinal: u64,
        position: u64,
        separator: &Separator,
    ) -> Result<()> {
        let failed = self.scratch_error();
        self.leaves
            .push(number, first_ordinal, position, separator)
            .map_err(failed)
    }

    /// Hands all inner pages to `write` with their numbers, which begin behind `leaf_pages`; returns how many
    /// pages and levels there are.
    pub(crate) fn finish(
        &mut self,
        leaf_pages: u64,
        write: &mut dyn FnMut(u64, [u8; PAGE_SIZE]) -> Result<()>,
    ) -> Result<(u64, u32)> {
        let failed = self.scratch_error();
        let mut below = std::mem::replace(&mut self.leaves, Level::new(&self.scratch_dir));
        let mut next_page = leaf_pages + 1;
        let mut level = 0u8;
        while below.pages > 1 {
            level += 1;
            if u32::from(level) > MAX_LEVELS {
                return Err(Error::new(ErrorKind::Limit, "index has too many levels"));
            }
            let mut above = Level::new(&self.scratch_dir);
            let mut builder = InnerBuilder::new(level);
            let mut first: Option<(u64, u64, Separator)> = None;
            let pages = below.pages;
            let mut scratch = below
                .descriptions
                .into_inner()
                .map_err(|error| failed(error.into_error()))?;
            scratch.seek(SeekFrom::Start(0)).map_err(&failed)?;
            let mut descriptions = BufReader::new(scratch);
            for _ in 0..pages {
                let (number, ordinal, position, separator) =
                    read_description(&mut descriptions).map_err(&failed)?;
                if !builder.push(number, ordinal, position, &separator) {
                    let page = builder.finish();
                    if let Some((ordinal, position, separator)) = first.take() {
                        above
                            .push(next_page, ordinal, position, &separator)
                            .map_err(&failed)?;
                    }
                    write(next_page, page)?;
                    next_page += 1;
                    builder.push(number, ordinal, position, &separator);
                }
                first.get_or_insert((ordinal, position, separator));
            }
            let page = builder.finish();
            if let Some((ordinal, position, separator)) = first.take() {
                above
                    .push(next_page, ordinal, position, &separator)
                    .map_err(&failed)?;
            }
            write(next_page, page)?;
            next_page += 1;
            below = above;
        }
        Ok((next_page - leaf_pages - 1, u32::from(level)))
    }
}

fn read_description(from: &mut impl Read) -> std::io::Result<(u64, u64, u64, Separator)> {
    let mut fixed = [0; FIXED];
    from.read_exact(&mut fixed)?;
    let mut reader = ByteReader::new(&fixed);
    let mut number = || reader.u64().map_err(|_| std::io::ErrorKind::InvalidData);
    let (page, ordinal, position) = (number()?, number()?, number()?);
    let [.., path_low, path_high, cut, name_length] = fixed;
    let mut path = vec![0; usize::from(u16::from_le_bytes([path_low, path_high]))];
    from.read_exact(&mut path)?;
    let mut name = vec![0; usize::from(name_length)];
    from.read_exact(&mut name)?;
    Ok((
        page,
        ordinal,
        position,
        Separator {
            path,
            cut: cut == 1,
            name,
        },
    ))
}
