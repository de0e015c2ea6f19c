//! Builds an image from entries in any order.

use super::closed_volumes::ClosedVolumes;
use super::compression::{self, Prepared};
use super::contents::{Codecs, ContentOptions, Cutter, Cutting, Lengths};
use super::dictionaries::SampleSource;
use super::digest_tables::{DigestTables, TableSize};
use super::identity;
use super::index::{IndexWriter, PageOptions};
use super::known_chunks::KnownChunks;
use super::options::{BuildOptions, Compression, Dedup, Observer, Phase, Progress, Report, report};
use super::output::Output;
use super::packing::Packing;
use super::page_samples::PageSamples;
use super::plan::{Plan, Totals};
use super::primaries::Primaries;
use super::publish::Publication;
use super::samples::Reservoir;
use super::spool::Spool;
use super::storing::Storing;
use super::volumes::VolumeSet;
use crate::entry::{Kind, Metadata};
use crate::format::header::Header;
use crate::format::page_dictionaries::DictionaryBytes;
use crate::format::{MAX_NAME, MAX_TARGET, Uuid};
use crate::sort::{Content, ImpliedParents, Record, Sorted, Sorter};
use crate::source::{TreeOpener, WalkSummary};
use crate::{Error, ErrorKind, Result, descriptors, image};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Longest path that an entry may have, in bytes: deeper trees than any tool can make by accident.
const MAX_PATH: usize = 1 << 20;

/// Contents of a new entry.
pub enum Contents<'a> {
    /// None: not a regular file, or an empty one.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// What the reader gives until its end.
    Reader(&'a mut dyn Read),
}

impl std::fmt::Debug for Contents<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bytes(_) => "Bytes",
            Self::Reader(_) => "Reader",
        })
    }
}

/// An entry to pack.
#[derive(Debug)]
pub struct NewEntry<'a> {
    /// Path relative to the root, without leading or trailing `/`; `""` is the root itself.
    pub path: &'a [u8],
    /// Mode, owner, times, device, extended attributes.
    pub metadata: Metadata,
    /// Contents of a regular file.
    pub contents: Contents<'a>,
    /// Target of a symbolic link, else empty.
    pub target: &'a [u8],
    /// Equal for all names of one hard-linked file; `None` for files of one name. Contents are taken from the
    /// first name in key order, so every name has to bring them.
    pub identity: Option<(u64, u64)>,
}

/// Takes entries in any order and writes an image of them.
///
/// Memory stays within the budget of the options plus 64 MiB, however many entries there are; what does not fit
/// waits in nameless files beside the image. Nothing is visible under the image's names before
/// [`Builder::finish`] succeeds.
#[derive(Debug)]
pub struct Builder {
    options: BuildOptions,
    publication: Publication,
    scratch_dir: PathBuf,
    uuid: Uuid,
    sorter: Sorter,
    implied: ImpliedParents,
    spool: Spool,
    tree: Option<TreeOpener>,
    /// What the paths of the source begin with in messages.
    root: PathBuf,
    repeated: Repeated,
    problems: u64,
    walk: WalkSummary,
    begun: Instant,
}

/// What becomes of entries whose path is given more than once; the first one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    /// They end the build.
    Refuse,
    /// They are a problem.
    Report,
    /// They are as good as one.
    Ignore,
}

