//! `dgfs extract`: a tree out of an image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dgfs::extract::{Existing, ExtractOptions, Extracted, extract_tree};
use dgfs::read::Decoders;
use dgfs::source::{AttributePatterns, PathPatterns};
use dgfs::{Error, ErrorKind, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::open_image::{ImageArgs, inner_path};
use super::output::Output;
use super::progress::with_progress;

/// How entries are made; the options of `extract` and `salvage`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the user's switches"
)]
pub(super) struct WriteArgs {
    /// Replace entries that are there already. Directories are never replaced, but added to.
    #[arg(long, visible_aliases = ["force"], overrides_with_all = ["keep_old_files", "skip_old_files"])]
    overwrite: bool,
    /// Leave entries that are there as they are, and report them. This is the default.
    #[arg(short, long, overrides_with_all = ["overwrite", "skip_old_files"])]
    keep_old_files: bool,
    /// Leave entries that are there as they are, and say nothing.
    #[arg(long, overrides_with_all = ["overwrite", "keep_old_files"])]
    skip_old_files: bool,
    /// Restore owner and group, by their numbers. The default for root.
    #[arg(long, overrides_with = "no_same_owner")]
    same_owner: bool,
    /// Leave everything to the user who extracts. The default for other users.
    #[arg(long, overrides_with = "same_owner")]
    no_same_owner: bool,
    /// Restore set-user-id and set-group-id bits as well as permissions. The default for root.
    #[arg(short = 'p', long, overrides_with = "no_same_permissions")]
    same_permissions: bool,
    /// Take the umask from permissions, and leave out set-user-id and set-group-id bits.
    #[arg(long, overrides_with = "same_permissions")]
    no_same_permissions: bool,
    /// Report each extended attribute that cannot be set, also those that only root may set.
    #[arg(long, conflicts_with = "no_xattrs")]
    xattrs: bool,
    /// Leave out extended attributes and ACLs.
    #[arg(long)]
    no_xattrs: bool,
    /// Leave out extended attributes but those whose names match the pattern; may be repeated.
    #[arg(long, value_name = "GLOB")]
    xattrs_include: Vec<String>,
    /// Leave out extended attributes whose names match the pattern; may be repeated.
    #[arg(long, value_name = "GLOB")]
    xattrs_exclude: Vec<String>,
    /// Leave out character and block devices.
    #[arg(long)]
    no_devices: bool,
    /// Extract only what matches one of these patterns, and what is below it; may be repeated.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out what matches one of these patterns, and what is below it; may be repeated.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Cut this many components off the front of each path; what has no more is left out.
    #[arg(long, value_name = "N", default_value_t = 0)]
    strip_components: usize,
    /// Threads that write files.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
}

impl WriteArgs {
    /// The options that these arguments stand for; signals that ask to stop end the extraction in good order.
    pub(super) fn options(&self) -> Result<ExtractOptions> {
        let usual = ExtractOptions::default();
        let stop = Arc::new(AtomicBool::new(false));
        heed_signals(&stop)?;
        Ok(ExtractOptions {
            owner: self.same_owner || usual.owner && !self.no_same_owner,
            special_bits: self.same_permissions
                || usual.special_bits && !self.no_same_permissions && !self.no_same_owner,
            permissions: !self.no_same_permissions,
            xattrs: !self.no_xattrs,
            xattr_patterns: AttributePatterns::new(&self.xattrs_include, &self.xattrs_exclude)?,
            devices: !self.no_devices,
            existing: if self.overwrite {
                Existing::Replace
            } else if self.skip_old_files {
                Existing::Skip
            } else {
                Existing::Keep
            },
            include: PathPatterns::new(&self.include)?,
            exclude: PathPatterns::new(&self.exclude)?,
            strip_components: self.strip_components,
            threads: self.threads.map_or(usual.threads, usize::from),
            stop,
            ..usual
        })
    }

    /// Attributes that are missing although they were to be had.
    pub(super) fn missing_xattrs(&self, extracted: &Extracted) -> u64 {
        if self.xattrs {
            extracted.refused_xattrs
        } else {
            extracted.missing_xattrs
        }
    }
}

/// From now on the first signal that asks to stop sets `stop`, a second one ends the process at once.
fn heed_signals(stop: &Arc<AtomicBool>) -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, super::FAILED.into(), Arc::clone(stop))
            .and_then(|_| flag::register(signal, Arc::clone(stop)))
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot wait for signals").caused_by(error)
            })?;
    }
    Ok(())
}

/// What `extract` did, in a line.
pub(super) fn print_sums(extracted: &Extracted, output: &mut Output) -> Result<()> {
    output.line(format_args!(
        "{} files, {} directories, {} symlinks, {} others, {} hard links, {} bytes, {} problems",
        extracted.files,
        extracted.directories,
        extracted.symlinks,
        extracted.others,
        extracted.hard_links,
        extracted.bytes,
        extracted.problems
    ))
}

/// Says how many attributes the system refused.
pub(super) fn complain_of_xattrs(missing: u64, destination: &Path) {
    if missing > 0 {
        let destination = destination.display();
        super::complain(&format_args!(
            "{destination}: {missing} extended attributes could not be set; --no-xattrs leaves them out"
        ));
    }
}

/// Owners, and set-user-id and set-group-id bits, are restored for root alone, unless asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The directory to extract to; it is made if it is missing.
    destination: PathBuf,
    /// What to extract, and everything below it; all if left out.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let image = Arc::new(args.image.open()?);
    // A large file is written by one thread, which has not to wait for its decompression then.
    let _decoders = Decoders::start(&image, Decoders::suitable_threads(None), || ());
    let paths: Vec<_> = args.paths.iter().map(|path| inner_path(path)).collect();
    let options = args.write.options()?;
    // How large a part is, is not known before it is read.
    let no_bar = quiet || !paths.is_empty();
    let total = image.header().stored_bytes + image.header().index_length;
    let extracted = with_progress(&image, total, no_bar, |bar| {
        let mut complain = |error| bar.suspend(|| super::complain(&error));
        extract_tree(&image, &args.destination, &paths, &options, &mut complain)
    })?;
    let missing = args.write.missing_xattrs(&extracted);
    complain_of_xattrs(missing, &args.destination);
    if !quiet {
        let mut output = Output::new();
        print_sums(&extracted, &mut output)?;
        output.finish()?;
    }
    if extracted.entries() == 0 && extracted.problems > 0 {
        return Ok(super::FAILED.into());
    }
    Ok(super::exit_code(extracted.problems + missing))
}
