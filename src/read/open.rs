//! Opening an image: finding its parts, checking that they belong together.

use super::Image;
use super::codecs::Codecs;
use super::contents::{Contents, Volume};
use super::files::{Absent, Part, ReadAt};
use super::pages::PageStore;
use crate::format::attributes;
use crate::format::codec::{self, Codec};
use crate::format::header::{Header, Section};
use crate::format::leaf::LeafContext;
use crate::format::page_dictionaries::{self, DictionaryBytes, PageDictionaries};
use crate::format::volume::{self, Identity, Layout, Span};
use crate::format::{PAGE_BYTES, PAGE_SIZE, Uuid, checksum};
use crate::{Error, ErrorKind, Result, image};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for decoded index pages and chunks unless said otherwise, in bytes.
pub const DEFAULT_CACHE_BYTES: usize = 32 << 20;

/// Where contents that were read stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// In the page cache of the volume, for as long as memory lasts.
    Here,
    /// With the reader, as in the page cache of a mount; a copy in that of the volume would take the same memory again.
    /// What was in memory before a file was read stays there, unless much is read in order.
    WithReaders,
}

/// How to open an image.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    volumes: Vec<PathBuf>,
    cache_bytes: usize,
    index_only: bool,
    damaged: bool,
    many_readers: Option<Keeping>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            volumes: Vec::new(),
            cache_bytes: DEFAULT_CACHE_BYTES,
            index_only: false,
            damaged: false,
            many_readers: None,
        }
    }
}

impl OpenOptions {
    /// Where the volumes lie, in order of their numbers; those not named are looked for beside the index.
    #[must_use]
    pub fn data(mut self, volumes: Vec<PathBuf>) -> Self {
        self.volumes = volumes;
        self
    }

    /// How many bytes of decoded index pages, and of decompressed chunks, are kept in memory.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Whether the volumes are left alone; contents cannot be read then.
    #[must_use]
    pub fn index_only(mut self, index_only: bool) -> Self {
        self.index_only = index_only;
        self
    }

    /// Whether an image is opened although volumes of it are missing or damaged, so that verification can tell what
    /// is left. Reads of a missing volume fail.
    #[must_use]
    pub fn damaged(mut self, damaged: bool) -> Self {
        self.damaged = damaged;
        self
    }

    /// Whether contents will be asked for by many readers, as those of a mount are: the system then reads ahead of
    /// each one who reads in the order of the image. `keeping` says what becomes of what was read.
    #[must_use]
    pub fn many_readers(mut self, keeping: Keeping) -> Self {
        self.many_readers = Some(keeping);
        self
    }