impl Builder {
    /// A builder of the image with its index at `index`. Fails if it is there already, unless the options say
    /// to replace it.
    pub fn new(index: &Path, options: BuildOptions) -> Result<Self> {
        options.check()?;
        // Two builds of one image must not meet under one pending name, so that needs another UUID
        // if the image's own is not known yet.
        let (uuid, pending) = match options.uuid {
            _ if options.reproducible => (identity::PROVISIONAL, image::random_uuid()?),
            Some(uuid) => (uuid, uuid),
            None => {
                let uuid = image::random_uuid()?;
                (uuid, uuid)
            }
        };
        let publication = Publication::begin(index, &options.volumes, &pending, options.force)?;
        let scratch_dir = match index.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Self {
            sorter: Sorter::new(&scratch_dir, options.memory / 2),
            spool: Spool::new(&scratch_dir),
            implied: ImpliedParents::new(),
            publication,
            scratch_dir,
            uuid,
            options,
            tree: None,
            root: PathBuf::new(),
            repeated: Repeated::Refuse,
            problems: 0,
            walk: WalkSummary::default(),
            begun: Instant::now(),
        })
    }

    pub(super) fn options(&self) -> &BuildOptions {
        &self.options
    }

    pub(super) fn publication(&self) -> &Publication {
        &self.publication
    }

    pub(super) fn scratch_dir(&self) -> &Path {
        &self.scratch_dir
    }

    /// Contents marked [`Content::Tree`] are read through `opener`, which opens files below `root`.
    pub(super) fn read_from(&mut self, opener: TreeOpener, root: &Path) {
        self.tree = Some(opener);
        self.root = root.to_path_buf();
    }

    /// Entries came from a walk that went like `summary`.
    pub(super) fn note(&mut self, summary: WalkSummary, repeated: Repeated) {
        self.walk = summary;
        self.problems += summary.problems;
        self.repeated = repeated;
    }

    /// Adds a record of a walk, which brings its directories along.
    pub(super) fn add_record(&mut self, record: &Record) -> Result<()> {
        check_record(record)?;
        self.sorter.add(record)
    }

    /// Adds an entry. Directories above it need no entries of their own: those without get mode 755, owner root
    /// and the time 0.
    pub fn add(&mut self, entry: NewEntry<'_>) -> Result<()> {
        if entry.path.first() == Some(&b'/') {
            let path: PathBuf = std::ffi::OsStr::from_bytes(entry.path).into();
            let what = "path is absolute; give it relative to the root";
            return Err(Error::new(ErrorKind::InvalidInput, what).at_path(path));
        }
        let slash = entry.path.iter().rposition(|&byte| byte == b'/');
        let (parent, name) = match slash {
            Some(at) => (entry.path.get(..at), entry.path.get(at + 1..)),
            None => (Some(&[][..]), Some(entry.path)),
        };
        let mut record = Record {
            parent: parent.unwrap_or(&[]).to_vec(),
            name: name.unwrap_or(&[]).to_vec(),
            metadata: entry.metadata,
            size: 0,
            holes_hint: 0,
            target: entry.target.to_vec(),
            identity: entry.identity,
            content: Content::None,
        };
        record.metadata.xattrs.sort();
        check_record(&record)?;
        let spooled = match entry.contents {
            Contents::None => (0, 0),
            Contents::Bytes(mut bytes) => self.spool.add(&mut bytes)?,
            Contents::Reader(reader) => self.spool.add(reader)?,
        };
        if spooled.1 > 0 {
            if record.metadata.kind() != Some(Kind::File) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "only regular files have contents",
                )
                .at_path(shown(&record)));
            }
            record.size = spooled.1;
            record.content = Content::Spool { offset: spooled.0 };
        }
        self.implied
            .add_ancestors(&record.parent, &mut self.sorter)?;
        self.sorter.add(&record)
    }

    /// Writes the image and gives it its names.
    pub fn finish(mut self, observer: &mut dyn Observer) -> Result<Report> {
        report(observer, SORTING)?;
        self.implied.add_ancestors(b"", &mut self.sorter)?;
        let sorted = self.sorter.finish()?;
        let mut seen = Seen {
            reservoir: compression::reservoir(&self.options),
            lengths: Lengths::default(),
            pages: PageSamples::default(),
        };
        let (options, repeated) = (&self.options, self.repeated);
        let scratch = &self.scratch_dir;
        let (plan, met) = plan(&sorted, scratch, options, repeated, &mut seen, observer)?;
        self.problems += met;
        let totals = plan.totals();
        let progress = Progress {
            phase: Phase::Packing,
            total_entries: Some(totals.entries),
            total_bytes: Some(totals.data_bytes.saturating_sub(totals.hole_bytes)),
            ..SORTING
        };
        report(observer, progress)?;

        let chunk_shift = self.options.chunk_shift;
        let spool = self.spool.finish()?;
        let threads = self.options.threads.clamp(1, descriptors::most_threads());
        let from = SampleSource {
            tree: self.tree.as_ref(),
            spool: spool.as_deref(),
            threads,
        };
        let ((codecs, prepared), dictionaries) =
            train(&self.options, seen.reservoir, seen.pages, &from)?;
        let mut volumes = begin_volumes(&self.publication, &self.options, self.uuid, &totals)?;
        if self.options.reproducible {
            volumes.take_digest();
        }
        let index_output = self.publication.index().clone();
        let mut index = IndexWriter::new(
            index_output.file(),
            index_output.path(),
            &self.scratch_dir,
            self.uuid,
            chunk_shift,
            PageOptions {
                level: self.options.index_level,
                dictionaries,
                is_only_copy: !self.options.index_copy,
            },
        )?;
        let mut packing = Packing {
            index: &mut index,
            primaries: Primaries::new(&self.scratch_dir),
            overrides: &self.options.overrides,
            observer,
            progress,
            problems: 0,
            bytes_ahead: 0,
            steps: 0,
            compression: prepared,
        };
        let tables = DigestTables::new(&self.options, &totals, sorted.memory());
        let contents = ContentOptions {
            root: self.root,
            spool,
            memory: self.options.memory / 4,
            // The sorter has given back its half.
            table_memory: self.options.memory / 2,
            strict: self.options.strict,
            codecs: codecs.map(Arc::new),
            cutting: cutting(&self.options, tables.chunks, &self.scratch_dir),
            lengths: Some(Arc::new(seen.lengths)),
            small_frames: self.options.small_frames,
        };
        let storing = Storing {
            options: &self.options,
            scratch_dir: &self.scratch_dir,
            tree: self.tree.as_ref(),
            files: tables.files,
            contents,
        };
        storing.store((&plan, &sorted), &mut volumes, &mut packing)?;
        let (problems, mut progress) = (self.problems + packing.problems, packing.progress);
        packing.finish_codecs();

        progress.phase = Phase::Publishing;
        report(observer, progress)?;
        let mut closed = volumes.close_extents()?;
        let mut header = index.finish(&closed.spans())?;
        identify(
            &mut closed,
            &mut header,
            &index_output,
            &mut self.publication,
        )?;
        let layouts = closed.finish(self.options.index_copy.then_some(&index_output))?;
        self.publication.commit()?;
        Ok(Report {
            header,
            volume_bytes: layouts.iter().map(|layout| layout.file_length).collect(),
            problems,
            skipped: self.walk.skipped,
            excluded: self.walk.excluded,
            elapsed: self.begun.elapsed(),
        })
    }
}

