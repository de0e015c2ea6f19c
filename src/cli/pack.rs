//! `dgfs pack`: a directory tree becomes an image.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use dgfs::build::{
    BuildOptions, CHUNK_SHIFTS, Compression, DEFAULT_LEVEL, Dedup, DictionarySize,
    LARGEST_DICTIONARY, Observer, Order, Phase, Progress, Report, SMALL_FRAMES,
    SMALLEST_DICTIONARY, pack_tree,
};
use dgfs::entry::KeptTimes;
use dgfs::{Error, ErrorKind, Result, image};

use super::output::Output;
use super::overrides::OverrideArgs;
use super::selection::SelectionArgs;
use super::size::parse_size;

/// Pack a directory tree into an image.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices, each with a name"
)]
pub(super) struct Args {
    /// The directory to pack.
    source: PathBuf,
    /// The index to write; volume 0 goes to IMAGE.data unless --data says otherwise.
    image: PathBuf,
    /// File of a data volume; several share the contents by size, in order.
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Memory to use, as 256M or 2GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "256M")]
    memory: u64,
    /// Threads that read the source; as many as there are processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Replace an image that is there already.
    #[arg(short, long)]
    force: bool,
    /// Pack a directory without entries, which is otherwise taken for a mistake.
    #[arg(long)]
    allow_empty: bool,
    /// Stop at the first file that cannot be read.
    #[arg(long)]
    strict: bool,
    /// Identity of the image; random by default. The same tree with the same one gives the same bytes.
    #[arg(long, value_name = "UUID", value_parser = image::parse_uuid)]
    uuid: Option<dgfs::format::Uuid>,
    /// What is stored once although several files have it: nothing but hard links, equal contents of whole files, or
    /// these and equal parts of files larger than a chunk, which are cut by content for that.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = DedupArg::Files)]
    dedup: DedupArg,
    /// Order of contents in the volumes: `path`, `similarity` to have files of one extension and name together, or
    /// `list:FILE` to have the files that FILE names come first, in its order. A line of FILE is one path relative to
    /// SOURCE, as `dgfs ls` prints it.
    #[arg(long, value_name = "ORDER", value_parser = parse_order, default_value = "path")]
    order: Order,
    /// Leave out the copy of the index at the end of volume 0.
    #[arg(long)]
    no_index_copy: bool,
    /// Which times to keep: that of modification, or those of access, change and birth as well.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Times::Mtime)]
    times: Times,
    /// How hard index pages are compressed.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=22),
        default_value_t = dgfs::build::DEFAULT_INDEX_LEVEL)]
    index_level: i32,
    /// How contents are compressed: `none`, or `zstd` with a level from 1 to 22, which is 3 if it is left out.
    #[arg(long, value_name = "none|zstd[:LEVEL]", value_parser = parse_compression, default_value = "zstd")]
    compress: Compression,
    /// Dictionaries for compressed contents: one for each class of files that it pays for, none, or
    /// of at most so many bytes.
    #[arg(long, value_name = "auto|none|SIZE", value_parser = parse_dictionaries, default_value = "auto")]
    dict: DictionarySize,
    /// Most bytes of neighbouring small files that are compressed together, from 4K to 64K, in a frame of at
    /// most 4 KiB that one read gets; or none.
    #[arg(long, value_name = "SIZE|none", value_parser = parse_small_frames, default_value = "32K")]
    small_frames: SmallFrames,
    /// Bytes of the chunks that large files are cut in, a power of 2 from 4K to 16M. Each is read and
    /// decompressed alone.
    #[arg(long, value_name = "SIZE", value_parser = parse_chunk, default_value = "128K")]
    chunk: u32,
    /// Give the same bytes for the same tree, wherever it lies: the identity follows from what is
    /// packed. Times after `SOURCE_DATE_EPOCH`, if that is set, become that time, unless --mtime is
    /// given. Owners stay: see --all-root.
    #[arg(long, conflicts_with = "uuid")]
    reproducible: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    overrides: OverrideArgs,
}

/// Reads the value of `--compress`.
fn parse_compression(text: &str) -> std::result::Result<Compression, String> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text, None),
    };
    match (name, level) {
        ("none", None) => Ok(Compression::None),
        ("zstd", None) => Ok(Compression::Zstd(DEFAULT_LEVEL)),
        ("zstd", Some(level)) => level
            .parse()
            .ok()
            .filter(|level| (1..=22).contains(level))
            .map(Compression::Zstd)
            .ok_or_else(|| format!("{level} is no level from 1 to 22")),
        _ => Err("give `none`, `zstd`, or `zstd:LEVEL`".to_owned()),
    }
}

