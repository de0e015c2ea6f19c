//! The connection with the kernel: mounting by ourselves or through `fusermount3`.

use super::adapter::{self, Adapter};
use super::answers::Answers;
use super::options::MountOptions;
use super::own_mount::OwnMount;
use super::point;
use super::transport::Transport;
use super::uring::{self, Access, Rings};
use crate::{Error, ErrorKind, Result};
use fuser::{Config, InitFlags, MountOption, Session, SessionACL};
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// The device that carries the requests.
const DEVICE: &str = "/dev/fuse";

/// A mount that nothing answers for yet.
#[derive(Debug)]
pub(super) struct Connection {
    /// What serves `/dev/fuse`.
    pub(super) session: Session<Adapter>,
    /// What shows on the directory.
    pub(super) mount: OwnMount,
    /// What shall serve the rest, if that was agreed on, and whom.
    pub(super) rings: Option<(Rings, Access)>,
}

/// Mounts on `directory`, an absolute path, and agrees with the kernel on the protocol. Fails if `transport` wants rings
/// and there are none.
pub(super) fn start(
    answers: &Arc<Answers>,
    directory: &Path,
    options: &MountOptions,
    transport: Transport,
) -> Result<Connection> {
    let rings = rings(options, transport)?;
    let mut wanted = adapter::wanted(answers.image(), options);
    if rings.is_some() {
        wanted |= InitFlags::FUSE_OVER_IO_URING;
    }
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
    config.clone_fd = options.clone_fd;
    config.n_threads = Some(match rings {
        Some(_) => 1,
        None => options.threads.unwrap_or_else(default_threads),
    });
    let (session, mount) = connect(
        Adapter::new(answers.clone(), wanted),
        directory,
        options,
        config,
    )?;
    let access = Access {
        acl,
        owner: rustix::process::geteuid().as_raw(),
    };
    if rings.is_some() && !answers.agreed(InitFlags::FUSE_OVER_IO_URING) {
        // It may take the mount off by itself.
        drop(session);
        give_up(&mount);
        return Err(Error::new(ErrorKind::Mount, NOT_OFFERED).at_path(directory));
    }
    Ok(Connection {
        session,
        mount,
        rings: rings.map(|rings| (rings, access)),
    })
}

/// The rings to offer to the kernel, if there shall be any.
fn rings(options: &MountOptions, transport: Transport) -> Result<Option<Rings>> {
    if transport != Transport::Uring {
        return Ok(None);
    }
    if !uring::is_offered() {
        return Err(Error::new(ErrorKind::Mount, NOT_OFFERED));
    }
    uring::prepare(options.threads)
        .map(Some)
        .map_err(|error| Error::new(ErrorKind::Mount, NO_RINGS).caused_by(error))
}

/// What to do when there are no rings.
const NOT_OFFERED: &str = "transport=uring: the kernel does not offer it; it takes Linux 6.14 and, as root, \
     echo Y > /sys/module/fuse/parameters/enable_uring";
const NO_RINGS: &str =
    "transport=uring: this system allows no io_uring; see sysctl kernel.io_uring_disabled";

/// Mounts by ourselves or through the helper.
fn connect(
    adapter: Adapter,
    directory: &Path,
    options: &MountOptions,
    mut config: Config,
) -> Result<(Session<Adapter>, OwnMount)> {
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(unavailable)?;
    let acl = config.acl;
    // Only the helper can stay behind to unmount after our death.
    if !options.auto_unmount {
        match mount_directly(&device, directory, acl, options) {
            Ok(()) => {
                let mount = OwnMount::on(directory);
                return match Session::from_fd(adapter, device.into(), acl, config) {
                    Ok(session) => Ok((session, mount)),
                    Err(error) => {
                        give_up(&mount);
                        Err(refused(directory, &error))
                    }
                };
            }
            Err(rustix::io::Errno::PERM) => {}
            Err(errno) => return Err(refused(directory, &errno.into())),
        }
    }
    config.mount_options = helper_options(options);
    let session =
        Session::new(adapter, directory, &config).map_err(|error| refused(directory, &error))?;
    Ok((session, OwnMount::on(directory)))
}

/// Takes off a mount that has no server behind it and would only be in the way.
pub(super) fn give_up(mount: &OwnMount) {
    if let Err(error) = mount.abort() {
        let directory = mount.directory().display();
        log::warn!("{directory}: cannot unmount: {error}");
    }
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
