//! `dgfs verify`: whether an image is what it was when it was packed.

use std::process::ExitCode;

use dgfs::read::{Fault, Image, Verified, VerifyOptions};
use dgfs::{Error, ErrorKind, Result};
use indicatif::ProgressBar;
use serde::Serialize;

use super::json_entry::text;
use super::open_image::ImageArgs;
use super::output::Output;
use super::progress::with_progress;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Leave out the contents of files: check the index, its copy, and where contents lie.
    #[arg(long)]
    quick: bool,
    /// Threads that read contents [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
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
    /// Bytes of the file `path` that cannot be read: the first, and the one behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    message: String,
}

#[derive(Debug, Serialize)]
struct JsonSums {
    entries: u64,
    bytes: u64,
    faults: u64,
    lost_entries: u64,
    damaged_files: u64,
    complete: bool,
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
            start: fault.range.as_ref().map(|range| range.start),
            end: fault.range.as_ref().map(|range| range.end),
            message: fault.to_string(),
        }
    }
}

/// What the tree has lost, in words.
fn state(verified: &Verified) -> String {
    if verified.complete {
        return "the tree is complete".to_owned();
    }
    if verified.entries == 0 {
        return "the tree cannot be read".to_owned();
    }
    format!(
        "the tree is not complete: {} entries are lost, contents of {} files are damaged",
        verified.lost_entries, verified.damaged_files
    )
}

/// The fault of an image that cannot be opened at all; what is no image, or cannot be reached, is a failure.
fn unopened(error: Error) -> Result<Fault> {
    if error.kind() == ErrorKind::Corrupt {
        let (entry, range) = (None, None);
        return Ok(Fault {
            entry,
            range,
            error,
        });
    }
    Err(error)
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let mut output = Output::new();
    let mut printed = Ok(());
    let mut tell = |fault: &Fault, bar: &ProgressBar| {
        if !args.json {
            bar.suspend(|| super::complain(fault));
        } else if printed.is_ok() {
            printed = output.json(&JsonFault::new(fault));
        }
    };
    let verified = match args.image.open_damaged() {
        Ok(image) => verify(&image, args, quiet, &mut tell),
        Err(error) => {
            tell(&unopened(error)?, &ProgressBar::hidden());
            Verified {
                faults: 1,
                ..Verified::default()
            }
        }
    };
    printed?;
    if args.json {
        output.json(&JsonSums {
            entries: verified.entries,
            bytes: verified.bytes,
            faults: verified.faults,
            lost_entries: verified.lost_entries,
            damaged_files: verified.damaged_files,
            complete: verified.complete,
        })?;
    } else if !quiet {
        output.line(format_args!(
            "{} entries, {} bytes, {} faults",
            verified.entries, verified.bytes, verified.faults
        ))?;
        if verified.faults > 0 {
            output.line(format_args!("{}", state(&verified)))?;
        }
    }
    output.finish()?;
    Ok(super::exit_code(verified.faults))
}

fn verify(
    image: &Image,
    args: &Args,
    quiet: bool,
    tell: &mut dyn FnMut(&Fault, &ProgressBar),
) -> Verified {
    let header = image.header();
    let contents = if args.quick { 0 } else { header.stored_bytes };
    // The index is read as well, and its copy.
    let total = contents.saturating_add(2 * header.index_length);
    let threads = args.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let options = VerifyOptions {
        quick: args.quick,
        threads,
    };
    with_progress(image, total, quiet, |bar| {
        image.verify(&options, &mut |fault| tell(&fault, bar))
    })
}
