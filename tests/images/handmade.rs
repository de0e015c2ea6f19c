//! Images written number by number, each of which can be a lie; checksums are always right.

use super::Parts;
use dgfs::entry::{Kind, OtherTimes, Timestamp};
use dgfs::format::attributes::{self, Attributes};
use dgfs::format::checksum::{crc, seal_page};
use dgfs::format::codec;
use dgfs::format::cut::Cut;
use dgfs::format::frame::ContentEncoder;
use dgfs::format::header::{FEATURE_SEGMENTS, Header, Section};
use dgfs::format::inner::{InnerBuilder, Separator};
use dgfs::format::leaf::{LeafBuilder, LeafFrames, NewEntry, NewMember, NewTarget, PageBuilder};
use dgfs::format::page_dictionaries::{self, DictionaryBytes};
use dgfs::format::volume::{self, Identity, Layout, Span};
use dgfs::format::{PAGE_BYTES, PAGE_SIZE, blob};

const UUID: [u8; 16] = *b"made by no build";

const EPOCH: Timestamp = Timestamp {
    seconds: 0,
    nanoseconds: 0,
};

const OTHER_TIMES: OtherTimes = OtherTimes {
    atime: EPOCH,
    ctime: EPOCH,
    btime: Some(EPOCH),
};

/// An entry; what does not concern its kind is ignored.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Path and ordinal of the directory whose children begin here.
    pub(crate) run: Option<(Vec<u8>, u64)>,
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) hole_bytes: u64,
    pub(crate) hole_map: u64,
    pub(crate) children: u64,
    pub(crate) subdirectories: u64,
    pub(crate) deeper: u64,
    pub(crate) first_child: u64,
    pub(crate) saved: u64,
    pub(crate) codec: u64,
    pub(crate) cut: Option<Cut>,
    pub(crate) member: Option<NewMember>,
    pub(crate) place: Option<u64>,
    pub(crate) primary: u64,
    pub(crate) links: u64,
    pub(crate) xattrs: Option<u64>,
    pub(crate) target: Option<u64>,
}

impl Entry {
    pub(crate) fn new(name: &[u8], kind: Kind) -> Self {
        Self {
            run: None,
            name: name.to_vec(),
            kind,
            size: 0,
            hole_bytes: 0,
            hole_map: 0,
            children: 0,
            subdirectories: 0,
            deeper: 0,
            first_child: 0,
            saved: 0,
            codec: 0,
            cut: None,
            member: None,
            place: None,
            primary: 0,
            links: 1,
            xattrs: None,
            target: None,
        }
    }

    pub(crate) fn file(name: &[u8], size: u64) -> Self {
        let file = Self::new(name, Kind::File);
        Self { size, ..file }
    }

    /// A directory with `children`, so many of them directories, and `deeper` entries below these.
    pub(crate) fn directory(
        name: &[u8],
        first_child: u64,
        children: u64,
        subdirectories: u64,
        deeper: u64,
    ) -> Self {
        Self {
            children,
            subdirectories,
            deeper,
            first_child,
            ..Self::new(name, Kind::Directory)
        }
    }

    /// A symbolic link whose target is the blob at `offset`.
    pub(crate) fn link(name: &[u8], offset: u64) -> Self {
        let link = Self::new(name, Kind::Symlink);
        Self {
            target: Some(offset),
            ..link
        }
    }

    /// The first child of the directory at `path` with ordinal `parent`.
    #[must_use]
    pub(crate) fn first_of(self, path: &[u8], parent: u64) -> Self {
        let run = Some((path.to_vec(), parent));
        Self { run, ..self }
    }
}

/// A leaf page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) first_ordinal: u64,
    pub(crate) position: u64,
    pub(crate) entries: Vec<Entry>,
    /// Its segments but for the first.
    pub(crate) further: Vec<Further>,
}

