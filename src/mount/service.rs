//! What serves a mount: the threads that answer, and what becomes of them.

use super::adapter::Adapter;
use super::answers::Answers;
use super::counters::Counters;
use super::faults::Faults;
use super::keeper::Keeper;
use super::own_mount::OwnMount;
use super::session::Connection;
use super::statistics::{Statistics, StatisticsFile};
use super::transport::Transport;
use super::uring::{self, Access, OnFailure, Rings};
use crate::read::Image;
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Read-ahead of a mount in KiB, where we may set it: one request of the largest size.
///
/// The kernel starts with 128 KiB; sequential reads then cost eight times the requests and a third
/// more of our processor time.
const READ_AHEAD_KIB: u32 = 1024;

/// What becomes of a mount, in this order; an error ends it.
#[derive(Debug)]
pub(super) enum News {
    /// All threads are there that the kernel waits for.
    Served,
    /// It has given the first answer.
    Settled,
    /// It is gone.
    Over,
}

/// What the serving threads, the signals and the owner of a mount share.
pub(super) struct Service {
    pub(super) mount: OwnMount,
    pub(super) image: Arc<Image>,
    pub(super) transport: Transport,
    pub(super) counters: Arc<Counters>,
    pub(super) faults: Arc<Faults>,
    pub(super) stats: Option<StatisticsFile>,
    pub(super) keeper: OnceLock<Keeper>,
    /// Nobody serves any more, and nothing of ours keeps the connection.
    pub(super) is_over: AtomicBool,
    /// A serving thread failed, so that some requests find no answer.
    pub(super) has_failed: AtomicBool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("mount", &self.mount)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Answers requests until the mount is gone. Tells when all threads are there that the kernel waits for, and how
    /// it ended.
    pub(super) fn serve(
        self: &Arc<Self>,
        connection: Connection,
        answers: &Arc<Answers>,
        news: &Sender<Result<News>>,
    ) {
        let Connection { session, rings, .. } = connection;
        let threads = match self.start_rings(rings, &session, answers, news) {
            Ok(threads) => threads,
            Err(error) => {
                // It may take the mount off by itself, if we may; if not, who waits for the news does.
                drop(session);
                self.has_failed.store(true, Ordering::Release);
                let what = "transport=uring: the kernel does not take the rings";
                let error = Error::new(ErrorKind::Mount, what).caused_by(error);
                let _ = news.send(Err(error));
                return;
            }
        };
        // Whoever waits for it is there.
        let _ = news.send(Ok(News::Served));
        match session.run() {
            Ok(()) => {
                for thread in threads {
                    // It ends with the mount, and has reported what it had to.
                    let _ = thread.join();
                }
                self.is_over.store(true, Ordering::Release);
                self.write_stats();
                // If a ring failed, this is no news.
                let _ = news.send(Ok(News::Over));
            }
            Err(error) => self.fail(&error, news),
        }
    }

    /// Starts the threads that answer over rings, if there are any.
    fn start_rings(
        self: &Arc<Self>,
        rings: Option<(Rings, Access)>,
        session: &fuser::Session<Adapter>,
        answers: &Arc<Answers>,
        news: &Sender<Result<News>>,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let Some((rings, access)) = rings else {
            return Ok(Vec::new());
        };
        let (service, news) = (self.clone(), news.clone());
        let on_failure: OnFailure = Arc::new(move |error| service.fail(error, &news));
        let device = session.as_fd().try_clone_to_owned()?;
        uring::start(rings, device, answers, access, &on_failure)
    }

    /// Ends the mount when it can be served no longer, and tells why.
    fn fail(&self, error: &io::Error, news: &Sender<Result<News>>) {
        if self.has_failed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.write_stats();
        if let Err(error) = self.give_up() {
            // Who holds the mount tries again, and may have the right to.
            log::debug!("not unmounted by a thread that serves: {error}");
        }
        let reason = io::Error::new(error.kind(), error.to_string());
        let error = Error::new(ErrorKind::Mount, "the connection with the kernel broke off");
        // Nobody may be there any more who wants to know.
        let _ = news.send(Err(error.at_path(self.mount.directory()).caused_by(reason)));
    }

    /// Takes the image off its directory, or lets the keeper do it.
    pub(super) fn detach(&self, lazily: bool) -> io::Result<()> {
        match self.keeper.get() {
            Some(keeper) => keeper.detach(lazily),
            None => self.mount.detach(lazily),
        }
    }

    /// Takes the image off its directory, or lets the keeper do it, when nobody serves those who wait for an answer.
    pub(super) fn give_up(&self) -> io::Result<()> {
        match self.keeper.get() {
            Some(keeper) => keeper.abort(),
            None => self.mount.abort(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits for the first answer, then raises the read-ahead where that is permitted.
    pub(super) fn settle(&self) -> Result<()> {
        let stat = rustix::fs::stat(self.mount.directory()).map_err(|errno| {
            Error::new(ErrorKind::Mount, "the mount does not answer")
                .at_path(self.mount.directory())
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
    pub(super) fn write_stats(&self) {
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
