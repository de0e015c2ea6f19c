//! `dgfs umount`: takes a mounted image off its directory.

use dgfs::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `dgfs umount`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that shows the image
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Hide the image at once even if it is in use; it ends when its last user leaves
    #[arg(short, long)]
    lazy: bool,
}

/// Unmounts.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    dgfs::mount::unmount(&args.directory, args.lazy)?;
    Ok(ExitCode::SUCCESS)
}
