//! `dgfs salvage`: what is left of a damaged image.

use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dgfs::extract::{Fate, Outcome, extract_remains};
use dgfs::salvage::{Found, Repairs, Salvage};
use dgfs::{Error, ErrorKind, Result};
use serde::Serialize;

use super::extract::{WriteArgs, complain_of_xattrs, print_sums};
use super::json_entry::text;
use super::open_image::inner_path;
use super::output::Output;
use super::progress::with_progress;
use dgfs::escape::Escaped;

/// Damaged pages of the index are taken from its copy in volume 0, and the other way round; what is whole in neither is
/// inferred as far as that is possible. What is left is extracted, and what is not is listed.
///
/// Exit code 0: everything was whole. 1: something is lost or could not be written. 2: nothing could be done.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image: its index, a volume 0, or the name that the index had.
    image: PathBuf,
    /// The directory to extract to; it is made if it is missing.
    #[arg(required_unless_present_any = ["list", "index"], conflicts_with = "list")]
    destination: Option<PathBuf>,
    /// What to extract, and everything below it; all if left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Where a volume lies; give it once for each volume, in order. Default: beside the index.
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Extract nothing, but read everything and say of every path how much of it there is.
    #[arg(long)]
    list: bool,
    /// Print a JSON object for each path that is not whole (with --list for each), and one at the end with the sums.
    #[arg(long)]
    json: bool,
    /// Write the mended index to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Extract files with damaged contents as well, with zeros for the damaged parts.
    #[arg(long)]
    keep_damaged: bool,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Serialize)]
struct JsonOutcome<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<Vec<[u64; 2]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct JsonSums<'a> {
    #[serde(flatten)]
    found: Found,
    index: &'a Repairs,
}

/// The word for a fate.
fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Whole => "whole",
        Fate::Incomplete => "incomplete",
        Fate::Damaged(_) => "damaged",
        Fate::MetadataOnly => "metadata only",
        Fate::Lost(_) => "lost",
        Fate::Failed => "failed",
    }
}

/// Prints outcomes as they come.
struct Report {
    output: Output,
    printed: Result<()>,
    json: bool,
    list: bool,
    found: Found,
}

impl Report {
    fn add(&mut self, outcome: &Outcome) {
        self.found.add(&outcome.fate);
        let worth = self.list || outcome.fate != Fate::Whole;
        if self.printed.is_ok() && worth {
            if self.json {
                self.printed = self.print_json(outcome);
            } else if self.list {
                self.printed = self.print(outcome);
            }
        }
    }

    fn print(&mut self, outcome: &Outcome) -> Result<()> {
        let path = if outcome.path.is_empty() {
            b"."
        } else {
            &*outcome.path
        };
        let (path, word) = (Escaped(path), word(&outcome.fate));
        match &outcome.fate {
            Fate::Lost(entries) => self
                .output
                .line(format_args!("{word} {entries} entries behind {path}")),
            Fate::Damaged(ranges) => {
                self.output.bytes(format!("{word} {path}").as_bytes())?;
                for range in ranges {
                    self.output
                        .bytes(format!(" {}-{}", range.start, range.end).as_bytes())?;
                }
                self.output.bytes(b"\n")
            }
            _ => self.output.line(format_args!("{word} {path}")),
        }
    }

    fn print_json(&mut self, outcome: &Outcome) -> Result<()> {
        let (path, path_hex) = text(&outcome.path);
        let message = outcome.error.as_ref().map(ToString::to_string);
        self.output.json(&JsonOutcome {
            path,
            path_hex,
            state: word(&outcome.fate),
            ranges: match &outcome.fate {
                Fate::Damaged(ranges) => Some(ranges.iter().map(|r| [r.start, r.end]).collect()),
                _ => None,
            },
            entries: match &outcome.fate {
                Fate::Lost(entries) => Some(*entries),
                _ => None,
            },
            message: message.as_deref(),
        })
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let scratch = scratch_directory(args.destination.as_deref());
    let salvage = Salvage::open(&args.image, &args.data, &scratch)?;
    for note in &salvage.repairs().notes {
        super::complain(note);
    }
    if let Some(path) = &args.index {
        write_index(&salvage, path)?;
    }
    let mut report = Report {
        output: Output::new(),
        printed: Ok(()),
        json: args.json,
        list: args.list,
        found: Found::default(),
    };
    let image = salvage.image();
    let header = image.header();
    let total = header.stored_bytes.saturating_add(header.index_length);
    let mut missing = 0;
    if args.list {
        with_progress(image, total, quiet, |_| {
            salvage.survey(&mut |outcome| report.add(&outcome));
        });
    } else if let Some(destination) = &args.destination {
        let paths: Vec<_> = args.paths.iter().map(|path| inner_path(path)).collect();
        let mut options = args.write.options()?;
        options.keep_damaged = args.keep_damaged;
        let extracted = with_progress(image, total, quiet, |bar| {
            extract_remains(image, destination, &paths, &options, &mut |outcome| {
                if let Some(error) = outcome.error.as_ref().filter(|_| !args.json) {
                    bar.suspend(|| super::complain(error));
                }
                report.add(&outcome);
            })
        })?;
        missing = args.write.missing_xattrs(&extracted);
        complain_of_xattrs(missing, destination);
        if !quiet && !args.json {
            print_sums(&extracted, &mut report.output)?;
        }
    }
    finish(report, salvage.repairs(), quiet, missing)
}

/// Prints the sums, and decides on the exit code.
fn finish(mut report: Report, repairs: &Repairs, quiet: bool, missing: u64) -> Result<ExitCode> {
    report.printed?;
    let found = report.found;
    if report.json {
        let index = repairs;
        report.output.json(&JsonSums { found, index })?;
    } else if !quiet {
        report.output.line(format_args!(
            "{} whole, {} incomplete, {} damaged, {} metadata only, {} lost, {} failed",
            found.whole,
            found.incomplete,
            found.damaged,
            found.metadata_only,
            found.lost,
            found.failed
        ))?;
        report.output.line(format_args!(
            "index: {} of {} leaf pages lost, {} pages mended{}{}",
            repairs.lost_leaf_pages,
            repairs.leaf_pages,
            repairs.mended_pages,
            if repairs.inner_pages_rebuilt {
                ", inner pages made anew"
            } else {
                ""
            },
            if repairs.header_rebuilt {
                ", header made anew"
            } else {
                ""
            },
        ))?;
    }
    report.output.finish()?;
    let lossy = u64::from(repairs.is_lossy());
    Ok(super::exit_code(found.problems() + missing + lossy))
}

fn write_index(salvage: &Salvage, path: &Path) -> Result<()> {
    let file = File::create_new(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Exists, "exists already").at_path(path)
        }
        _ => Error::io(path, "create", e),
    })?;
    let mut out = BufWriter::new(file);
    let written = salvage.write_index(&mut out);
    let synced = written.and_then(|_| {
        out.into_inner()
            .map_err(std::io::IntoInnerError::into_error)?
            .sync_all()
    });
    synced.map_err(|e| {
        // Half an index is none.
        let _ = std::fs::remove_file(path);
        Error::io(path, "write", e)
    })
}

/// Where the mended index goes while it is needed: to the file system of the destination, which has room.
fn scratch_directory(destination: Option<&Path>) -> PathBuf {
    let parents = destination.into_iter().flat_map(Path::ancestors);
    let found = parents
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| path.is_dir());
    found.map_or_else(std::env::temp_dir, Path::to_path_buf)
}
