//! Reserves space for files of known size, so that a full device is noticed before hours of work.

use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::{Errno, retry_on_intr};

use super::output::Output;
use crate::{Error, ErrorKind, Result};

/// Reserves `bytes` for each of `files` without changing its length.
///
/// File systems that cannot reserve are asked for their free space instead, which protects against
/// a device that is too small, though not against others that fill it meanwhile.
pub(super) fn preallocate(files: &[(&Output, u64)]) -> Result<()> {
    // (device, what the files before this one want of it): only file systems that cannot reserve.
    let mut wanted_of: Vec<(u64, u64)> = Vec::new();
    for &(output, bytes) in files {
        let free = free_bytes(output)?;
        let reserved =
            retry_on_intr(|| fallocate(output.file(), FallocateFlags::KEEP_SIZE, 0, bytes.max(1)));
        match reserved {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                let device = output
                    .file()
                    .metadata()
                    .map_err(|e| Error::io(output.path(), "look at", e))?
                    .dev();
                let known = wanted_of.iter_mut().find(|(d, _)| *d == device);
                let needed = known.as_ref().map_or(0, |(_, b)| *b).saturating_add(bytes);
                match known {
                    Some((_, wanted)) => *wanted = needed,
                    None => wanted_of.push((device, needed)),
                }
                if needed > free {
                    return Err(no_space(output, needed, free, Errno::NOSPC));
                }
            }
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => {
                return Err(no_space(output, bytes, free, errno));
            }
            Err(Errno::FBIG) => {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the volume needs {bytes} bytes, more than this file system allows a file; spread the data over more volumes"
                    ),
                )
                .at_path(output.path())
                .caused_by(Errno::FBIG));
            }
            Err(errno) => return Err(Error::io(output.path(), "reserve space for", errno)),
        }
    }
    Ok(())
}

fn free_bytes(output: &Output) -> Result<u64> {
    let status = fstatvfs(output.file())
        .map_err(|e| Error::io(output.path(), "ask for the free space around", e))?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cold]
fn no_space(output: &Output, needed: u64, free: u64, cause: Errno) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "the volume needs {needed} bytes and {free} are free here; make room or put the data elsewhere"
        ),
    )
    .at_path(output.path())
    .caused_by(io::Error::from(cause))
}
