//! Mount points: what may be mounted on, what is mounted there, and how it comes off again.

use crate::{Error, ErrorKind, Result};
use rustix::mount::UnmountFlags;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The type under which the kernel lists mounts of this file system.
pub(super) const FS_TYPE: &str = "fuse.dgfs";

/// The part of [`FS_TYPE`] that `fusermount3` is told; it puts `fuse.` before it.
pub(super) const FS_SUBTYPE: &str = "dgfs";

/// The programs that mount and unmount for users who may not, in the order they are tried.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];

/// What to do when a mount outlived the process that served it.
const LOST_SERVER: &str = "an earlier mount here has lost its server; remove it with dgfs umount";

/// One line of the kernel's list of mounts.
#[derive(Debug, PartialEq, Eq)]
struct MountLine {
    point: PathBuf,
    fs_type: OsString,
    source: OsString,
}

/// The absolute path of a directory that an image can be mounted on.
///
/// Fails with [`ErrorKind::Mount`] if it is not there, no directory, has an image mounted already, or
/// hides behind a mount whose server died.
pub(super) fn check(directory: &Path) -> Result<PathBuf> {
    let refused = |what: String| Error::new(ErrorKind::Mount, what).at_path(directory);
    let lost = || refused(LOST_SERVER.into());
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused(
                "the mount point does not exist; create it with mkdir".into(),
            ));
        }
        Err(error) if is_lost(&error) => return Err(lost()),
        Err(error) => return Err(Error::io(directory, "use as mount point", error)),
    };
    if !metadata.is_dir() {
        return Err(refused("the mount point is not a directory".into()));
    }
    let directory = directory
        .canonicalize()
        .map_err(|error| Error::io(directory, "resolve", error))?;
    match mounted_on(&directory)? {
        // Attributes may come from memory; totals have to be asked for.
        Some(line)
            if line.fs_type == FS_TYPE
                && rustix::fs::statvfs(&directory).is_err_and(|errno| is_lost(&errno.into())) =>
        {
            Err(lost())
        }
        Some(line) if line.fs_type == FS_TYPE => Err(refused(format!(
            "the mount point is busy: {} is mounted here already; remove it with dgfs umount",
            line.source.to_string_lossy()
        ))),
        _ => Ok(directory),
    }
}

/// Whether a mount failed to answer because nobody serves it; a request that waited when its server died was aborted.
fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotConnected | io::ErrorKind::ConnectionAborted
    )
}

/// Takes an image off a directory. `lazily` hides it at once and ends it when its last user leaves;
/// otherwise it fails while files below the directory are in use.
///
/// Uses `umount(2)`, or `fusermount3` where that is not permitted. Fails with [`ErrorKind::Mount`] if
/// no image is mounted there: other file systems are left alone.
pub fn unmount(directory: &Path, lazily: bool) -> Result<()> {
    let refused = |what: &str| Error::new(ErrorKind::Mount, what).at_path(directory);
    // A mount without its server cannot be resolved; its parent can.
    let absolute = match directory.canonicalize() {
        Ok(absolute) => absolute,
        Err(error) if is_lost(&error) => {
            std::path::absolute(directory).map_err(|e| Error::io(directory, "resolve", e))?
        }
        Err(error) => return Err(Error::io(directory, "resolve", error)),
    };
    match mounted_on(&absolute)? {
        Some(line) if line.fs_type == FS_TYPE => {}
        Some(_) => return Err(refused("what is mounted here is no dgfs image")),
        None => return Err(refused("no dgfs image is mounted here")),
    }
    detach(&absolute, lazily).map_err(|error| not_unmounted(directory, error))
}

/// What to say if [`detach`] failed.
pub(super) fn not_unmounted(directory: &Path, error: io::Error) -> Error {
    if is_busy(&error) {
        let what = "busy: files or directories of the mount are in use; -l detaches it anyway";
        Error::new(ErrorKind::Mount, what).at_path(directory)
    } else {
        Error::new(ErrorKind::Mount, "cannot unmount")
            .at_path(directory)
            .caused_by(error)
    }
}

/// Takes off whatever was mounted last on `directory`, an absolute path.
pub(super) fn detach(directory: &Path, lazily: bool) -> io::Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazily {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(directory, flags) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::PERM) => detach_by_helper(directory, lazily),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether unmounting failed because somebody uses the mount.
pub(super) fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

fn detach_by_helper(directory: &Path, lazily: bool) -> io::Result<()> {
    for helper in HELPERS {
        let mut command = Command::new(helper);
        command.arg("-u");
        if lazily {
            command.arg("-z");
        }
        // The message is read for what the exit code does not say.
        command.arg("--").arg(directory).env("LC_ALL", "C");
        let output = match command.output() {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(if message.contains("busy") {
            rustix::io::Errno::BUSY.into()
        } else {
            io::Error::other(message.trim().to_owned())
        });
    }
    Err(io::Error::other(HELPER_MISSING))
}

/// What to do when there is neither the right to mount nor a helper.
pub(super) const HELPER_MISSING: &str =
    "fusermount3 is not installed; install it (Debian and Ubuntu: apt install fuse3) or use root";

/// What is mounted on `point`, an absolute path: of several, the one that shows.
fn mounted_on(point: &Path) -> Result<Option<MountLine>> {
    const LIST: &str = "/proc/self/mountinfo";
    let list = std::fs::read(LIST).map_err(|error| Error::io(LIST, "read", error))?;
    Ok(list
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .rfind(|line| line.point == point))
}

/// A line of `mountinfo`: six fields, any number of optional ones, a lone `-`, and three more.
fn parse_line(line: &[u8]) -> Option<MountLine> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    fields.find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let source = fields.next()?;
    Some(MountLine {
        point: unescape(point).into(),
        fs_type: unescape(fs_type),
        source: unescape(source),
    })
}

/// The kernel writes blanks, newlines and backslashes as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = match behind {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] if *first == b'\\' => {
                Some((((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), tail))
            }
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = tail;
    }
    OsString::from_vec(bytes)
}

/// The source of a mount as an option of `fusermount3`, which splits at commas.
pub(super) fn escape_option(value: &OsStr) -> String {
    value
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields() {
        let line =
            b"36 35 0:44 / /mnt/a\\040b\\134 rw,noatime shared:1 master:2 - fuse.dgfs /x\\054y ro";
        assert_eq!(
            parse_line(line),
            Some(MountLine {
                point: "/mnt/a b\\".into(),
                fs_type: "fuse.dgfs".into(),
                source: "/x,y".into(),
            })
        );
        let line = b"22 1 8:1 / / rw - ext4 /dev/root rw";
        assert_eq!(parse_line(line).unwrap().fs_type, "ext4");
        for line in [&b""[..], b"22 1 8:1 / / rw", b"22 1 8:1 / / rw - ext4"] {
            assert_eq!(parse_line(line), None);
        }
    }

    #[test]
    fn a_backslash_without_digits_is_itself() {
        for text in ["\\", "\\04", "\\08a", "\\477", "a\\"] {
            assert_eq!(unescape(text.as_bytes()), text);
        }
    }

    #[test]
    fn bad_mount_points_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let cases = [
            (scratch.path().join("none"), "does not exist"),
            (file, "not a directory"),
        ];
        for (path, message) in cases {
            let error = check(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Mount);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(check(scratch.path()).is_ok());
        let error = unmount(scratch.path(), false).unwrap_err();
        assert!(
            error.to_string().contains("no dgfs image is mounted"),
            "{error}"
        );
    }
}
