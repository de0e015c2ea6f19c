//! Signals that end a mount, or ask it for its counters.

use super::{Mounted, Service, point};
use crate::{Error, ErrorKind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals as SignalsInfo;
use std::io;
use std::process;
use std::sync::Arc;

/// The signals `SIGINT`, `SIGTERM`, `SIGHUP` and `SIGUSR1`, caught. Meant for a process that does
/// nothing but serve one mount.
///
/// They are caught from [`Signals::catch`] on, so that none can end the process between mounting and
/// [`Signals::serve`]; that would leave a mount without a server.
#[derive(Debug)]
pub struct Signals {
    caught: SignalsInfo,
}

impl Signals {
    /// Catches the signals and holds them back.
    pub fn catch() -> Result<Self> {
        SignalsInfo::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])
            .map(|caught| Self { caught })
            .map_err(failed)
    }

    /// Lets `SIGUSR1` write the counters of `mounted`, and each of the others unmount, until the
    /// process ends.
    ///
    /// If the mount is in use, it disappears at once and is served to whoever uses it until he
    /// leaves; a second signal ends the process without waiting for that.
    pub fn serve(mut self, mounted: &Mounted) -> Result<()> {
        let service = mounted.service.clone();
        std::thread::Builder::new()
            .name("dgfs-signals".into())
            .spawn(move || {
                let mut is_ending = false;
                for signal in &mut self.caught {
                    if signal == SIGUSR1 {
                        service.write_stats();
                    } else if std::mem::replace(&mut is_ending, true) {
                        service.write_stats();
                        process::exit(1);
                    } else {
                        end(&service);
                    }
                }
            })
            .map(drop)
            .map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Mount, "cannot watch for signals").caused_by(error)
}

fn end(service: &Arc<Service>) {
    let directory = service.mount.directory().display();
    if service.is_over() {
        return;
    }
    match service.detach(false) {
        Ok(()) => {}
        Err(error) if point::is_busy(&error) => {
            log::warn!(
                "{directory}: in use; served until its last user leaves, or to a second signal"
            );
            if let Err(error) = service.detach(true) {
                log::error!("{directory}: cannot unmount: {error}");
            }
        }
        Err(error) => log::error!("{directory}: cannot unmount: {error}"),
    }
}
