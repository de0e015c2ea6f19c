//! One error type for the whole crate: what went wrong, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What class of thing went wrong; decides the `errno` of the mount and the exit code of the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a call; [`std::error::Error::source`] holds its answer.
    Io,
    /// The file is not a dgfs image or volume at all.
    NotAnImage,
    /// The image was written by a newer format version or uses a feature this reader lacks.
    Version,
    /// Bytes of the image contradict their checksum or the format.
    Corrupt,
    /// Index and volume are sound but belong to different images.
    Mismatch,
    /// A path or inode that the image does not hold.
    NotFound,
    /// A directory was needed.
    NotADirectory,
    /// A directory was given where something else was needed.
    IsADirectory,
    /// An argument makes no sense.
    InvalidInput,
    /// The output is there already.
    Exists,
    /// The input or image goes beyond a limit of the format or of this implementation.
    Limit,
    /// Entries reached a writer unsorted, twice, or without their directory.
    OutOfOrder,
    /// A source file could not be read, vanished or changed.
    Source,
    /// The kernel or `fusermount3` refused the mount.
    Mount,
    /// The user asked to stop.
    Interrupted,
}

/// An error with its place: file, page and byte offset as far as they are known.
///
/// `Display` gives one line, `PATH: what (page N, offset M): cause`; the remedy, where there is
/// one, is part of `what`.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    path: Option<PathBuf>,
    page: Option<u64>,
    offset: Option<u64>,
    source: Option<io::Error>,
}

impl Error {
    /// An error of `kind`; `what` says in prose what was wrong and what to do.
    #[cold]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            path: None,
            page: None,
            offset: None,
            source: None,
        }))
    }

    /// A system call failed on `path` while `doing` something ("open", "read", "create").
    #[cold]
    pub fn io(path: impl AsRef<Path>, doing: &str, source: impl Into<io::Error>) -> Self {
        let mut error = Self::new(ErrorKind::Io, format!("cannot {doing}")).at_path(path);
        error.0.source = Some(source.into());
        error
    }

    /// The image's bytes are wrong.
    #[cold]
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what)
    }

    /// Adds the file (or the path inside the image) this is about, unless one is known already.
    #[must_use]
    pub fn at_path(mut self, path: impl AsRef<Path>) -> Self {
        self.0
            .path
            .get_or_insert_with(|| path.as_ref().to_path_buf());
        self
    }

    /// Adds the number of the index page, unless one is known already.
    #[must_use]
    pub fn at_page(mut self, page: u64) -> Self {
        self.0.page.get_or_insert(page);
        self
    }

    /// Adds the byte offset in the file, unless one is known already.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// Adds the operating system's answer.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<io::Error>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file, or path inside the image, that the error is about.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The number of the index page, if it is known.
    pub fn page(&self) -> Option<u64> {
        self.0.page
    }

    /// The byte offset in the file, if it is known.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The error number that the mount answers with. The only place where kinds become numbers.
    pub fn errno(&self) -> i32 {
        use rustix::io::Errno;
        let errno = match self.0.kind {
            // Not the number that the device's file system gave: `EACCES` or `ENOTCONN` would be taken for a
            // word about the mount.
            ErrorKind::Io
            | ErrorKind::NotAnImage
            | ErrorKind::Version
            | ErrorKind::Corrupt
            | ErrorKind::Mismatch
            | ErrorKind::OutOfOrder
            | ErrorKind::Source
            | ErrorKind::Mount => Errno::IO,
            ErrorKind::NotFound => Errno::NOENT,
            ErrorKind::NotADirectory => Errno::NOTDIR,
            ErrorKind::IsADirectory => Errno::ISDIR,
            ErrorKind::InvalidInput => Errno::INVAL,
            ErrorKind::Exists => Errno::EXIST,
            ErrorKind::Limit => Errno::OVERFLOW,
            ErrorKind::Interrupted => Errno::INTR,
        };
        errno.raw_os_error()
    }

    /// Whether the cause is a reader that went away (`dgfs ls | head`), which is not a failure.
    pub fn is_broken_pipe(&self) -> bool {
        self.0
            .source
            .as_ref()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether a device ran out of space.
    pub fn is_out_of_space(&self) -> bool {
        self.0
            .source
            .as_ref()
            .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.0.path {
            write!(f, "{}: ", path.display())?;
        }
        f.write_str(&self.0.what)?;
        match (self.0.page, self.0.offset) {
            (Some(page), Some(offset)) => write!(f, " (page {page}, offset {offset})")?,
            (Some(page), None) => write!(f, " (page {page})")?,
            (None, Some(offset)) => write!(f, " (offset {offset})")?,
            (None, None) => {}
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {}", plain(source))?;
        }
        Ok(())
    }
}

/// The system's message without the "(os error N)" that the standard library appends.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_where_and_why() {
        let error = Error::io("/x/y", "read", io::Error::from_raw_os_error(5)).at_offset(4096);
        assert_eq!(
            error.to_string(),
            "/x/y: cannot read (offset 4096): Input/output error"
        );
        let error = Error::corrupt("leaf page checksum does not match")
            .at_path("a.dgfs")
            .at_page(7);
        assert_eq!(
            error.to_string(),
            "a.dgfs: leaf page checksum does not match (page 7)"
        );
    }

    #[test]
    fn kinds_become_error_numbers() {
        let cases = [
            (ErrorKind::NotFound, 2),
            (ErrorKind::Corrupt, 5),
            (ErrorKind::NotADirectory, 20),
            (ErrorKind::IsADirectory, 21),
        ];
        for (kind, errno) in cases {
            assert_eq!(Error::new(kind, "x").errno(), errno, "{kind:?}");
        }
        assert_eq!(
            Error::io("x", "open", io::Error::from_raw_os_error(13)).errno(),
            5
        );
    }
}