    /// Opens the image whose index, or whose volume 0 with a copy of it, is the file at `path`.
    pub fn open(&self, path: &Path) -> Result<Image> {
        let part = Part::open(path)?;
        let mut magic = [0; 8];
        let length = part.file_length()?;
        if length < PAGE_BYTES {
            return Err(Error::new(
                ErrorKind::NotAnImage,
                format!("not a dgfs image: it has only {length} bytes"),
            )
            .at_path(path));
        }
        part.read(&mut magic, 0)?;
        let (index, length, named_volume) = if magic == volume::HEADER_MAGIC {
            let (identity, layout) = check_volume(&part, None)?;
            if layout.index_length == 0 {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "volume {} holds no copy of the index; give the index instead",
                        identity.number
                    ),
                )
                .at_path(path));
            }
            (
                part.with_base(layout.index_offset),
                layout.index_length,
                Some(path),
            )
        } else {
            (part, length, None)
        };
        let index_of = load_index(&index, length)?;
        let volumes = if self.index_only {
            Vec::new()
        } else {
            self.open_volumes(path, named_volume, &index_of.header, &index_of.spans)?
        };
        Ok(index_of.into_image(index, volumes, self.cache_bytes))
    }

    fn open_volumes(
        &self,
        path: &Path,
        named_volume: Option<&Path>,
        header: &Header,
        spans: &[Span],
    ) -> Result<Vec<Volume>> {
        if self.volumes.len() > spans.len() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "image has {} volume(s), but {} paths were given",
                    spans.len(),
                    self.volumes.len()
                ),
            )
            .at_path(path));
        }
        // The index that a volume 0 lies beside: without `.data`, its own name is as good as any.
        let beside = match named_volume {
            Some(volume) if volume.extension().is_some_and(|e| e == "data") => {
                volume.with_extension("")
            }
            _ => path.to_path_buf(),
        };
        let count = u32::try_from(spans.len()).unwrap_or(u32::MAX);
        let mut volumes = Vec::with_capacity(spans.len());
        for (number, &span) in (0..count).zip(spans) {
            let path = match (self.volumes.get(number as usize), named_volume) {
                (Some(path), _) => path.clone(),
                (None, Some(volume)) if number == 0 => volume.to_path_buf(),
                _ => image::volume_path(&beside, number),
            };
            let wanted = Identity {
                uuid: header.uuid,
                number,
                count,
            };
            let (part, absent) = match open_volume(&path, &wanted, span) {
                Ok(part) => (part, false),
                Err(error) if !self.damaged => return Err(error),
                Err(_) => match Part::open(&path)
                    .ok()
                    .filter(|part| is_part_of(part, &wanted))
                {
                    Some(part) => (part, false),
                    None => (Part::new(Box::new(Absent), &path, 0), true),
                },
            };
            let part = match self.many_readers {
                Some(keeping) => part.for_many(keeping),
                None => part,
            };
            volumes.push(Volume { part, span, absent });
        }
        Ok(volumes)
    }

    /// Opens an image from the bytes of its parts, wherever they come from. `index` may be a volume 0 only by
    /// [`OpenOptions::open`].
    pub fn open_parts(
        &self,
        index: Box<dyn ReadAt>,
        volumes: Vec<Box<dyn ReadAt>>,
    ) -> Result<Image> {
        let index = Part::new(index, Path::new("index"), 0);
        let length = index.file_length()?;
        let index_of = load_index(&index, length)?;
        let (header, spans) = (&index_of.header, &index_of.spans);
        let mut opened = Vec::with_capacity(spans.len());
        if !self.index_only {
            if volumes.len() != spans.len() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("image has {} volume(s), not {}", spans.len(), volumes.len()),
                ));
            }
            let count = u32::try_from(spans.len()).unwrap_or(u32::MAX);
            for ((number, &span), bytes) in (0..count).zip(spans).zip(volumes) {
                let part = Part::new(bytes, &PathBuf::from(format!("volume {number}")), 0);
                check_wanted(
                    &part,
                    &Identity {
                        uuid: header.uuid,
                        number,
                        count,
                    },
                    span,
                )?;
                opened.push(Volume {
                    part,
                    span,
                    absent: false,
                });
            }
        }
        Ok(index_of.into_image(index, opened, self.cache_bytes))
    }
}

/// Opens an image whose index was put together again, with volumes that may be damaged: nothing of these is looked
/// at before it is needed. Errors name the index by `path`.
pub(crate) fn open_repaired(
    index: Box<dyn ReadAt>,
    path: &Path,
    volumes: Vec<(PathBuf, Box<dyn ReadAt>)>,
) -> Result<Image> {
    let index = Part::new(index, path, 0);
    let length = index.file_length()?;
    let index_of = load_index(&index, length)?;
    let volumes = volumes.into_iter().zip(&index_of.spans);
    let volumes = volumes.map(|((path, bytes), &span)| Volume {
        part: Part::new(bytes, &path, 0),
        span,
        absent: false,
    });
    let volumes = volumes.collect();
    Ok(index_of.into_image(index, volumes, DEFAULT_CACHE_BYTES))
}

/// What is always in memory of an index.
struct Index {
    header: Header,
    context: LeafContext,
    spans: Vec<Span>,
    codecs: Vec<Codec>,
}

impl Index {
    /// The image. Of `cache_bytes`, decoded chunks get an eighth where contents are compressed or cut by content, what is
    /// read ahead gets a quarter there and where readers keep what they read, pages the rest.
    fn into_image(self, part: Part, volumes: Vec<Volume>, cache_bytes: usize) -> Image {
        let part = Arc::new(part);
        let is_decoded = self.header.is_compressed() || self.header.is_cut();
        let is_ahead = is_decoded || volumes.iter().any(|v| v.part.is_kept_by_readers());
        let share = |has_some: bool, part: usize| if has_some { cache_bytes / part } else { 0 };
        let (chunk_bytes, ahead_bytes) = (share(is_decoded, 8), share(is_ahead, 4));
        let codecs = Codecs::new(Arc::clone(&part), &self.header, self.codecs);
        let contents = Contents::new(volumes, &self.header, codecs, chunk_bytes, ahead_bytes);
        let page_bytes = cache_bytes - chunk_bytes - ahead_bytes;
        let store = PageStore::new(part, self.header, self.context, page_bytes);
        Image::new(store, contents, self.spans)
    }
}

