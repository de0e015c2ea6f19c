//! Reads extended attributes of entries of any kind, without opening them.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{Access, access, lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::{Error, ErrorKind, Result};

/// Bytes that a list of names, or a value, has at most on Linux (`XATTR_LIST_MAX`,
/// `XATTR_SIZE_MAX`).
const LIMIT: usize = 64 << 10;

/// Reads attributes through `/proc/self/fd`, by which a descriptor of a directory and a name make a
/// path that is short at any depth and works for symbolic links too.
#[derive(Debug)]
pub(super) struct AttributeReader {
    path: Vec<u8>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl AttributeReader {
    pub(super) fn new() -> Self {
        Self {
            path: Vec::new(),
            names: vec![0; LIMIT],
            value: vec![0; LIMIT],
        }
    }

    /// Fails if `/proc` is not mounted, before every entry would.
    pub(super) fn check_access() -> Result<()> {
        access("/proc/self/fd", Access::EXISTS).map_err(|errno| {
            let what = "cannot read extended attributes without this directory; \
                        mount /proc or leave extended attributes out";
            Error::new(ErrorKind::Io, what)
                .at_path("/proc/self/fd")
                .caused_by(errno)
        })
    }

    /// Replaces `out` by the attributes of `name` in `directory` (`.` for the directory itself),
    /// sorted by name. A file system that has none to offer has none.
    pub(super) fn read(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        out: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> rustix::io::Result<()> {
        out.clear();
        self.path.clear();
        self.path.extend_from_slice(b"/proc/self/fd/");
        self.path
            .extend_from_slice(directory.as_raw_fd().to_string().as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        let len = match llistxattr(self.path.as_slice(), self.names.as_mut_slice()) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
            Err(errno) => return Err(errno),
        };
        let names = self.names.get(..len).unwrap_or_default();
        for attribute in names.split(|byte| *byte == 0).filter(|n| !n.is_empty()) {
            match lgetxattr(self.path.as_slice(), attribute, self.value.as_mut_slice()) {
                Ok(len) => {
                    let value = self.value.get(..len).unwrap_or_default();
                    out.push((attribute.to_vec(), value.to_vec()));
                }
                // Removed since it was listed, or listed but not offered.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        out.sort_unstable();
        Ok(())
    }
}