/// A segment that is not the first of its page.
#[derive(Debug, Clone)]
pub(crate) struct Further {
    /// How many entries of the page come before.
    pub(crate) before: usize,
    pub(crate) position: u64,
    pub(crate) separator: Vec<u8>,
}

/// What an inner page says of a page: number, first ordinal, position, separator.
pub(crate) type Told = (u64, u64, u64, Separator);

/// An image about to be written.
#[derive(Clone)]
pub(crate) struct Handmade {
    pub(crate) pages: Vec<Page>,
    /// Inner pages with their levels.
    pub(crate) inner: Vec<(u8, Vec<Told>)>,
    pub(crate) blobs: Vec<u8>,
    pub(crate) contents: Vec<u8>,
    pub(crate) chunk_shift: u32,
    /// Sections behind the usual ones; with any of codecs the image is a compressed one.
    pub(crate) sections: Vec<codec::Section>,
    /// What frames of leaf pages refer to, whether a section has it or not.
    pub(crate) page_dictionaries: DictionaryBytes,
    /// Changes pages of the index before they get their checksums, by number.
    pub(crate) change_page: fn(u64, &mut [u8; PAGE_SIZE]),
    /// Changes the header before it is written.
    pub(crate) change_header: fn(&mut Header),
}

impl Handmade {
    /// A root with these entries, the first of which is told its run, and contents.
    pub(crate) fn new(mut entries: Vec<Entry>, contents: Vec<u8>) -> Self {
        let children = entries
            .iter()
            .take_while(|entry| entry.run.is_none())
            .count() as u64;
        let below = entries.len() as u64;
        let directories = |entries: &[Entry]| {
            let all = entries.iter().filter(|entry| entry.kind == Kind::Directory);
            all.count() as u64
        };
        let subdirectories = directories(&entries[..children as usize]);
        let deeper = below - children;
        let root = Entry::directory(b"", 1, children, subdirectories, deeper).first_of(b"", 0);
        if let Some(first) = entries.first_mut() {
            first.run = Some((Vec::new(), 0));
        }
        entries.insert(0, root);
        Self {
            pages: vec![Page {
                first_ordinal: 0,
                position: PAGE_BYTES,
                entries,
                further: Vec::new(),
            }],
            inner: Vec::new(),
            blobs: Vec::new(),
            contents,
            chunk_shift: 12,
            sections: Vec::new(),
            page_dictionaries: DictionaryBytes::default(),
            change_page: |_, _| {},
            change_header: |_| {},
        }
    }

    /// Gives the second codec a dictionary, stored as a frame; its files are called `label`.
    pub(crate) fn dictionary(&mut self, dictionary: &[u8], label: &[u8]) {
        let mut encoder = ContentEncoder::new(9).unwrap();
        let stored = encoder.encode(dictionary, None).unwrap().to_vec();
        let row = codec::Dictionary {
            offset: 0,
            stored: stored.len() as u32,
            crc: crc(&stored),
            length: dictionary.len() as u32,
        };
        let codecs = [
            codec::Codec::default(),
            codec::Codec {
                dictionary: Some(row),
            },
        ];
        let notes = [codec::Note::default(), codec::Note::new(label)];
        self.sections = codec::Section::of_codecs(&codecs, stored, &notes);
    }

    /// Gives the frames of leaf pages dictionaries.
    pub(crate) fn refer_to(&mut self, dictionaries: DictionaryBytes) {
        self.sections.push(codec::Section {
            kind: page_dictionaries::SECTION,
            rows: page_dictionaries::ROWS,
            bytes: dictionaries.encode().unwrap(),
        });
        self.page_dictionaries = dictionaries;
    }

    /// Begins a further segment of the first page before entry number `before`, which has this separator. No extents of the
    /// page are implicit.
    pub(crate) fn split(&mut self, before: usize, separator: &[u8]) {
        self.pages[0].further.push(Further {
            before,
            position: PAGE_BYTES,
            separator: separator.to_vec(),
        });
    }

