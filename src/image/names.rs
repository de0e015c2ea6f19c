//! The names of the parts of an image.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::uuid;
use crate::format::{MAX_VOLUMES, Uuid};
use crate::{Error, Result};

/// What pending names end with.
const PENDING_SUFFIX: &[u8] = b".part";

/// Hex digits of the UUID in a pending name.
const TAG_DIGITS: usize = 8;

/// A part of an image found by its name alone; nothing of the file was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Where it lies now.
    pub path: PathBuf,
    /// Number of the volume; `None` for the index.
    pub volume: Option<u32>,
    /// Whether this is its pending name.
    pub pending: bool,
}

/// Where volume `number` of the image with this index lies unless it was put elsewhere:
/// `IMAGE.data`, then `IMAGE.data.1` and so on.
pub fn volume_path(index: &Path, number: u32) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(".data");
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// The name that the part with final name `path` carries until the image `uuid` is published: `path`, the tag of
/// the image, and `part`, with dots between them.
pub fn pending_path(path: &Path, uuid: &Uuid) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", uuid::tag(uuid)));
    name.push(OsStr::from_bytes(PENDING_SUFFIX));
    name.into()
}

/// The files beside `path` that have a pending name for it, sorted by name. A directory that does
/// not exist holds none.
pub fn pending_beside(path: &Path) -> Result<Vec<PathBuf>> {
    let Some(name) = path.file_name() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for_each_name(directory_of(path), |other| {
        if split_pending(other).is_some_and(|base| base == name.as_bytes()) {
            found.push(sibling(path, other));
        }
    })?;
    found.sort();
    Ok(found)
}

/// The files beside `index` whose names make them parts of its image, finished or pending, sorted
/// by name. Volumes that were put elsewhere are not among them.
pub fn parts_beside(index: &Path) -> Result<Vec<Part>> {
    let Some(name) = index.file_name() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for_each_name(directory_of(index), |other| {
        let pending = split_pending(other);
        let base = pending.unwrap_or(other);
        let Some(rest) = base.strip_prefix(name.as_bytes()) else {
            return;
        };
        let volume = if rest.is_empty() {
            None
        } else if let Some(number) = volume_number(rest) {
            Some(number)
        } else {
            return;
        };
        found.push(Part {
            path: sibling(index, other),
            volume,
            pending: pending.is_some(),
        });
    })?;
    found.sort();
    Ok(found)
}

/// The number that `.data` or `.data.N` stands for.
fn volume_number(suffix: &[u8]) -> Option<u32> {
    let rest = suffix.strip_prefix(b".data")?;
    if rest.is_empty() {
        return Some(0);
    }
    let digits = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let number: u32 = digits.parse().ok()?;
    // Only the form that `volume_path` writes: no sign, no leading zero.
    (number > 0 && (number as usize) < MAX_VOLUMES && digits == number.to_string())
        .then_some(number)
}

/// The final name that a pending name was made from; `None` if it is no pending name.
fn split_pending(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_suffix(PENDING_SUFFIX)?;
    let (base, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_DIGITS + 1)?)?;
    let digits = tag.strip_prefix(b".")?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (!base.is_empty() && digits.iter().all(is_hex)).then_some(base)
}

/// The directory that `path` lies in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sibling(path: &Path, name: &[u8]) -> PathBuf {
    path.with_file_name(OsString::from_vec(name.to_vec()))
}

fn for_each_name(directory: &Path, mut visit: impl FnMut(&[u8])) -> Result<()> {
    let failed = |e| Error::io(directory, "list this directory", e);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    for entry in entries {
        visit(entry.map_err(failed)?.file_name().as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = *b"\xab\xcd\x01\x23............";

    #[test]
    fn names_follow_the_format() {
        let index = Path::new("d/photos.dgfs");
        assert_eq!(volume_path(index, 0), Path::new("d/photos.dgfs.data"));
        assert_eq!(volume_path(index, 12), Path::new("d/photos.dgfs.data.12"));
        assert_eq!(
            pending_path(index, &UUID),
            Path::new("d/photos.dgfs.abcd0123.part")
        );
    }

    #[test]
    fn a_name_of_any_bytes_keeps_them() {
        let index = Path::new(OsStr::from_bytes(b"d/\xff"));
        assert_eq!(volume_path(index, 0).as_os_str().as_bytes(), b"d/\xff.data");
    }

    #[test]
    fn finds_parts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "i",
            "i.data",
            "i.data.1",
            "i.data.65535",
            "i.abcd0123.part",
            "i.data.abcd0123.part",
            "i.data.1.00000000.part",
            // None of these belongs to `i`.
            "i.data.01",
            "i.data.0",
            "i.data.+1",
            "i.data.65536",
            "i.data.1x",
            "i.data.",
            "i.dat",
            "ii",
            "j.abcd0123.part",
            "i.ABCD0123.part",
            "i.abcd012.part",
            "i.abcd01234.part",
            "i.abcd0123.parts",
            ".abcd0123.part",
            "iabcd0123.part",
        ];
        for name in names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let index = dir.path().join("i");
        let parts = parts_beside(&index).unwrap();
        let found: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part.path.file_name().unwrap().to_str().unwrap(),
                    part.volume,
                    part.pending,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("i", None, false),
                ("i.abcd0123.part", None, true),
                ("i.data", Some(0), false),
                ("i.data.1", Some(1), false),
                ("i.data.1.00000000.part", Some(1), true),
                ("i.data.65535", Some(65535), false),
                ("i.data.abcd0123.part", Some(0), true),
            ]
        );
        assert_eq!(
            pending_beside(&index.with_file_name("i.data")).unwrap(),
            [dir.path().join("i.data.abcd0123.part")]
        );
        assert_eq!(
            pending_beside(&dir.path().join("none/x")).unwrap(),
            [] as [PathBuf; 0]
        );
    }

    #[test]
    fn a_bare_name_lies_in_the_current_directory() {
        assert_eq!(directory_of(Path::new("x")), Path::new("."));
        assert_eq!(directory_of(Path::new("/x")), Path::new("/"));
    }
}
