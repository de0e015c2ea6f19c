//! `dgfs mount`: shows an image as a directory, from a process in the background unless asked
//! otherwise.

use super::{background_log, inherited, keep_mount};
use dgfs::mount::{Keeper, Mounted, OptionList, Sandbox, Signals};
use dgfs::read::{Image, Keeping};
use dgfs::{Error, ErrorKind, Result};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

/// Arguments of `dgfs mount`.
#[derive(Debug, clap::Args)]
#[command(after_help = OPTIONS_HELP)]
pub(crate) struct Args {
    /// The image: an index, or a data volume that holds a copy of it
    image: PathBuf,
    /// The directory that shall show it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// A data volume that does not lie beside the index; once for each
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// Options, separated by commas; see below
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<OsString>,
    /// Serve on behalf of a process that waits for the first byte on the standard output
    #[arg(long, hide = true, conflicts_with = "foreground")]
    detached: bool,
}

const OPTIONS_HELP: &str = "\
Options of -o:
  allow_other        let other users in (as a user: if /etc/fuse.conf has user_allow_other)
  allow_root         let root in, besides the user who mounts
  subdir=PATH        show only this directory of the image
  uid=N, gid=N       show every entry as owned by this user or group
  suid, dev          honour set-user-id bits and device files (root only; without: nosuid, nodev)
  noexec             run no programs from the mount
  no_default_permissions
                     let whoever may enter the mount read everything
  noacl              let mode, owner and group decide alone, even where there are ACLs
  transport=auto|dev|uring
                     what carries requests: the device /dev/fuse, or rings of shared memory (Linux
                     6.14, where enabled); auto (the default) takes rings where it can
  threads=N          threads that answer requests (default: processors, at least 2; for rings twice
                     the processors)
  no_clone_fd        let all threads share one connection with the kernel
  cache=SIZE         memory for pages of the index, such as 256M
  data=PATH          like --data
  volume_cache       keep contents in the page cache of the volume as well as in that of the mount
  readdirplus=always|auto|never
                     when listings carry attributes: always (the default) serves programs that
                     look at what they list; never, those that want only names
  auto_unmount       unmount even if the serving process is killed
  fsname=NAME        the source that lists of mounts show (default: the image's path)
  no_sandbox         let the serving process keep rights that it does not need
  stats=FILE         write the counters there at the end, and on the signal USR1
  trace=FILE         list files there in the order in which they are first read, for
                     pack --order list:FILE
  log=FILE           append the log there when in the background, not to the system's
Those of mount(8) and fstab(5) that change nothing here are ignored.";

impl Args {
    /// Whether log lines go to a file, which keeps no time of its own.
    pub(crate) fn logs_to_file(&self) -> bool {
        let options = self.options.join(OsStr::new(","));
        self.detached && OptionList::parse(&options).is_ok_and(|list| list.log.is_some())
    }
}

/// What the serving process writes once the mount answers.
const READY: &[u8] = b"1";

/// Mounts, and serves unless a process in the background does.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let mut options = OptionList::parse(&args.options.join(OsStr::new(",")))?;
    if !args.foreground && !args.detached {
        return detach();
    }
    inherited::close();
    options.data.extend(args.data);
    let mount = &mut options.mount;
    for file in [&mut mount.stats, &mut mount.trace].into_iter().flatten() {
        *file = absolute(file)?;
    }
    // What the log says of the image shall make sense to who does not know where we were called.
    let index = absolute(&args.image)?;
    if options.mount.fsname.is_none() {
        options.mount.fsname = Some(index.to_string_lossy().into_owned());
    }
    for volume in &mut options.data {
        *volume = absolute(volume)?;
    }
    let keeping = if options.volume_cache {
        Keeping::Here
    } else {
        Keeping::WithReaders
    };
    let mut open = Image::options().data(options.data).many_readers(keeping);
    if let Some(bytes) = options.cache {
        open = open.cache_bytes(bytes);
    }
    let image = Arc::new(open.open(&index)?);
    let sandbox = (!options.no_sandbox).then(|| Sandbox::new(&image));
    options.mount.sandbox.clone_from(&sandbox);
    if args.detached {
        // A signal to the caller's terminal shall not reach us. This fails only for a process that
        // leads a group, which is then apart already.
        let _ = rustix::process::setsid();
    }
    let log = args
        .detached
        .then(|| background_log::open(options.log.as_deref(), sandbox.as_ref()))
        .transpose()?;
    let signals = Signals::catch()?;
    let mounted = dgfs::mount::mount(image, &args.directory, &options.mount)?;
    log::info!(
        "{}: mounted, transport {}",
        mounted.directory().display(),
        mounted.transport()
    );
    let background = log.map(|log| Background::prepare(log, &mounted));
    let background = background.transpose()?;
    if let Some(sandbox) = &sandbox {
        mounted.confine(sandbox, keeper(mounted.directory())?);
    }
    signals.serve(&mounted)?;
    if let Some(background) = background {
        background.enter(&mounted)?;
    }
    mounted.wait()?;
    Ok(ExitCode::SUCCESS)
}

