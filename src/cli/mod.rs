//! The command line: one file for each subcommand, each with its `Args` and `run`.
//!
//! Exit codes: 0 done, [`PROBLEMS`] done but not everything, [`FAILED`] could not do it. Results go
//! to standard output, complaints to standard error as `dgfs: PATH: cause`.

#[cfg(feature = "mount")]
mod background_log;
mod cat;
mod extract;
mod info;
#[cfg(feature = "mount")]
mod inherited;
mod json_entry;
#[cfg(feature = "mount")]
mod keep_mount;
mod long_line;
mod ls;
mod moment;
#[cfg(feature = "mount")]
mod mount;
#[cfg(feature = "mount")]
mod mount_helper;
mod open_image;
mod output;
mod overrides;
mod pack;
mod progress;
mod reindex;
mod salvage;
mod selection;
mod size;
mod stat;
mod timestamp;
#[cfg(feature = "mount")]
mod umount;
mod verify;

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use dgfs::Result;

/// Exit code of a command that did its work but met problems on the way, each of them reported.
pub(crate) const PROBLEMS: u8 = 1;

/// Exit code of a command that could not do its work, and of bad usage (as clap has it).
pub(crate) const FAILED: u8 = 2;

/// A read-only packed file system for millions of small files.
#[derive(Debug, clap::Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Say more; twice and thrice for more still.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Pack a directory tree into an image.
    Pack(Box<pack::Args>),
    /// List a directory of an image, or all of it.
    Ls(ls::Args),
    /// Print contents of files.
    Cat(cat::Args),
    /// Show everything about one entry.
    Stat(stat::Args),
    /// Show what an image is and how large its parts are.
    Info(info::Args),
    /// Write the tree of an image, or parts of it, to a directory.
    Extract(extract::Args),
    /// Show an image as a directory.
    #[cfg(feature = "mount")]
    Mount(mount::Args),
    /// Unmount on behalf of a serving process.
    #[cfg(feature = "mount")]
    #[command(hide = true)]
    KeepMount(keep_mount::Args),
    /// Check an image to the last byte.
    Verify(verify::Args),
    /// Recover an index from the copy in volume 0.
    Reindex(reindex::Args),
    /// Extract what is left of a damaged image, and list what is not.
    Salvage(salvage::Args),
    /// Take a mounted image off its directory.
    #[cfg(feature = "mount")]
    Umount(umount::Args),
}

impl Cli {
    /// The least severe level of log lines that go to standard error, unless `RUST_LOG` says otherwise.
    pub(crate) fn log_level(&self) -> log::LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => log::LevelFilter::Error,
            (false, 0) => log::LevelFilter::Warn,
            (false, 1) => log::LevelFilter::Info,
            (false, 2) => log::LevelFilter::Debug,
            (false, _) => log::LevelFilter::Trace,
        }
    }

    /// Whether log lines begin with the time.
    pub(crate) fn log_time(&self) -> Option<env_logger::TimestampPrecision> {
        match &self.command {
            #[cfg(feature = "mount")]
            Command::Mount(args) if args.logs_to_file() => {
                Some(env_logger::TimestampPrecision::Seconds)
            }
            _ => None,
        }
    }

    /// Runs the subcommand.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Pack(args) => pack::run(&args, self.quiet),
            Command::Ls(args) => ls::run(&args),
            Command::Cat(args) => cat::run(&args),
            Command::Stat(args) => stat::run(&args),
            Command::Info(args) => info::run(&args),
            Command::Extract(args) => extract::run(&args, self.quiet),
            #[cfg(feature = "mount")]
            Command::Mount(args) => mount::run(args),
            #[cfg(feature = "mount")]
            Command::KeepMount(args) => keep_mount::run(&args),
            #[cfg(feature = "mount")]
            Command::Umount(args) => umount::run(&args),
            Command::Verify(args) => verify::run(&args, self.quiet),
            Command::Reindex(args) => reindex::run(&args),
            Command::Salvage(args) => salvage::run(&args, self.quiet),
        }
    }
}

/// The arguments of this process, as `dgfs` would have been called if mount(8) called it by another
/// name.
pub(crate) fn arguments() -> Vec<OsString> {
    let arguments = std::env::args_os().collect();
    #[cfg(feature = "mount")]
    let arguments = mount_helper::translate(arguments);
    arguments
}

/// Reports a problem on standard error: `what` is `PATH: cause`. It stays one line, and does nothing to the terminal,
/// whatever bytes the path has.
#[expect(clippy::print_stderr, reason = "the tool's own voice")]
pub(crate) fn complain(what: &dyn Display) {
    eprintln!(
        "dgfs: {}",
        dgfs::escape::Escaped(what.to_string().as_bytes())
    );
}

/// [`ExitCode`] of a command that met this many problems.
pub(crate) fn exit_code(problems: u64) -> ExitCode {
    if problems == 0 {
        ExitCode::SUCCESS
    } else {
        PROBLEMS.into()
    }
}

/// [`ExitCode`] of a command of which this many of its paths failed.
pub(crate) fn exit_code_of(failed: usize, paths: usize) -> ExitCode {
    match failed {
        0 => ExitCode::SUCCESS,
        some if some < paths => PROBLEMS.into(),
        _ => FAILED.into(),
    }
}
