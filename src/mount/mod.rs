//! The FUSE service: the only place that knows the kernel's protocol.
//!
//! # Overview
//! - [`mount`] shows an image on a directory, as [`MountOptions`] say, and gives back
//! - [`Mounted`], which serves until it is unmounted or dropped;
//! - [`OptionList`] reads the options of `dgfs mount -o`;
//! - [`RequestCounts`] are the requests that the kernel sent, by [`Operation`], and [`FaultCounts`] those that failed;
//! - [`unmount`] takes any image off its directory;
//! - [`Signals`] lets the usual signals end a mount;
//! - [`Sandbox`] is what a process that only serves can do without, [`Keeper`] the process that unmounts for it.
//!
//! Only the files `adapter`, `answers`, `replies` and `session` name the crate that speaks the protocol.

mod adapter;
mod answers;
mod counters;
mod faults;
mod keeper;
mod options;
mod point;
mod replies;
mod sandbox;
mod session;
mod signals;
mod statistics;

pub use counters::{Operation, RequestCounts};
pub use faults::FaultCounts;
pub use keeper::{Keeper, keep};
pub use options::{ListAttributes, MountOptions, OptionList};
pub use point::unmount;
pub use sandbox::Sandbox;
pub use signals::Signals;

use crate::fs::PackFs;
use crate::read::Image;
use crate::{Error, ErrorKind, Result};
use adapter::Adapter;
use counters::Counters;
use faults::Faults;
use statistics::{Statistics, StatisticsFile};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Read-ahead of a mount in KiB, where we may set it: one request of the largest size.
///
/// The kernel starts with 128 KiB; sequential reads then cost eight times the requests and a third
/// more of our processor time.
const READ_AHEAD_KIB: u32 = 1024;

/// Shows `image` on `directory`, and returns when the mount answers.
///
/// Root mounts directly; other users need `fusermount3`. The directory may hold files, which the mount
/// hides. Fails with [`ErrorKind::Mount`] if the directory, the device or the system do not
/// allow it, and with [`ErrorKind::NotFound`] if the sub-directory to show is not in the image. With
/// [`MountOptions::sandbox`], only the threads that serve are in it.
///
/// ```no_run
/// use dgfs::mount::{MountOptions, Operation, mount};
/// use dgfs::read::Image;
/// use std::{path::Path, sync::Arc};
///
/// # fn main() -> dgfs::Result<()> {
/// let image = Arc::new(Image::open("photos.dgfs")?);
/// let mounted = mount(image, Path::new("/photos"), &MountOptions::default())?;
/// let first = std::fs::read("/photos/2024/first.jpg");
/// println!("{} reads", mounted.counters().get(Operation::Read));
/// mounted.unmount()
/// # }
/// ```
pub fn mount(image: Arc<Image>, directory: &Path, options: &MountOptions) -> Result<Mounted> {
    options.check_rights()?;
    let directory = point::check(directory)?;
    let stats = options.stats.as_deref().map(StatisticsFile::open);
    let stats = stats.transpose()?;
    let fs = PackFs::new(image.clone(), options.view.clone())?;
    let counters = Arc::new(Counters::new());
    let faults = Arc::new(Faults::new());
    let adapter = Adapter::new(fs, counters.clone(), faults.clone(), options);
    let session = session::start(adapter, &directory, options)?;
    let service = Arc::new(Service {
        directory,
        image,
        counters,
        faults,
        stats,
        keeper: OnceLock::new(),
        is_over: AtomicBool::new(false),
    });
    let serving = service.clone();
    let sandbox = options.sandbox.clone();
    let thread = std::thread::Builder::new()
        .name("dgfs-session".into())
        .spawn(move || {
            // The threads that it starts are in it as well.
            if let Some(sandbox) = sandbox {
                sandbox.enter();
            }
            serving.serve(session)
        })
        .map_err(|error| Error::new(ErrorKind::Mount, "cannot start a thread").caused_by(error))?;
    // From here on, dropping this unmounts.
    let mounted = Mounted {
        service,
        thread: Some(thread),
    };
    mounted.service.settle()?;
    Ok(mounted)
}

