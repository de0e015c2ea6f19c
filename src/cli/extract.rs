//! `dgfs extract`: a tree out of an image.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use dgfs::Result;
use dgfs::extract::{ExtractOptions, extract_tree};

use super::open_image::{ImageArgs, inner_path};
use super::output::Output;
use super::progress::with_progress;

/// Owners, and set-user-id and set-group-id bits, are restored for root alone, unless asked for.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the user's switches"
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The directory to extract to; it is made if it is missing.
    destination: PathBuf,
    /// What to extract, and everything below it; all if left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Replace entries that are there already.
    #[arg(long)]
    force: bool,
    /// Restore owner and group.
    #[arg(long, overrides_with = "no_same_owner")]
    same_owner: bool,
    /// Leave everything to the user who extracts.
    #[arg(long)]
    no_same_owner: bool,
    /// Restore set-user-id and set-group-id bits.
    #[arg(long)]
    same_permissions: bool,
    /// Leave out extended attributes and ACLs.
    #[arg(long)]
    no_xattrs: bool,
}

impl Args {
    fn options(&self) -> ExtractOptions {
        let usual = ExtractOptions::default();
        ExtractOptions {
            owner: self.same_owner || usual.owner && !self.no_same_owner,
            special_bits: self.same_permissions || usual.special_bits && !self.no_same_owner,
            xattrs: !self.no_xattrs,
            force: self.force,
        }
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let image = args.image.open()?;
    let paths: Vec<_> = args.paths.iter().map(|path| inner_path(path)).collect();
    // How large a part is, is not known before it is read.
    let no_bar = quiet || !paths.is_empty();
    let total = image.header().stored_bytes + image.header().index_length;
    let extracted = with_progress(&image, total, no_bar, |bar| {
        let mut complain = |error| bar.suspend(|| super::complain(&error));
        extract_tree(
            &image,
            &args.destination,
            &paths,
            &args.options(),
            &mut complain,
        )
    })?;
    if !quiet {
        let mut output = Output::new();
        output.line(format_args!(
            "{} files, {} directories, {} symlinks, {} others, {} hard links, {} bytes, {} problems",
            extracted.files,
            extracted.directories,
            extracted.symlinks,
            extracted.others,
            extracted.hard_links,
            extracted.bytes,
            extracted.problems
        ))?;
        output.finish()?;
    }
    if extracted.entries() == 0 && extracted.problems > 0 {
        return Ok(super::FAILED.into());
    }
    Ok(super::exit_code(extracted.problems))
}