/// Reads header and small sections of an index of `length` bytes.
fn load_index(part: &Part, length: u64) -> Result<Index> {
    let at = |error: Error| error.at_path(part.path());
    let header = match decode_header(part, 0, length) {
        Ok(header) => header,
        // The footer is a copy for just this case. Where the header is sound and refused, its copy will be too.
        Err(error) if length >= 2 * PAGE_BYTES => {
            let footer = length / PAGE_BYTES * PAGE_BYTES - PAGE_BYTES;
            let header = decode_header(part, footer, length).map_err(|_| error)?;
            log::warn!(
                "{}: header is damaged, using its copy in the footer",
                part.path().display()
            );
            header
        }
        Err(error) => return Err(error),
    };
    if header.features_warn != 0 {
        log::warn!(
            "{}: image uses features this dgfs does not know ({:#x}); what it shows is right but may be less",
            part.path().display(),
            header.features_warn
        );
    }
    let section = required(&header, attributes::SECTION).map_err(at)?;
    let bytes = load_section(
        part,
        section,
        attributes::ROW,
        crate::format::MAX_ATTRIBUTES,
    )?;
    let table = attributes::decode(&bytes, section.rows).map_err(|m| at(m.into()))?;
    let section = required(&header, volume::SECTION).map_err(at)?;
    let bytes = load_section(part, section, volume::ROW, crate::format::MAX_VOLUMES)?;
    let spans = volume::decode_spans(&bytes, section.rows).map_err(|m| at(m.into()))?;
    let codecs = load_codecs(part, &header)?;
    let context = LeafContext {
        table: table.into(),
        chunk_shift: header.chunk_shift,
        dictionaries: Arc::new(load_page_dictionaries(part, &header)?),
    };
    Ok(Index {
        header,
        context,
        spans,
        codecs,
    })
}

/// What the frames of leaf pages refer to: by the first section that is right.
fn load_page_dictionaries(part: &Part, header: &Header) -> Result<PageDictionaries> {
    let mut damage = None;
    for section in page_dictionary_sections(header) {
        let at = |error: Error| error.at_path(part.path()).at_offset(section.offset);
        let loaded = read_page_dictionaries(part, section)
            .and_then(|bytes| bytes.load().map_err(|malformed| at(malformed.into())));
        match loaded {
            Ok(dictionaries) => {
                if let Some(error) = damage {
                    log::warn!("{error}; using their copy");
                }
                return Ok(dictionaries);
            }
            Err(error) => damage = damage.or(Some(error)),
        }
    }
    damage.map_or_else(|| Ok(PageDictionaries::default()), Err)
}

/// The sections of page dictionaries, all of which should be alike.
pub(super) fn page_dictionary_sections(header: &Header) -> impl Iterator<Item = &Section> {
    // Without the feature these are sections like any that a reader does not know.
    let sections = header.sections.iter().filter(|_| header.has_segments());
    sections.filter(|section| section.kind == page_dictionaries::SECTION)
}

/// The page dictionaries in a section.
pub(super) fn read_page_dictionaries(part: &Part, section: &Section) -> Result<DictionaryBytes> {
    let at = |error: Error| error.at_path(part.path()).at_offset(section.offset);
    if section.rows != page_dictionaries::ROWS {
        return Err(at(Error::corrupt("index has not two page dictionaries")));
    }
    let bytes = load_section(part, section, 1, page_dictionaries::MAX_SECTION)?;
    let (dictionaries, length) =
        DictionaryBytes::decode(&bytes).map_err(|malformed| at(malformed.into()))?;
    if length == bytes.len() {
        Ok(dictionaries)
    } else {
        Err(at(Error::corrupt(
            "dictionaries of leaf pages and their section differ in length",
        )))
    }
}

/// The codecs of a compressed image. Dictionaries are left for those who need them.
fn load_codecs(part: &Part, header: &Header) -> Result<Vec<Codec>> {
    if !header.is_compressed() {
        return Ok(Vec::new());
    }
    if header.section(codec::SECTION).is_none() {
        return Ok(vec![Codec::default()]);
    }
    let at = |error: Error| error.at_path(part.path());
    let section = required(header, codec::SECTION).map_err(at)?;
    let bytes = load_section(part, section, codec::ROW, codec::MAX_CODECS)?;
    let room = header.section(codec::DICTIONARIES).map_or(0, |s| s.length);
    codec::decode(&bytes, section.rows, room).map_err(|m| at(m.into()).at_offset(section.offset))
}

fn decode_header(part: &Part, offset: u64, length: u64) -> Result<Header> {
    let page = part.read_page(offset)?;
    Header::decode(&page, length).map_err(|error| error.at_path(part.path()).at_offset(offset))
}