/// Starts this program again, to serve in the background, and waits until the mount answers. Until
/// then the other process reports errors to our standard error, and its exit code becomes ours.
fn detach() -> Result<ExitCode> {
    let failed = |error| Error::new(ErrorKind::Mount, "cannot start a process").caused_by(error);
    let mut arguments = super::arguments();
    let position = arguments
        .iter()
        .position(|argument| argument == "mount")
        .map_or(arguments.len(), |mount| mount + 1);
    arguments.insert(position, OsString::from("--detached"));
    // Not the path we were called by: another version may have been installed there since.
    let mut server = Command::new("/proc/self/exe")
        .arg0("dgfs")
        .args(arguments.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(output) = server.stdout.take() {
        // Ends with the first byte, or without any when the process does.
        output
            .take(READY.len() as u64)
            .read_to_end(&mut answer)
            .map_err(failed)?;
    }
    if answer == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = server.wait().map_err(failed)?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => Ok(ExitCode::from(code)),
        _ => {
            let what = format!("the serving process ended before the mount answered: {status}");
            Err(Error::new(ErrorKind::Mount, what))
        }
    }
}

/// Starts the process that will unmount for this one.
fn keeper(directory: &Path) -> Result<Keeper> {
    Keeper::start(
        Command::new("/proc/self/exe")
            .arg0("dgfs")
            .args([keep_mount::NAME, "--"])
            .arg(directory),
    )
}

/// What a process needs to let go of its caller.
struct Background {
    log: OwnedFd,
    nowhere: File,
}

impl Background {
    /// Opens what a process in its sandbox cannot open, and leaves the caller's directory.
    fn prepare(log: OwnedFd, mounted: &Mounted) -> Result<Self> {
        let failed = |error| not_in_background(mounted, error);
        let nowhere = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(failed)?;
        rustix::process::chdir("/").map_err(|errno| failed(errno.into()))?;
        Ok(Self { log, nowhere })
    }

    /// Lets go of the caller's terminal, and tells him that the mount answers.
    fn enter(self, mounted: &Mounted) -> Result<()> {
        let failed = |errno: rustix::io::Errno| not_in_background(mounted, errno.into());
        rustix::stdio::dup2_stdin(&self.nowhere).map_err(failed)?;
        rustix::stdio::dup2_stderr(&self.log).map_err(failed)?;
        // Once the caller has his answer, the standard output shall be his no more.
        let caller = rustix::io::dup(io::stdout()).map_err(failed)?;
        rustix::stdio::dup2_stdout(&self.nowhere).map_err(failed)?;
        drop(self);
        // If he is gone, nobody asks for this mount any more, and it ends with the error.
        File::from(caller)
            .write_all(READY)
            .map_err(|error| not_in_background(mounted, error))
    }
}

fn not_in_background(mounted: &Mounted, error: io::Error) -> Error {
    Error::new(ErrorKind::Mount, "cannot go to the background")
        .at_path(mounted.directory())
        .caused_by(error)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::io(path, "resolve", error))
}
