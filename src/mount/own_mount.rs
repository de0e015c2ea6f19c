//! A mount that this process made, told apart from others that show on the same directory before or after it.

use super::point;
use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::io;
use std::path::{Path, PathBuf};

/// Asks for the number of a mount that no later one gets (`STATX_MNT_ID_UNIQUE` in `linux/stat.h`, Linux 6.8).
const NUMBER_FOR_EVER: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Where the kernel lets the owner of a connection break it off: a directory for each, named by its device number.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// What tells one mount from another: the kernel's number of it, and the device of its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    mount: u64,
    device: (u32, u32),
}

impl Identity {
    /// Of what shows on `directory`; asks nobody who serves it. `None` if the kernel numbers no mounts (Linux 5.8).
    fn on(directory: &Path) -> Option<Self> {
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let known: Statx =
            statx(CWD, directory, flags, StatxFlags::MNT_ID | NUMBER_FOR_EVER).ok()?;
        let has_number = StatxFlags::MNT_ID | NUMBER_FOR_EVER;
        let told = StatxFlags::from_bits_retain(known.stx_mask);
        told.intersects(has_number).then_some(Self {
            mount: known.stx_mnt_id,
            device: (known.stx_dev_major, known.stx_dev_minor),
        })
    }
}

/// A mount of ours.
#[derive(Debug, Clone)]
pub(super) struct OwnMount {
    directory: PathBuf,
    identity: Option<Identity>,
}

impl OwnMount {
    /// What shows on `directory`, an absolute path, at this moment.
    pub(super) fn on(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            identity: Identity::on(directory),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it still shows on its directory. Where the kernel numbers no mounts, it is taken to.
    fn is_there(&self) -> bool {
        self.identity.is_none() || Identity::on(&self.directory) == self.identity
    }

    /// Takes it off its directory, as [`point::detach`] does. Fails if something else shows there.
    pub(super) fn detach(&self, lazily: bool) -> io::Result<()> {
        if !self.is_there() {
            return Err(io::Error::other(
                "it is not mounted there any more, or hidden by another mount",
            ));
        }
        point::detach(&self.directory, lazily)
    }

    /// Takes it off its directory and has everybody who waits for an answer fail, as far as the system lets us. Does
    /// nothing if something else shows there.
    pub(super) fn abort(&self) -> io::Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        let by_force = UnmountFlags::NOFOLLOW | UnmountFlags::FORCE | UnmountFlags::DETACH;
        match rustix::mount::unmount(&self.directory, by_force) {
            Ok(()) => Ok(()),
            Err(Errno::PERM) => {
                self.break_off();
                point::detach(&self.directory, true)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Breaks off the connection with whoever serves, where its owner may.
    fn break_off(&self) {
        let Some(identity) = self.identity else {
            return;
        };
        // File systems without a device of their own have the major number 0.
        let name = identity.device.1.to_string();
        let switch = Path::new(CONNECTIONS).join(name).join("abort");
        if let Err(error) = std::fs::write(&switch, "1") {
            log::debug!("{}: {error}", switch.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_on_a_directory_has_an_identity_and_other_mounts_another() {
        let scratch = tempfile::tempdir().unwrap();
        let here = Identity::on(scratch.path());
        if here.is_none() {
            println!(
                "SKIPPED what_shows_on_a_directory_has_an_identity: the kernel numbers no mounts"
            );
            return;
        }
        assert_eq!(here, Identity::on(scratch.path()));
        assert_ne!(here, Identity::on(Path::new("/proc")));
        assert_eq!(Identity::on(&scratch.path().join("none")), None);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let mut own = OwnMount::on(Path::new("/proc"));
        if own.identity.is_none() {
            println!("SKIPPED what_is_not_ours_is_left_alone: the kernel numbers no mounts");
            return;
        }
        own.directory = scratch.path().to_path_buf();
        assert!(!own.is_there());
        assert!(own.detach(false).is_err());
        assert!(own.abort().is_ok());
    }
}