/// An image that is mounted. Dropping it unmounts.
#[derive(Debug)]
pub struct Mounted {
    service: Arc<Service>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Mounted {
    /// The absolute path of the mount point.
    pub fn directory(&self) -> &Path {
        &self.service.directory
    }

    /// The image that is shown.
    pub fn image(&self) -> &Arc<Image> {
        &self.service.image
    }

    /// The requests so far.
    pub fn counters(&self) -> RequestCounts {
        self.service.counters.snapshot()
    }

    /// The requests that failed so far.
    pub fn faults(&self) -> FaultCounts {
        self.service.faults.counts()
    }

    /// Puts this process into `sandbox`, for good: the calling thread as a whole, all others in what system calls they
    /// may make. From now on `keeper` unmounts. Meant for a process that does nothing but serve this mount.
    ///
    /// Threads that were started before should have called [`Sandbox::enter`].
    pub fn confine(&self, sandbox: &Sandbox, keeper: Keeper) {
        // It cannot be set already: whoever did that was in a sandbox where no keeper can be started.
        let _ = self.service.keeper.set(keeper);
        sandbox.enter();
        sandbox.close();
    }

    /// Serves until somebody unmounts. Fails with [`ErrorKind::Mount`] if the kernel broke off the
    /// connection.
    pub fn wait(mut self) -> Result<()> {
        self.join()
    }

    /// Unmounts and waits for the end. Fails with [`ErrorKind::Mount`] if files of the mount are in
    /// use; it then goes on when this is dropped: hidden at once, and ended by its last user.
    pub fn unmount(mut self) -> Result<()> {
        let service = &self.service;
        service
            .detach(false)
            .map_err(|error| point::not_unmounted(&service.directory, error))?;
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => Err(Error::new(
                ErrorKind::Mount,
                "the serving thread broke off; this is a fault of dgfs",
            )
            .at_path(&self.service.directory)),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.thread.is_none() || self.service.is_over() {
            return;
        }
        let directory = &self.service.directory;
        match self.service.detach(false) {
            Ok(()) => {
                if let Err(error) = self.join() {
                    log::warn!("{error}");
                }
            }
            // The threads serve whoever uses the mount until he leaves, which may be never.
            Err(error) if point::is_busy(&error) => {
                if let Err(error) = self.service.detach(true) {
                    log::warn!("{}: cannot unmount: {error}", directory.display());
                }
            }
            Err(error) => log::warn!("{}: cannot unmount: {error}", directory.display()),
        }
    }
}

/// What the serving threads, the signals and the owner of a mount share.
struct Service {
    directory: PathBuf,
    image: Arc<Image>,
    counters: Arc<Counters>,
    faults: Arc<Faults>,
    stats: Option<StatisticsFile>,
    keeper: OnceLock<Keeper>,
    is_over: AtomicBool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("directory", &self.directory)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Answers requests until the mount is gone.
    fn serve(&self, session: fuser::Session<Adapter>) -> Result<()> {
        let outcome = session.run();
        self.is_over.store(true, Ordering::Release);
        self.write_stats();
        outcome.map_err(|error| {
            // Ends what is left of the mount, if the kernel has not.
            let _ = self.detach(true);
            Error::new(ErrorKind::Mount, "the connection with the kernel broke off")
                .at_path(&self.directory)
                .caused_by(error)
        })
    }

    /// Takes the image off its directory, or lets the keeper do it.
    fn detach(&self, lazily: bool) -> io::Result<()> {
        match self.keeper.get() {
            Some(keeper) => keeper.detach(lazily),
            None => point::detach(&self.directory, lazily),
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits for the first answer, then raises the read-ahead where that is permitted.
    fn settle(&self) -> Result<()> {
        let stat = rustix::fs::stat(&self.directory).map_err(|errno| {
            Error::new(ErrorKind::Mount, "the mount does not answer")
                .at_path(&self.directory)
                .caused_by(errno)
        })?;
        let setting = format!(
            "/sys/class/bdi/{}:{}/read_ahead_kb",
            rustix::fs::major(stat.st_dev),
            rustix::fs::minor(stat.st_dev)
        );
        if let Err(error) = std::fs::write(&setting, READ_AHEAD_KIB.to_string()) {
            log::debug!("{setting}: cannot raise the read-ahead: {error}");
        }
        Ok(())
    }

    /// Writes the counters where the options ask for it.
    fn write_stats(&self) {
        if let Some(file) = &self.stats {
            file.write(&Statistics {
                requests: self.counters.snapshot(),
                faults: self.faults.counts(),
                image: self.image.counters(),
            });
        }
    }
}