/// Reads the value of `--dict`.
fn parse_dictionaries(text: &str) -> std::result::Result<DictionarySize, String> {
    let size = match text {
        "auto" => return Ok(DictionarySize::Auto),
        "none" => return Ok(DictionarySize::None),
        size => usize::try_from(parse_size(size)?).ok(),
    };
    size.filter(|size| (SMALLEST_DICTIONARY..=LARGEST_DICTIONARY).contains(size))
        .map(DictionarySize::Most)
        .ok_or_else(|| "give `auto`, `none`, or a size from 1K to 1M".to_owned())
}

/// Bytes of small files in a frame, if they share any.
#[derive(Debug, Clone, Copy)]
struct SmallFrames(Option<usize>);

/// Reads the value of `--small-frames`.
fn parse_small_frames(text: &str) -> std::result::Result<SmallFrames, String> {
    if text == "none" {
        return Ok(SmallFrames(None));
    }
    let size = usize::try_from(parse_size(text)?).ok();
    size.filter(|size| SMALL_FRAMES.contains(size))
        .map(|size| SmallFrames(Some(size)))
        .ok_or_else(|| "give `none`, or a size from 4K to 64K".to_owned())
}

/// Reads the value of `--chunk`, as a power of 2.
fn parse_chunk(text: &str) -> std::result::Result<u32, String> {
    let size = parse_size(text)?;
    Some(size.trailing_zeros())
        .filter(|shift| size.is_power_of_two() && CHUNK_SHIFTS.contains(shift))
        .ok_or_else(|| "give a power of 2 from 4K to 16M".to_owned())
}

/// Times to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Times {
    /// Last modification.
    Mtime,
    /// Modification, access, change and birth.
    All,
}

fn parse_order(text: &str) -> std::result::Result<Order, String> {
    match (text, text.strip_prefix("list:")) {
        ("path", _) => Ok(Order::Path),
        ("similarity", _) => Ok(Order::Similarity),
        (_, Some(file)) if !file.is_empty() => Ok(Order::List(file.into())),
        _ => Err("none of `path`, `similarity` and `list:FILE`".to_owned()),
    }
}

/// What is stored once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DedupArg {
    /// Hard links only.
    None,
    /// Equal contents of whole files.
    Files,
    /// These, and equal chunks of large files.
    Chunks,
}

/// Packs and prints a summary.
pub(super) fn run(args: &Args, quiet: bool) -> Result<ExitCode> {
    let mut options = BuildOptions {
        volumes: args.data.clone(),
        memory: usize::try_from(args.memory).unwrap_or(usize::MAX),
        force: args.force,
        strict: args.strict,
        refuse_empty: !args.allow_empty,
        uuid: args.uuid,
        reproducible: args.reproducible,
        dedup: match args.dedup {
            DedupArg::None => Dedup::None,
            DedupArg::Files => Dedup::Files,
            DedupArg::Chunks => Dedup::Chunks,
        },
        order: args.order.clone(),
        index_copy: !args.no_index_copy,
        xattrs: !args.selection.no_xattrs,
        one_file_system: args.selection.one_file_system,
        times: match args.times {
            Times::Mtime => KeptTimes::Modification,
            Times::All => KeptTimes::All,
        },
        selection: args.selection.selection()?,
        overrides: args.overrides.overrides(args.reproducible)?,
        index_level: args.index_level,
        compression: args.compress,
        dictionaries: args.dict,
        small_frames: args.small_frames.0,
        chunk_shift: args.chunk,
        ..BuildOptions::default()
    };
    if let Some(threads) = args.threads {
        options.threads = usize::from(threads);
    }
    if !args.allow_empty {
        refuse_empty(&args.source)?;
    }
    let mut terminal = Terminal::new(!quiet && !args.json);
    terminal.heed_signals()?;
    let report = pack_tree(&args.source, &args.image, options, &mut terminal)?;
    terminal.bar.finish_and_clear();
    if args.json {
        print_json(&args.image, &report)?;
    } else if !quiet {
        print_summary(&args.image, &report)?;
    }
    Ok(super::exit_code(report.problems))
}

/// An empty source is nearly always a file system that is not mounted, or a path with a typing error.
fn refuse_empty(source: &Path) -> Result<()> {
    let mut entries = std::fs::read_dir(source)
        .map_err(|error| Error::io(source, "read the directory", error))?;
    match entries.next() {
        Some(_) => Ok(()),
        None => Err(Error::new(
            ErrorKind::InvalidInput,
            "the directory is empty; --allow-empty packs it all the same",
        )
        .at_path(source)),
    }
}