fn required(header: &Header, kind: u32) -> Result<&Section> {
    let mut found = header
        .sections
        .iter()
        .filter(|section| section.kind == kind);
    match (found.next(), found.next()) {
        (Some(section), None) => Ok(section),
        _ => Err(Error::corrupt(format!(
            "index has no section of kind {kind}, or several"
        ))),
    }
}

/// The bytes of a section of rows of `row` bytes, of which there are at most `most`.
fn load_section(part: &Part, section: &Section, row: usize, most: usize) -> Result<Vec<u8>> {
    let at = |error: Error| error.at_path(part.path()).at_offset(section.offset);
    if section.length > (row * most) as u64 {
        return Err(at(Error::corrupt("section is too long")));
    }
    let mut bytes = vec![0; usize::try_from(section.length).unwrap_or(0)];
    part.read(&mut bytes, section.offset)?;
    if checksum::crc(&bytes) != section.crc {
        return Err(at(Error::corrupt("section checksum does not match")));
    }
    Ok(bytes)
}

/// Checks that the part is a whole volume, of image `uuid` if that is known.
pub(super) fn check_volume(part: &Part, uuid: Option<&Uuid>) -> Result<(Identity, Layout)> {
    let at = |error: Error| error.at_path(part.path());
    let length = part.file_length()?;
    if length < PAGE_BYTES {
        return Err(at(Error::new(
            ErrorKind::NotAnImage,
            "not a dgfs volume: it is too short",
        )));
    }
    let identity = volume::decode_header(&*part.read_page(0)?).map_err(at)?;
    if uuid.is_some_and(|uuid| *uuid != identity.uuid) {
        return Err(at(Error::new(
            ErrorKind::Mismatch,
            format!(
                "volume belongs to image {}, not to {}; give the right one with --data",
                image::format_uuid(&identity.uuid),
                uuid.map(image::format_uuid).unwrap_or_default()
            ),
        )));
    }
    if length < 2 * PAGE_SIZE as u64 || !length.is_multiple_of(PAGE_BYTES) {
        return Err(at(Error::corrupt(
            "volume is truncated or was never finished",
        )));
    }
    let page = part.read_page(length - PAGE_BYTES)?;
    let (of_trailer, layout) = volume::decode_trailer(&page, length).map_err(at)?;
    if of_trailer != identity {
        return Err(at(Error::corrupt(
            "volume's header and trailer are of different volumes",
        )));
    }
    Ok((identity, layout))
}

/// Checks that the part is the volume that is wanted, and whole.
pub(super) fn check_wanted(part: &Part, wanted: &Identity, span: Span) -> Result<Layout> {
    let (identity, layout) = check_volume(part, Some(&wanted.uuid))?;
    if identity != *wanted {
        return Err(Error::new(
            ErrorKind::Mismatch,
            format!(
                "this is volume {} of {}, wanted is volume {} of {}",
                identity.number, identity.count, wanted.number, wanted.count
            ),
        )
        .at_path(part.path()));
    }
    if layout.extents_end != span.end - span.start {
        return Err(
            Error::corrupt("volume's length is not the one that the index has")
                .at_path(part.path()),
        );
    }
    Ok(layout)
}

/// Whether header or trailer say that the part is the volume that is wanted, whatever else is wrong with it.
fn is_part_of(part: &Part, wanted: &Identity) -> bool {
    let header = || volume::decode_header(&*part.read_page(0).ok()?).ok();
    let trailer = || {
        let length = part.file_length().ok()?;
        let page = part.read_page(length.checked_sub(PAGE_BYTES)?).ok()?;
        Some(volume::decode_trailer(&page, length).ok()?.0)
    };
    header().or_else(trailer).as_ref() == Some(wanted)
}

/// Opens the volume at `path`, or under its pending name if an interrupted `pack` left it there: then whatever
/// has the final name, whole or not, is of another image.
pub(super) fn open_volume(path: &Path, wanted: &Identity, span: Span) -> Result<Part> {
    let open = |path: &Path| {
        let part = Part::open(path)?;
        check_wanted(&part, wanted, span)?;
        Ok(part)
    };
    open(path).or_else(|error: Error| {
        let pending = image::pending_path(path, &wanted.uuid);
        if pending.exists() {
            // A pending volume that is no better says nothing about the one that was asked for.
            match open(&pending) {
                Err(_) if path.exists() => {}
                opened => return opened,
            }
        }
        if error.kind() == ErrorKind::Io && !path.exists() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "volume {} is missing; say where it is with --data PATH",
                    wanted.number
                ),
            )
            .at_path(path));
        }
        Err(error)
    })
}
