//! `dgfs verify`: whether an image is what it was when it was packed.

use std::process::ExitCode;

use dgfs::Result;
use dgfs::read::{Fault, VerifyOptions};
use serde::Serialize;

use super::json_entry::text;
use super::open_image::ImageArgs;
use super::output::Output;
use super::progress::with_progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Leave out the contents of files.
    #[arg(long)]
    quick: bool,
    /// Print a JSON object for each fault, and one at the end with the sums.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct JsonFault {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    message: String,
}

#[derive(Debug, Serialize)]
struct JsonSums {
    entries: u64,
    bytes: u64,
    faults: u64,
}

impl JsonFault {
    fn new(fault: &Fault) -> Self {
        let entry = fault.entry.as_deref();
        let (path, path_hex) = entry.map(text).unzip();
        let file = fault.error.path();
        Self {
            path,
            path_hex: path_hex.flatten(),
            file: file.map(|path| path.display().to_string()),
            page: fault.error.page(),
            offset: fault.error.offset(),
            message: fault.to_string(),
        }
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let image = args.image.open()?;
    let header = image.header();
    let contents = if args.quick { 0 } else { header.stored_bytes };
    // The index is read as well, and its copy.
    let total = contents + 2 * header.index_length;
    let mut output = Output::new();
    let mut printed = Ok(());
    let options = VerifyOptions { quick: args.quick };
    let verified = with_progress(&image, total, quiet, |bar| {
        image.verify(&options, &mut |fault| {
            if !args.json {
                bar.suspend(|| super::complain(&fault));
            } else if printed.is_ok() {
                printed = output.json(&JsonFault::new(&fault));
            }
        })
    });
    printed?;
    if args.json {
        output.json(&JsonSums {
            entries: verified.entries,
            bytes: verified.bytes,
            faults: verified.faults,
        })?;
    } else if !quiet {
        output.line(format_args!(
            "{} entries, {} bytes, {} faults",
            verified.entries, verified.bytes, verified.faults
        ))?;
    }
    output.finish()?;
    Ok(super::exit_code(verified.faults))
}
