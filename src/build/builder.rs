//! Builds an image from entries in any order.

use super::index::{IndexEntry, IndexWriter, Placement};
use super::options::{BuildOptions, DEFAULT_CHUNK_SHIFT, Observer, Phase, Progress, Report};
use super::plan::{Plan, PlannedEntry, Totals};
use super::primaries::{Primaries, Primary};
use super::publish::Publication;
use super::spool::Spool;
use super::volumes::VolumeSet;
use crate::entry::{Kind, Metadata};
use crate::format::attributes::Attributes;
use crate::format::{MAX_NAME, Uuid};
use crate::sort::{Content, ImpliedParents, Record, Sorted, Sorter};
use crate::source::TreeOpener;
use crate::{Error, ErrorKind, Result, image};
use std::io::Read;
use std::path::{Path, PathBuf};
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
    problems: u64,
    skipped: u64,
    begun: Instant,
}

impl Builder {
    /// A builder of the image with its index at `index`. Fails if it is there already, unless the options say
    /// to replace it.
    pub fn new(index: &Path, options: BuildOptions) -> Result<Self> {
        options.check()?;
        let uuid = match options.uuid {
            Some(uuid) => uuid,
            None => image::random_uuid()?,
        };
        let publication = Publication::begin(index, &options.volumes, &uuid, options.force)?;
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
            problems: 0,
            skipped: 0,
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

    /// Contents marked [`Content::Tree`] are read through `opener`.
    pub(super) fn read_from(&mut self, opener: TreeOpener) {
        self.tree = Some(opener);
    }

    pub(super) fn note(&mut self, problems: u64, skipped: u64) {
        self.problems += problems;
        self.skipped += skipped;
    }

    /// Adds a record of a walk, which brings its directories along.
    pub(super) fn add_record(&mut self, record: &Record) -> Result<()> {
        check_record(record)?;
        self.sorter.add(record)
    }

    /// Adds an entry. Directories above it need no entries of their own: those without get mode 755, owner root
    /// and the time 0.
    pub fn add(&mut self, entry: NewEntry<'_>) -> Result<()> {
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
        let mut progress = Progress {
            phase: Phase::Sorting,
            entries: 0,
            total_entries: None,
            bytes: 0,
            total_bytes: None,
        };
        observer.progress(progress);
        self.implied.add_ancestors(b"", &mut self.sorter)?;
        let sorted = self.sorter.finish()?;
        let plan = Plan::compute(&sorted, &self.scratch_dir, self.options.memory / 8)?;
        let totals = plan.totals();
        progress = Progress {
            phase: Phase::Packing,
            total_entries: Some(totals.entries),
            total_bytes: Some(totals.data_bytes),
            ..progress
        };
        observer.progress(progress);

        let outputs = self.publication.volumes().to_vec();
        let chunk_shift = DEFAULT_CHUNK_SHIFT;
        let expected = expected_bytes(&totals, chunk_shift);
        let mut volumes = VolumeSet::begin(outputs, self.uuid, chunk_shift, expected)?;
        let index_output = self.publication.index().clone();
        let mut index = IndexWriter::new(
            index_output.file(),
            index_output.path(),
            &self.scratch_dir,
            self.uuid,
            chunk_shift,
            self.options.index_level,
        )?;
        let mut packing = Packing {
            volumes: &mut volumes,
            index: &mut index,
            primaries: Primaries::new(&self.scratch_dir),
            observer,
            progress,
            problems: 0,
            strict: self.options.strict,
        };
        let source = Source {
            tree: self.tree,
            spool: self.spool.finish()?,
        };
        packing.run(&plan, &sorted, source, &self.options)?;
        let (problems, mut progress) = (self.problems + packing.problems, packing.progress);

        progress.phase = Phase::Publishing;
        observer.progress(progress);
        let closed = volumes.close_extents()?;
        let header = index.finish(&closed.spans())?;
        let layouts = closed.finish(self.options.index_copy.then_some(&index_output))?;
        self.publication.commit()?;
        Ok(Report {
            header,
            volume_bytes: layouts.iter().map(|layout| layout.file_length).collect(),
            problems,
            skipped: self.skipped,
            elapsed: self.begun.elapsed(),
        })
    }
}

/// About what the extents of all files will take.
fn expected_bytes(totals: &Totals, chunk_shift: u32) -> u64 {
    // Each file has a checksum of 4 bytes or a row of 8 for each chunk, with 16 for each 510 rows.
    let rows = totals.data_bytes >> chunk_shift;
    totals.data_bytes + (totals.files - totals.aliases) * 4 + rows * 8 + rows / 510 * 16
}

fn shown(record: &Record) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(record.path()).into()
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
    if record.size >= 1 << 62 {
        return wrong(ErrorKind::Limit, "file is larger than 2^62 bytes");
    }
    if record.metadata.mtime.nanoseconds >= 1_000_000_000 {
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
    Ok(())
}

/// The second pass: contents into volumes, entries into the index.
struct Packing<'a, 'f> {
    volumes: &'a mut VolumeSet,
    index: &'a mut IndexWriter<'f>,
    primaries: Primaries,
    observer: &'a mut dyn Observer,
    progress: Progress,
    problems: u64,
    strict: bool,
}

impl Packing<'_, '_> {
    fn run(
        &mut self,
        plan: &Plan,
        sorted: &Sorted,
        source: Source,
        options: &BuildOptions,
    ) -> Result<()> {
        let mut entries = plan.entries(sorted)?;
        self.index.begin_run(b"", 0, 1);
        let mut entry = PlannedEntry::empty();
        let mut buffer = Vec::new();
        let _ = options;
        let mut source = source;
        while entries.next(&mut entry)? {
            let primary = self.store(&entry, &mut source, &mut buffer)?;
            self.push(&entry, primary)?;
            self.progress.entries += 1;
            if !entry.is_alias() {
                self.progress.bytes += primary.size;
            }
            if self.progress.entries.is_multiple_of(256) {
                self.observer.progress(self.progress);
            }
        }
        self.observer.progress(self.progress);
        Ok(())
    }

