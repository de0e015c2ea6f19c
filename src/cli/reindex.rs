//! `dgfs reindex`: the index out of volume 0.

use std::path::PathBuf;
use std::process::ExitCode;

use dgfs::Result;
use dgfs::extract::extract_index;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Volume 0 of the image (IMAGE.data).
    volume: PathBuf,
    /// Where the index goes.
    #[arg(short, long, value_name = "IMAGE")]
    output: PathBuf,
    /// Replace IMAGE if it is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut faults = 0;
    extract_index(&args.volume, &args.output, args.force, &mut |fault| {
        faults += 1;
        super::complain(&fault);
    })?;
    if faults > 0 {
        super::complain(&format_args!(
            "{}: {faults} pages of the copy are damaged; where the old index is left, or parts of it, \
             `dgfs salvage --index` mends what it can",
            args.volume.display()
        ));
    }
    Ok(super::exit_code(faults))
}
