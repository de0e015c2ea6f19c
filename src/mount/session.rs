//! The connection with the kernel: mounting by ourselves or through `fusermount3`.

use super::adapter::Adapter;
use super::options::MountOptions;
use super::point;
use crate::{Error, ErrorKind, Result};
use fuser::{Config, MountOption, Session, SessionACL};
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The device that carries the requests.
const DEVICE: &str = "/dev/fuse";

/// Mounts `adapter` on `directory`, an absolute path, and agrees with the kernel on the protocol.
pub(super) fn start(
    adapter: Adapter,
    directory: &Path,
    options: &MountOptions,
) -> Result<Session<Adapter>> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(unavailable)?;
    let acl = if options.allow_other {
        SessionACL::All
    } else if options.allow_root || options.auto_unmount {
        // Who unmounts after our death has to reach the mount as root.
        SessionACL::RootAndOwner
    } else {
        SessionACL::Owner
    };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(options.threads.unwrap_or_else(default_threads));
    config.clone_fd = options.clone_fd;

    // Only the helper can stay behind to unmount after our death.
    if !options.auto_unmount {
        match mount_directly(&device, directory, acl, options) {
            Ok(()) => {
                return Session::from_fd(adapter, device.into(), acl, config).map_err(|error| {
                    // Without a server behind it, the mount would only be in the way.
                    if let Err(error) = point::detach(directory, true) {
                        log::warn!("{}: cannot unmount: {error}", directory.display());
                    }
                    refused(directory, &error)
                });
            }
            Err(rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(refused(directory, &errno.into())),
        }
    }
    config.mount_options = helper_options(options);
    Session::new(adapter, directory, &config).map_err(|error| refused(directory, &error))
}

/// One thread for each processor, and a second in any case, so that one that waits for a device does
/// not keep back what is in memory.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().max(2))
}

fn mount_directly(
    device: &File,
    directory: &Path,
    acl: SessionACL,
    options: &MountOptions,
) -> rustix::io::Result<()> {
    let mut flags = MountFlags::RDONLY | MountFlags::NOATIME;
    if !options.suid {
        flags |= MountFlags::NOSUID;
    }
    if !options.dev {
        flags |= MountFlags::NODEV;
    }
    if !options.exec {
        flags |= MountFlags::NOEXEC;
    }
    let mut data = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        data,
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    if options.default_permissions {
        data.push_str(",default_permissions");
    }
    if acl != SessionACL::Owner {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| rustix::io::Errno::INVAL)?;
    rustix::mount::mount(
        source(options),
        directory,
        point::FS_TYPE,
        flags,
        Some(data.as_c_str()),
    )
}

fn source(options: &MountOptions) -> &str {
    options.fsname.as_deref().unwrap_or(point::FS_SUBTYPE)
}

fn helper_options(options: &MountOptions) -> Vec<MountOption> {
    let mut list = vec![
        MountOption::RO,
        MountOption::NoAtime,
        MountOption::FSName(point::escape_option(source(options).as_ref())),
        MountOption::Subtype(point::FS_SUBTYPE.into()),
        if options.suid {
            MountOption::Suid
        } else {
            MountOption::NoSuid
        },
        if options.dev {
            MountOption::Dev
        } else {
            MountOption::NoDev
        },
    ];
    if !options.exec {
        list.push(MountOption::NoExec);
    }
    if options.default_permissions {
        list.push(MountOption::DefaultPermissions);
    }
    if options.auto_unmount {
        list.push(MountOption::AutoUnmount);
    }
    list
}

/// Says why there is no connection with the kernel, and what helps.
fn unavailable(error: io::Error) -> Error {
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "only root may use FUSE here; mount as root, or let others in with chmod 666 /dev/fuse"
        }
        io::ErrorKind::NotFound => {
            "FUSE is not available; load the kernel module with modprobe fuse, or give the \
             container this device"
        }
        _ => "FUSE is not available",
    };
    Error::new(ErrorKind::Mount, what)
        .at_path(DEVICE)
        .caused_by(error)
}

/// Says why a mount failed, and what helps.
fn refused(directory: &Path, error: &io::Error) -> Error {
    let text = error.to_string();
    let what = if error.kind() == io::ErrorKind::NotFound {
        // All else that could be missing was found before.
        point::HELPER_MISSING.to_owned()
    } else if text.contains("user_allow_other") {
        "allow_other, allow_root and auto_unmount are for root only, unless /etc/fuse.conf has a \
         line user_allow_other"
            .to_owned()
    } else if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
        "the kernel has no FUSE; load it with modprobe fuse".to_owned()
    } else {
        let reason = text
            .split(" (os error")
            .next()
            .unwrap_or(&text)
            .trim()
            .trim_start_matches("fusermount3: ");
        format!("cannot mount: {reason}")
    };
    Error::new(ErrorKind::Mount, what).at_path(directory)
}
