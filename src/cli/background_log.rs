//! Where the log of a process in the background goes: to a file, or to the system's log.

use dgfs::mount::Sandbox;
use dgfs::{Error, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where the system's log listens.
const SYSTEM_LOG: &str = "/dev/log";

/// The facility of daemons, as the system's log numbers it.
const DAEMON: u8 = 3 << 3;

/// Severities of the system's log, by the word that begins a line of ours.
const SEVERITIES: [(&str, u8); 4] = [("ERROR", 3), ("WARN", 4), ("INFO", 6), ("DEBUG", 7)];

/// Longest line that is passed on, in bytes; the system's log takes no more in one piece.
const LINE_MAX: u64 = 2048;

/// What becomes the standard error of a process in the background: the file at `path` if there is one,
/// else a pipe to the system's log, else nowhere. What it needs a thread for works in `sandbox`.
pub(super) fn open(path: Option<&Path>, sandbox: Option<&Sandbox>) -> Result<OwnedFd> {
    if let Some(path) = path {
        return File::options()
            .append(true)
            .create(true)
            .open(path)
            .map(OwnedFd::from)
            .map_err(|error| Error::io(path, "open", error));
    }
    match to_system_log(Path::new(SYSTEM_LOG), sandbox.cloned()) {
        Ok(pipe) => Ok(pipe),
        Err(error) => {
            log::debug!("{SYSTEM_LOG}: no system log: {error}");
            File::options()
                .write(true)
                .open("/dev/null")
                .map(OwnedFd::from)
                .map_err(|error| Error::io("/dev/null", "open", error))
        }
    }
}

/// A pipe whose lines a thread sends to the log that listens on `socket`.
fn to_system_log(socket: &Path, sandbox: Option<Sandbox>) -> io::Result<OwnedFd> {
    let log = UnixDatagram::unbound()?;
    log.connect(socket)?;
    // A log that does not keep up loses lines; the mount does not wait for it.
    log.set_nonblocking(true)?;
    let (lines, pipe) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    std::thread::Builder::new()
        .name("dgfs-log".into())
        .spawn(move || {
            if let Some(sandbox) = sandbox {
                sandbox.enter();
            }
            pass_on(BufReader::new(File::from(lines)), &log);
        })?;
    Ok(pipe)
}

fn pass_on(mut lines: impl BufRead, log: &UnixDatagram) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match io::Read::take(&mut lines, LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            // There is nowhere to report that reporting failed.
            let _ = log.send(message(text).as_bytes());
        }
    }
}

/// A line in the form that the system's log reads.
fn message(text: &str) -> String {
    let severity = SEVERITIES
        .iter()
        .find(|(word, _)| text.get(..24).unwrap_or(text).contains(word))
        .map_or(5, |(_, severity)| *severity);
    format!(
        "<{}>dgfs[{}]: {text}",
        DAEMON | severity,
        std::process::id()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_reach_the_system_log_with_their_severity() {
        let scratch = tempfile::tempdir().unwrap();
        let socket = scratch.path().join("log");
        let system = UnixDatagram::bind(&socket).unwrap();
        let mut pipe = File::from(to_system_log(&socket, None).unwrap());
        pipe.write_all(b"[ERROR dgfs::mount] read failed\n\nsomething\n")
            .unwrap();
        let mut buffer = [0; 256];
        let mut receive = || {
            let length = system.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let id = std::process::id();
        assert_eq!(
            receive(),
            format!("<27>dgfs[{id}]: [ERROR dgfs::mount] read failed")
        );
        assert_eq!(receive(), format!("<29>dgfs[{id}]: something"));
    }

    #[test]
    fn a_file_is_appended_to() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        for line in ["one\n", "two\n"] {
            File::from(open(Some(&path), None).unwrap())
                .write_all(line.as_bytes())
                .unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