/// Shows problems as lines and progress as a bar, the latter on a terminal only.
struct Terminal {
    bar: ProgressBar,
    phase: Option<Phase>,
    /// Set by the signals that ask to stop.
    stop: Arc<AtomicBool>,
}

impl Terminal {
    fn new(visible: bool) -> Self {
        let visible = visible && std::io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            phase: None,
            stop: Arc::default(),
        }
    }

    /// From now on the first signal that asks to stop ends the build in good order, a second one at once.
    fn heed_signals(&self) -> Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(
                signal,
                super::FAILED.into(),
                Arc::clone(&self.stop),
            )
            .and_then(|_| flag::register(signal, Arc::clone(&self.stop)))
            .map_err(|error| {
                Error::new(ErrorKind::Io, "cannot wait for signals").caused_by(error)
            })?;
        }
        Ok(())
    }

    fn begin(&mut self, progress: &Progress) {
        let counting = "{msg:10} {human_pos} entries, {elapsed}";
        let template = match progress.phase {
            Phase::Walking | Phase::Sorting | Phase::Publishing => counting,
            Phase::Packing => {
                "{msg:10} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_message(match progress.phase {
            Phase::Walking => "walking",
            Phase::Sorting => "sorting",
            Phase::Packing => "packing",
            Phase::Publishing => "finishing",
        });
        self.bar.reset();
        if let (Phase::Packing, Some(total)) = (progress.phase, progress.total_bytes) {
            self.bar.set_length(total);
        }
        self.phase = Some(progress.phase);
    }
}

impl Observer for Terminal {
    fn problem(&mut self, error: &Error) {
        self.bar.suspend(|| super::complain(error));
    }

    fn skipped(&mut self, path: &Path, why: &str) {
        self.bar
            .suspend(|| super::complain(&format_args!("{}: left out: {why}", path.display())));
    }

    fn progress(&mut self, progress: Progress) -> bool {
        if self.phase != Some(progress.phase) {
            self.begin(&progress);
        }
        match progress.phase {
            Phase::Packing => self.bar.set_position(progress.bytes),
            _ => self.bar.set_position(progress.entries),
        }
        !self.stop.load(Ordering::Relaxed)
    }
}

fn print_summary(image: &Path, report: &Report) -> Result<()> {
    let header = &report.header;
    let volumes: u64 = report.volume_bytes.iter().sum();
    let mut out = Output::new();
    out.line(format_args!(
        "{}: {} entries ({} files, {} directories, {} symlinks, {} others)",
        image.display(),
        header.entries,
        header.files,
        header.directories,
        header.symlinks,
        header.others
    ))?;
    out.line(format_args!(
        "data  {} bytes in files, {volumes} bytes in {} volume(s)",
        header.data_bytes,
        report.volume_bytes.len()
    ))?;
    if header.shared_files > 0 {
        out.line(format_args!(
            "      {} duplicates of other files, which would have taken {} bytes",
            header.shared_files, header.shared_bytes
        ))?;
    }
    out.line(format_args!(
        "index {} bytes, {:.3} bytes per entry",
        header.index_length,
        report.index_bytes_per_entry()
    ))?;
    let excluded = match report.excluded {
        0 => String::new(),
        some => format!(", {some} excluded"),
    };
    let problems = match report.problems {
        0 => String::new(),
        some => format!(", {some} problem(s)"),
    };
    out.line(format_args!(
        "{:.2} seconds{excluded}{problems}",
        report.elapsed.as_secs_f64()
    ))?;
    out.finish()
}

fn print_json(image: &Path, report: &Report) -> Result<()> {
    let header = &report.header;
    let summary = serde_json::json!({
        "image": image.to_string_lossy(),
        "uuid": image::format_uuid(&header.uuid),
        "entries": header.entries,
        "files": header.files,
        "directories": header.directories,
        "symlinks": header.symlinks,
        "others": header.others,
        "data_bytes": header.data_bytes,
        "stored_bytes": header.stored_bytes,
        "duplicate_files": header.shared_files,
        "duplicate_bytes": header.shared_bytes,
        "shared_chunks": header.shared_chunks,
        "shared_chunk_bytes": header.shared_chunk_bytes,
        "shared_frames": header.shared_frames,
        "frame_members": header.frame_members,
        "volume_bytes": report.volume_bytes,
        "index_bytes": header.index_length,
        "index_bytes_per_entry": report.index_bytes_per_entry(),
        "problems": report.problems,
        "skipped": report.skipped,
        "excluded": report.excluded,
        "seconds": report.elapsed.as_secs_f64(),
    });
    let mut out = Output::new();
    out.json(&summary)?;
    out.finish()
}
