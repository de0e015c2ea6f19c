//! `dgfs keep-mount`: the process that `dgfs mount` leaves the unmounting to. Not meant to be called by hand.

use dgfs::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of the command, for who starts it.
pub(super) const NAME: &str = "keep-mount";

/// Arguments of `dgfs keep-mount`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that shows the image
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Unmounts when the standard input says so.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    dgfs::mount::keep(&args.directory)?;
    Ok(ExitCode::SUCCESS)
}