    /// Stores the contents of an entry, or finds where those of its first name are.
    fn store(
        &mut self,
        entry: &PlannedEntry,
        source: &mut Source,
        buffer: &mut Vec<u8>,
    ) -> Result<Primary> {
        let ordinal = entry.ordinal;
        let none = Primary {
            ordinal,
            size: 0,
            placement: None,
        };
        if let Some(link) = entry.link.filter(|_| entry.is_alias()) {
            let primary = self.primaries.find(link.primary)?;
            return primary.ok_or_else(|| {
                Error::new(ErrorKind::OutOfOrder, "hard link without a first name")
            });
        }
        let mut primary = none;
        if entry.has_contents() {
            match source.read(&entry.record, buffer) {
                Ok(()) => {
                    let placed = self.put(buffer)?;
                    primary.size = placed.size;
                    primary.placement = (placed.stored > 0).then_some(Placement {
                        position: placed.position,
                        stored: placed.stored,
                        saved: placed.saved,
                    });
                }
                Err(error) if self.strict => return Err(error),
                Err(error) => {
                    self.problems += 1;
                    self.observer.problem(&error);
                }
            }
        }
        if entry.link.is_some() {
            self.primaries.add(primary)?;
        }
        Ok(primary)
    }

    fn put(&mut self, contents: &[u8]) -> Result<super::volumes::Placed> {
        let chunk = 1usize << DEFAULT_CHUNK_SHIFT;
        if contents.len() <= chunk {
            return self
                .volumes
                .append_small(contents, crate::format::checksum::crc(contents));
        }
        let mut file = self.volumes.begin_file(contents.len() as u64)?;
        for part in contents.chunks(chunk) {
            if part.iter().all(|&byte| byte == 0) {
                file.zero_chunk(part.len() as u64)?;
            } else {
                file.chunk(part, crate::format::checksum::crc(part))?;
            }
        }
        file.finish()
    }

    fn push(&mut self, entry: &PlannedEntry, primary: Primary) -> Result<()> {
        let record = &entry.record;
        if let Some(run) = entry.run {
            self.index
                .begin_run(&record.parent, run.directory, run.direct);
        }
        let kind = record.metadata.kind().unwrap_or(Kind::File);
        let children = entry.children.unwrap_or_default();
        let link = entry
            .link
            .map_or((0, 1), |link| (entry.ordinal - link.primary, link.count));
        self.index.push(&IndexEntry {
            name: &record.name,
            attributes: Attributes {
                mode: record.metadata.mode,
                uid: record.metadata.uid,
                gid: record.metadata.gid,
            },
            kind,
            mtime: record.metadata.mtime,
            size: primary.size,
            children: (children.direct, children.subdirs, children.deeper),
            placement: primary.placement,
            link,
            device: record.metadata.rdev,
            xattrs: &record.metadata.xattrs,
            target: &record.target,
        })
    }
}

/// Where contents are read from.
struct Source {
    tree: Option<TreeOpener>,
    spool: Option<std::sync::Arc<std::fs::File>>,
}

impl Source {
    fn read(&mut self, record: &Record, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        match (record.content, &mut self.tree, &self.spool) {
            (Content::Tree, Some(tree), _) => {
                let file = tree.open(&record.parent, &record.name)?;
                let read = std::io::Read::take(&file, record.size).read_to_end(buffer);
                read.map_err(|error| {
                    Error::new(ErrorKind::Source, "cannot read")
                        .at_path(shown(record))
                        .caused_by(error)
                })?;
                Ok(())
            }
            (Content::Spool { offset }, _, Some(spool)) => {
                buffer.resize(usize::try_from(record.size).unwrap_or(0), 0);
                std::os::unix::fs::FileExt::read_exact_at(&**spool, buffer, offset)
                    .map_err(|error| Error::io(shown(record), "read scratch data of", error))
            }
            _ => Ok(()),
        }
    }
}