    /// Adds a blob and returns its offset.
    pub(crate) fn blob(&mut self, contents: &[u8]) -> u64 {
        let offset = self.blobs.len() as u64;
        blob::encode_into(offset, contents, &mut self.blobs);
        offset
    }

    /// The files of the image: the index and one volume without a copy of it.
    pub(crate) fn write(&self) -> Parts {
        let identity = Identity {
            uuid: UUID,
            number: 0,
            count: 1,
        };
        let mut volume = volume::encode_header(&identity).to_vec();
        volume.extend_from_slice(&self.contents);
        let extents_end = volume.len() as u64;
        volume.resize(volume.len().next_multiple_of(PAGE_SIZE), 0);
        let layout = Layout {
            extents_end,
            index_offset: 0,
            index_length: 0,
            file_length: (volume.len() + PAGE_SIZE) as u64,
        };
        volume.extend_from_slice(&volume::encode_trailer(&identity, &layout));
        Parts {
            index: self.index(extents_end),
            volumes: vec![volume],
        }
    }

    fn index(&self, extents_end: u64) -> Vec<u8> {
        let mut index = vec![0; PAGE_SIZE];
        let leaves = self.pages.iter();
        let leaves = leaves.map(|page| leaf(page, &self.page_dictionaries));
        let inner = self
            .inner
            .iter()
            .map(|(level, children)| inner(*level, children));
        for (mut page, number) in leaves.chain(inner).zip(1..) {
            (self.change_page)(number, &mut page);
            seal_page(&UUID, number, &mut page);
            index.extend_from_slice(&page);
        }
        let mut header = self.header();
        let mut table = Vec::new();
        for kind in KINDS {
            let mode = kind.mode_bits() | 0o755;
            Attributes {
                mode,
                uid: 0,
                gid: 0,
            }
            .encode_into(&mut table);
        }
        let mut spans = Vec::new();
        Span {
            start: 0,
            end: extents_end,
        }
        .encode_into(&mut spans);
        let blobs = (blob::SECTION, 0, blobs(&self.blobs), &self.blobs);
        let usual = [
            (attributes::SECTION, crc(&table), KINDS.len() as u64, &table),
            (volume::SECTION, crc(&spans), 1, &spans),
            blobs,
        ];
        let more = self.sections.iter();
        let more = more.map(|more| (more.kind, crc(&more.bytes), more.rows, &more.bytes));
        for (kind, sum, rows, bytes) in usual.into_iter().chain(more) {
            header.sections.push(Section {
                kind,
                crc: sum,
                offset: index.len() as u64,
                length: bytes.len() as u64,
                rows,
            });
            index.extend_from_slice(bytes);
            index.resize(index.len().next_multiple_of(PAGE_SIZE), 0);
        }
        header.index_length = (index.len() + PAGE_SIZE) as u64;
        (self.change_header)(&mut header);
        let page = header.encode();
        index[..PAGE_SIZE].copy_from_slice(&page);
        index.extend_from_slice(&page);
        index
    }

