//! Signals that end a mount, or ask it for its counters.

use super::{Mounted, Service, point};
use crate::{Error, ErrorKind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::process;
use std::sync::Arc;

/// Lets `SIGINT`, `SIGTERM` and `SIGHUP` unmount, and `SIGUSR1` write the counters, from now on
/// until the process ends. Meant for a process that does nothing but serve this mount.
///
/// If the mount is in use, it disappears at once and is served to whoever uses it until he leaves; a
/// second signal ends the process without waiting for that.
pub fn end_on_signals(mounted: &Mounted) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::Mount, "cannot watch for signals").caused_by(error);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]).map_err(failed)?;
    let service = mounted.service.clone();
    std::thread::Builder::new()
        .name("dgfs-signals".into())
        .spawn(move || {
            let mut is_ending = false;
            for signal in &mut signals {
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
        .map_err(failed)?;
    Ok(())
}

fn end(service: &Arc<Service>) {
    let directory = service.directory.display();
    if service.is_over() {
        return;
    }
    match point::detach(&service.directory, false) {
        Ok(()) => {}
        Err(error) if point::is_busy(&error) => {
            log::warn!(
                "{directory}: in use; served until its last user leaves, or to a second signal"
            );
            if let Err(error) = point::detach(&service.directory, true) {
                log::error!("{directory}: cannot unmount: {error}");
            }
        }
        Err(error) => log::error!("{directory}: cannot unmount: {error}"),
    }
}
