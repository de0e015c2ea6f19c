//! The FUSE service: the only place that knows the kernel's protocol.
//!
//! # Overview
//! - [`mount`] shows an image on a directory, as [`MountOptions`] say, and gives back
//! - [`Mounted`], which serves until it is unmounted or dropped;
//! - [`OptionList`] reads the options of `dgfs mount -o`;
//! - [`RequestCounts`] are the requests that the kernel sent, by [`Operation`], and [`FaultCounts`] those that failed;
//! - [`unmount`] takes any image off its directory;
//! - [`Signals`] lets the usual signals end a mount;
//! - [`Transport`] is what carries requests and answers: a device, or rings of shared memory;
//! - [`Sandbox`] is what a process that only serves can do without, [`Keeper`] the process that unmounts for it.
//!
//! Only `adapter`, `answers`, `replies`, `session` and `uring` name the crate that speaks the protocol.

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
mod trace;
mod transport;
mod uring;

pub use counters::{Operation, RequestCounts};
pub use faults::FaultCounts;
pub use keeper::{Keeper, keep};
pub use options::{ListAttributes, MountOptions, OptionList};
pub use point::unmount;
pub use sandbox::Sandbox;
pub use signals::Signals;
pub use transport::Transport;

use crate::fs::PackFs;
use crate::read::Image;
use crate::{Error, ErrorKind, Result};
use adapter::Adapter;
use answers::Answers;
use counters::Counters;
use faults::Faults;
use session::Connection;
use statistics::{Statistics, StatisticsFile};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use trace::Trace;
use uring::{Access, OnFailure, Rings};

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
    options.check()?;
    if options.transport != Transport::Auto {
        return mount_over(options.transport, image, directory, options);
    }
    if uring::is_offered() && !options.auto_unmount {
        match mount_over(Transport::Uring, image.clone(), directory, options) {
            Ok(mounted) => return Ok(mounted),
            // If it was not for the rings, the same comes up again.
            Err(error) => log::debug!("not over rings: {error}"),
        }
    }
    mount_over(Transport::Dev, image, directory, options)
}

fn mount_over(
    transport: Transport,
    image: Arc<Image>,
    directory: &Path,
    options: &MountOptions,
) -> Result<Mounted> {
    let directory = point::check(directory)?;
    let stats = options.stats.as_deref().map(StatisticsFile::open);
    let stats = stats.transpose()?;
    let fs = PackFs::new(image.clone(), options.view.clone())?;
    let counters = Arc::new(Counters::new());
    let faults = Arc::new(Faults::new());
    let trace = options.trace.as_deref().map(Trace::open).transpose()?;
    let answers = Answers::new(fs, counters.clone(), faults.clone(), trace);
    let answers = Arc::new(answers);
    let connection = session::start(&answers, &directory, options, transport)?;
    let service = Arc::new(Service {
        directory,
        image,
        transport,
        counters,
        faults,
        stats,
        keeper: OnceLock::new(),
        is_over: AtomicBool::new(false),
    });
    let serving = service.clone();
    let sandbox = options.sandbox.clone();
    let (ready, is_ready) = channel();
    let thread = std::thread::Builder::new()
        .name("dgfs-session".into())
        .spawn(move || {
            // The threads that it starts are in it as well.
            if let Some(sandbox) = sandbox {
                sandbox.enter();
            }
            serving.serve(connection, &answers, &ready)
        })
        .map_err(|error| Error::new(ErrorKind::Mount, "cannot start a thread").caused_by(error))?;
    // From here on, dropping this unmounts.
    let mut mounted = Mounted {
        service,
        thread: Some(thread),
    };
    if is_ready.recv().is_err() {
        // It has ended, and unmounted; what it returns says why.
        mounted.join()?;
    }
    mounted.service.settle()?;
    prepare(mounted.image(), options);
    Ok(mounted)
}

/// Has the parts of the index read that the first lookups will need, beside serving them.
fn prepare(image: &Arc<Image>, options: &MountOptions) {
    if image.ask_for_index() {
        return;
    }
    let (image, sandbox) = (image.clone(), options.sandbox.clone());
    let thread = std::thread::Builder::new().name("dgfs-upper".into());
    let started = thread.spawn(move || {
        if let Some(sandbox) = sandbox {
            sandbox.enter();
        }
        // Whoever needs what cannot be read will be told.
        if let Err(error) = image.ask_for_upper_levels() {
            log::debug!("not read ahead: {error}");
        }
    });
    if let Err(error) = started {
        log::debug!("cannot start a thread: {error}");
    }
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

    /// What carries the requests, which is never [`Transport::Auto`].
    pub fn transport(&self) -> Transport {
        self.service.transport
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
        sandbox.close(self.transport());
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
    transport: Transport,
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
    /// Answers requests until the mount is gone. Says `ready` when all threads that the kernel waits for are there.
    fn serve(
        self: &Arc<Self>,
        connection: Connection,
        answers: &Arc<Answers>,
        ready: &Sender<()>,
    ) -> Result<()> {
        let threads = match self.start_rings(connection.rings, &connection.session, answers) {
            Ok(threads) => threads,
            Err(error) => {
                self.is_over.store(true, Ordering::Release);
                session::give_up(&self.directory);
                let what = "transport=uring: the kernel does not take the rings";
                return Err(Error::new(ErrorKind::Mount, what).caused_by(error));
            }
        };
        // Whoever waits for it is there.
        let _ = ready.send(());
        let outcome = connection.session.run();
        for thread in threads {
            // It ends with the mount, and has reported what it had to.
            let _ = thread.join();
        }
        self.is_over.store(true, Ordering::Release);
        self.write_stats();
        outcome.map_err(|error| self.broken(&error))
    }

    /// Starts the threads that answer over rings, if there are any.
    fn start_rings(
        self: &Arc<Self>,
        rings: Option<(Rings, Access)>,
        session: &fuser::Session<Adapter>,
        answers: &Arc<Answers>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let Some((rings, access)) = rings else {
            return Ok(Vec::new());
        };
        let service = self.clone();
        let on_failure: OnFailure = Arc::new(move |error| log::error!("{}", service.broken(error)));
        let device = session.as_fd().try_clone_to_owned()?;
        rings.start(device, answers, access, &on_failure)
    }

    /// Ends what is left of the mount, if the kernel has not, when it can be served no longer.
    fn broken(&self, error: &io::Error) -> Error {
        let _ = self.detach(true);
        let reason = io::Error::new(error.kind(), error.to_string());
        Error::new(ErrorKind::Mount, "the connection with the kernel broke off")
            .at_path(&self.directory)
            .caused_by(reason)
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
                transport: self.transport,
                requests: self.counters.snapshot(),
                faults: self.faults.counts(),
                image: self.image.counters(),
            });
        }
    }
}
