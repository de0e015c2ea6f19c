//! A small process that unmounts for one that has given up the right to.
//!
//! The serving process keeps no capability and may start no program, so it can neither call `umount(2)` nor run
//! `fusermount3`. Before it goes into its sandbox it starts a [`Keeper`]: a process that never sees a byte of the
//! image, waits for a word on its standard input and ends with it.

use super::own_mount::OwnMount;
use super::point;
use crate::{Error, ErrorKind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

/// The words to the keeper, and its answers; any other answer is a message.
const UNMOUNT: u8 = b'u';
const UNMOUNT_LAZILY: u8 = b'l';
const ABORT: u8 = b'a';
const DONE: &str = "done";
const BUSY: &str = "busy";

/// The serving process' end of the connection with its keeper.
#[derive(Debug)]
pub struct Keeper {
    link: Mutex<Link>,
    /// Not waited for: it ends when this process does.
    _process: Child,
}

#[derive(Debug)]
struct Link {
    words: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts `command`, a program that calls [`keep`] with the mount point.
    pub fn start(command: &mut Command) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Mount, "cannot start a process to unmount").caused_by(error)
        };
        let mut process = command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (Some(words), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let answers = BufReader::new(answers);
        Ok(Self {
            link: Mutex::new(Link { words, answers }),
            _process: process,
        })
    }

    /// Takes the image off the mount point, as [`OwnMount::detach`] does.
    pub(super) fn detach(&self, lazily: bool) -> io::Result<()> {
        self.say(if lazily { UNMOUNT_LAZILY } else { UNMOUNT })
    }

    /// Takes the image off the mount point, as [`OwnMount::abort`] does.
    pub(super) fn abort(&self) -> io::Result<()> {
        self.say(ABORT)
    }

    fn say(&self, word: u8) -> io::Result<()> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.words.write_all(&[word])?;
        let mut answer = String::new();
        link.answers.read_line(&mut answer)?;
        match answer.trim_end() {
            DONE => Ok(()),
            BUSY => Err(rustix::io::Errno::BUSY.into()),
            "" => Err(io::Error::other("the process that unmounts is gone")),
            message => Err(io::Error::other(message.to_owned())),
        }
    }
}

/// Unmounts what shows on `directory`, an absolute path, when the standard input says so, until it ends. What is mounted
/// there later is left alone.
///
/// Signals that end a mount are left to the serving process, which is the one to decide.
pub fn keep(directory: &Path) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::Mount, "cannot serve as keeper").caused_by(error);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(failed)?;
    }
    let mount = OwnMount::on(directory);
    let (words, mut answers) = (io::stdin().lock(), io::stdout().lock());
    for word in words.bytes() {
        let outcome = match word.map_err(failed)? {
            ABORT => mount.abort(),
            word => mount.detach(word == UNMOUNT_LAZILY),
        };
        let answer = match outcome {
            Ok(()) => DONE.to_owned(),
            Err(error) if point::is_busy(&error) => BUSY.to_owned(),
            Err(error) => error.to_string().replace('\n', " "),
        };
        writeln!(answers, "{answer}")
            .and_then(|()| answers.flush())
            .map_err(failed)?;
    }
    Ok(())
}