/// Gives a reproducible image, which is complete but for what lies behind the extents, its identity.
fn identify(
    volumes: &mut ClosedVolumes,
    header: &mut Header,
    index: &Output,
    publication: &mut Publication,
) -> Result<()> {
    let Some(digest) = volumes.digest() else {
        return Ok(());
    };
    let uuid = identity::derive(index, &digest)?;
    publication.identify(&uuid)?;
    identity::reseal(index, header, uuid)?;
    volumes.identify(uuid)
}

/// Where a build is when all entries are there.
const SORTING: Progress = Progress {
    phase: Phase::Sorting,
    entries: 0,
    total_entries: None,
    bytes: 0,
    total_bytes: None,
};

/// What is learnt of entries while they are planned.
struct Seen {
    reservoir: Option<Reservoir>,
    lengths: Lengths,
    pages: PageSamples,
}

impl Seen {
    fn note(&mut self, record: &Record, ordinal: u64) -> Result<()> {
        self.lengths.note(record);
        if let Some(reservoir) = &mut self.reservoir {
            reservoir.offer(record, ordinal);
        }
        self.pages.offer(record, ordinal)
    }
}

/// The first pass over the entries, and how many problems it met; `seen` is shown all of them.
fn plan(
    sorted: &Sorted,
    scratch_dir: &Path,
    options: &BuildOptions,
    repeated: Repeated,
    seen: &mut Seen,
    observer: &mut dyn Observer,
) -> Result<(Plan, u64)> {
    let mut problems = 0;
    let mut repeated = |record: &Record| match repeated {
        Repeated::Refuse => Err(twice(record, ErrorKind::OutOfOrder)),
        Repeated::Ignore => Ok(()),
        Repeated::Report => {
            let error = twice(record, ErrorKind::Source);
            if options.strict {
                return Err(error);
            }
            observer.problem(&error);
            problems += 1;
            Ok(())
        }
    };
    let mut seen = |record: &Record, ordinal| seen.note(record, ordinal);
    let memory = options.memory / 8;
    let plan = Plan::compute(sorted, scratch_dir, memory, &mut repeated, &mut seen)?;
    Ok((plan, problems))
}

