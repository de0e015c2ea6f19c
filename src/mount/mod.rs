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
//! Only `adapter`, `answers`, `replies`, `service`, `session` and `uring` name the crate that speaks the protocol.

mod adapter;
mod answers;
mod counters;
mod faults;
mod keeper;
mod options;
mod own_mount;
mod point;
mod replies;
mod sandbox;
mod service;
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
use crate::read::{Decoders, Image};
use crate::{Error, ErrorKind, Result};
use answers::Answers;
use counters::Counters;
use faults::Faults;
use service::{News, Service};
use statistics::StatisticsFile;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use trace::Trace;

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
    let (news, told) = channel();
    let service = Arc::new(Service {
        mount: connection.mount.clone(),
        image,
        transport,
        counters,
        faults,
        stats,
        keeper: OnceLock::new(),
        is_over: AtomicBool::new(false),
        has_failed: AtomicBool::new(false),
    });
    let serving = service.clone();
    let (sandbox, telling) = (options.sandbox.clone(), news.clone());
    let thread = std::thread::Builder::new()
        .name("dgfs-session".into())
        .spawn(move || {
            // The threads that it starts are in it as well.
            if let Some(sandbox) = sandbox {
                sandbox.enter();
            }
            serving.serve(connection, &answers, &telling);
        });
    let thread = thread.map_err(|error| {
        session::give_up(&service.mount);
        Error::new(ErrorKind::Mount, "cannot start a thread").caused_by(error)
    })?;
    let decoders = decoders(&service.image, options);
    // From here on, dropping this unmounts: here, where there is the right to.
    let mounted = Mounted {
        service,
        told,
        thread: Some(thread),
        _decoders: decoders,
    };
    mounted.next()?;
    mounted.settle(news)?;
    prepare(mounted.image(), options);
    Ok(mounted)
}

/// Threads that decompress ahead: one for each processor, or as many as the options say.
fn decoders(image: &Arc<Image>, options: &MountOptions) -> Decoders {
    let threads = Decoders::suitable_threads(options.threads);
    let sandbox = options.sandbox.clone();
    Decoders::start(image, threads, move || {
        if let Some(sandbox) = &sandbox {
            sandbox.enter();
        }
    })
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
    told: Receiver<Result<News>>,
    thread: Option<JoinHandle<()>>,
    _decoders: Decoders,
}

impl Mounted {
    /// The absolute path of the mount point.
    pub fn directory(&self) -> &Path {
        self.service.mount.directory()
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
    /// connection, or if a serving thread failed; then nobody serves who uses the mount still.
    pub fn wait(mut self) -> Result<()> {
        self.join()
    }

    /// Unmounts and waits for the end. Fails with [`ErrorKind::Mount`] if files of the mount are in
    /// use; it then goes on when this is dropped: hidden at once, and ended by its last user.
    pub fn unmount(mut self) -> Result<()> {
        let service = &self.service;
        service
            .detach(false)
            .map_err(|error| point::not_unmounted(service.mount.directory(), error))?;
        self.join()
    }

    /// Waits until the mount is gone.
    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        loop {
            // Threads of a mount that failed end when the last user leaves, which may be never.
            if let News::Over = self.next()? {
                // It has said all it had to.
                let _ = thread.join();
                return Ok(());
            }
        }
    }

    /// Waits for what the threads have to say next.
    fn next(&self) -> Result<News> {
        self.told.recv().unwrap_or_else(|_| {
            let what = "the serving thread broke off; this is a fault of dgfs";
            Err(Error::new(ErrorKind::Mount, what).at_path(self.directory()))
        })
    }

    /// Waits for the first answer. Another thread asks for it, since serving may fail before that.
    fn settle(&self, news: Sender<Result<News>>) -> Result<()> {
        let service = self.service.clone();
        let asking = std::thread::Builder::new()
            .name("dgfs-settle".into())
            // Whoever waits for it is there, or the mount has ended.
            .spawn(move || drop(news.send(service.settle().map(|()| News::Settled))))
            .map_err(|error| {
                Error::new(ErrorKind::Mount, "cannot start a thread").caused_by(error)
            })?;
        self.next()?;
        // It has said all it had to.
        let _ = asking.join();
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let service = &self.service;
        let directory = service.mount.directory().to_path_buf();
        if service.is_over() {
            return;
        }
        if service.has_failed.load(Ordering::Acquire) {
            if let Err(error) = service.give_up() {
                log::warn!("{}: cannot unmount: {error}", directory.display());
            }
            return;
        }
        match service.detach(false) {
            Ok(()) => {
                if let Err(error) = self.join() {
                    log::warn!("{error}");
                }
            }
            // The threads serve whoever uses the mount until he leaves, which may be never.
            Err(error) if point::is_busy(&error) => {
                if let Err(error) = service.detach(true) {
                    log::warn!("{}: cannot unmount: {error}", directory.display());
                }
            }
            Err(error) => log::warn!("{}: cannot unmount: {error}", directory.display()),
        }
    }
}