    fn header(&self) -> Header {
        let entries = || self.pages.iter().flat_map(|page| &page.entries);
        let count = |wanted: &[Kind]| {
            let of = entries().filter(|entry| wanted.contains(&entry.kind));
            of.count() as u64
        };
        let sizes = entries()
            .filter(|entry| entry.primary == 0)
            .map(|entry| entry.size);
        let mut kinds = self.sections.iter().map(|section| section.kind);
        let has_codecs = kinds.any(|kind| kind != page_dictionaries::SECTION);
        Header {
            version_minor: 0,
            features_optional: 0,
            features_warn: 0,
            // Holes, frames, cut contents and shared frames, which not every image has, and segments.
            features_required: u64::from(entries().any(|entry| entry.hole_bytes > 0))
                | u64::from(has_codecs) << 2
                | u64::from(entries().any(|entry| entry.cut.is_some())) << 3
                | u64::from(entries().any(|entry| entry.member.is_some())) << 4
                | FEATURE_SEGMENTS,
            uuid: UUID,
            index_length: 0,
            entries: entries().count() as u64,
            files: count(&[Kind::File]),
            directories: count(&[Kind::Directory]),
            symlinks: count(&[Kind::Symlink]),
            others: count(&[
                Kind::Fifo,
                Kind::Socket,
                Kind::CharDevice,
                Kind::BlockDevice,
            ]),
            data_bytes: sizes.fold(0, u64::saturating_add),
            stored_bytes: self.contents.len() as u64,
            shared_files: 0,
            shared_bytes: 0,
            shared_chunks: 0,
            shared_chunk_bytes: 0,
            shared_frames: 0,
            frame_members: 0,
            leaf_pages: self.pages.len() as u64,
            inner_pages: self.inner.len() as u64,
            levels: self.inner.last().map_or(0, |(level, _)| u32::from(*level)),
            chunk_shift: self.chunk_shift,
            sections: Vec::new(),
        }
    }
}

/// Kinds in the order of the attribute section.
const KINDS: [Kind; 7] = [
    Kind::Directory,
    Kind::File,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
];

/// Number of blobs that stand one behind the other.
fn blobs(mut section: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(length) = section.get(4..8) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        section = section.get(blob::BLOB_HEADER + length..).unwrap_or(&[]);
        count += 1;
    }
    count
}

fn leaf(page: &Page, dictionaries: &DictionaryBytes) -> [u8; PAGE_SIZE] {
    let mut builder = LeafBuilder::default();
    for entry in &page.entries {
        if let Some((path, parent)) = &entry.run {
            builder.begin_run(path, *parent);
        }
        let attribute = KINDS.iter().position(|kind| *kind == entry.kind);
        builder.push(&NewEntry {
            name: &entry.name,
            kind: entry.kind,
            attribute: attribute.unwrap() as u64,
            mtime: Timestamp::default(),
            other_times: OTHER_TIMES,
            hole_bytes: entry.hole_bytes,
            hole_map: entry.hole_map,
            size: entry.size,
            children: entry.children,
            subdirectories: entry.subdirectories,
            deeper: entry.deeper,
            first_child: entry.first_child,
            saved: entry.saved,
            codec: entry.codec,
            cut: entry.cut,
            member: entry.member,
            place: entry.place,
            primary: entry.primary,
            links: entry.links,
            device: 0,
            xattrs: entry.xattrs,
            target: match entry.target {
                Some(offset) => NewTarget::Blob(offset),
                None if entry.kind == Kind::Symlink => NewTarget::Inline(b"target"),
                None => NewTarget::Inline(b""),
            },
        });
    }
    let mut frames = LeafFrames::new(9, dictionaries).unwrap();
    let mut pages = PageBuilder::new(page.first_ordinal);
    let first = Further {
        before: 0,
        position: page.position,
        separator: Vec::new(),
    };
    let segments: Vec<_> = std::iter::once(&first).chain(&page.further).collect();
    let ends = segments.iter().skip(1).map(|segment| segment.before);
    let ends = ends.chain([page.entries.len()]);
    for (segment, end) in segments.iter().zip(ends) {
        let (count, position) = (end - segment.before, segment.position);
        let used = builder.encode(count, position, &segment.separator, &pages, &mut frames);
        assert!(
            used.unwrap() <= pages.room(),
            "the entries do not fit into a page"
        );
        pages.add(builder.segment(), count, position);
        builder.drain(count);
    }
    pages.finish()
}

fn inner(level: u8, children: &[Told]) -> [u8; PAGE_SIZE] {
    let mut builder = InnerBuilder::new(level);
    for (page, ordinal, position, separator) in children {
        assert!(builder.push(*page, *ordinal, *position, separator));
    }
    builder.finish()
}