/// The codecs for contents, and the dictionaries for leaf pages beside them, which take one thread a part of the time.
fn train(
    options: &BuildOptions,
    reservoir: Option<Reservoir>,
    pages: PageSamples,
    from: &SampleSource<'_>,
) -> Result<((Option<Codecs>, Prepared), DictionaryBytes)> {
    thread::scope(|scope| {
        let pages = scope.spawn(|| pages.train(options.index_level));
        let prepared = compression::prepare(options, reservoir, from)?;
        let pages = pages.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((prepared, pages?))
    })
}

/// How contents are cut by content, if chunks are to be shared.
fn cutting(options: &BuildOptions, size: TableSize, scratch_dir: &Path) -> Option<Cutting> {
    match options.dedup {
        Dedup::None | Dedup::Files => None,
        Dedup::Chunks => Some(Cutting {
            cutter: Cutter::new(options.chunk_shift),
            known: Arc::new(KnownChunks::new(scratch_dir, size.memory, size.expected)),
        }),
    }
}

/// Volumes for files that come to `totals`.
fn begin_volumes(
    publication: &Publication,
    options: &BuildOptions,
    uuid: Uuid,
    totals: &Totals,
) -> Result<VolumeSet> {
    let expected = expected_bytes(totals, options.chunk_shift);
    let begin = match options.compression {
        Compression::None => VolumeSet::begin,
        Compression::Zstd(_) => VolumeSet::begin_compressed,
    };
    let outputs = publication.volumes().to_vec();
    begin(outputs, uuid, options.chunk_shift, expected)
}

/// About what the extents of all files will take.
fn expected_bytes(totals: &Totals, chunk_shift: u32) -> u64 {
    // Each file has a checksum of 4 bytes or a row of 8 for each chunk, with 16 for each 510 rows.
    let data_bytes = totals.data_bytes.saturating_sub(totals.hole_bytes);
    let rows = data_bytes >> chunk_shift;
    data_bytes + (totals.files - totals.aliases) * 4 + rows * 8 + rows / 510 * 16
}

fn shown(record: &Record) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(record.path()).into()
}

#[cold]
fn twice(record: &Record, kind: ErrorKind) -> Error {
    let what = match kind {
        ErrorKind::Source => "was listed twice, so its directory changed meanwhile; packed once",
        _ => "named twice; every path may be given only once",
    };
    Error::new(kind, what).at_path(shown(record))
}

/// Refuses paths and targets that the format cannot hold.
fn check_record(record: &Record) -> Result<()> {
    let wrong = |kind, what: &str| Err(Error::new(kind, what).at_path(shown(record)));
    let impossible =
        |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    if record.is_root() {
        if record.metadata.kind() != Some(Kind::Directory) {
            return wrong(ErrorKind::InvalidInput, "the root is no directory");
        }
        return Ok(());
    }
    if impossible(&record.name) || record.name.contains(&b'/') {
        return wrong(
            ErrorKind::InvalidInput,
            "name is empty, `.`, `..` or holds a NUL",
        );
    }
    if record.name.len() > MAX_NAME {
        return wrong(ErrorKind::Limit, "name is longer than 255 bytes");
    }
    if !record.parent.is_empty() && record.parent.split(|&byte| byte == b'/').any(impossible) {
        return wrong(
            ErrorKind::InvalidInput,
            "path has an empty, `.` or `..` component",
        );
    }
    if record.parent.len() + record.name.len() > MAX_PATH {
        return wrong(ErrorKind::Limit, "path is longer than 1 MiB");
    }
    if record.size >= 1 << 63 {
        return wrong(ErrorKind::Limit, "file has 2^63 bytes or more");
    }
    let metadata = &record.metadata;
    let other_times = metadata.other_times.iter();
    let times = other_times.flat_map(|times| [Some(times.atime), Some(times.ctime), times.btime]);
    if times
        .flatten()
        .chain([metadata.mtime])
        .any(|time| time.nanoseconds >= 1_000_000_000)
    {
        return wrong(
            ErrorKind::InvalidInput,
            "time has more nanoseconds than a second",
        );
    }
    let is_link = record.metadata.kind() == Some(Kind::Symlink);
    if is_link == record.target.is_empty() || record.target.contains(&0) {
        return wrong(
            ErrorKind::InvalidInput,
            "only symbolic links have targets, not empty ones",
        );
    }
    if record.target.len() > MAX_TARGET {
        return wrong(ErrorKind::Limit, "target is longer than 65,535 bytes");
    }
    Ok(())
}
