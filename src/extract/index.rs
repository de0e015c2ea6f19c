//! The index out of the copy that volume 0 holds.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use tempfile::{NamedTempFile, TempPath};

use crate::format::checksum::page_is_sound;
use crate::format::header::Header;
use crate::format::volume::{decode_header, decode_trailer};
use crate::format::{PAGE_BYTES, PAGE_SIZE};
use crate::image::pending_path;
use crate::{Error, ErrorKind, Result};

/// Bytes copied at once; a multiple of the page size.
const STEP: usize = 1 << 20;

/// Writes the copy of the index in `volume` to `image`, bit for bit, and returns its length in bytes.
///
/// `image` appears whole or not at all; an existing one is replaced only with `force`. Pages of the
/// copy whose checksum does not match are copied as they are, since the others still work, and each
/// goes to `fault`.
pub fn extract_index(
    volume: &Path,
    image: &Path,
    force: bool,
    fault: &mut dyn FnMut(Error),
) -> Result<u64> {
    let copy = IndexCopy::locate(volume).map_err(|e| e.at_path(volume))?;
    if !force && image.symlink_metadata().is_ok() {
        return Err(exists(image));
    }
    let mut output = create_pending(&pending_path(image, &copy.header.uuid))?;
    copy.write_to(output.as_file_mut(), fault)
        .map_err(|e| e.at_path(image))?;
    let synced = output.as_file().sync_all();
    synced.map_err(|e| Error::io(image, "write", e))?;
    let persisted = if force {
        output.persist(image)
    } else {
        output.persist_noclobber(image)
    };
    persisted.map_err(|e| match e.error.kind() {
        io::ErrorKind::AlreadyExists => exists(image),
        _ => Error::io(image, "create", e.error),
    })?;
    let parent = match image.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io(parent, "sync", e))?;
    Ok(copy.header.index_length)
}

/// Makes the file at `path`, which goes away again unless it is persisted. What an interrupted run left there is
/// used again; a lock tells it from one that is still at work.
fn create_pending(path: &Path) -> Result<NamedTempFile> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::from_raw_mode(0o666))
        .map(File::from)
        .map_err(|e| Error::io(path, "create", e))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Error::new(ErrorKind::Exists, "is being written by another run").at_path(path)
    })?;
    file.set_len(0).map_err(|e| Error::io(path, "write", e))?;
    let path = TempPath::try_from_path(path).map_err(|e| Error::io(path, "create", e))?;
    Ok(NamedTempFile::from_parts(file, path))
}

fn exists(image: &Path) -> Error {
    Error::new(ErrorKind::Exists, "exists already; --force replaces it").at_path(image)
}

fn cannot(doing: &str) -> impl Fn(io::Error) -> Error {
    move |source| Error::new(ErrorKind::Io, format!("cannot {doing}")).caused_by(source)
}

/// The copy of an index inside a volume.
struct IndexCopy<'a> {
    path: &'a Path,
    file: File,
    /// Offset of the copy in the volume.
    start: u64,
    header: Header,
    /// The page that `header` came from.
    page: [u8; PAGE_SIZE],
}

impl<'a> IndexCopy<'a> {
    fn locate(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(cannot("open"))?;
        let length = file.metadata().map_err(cannot("read"))?.len();
        if length < 2 * PAGE_BYTES {
            return Err(Error::new(
                ErrorKind::NotAnImage,
                "not a dgfs volume: too short",
            ));
        }
        let read_page = |offset| {
            let mut page = [0; PAGE_SIZE];
            let read = file.read_exact_at(&mut page, offset);
            read.map(|()| page).map_err(cannot("read"))
        };
        let identity = decode_header(&read_page(0)?)?;
        if identity.number != 0 {
            return Err(Error::new(
                ErrorKind::Mismatch,
                format!(
                    "is volume {}; only volume 0 has a copy of the index",
                    identity.number
                ),
            ));
        }
        let (trailer, layout) = decode_trailer(&read_page(length - PAGE_BYTES)?, length)?;
        if trailer != identity {
            return Err(Error::corrupt(
                "header and trailer of the volume belong to different images",
            ));
        }
        if layout.index_length == 0 {
            return Err(Error::new(
                ErrorKind::NotFound,
                "has no copy of the index: it was packed with --no-index-copy",
            ));
        }
        let start = layout.index_offset;
        let read_header = |offset| {
            let page = read_page(offset)?;
            Header::decode(&page, layout.index_length).map(|header| (header, page))
        };
        // The footer stands in for a damaged header; `write_to` reports the damage.
        let (header, page) = read_header(start).or_else(|error| {
            let footer = (start + layout.index_length).saturating_sub(PAGE_BYTES);
            read_header(footer).map_err(|_| error)
        })?;
        if header.uuid != identity.uuid {
            return Err(Error::new(
                ErrorKind::Mismatch,
                "the copy of the index belongs to another image",
            ));
        }
        Ok(Self {
            path,
            file,
            start,
            header,
            page,
        })
    }

    /// Copies the index, checking the pages that carry a checksum.
    fn write_to(&self, output: &mut File, fault: &mut dyn FnMut(Error)) -> Result<()> {
        let length = self.header.index_length;
        let mut buffer = vec![0; STEP];
        let mut done = 0;
        while done < length {
            let step = usize::try_from(length - done).map_or(STEP, |left| left.min(STEP));
            let bytes = buffer.get_mut(..step).unwrap_or_default();
            let offset = self.start + done;
            self.file
                .read_exact_at(bytes, offset)
                .map_err(|e| Error::io(self.path, "read", e).at_offset(offset))?;
            for (page, number) in bytes.chunks_exact(PAGE_SIZE).zip(done / PAGE_BYTES..) {
                if !page
                    .try_into()
                    .is_ok_and(|page| self.is_sound(number, page))
                {
                    fault(
                        Error::corrupt("the copy of the index is damaged here; copied as it is")
                            .at_path(self.path)
                            .at_page(number)
                            .at_offset(self.start + number * PAGE_BYTES),
                    );
                }
            }
            output.write_all(bytes).map_err(cannot("write"))?;
            done += step as u64;
        }
        Ok(())
    }

    /// Whether a page is what its checksum says; sections, which have none of their own by page, pass.
    fn is_sound(&self, number: u64, page: &[u8; PAGE_SIZE]) -> bool {
        let footer = self.header.index_length / PAGE_BYTES - 1;
        if number == 0 || number == footer {
            *page == self.page
        } else if number <= self.header.root_page() {
            page_is_sound(&self.header.uuid, number, page)
        } else {
            true
        }
    }
}
