//! An image taken apart into pieces without checksums, compression and padding, and put together again.
//!
//! Damage to the pieces becomes an image that only its contents betray, as a careless or hostile writer would make it.

use super::Parts;
use dgfs::format::bytes::{ByteReader, put_varint};
use dgfs::format::checksum::{crc, seal_page};
use dgfs::format::extent::{BLOCK_ROWS, Shape};
use dgfs::format::frame::{self, FrameEncoder, PageFrame};
use dgfs::format::header::Header;
use dgfs::format::page_dictionaries::{self, DictionaryBytes, PageDictionaries};
use dgfs::format::{PAGE_SIZE, blob};
use dgfs::read::Node;
use std::collections::BTreeMap;

/// Bytes of a leaf page from the number of its entries to its first segment.
pub(crate) const FIXED: std::ops::Range<usize> = 6..24;

/// The same of a page of version 1.4 or before, to the lengths of its frames.
pub(crate) const SOLE_FIXED: std::ops::Range<usize> = 6..30;

/// What a piece is, which says how it is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Header of the index, which is its footer too.
    Header,
    /// Numbers of a leaf page; its segments follow.
    Leaf,
    /// Numbers and separator of a segment without the lengths of what follows as pieces of their own: names, control stream and
    /// bits.
    Segment,
    Names,
    Control,
    Bits,
    /// A page of the tree above the leaves.
    Inner,
    /// A section whose checksum stands in the header, at this byte.
    Section(usize),
    /// The length and contents of a blob.
    Blob,
    /// Header or trailer of a volume.
    VolumeEnd,
    /// Bytes behind which their checksum stands: contents of a small file.
    Small,
    /// Bytes before which their checksum stands: a block of a chunk table.
    Table,
    /// Bytes as they are: chunks.
    Plain,
    /// Zeros to the end of the page.
    Fill,
    /// The next part begins.
    NextPart,
    /// A copy of the index.
    Copy,
}

/// An image in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Unpacked {
    uuid: [u8; 16],
    pub(crate) pieces: Vec<(Piece, Vec<u8>)>,
}

fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().rposition(|&byte| byte != 0);
    bytes[..end.map_or(0, |end| end + 1)].to_vec()
}

impl Unpacked {
    /// Takes a sound image apart.
    pub(crate) fn new(parts: &Parts) -> Self {
        let index = &parts.index;
        let header_page = index.first_chunk::<PAGE_SIZE>().unwrap();
        let header = Header::decode(header_page, index.len() as u64).unwrap();
        let mut pieces = vec![(Piece::Header, trimmed(&header_page[..PAGE_SIZE - 4]))];
        let page = |number: usize| &index[number * PAGE_SIZE..][..PAGE_SIZE];
        let dictionaries = page_dictionaries(&header, index);
        for number in 1..=header.leaf_pages as usize {
            leaf(page(number), &dictionaries, &mut pieces);
        }
        for number in header.leaf_pages as usize + 1..=header.root_page() as usize {
            pieces.push((Piece::Inner, trimmed(&page(number)[4..])));
        }
        for (row, section) in header.sections.iter().enumerate() {
            let bytes = &index[section.offset as usize..][..section.length as usize];
            if section.kind == blob::SECTION {
                let mut rest = bytes;
                while let Some(length) = rest.get(4..8) {
                    let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
                    let (blob, after) = rest.split_at(blob::BLOB_HEADER + length);
                    pieces.push((Piece::Blob, blob[4..].to_vec()));
                    rest = after;
                }
            } else {
                pieces.push((Piece::Section(160 + 32 * row + 4), bytes.to_vec()));
            }
            pieces.push((Piece::Fill, Vec::new()));
        }
        let extents = extents(parts);
        for (number, volume) in parts.volumes.iter().enumerate() {
            pieces.push((Piece::NextPart, Vec::new()));
            let (first, last) = (&volume[..PAGE_SIZE], &volume[volume.len() - PAGE_SIZE..]);
            pieces.push((Piece::VolumeEnd, trimmed(&first[..PAGE_SIZE - 4])));
            for (&at, node) in &extents[number] {
                let bytes = &volume[at as usize..][..node.extent.stored as usize];
                let blocks = table_blocks(node, header.chunk_shift);
                extent(bytes, &blocks, &mut pieces);
            }
            pieces.push((Piece::Fill, Vec::new()));
            if u64::from_le_bytes(last[64..72].try_into().unwrap()) != 0 {
                pieces.push((Piece::Copy, Vec::new()));
            }
            pieces.push((Piece::VolumeEnd, trimmed(&last[..PAGE_SIZE - 4])));
        }
        Self {
            uuid: header.uuid,
            pieces,
        }
    }

    /// The image of the pieces; `None` if a page's pieces do not fit into it.
    pub(crate) fn pack(&self) -> Option<Parts> {
        let mut frames = FrameEncoder::new(1).unwrap();
        let mut parts: Vec<Vec<u8>> = vec![Vec::new()];
        let mut header = Vec::new();
        let mut section = 0;
        let mut pieces = self.pieces.iter().peekable();
        while let Some((piece, bytes)) = pieces.next() {
            let number = (parts.last()?.len() / PAGE_SIZE) as u64;
            let is_index = parts.len() == 1;
            let out = parts.last_mut()?;
            match piece {
                Piece::Header => {
                    header.clone_from(bytes);
                    out.resize(PAGE_SIZE, 0);
                }
                Piece::Leaf => {
                    let mut segments = Vec::new();
                    while let Some((_, head)) =
                        pieces.next_if(|(piece, _)| *piece == Piece::Segment)
                    {
                        let strings = [pieces.next()?, pieces.next()?, pieces.next()?];
                        let strings = strings.map(|(_, bytes)| bytes.as_slice());
                        segments.push((head.as_slice(), strings));
                    }
                    let page = assemble_leaf(bytes, &segments, &mut frames)?;
                    out.extend_from_slice(&self.sealed(number, &page)?);
                }
                Piece::Inner => {
                    let page = [&[0; 4], bytes.as_slice()].concat();
                    out.extend_from_slice(&self.sealed(number, &page)?);
                }
                Piece::Section(at) => {
                    if let Some(field) = header.get_mut(*at..at + 4) {
                        field.copy_from_slice(&crc(bytes).to_le_bytes());
                    }
                    out.extend_from_slice(bytes);
                }
                Piece::Blob => {
                    let (length, contents) = bytes.split_at(bytes.len().min(4));
                    let mut right = Vec::new();
                    blob::encode_into(section, contents, &mut right);
                    out.extend_from_slice(&right[..4]);
                    out.extend_from_slice(length);
                    out.extend_from_slice(contents);
                    section += right.len() as u64;
                }
                Piece::VolumeEnd => out.extend_from_slice(&header_page(bytes)),
                Piece::Small => {
                    out.extend_from_slice(bytes);
                    out.extend_from_slice(&crc(bytes).to_le_bytes());
                }
                Piece::Table => {
                    out.extend_from_slice(&crc(bytes).to_le_bytes());
                    out.extend_from_slice(bytes);
                }
                Piece::Plain => out.extend_from_slice(bytes),
                Piece::Fill => out.resize(out.len().next_multiple_of(PAGE_SIZE), 0),
                Piece::NextPart => {
                    if is_index {
                        finish_index(out, &header);
                    }
                    parts.push(Vec::new());
                }
                Piece::Copy => {
                    let copy = parts.first()?.clone();
                    parts.last_mut()?.extend_from_slice(&copy);
                }
                Piece::Segment | Piece::Names | Piece::Control | Piece::Bits => return None,
            }
        }
        let mut parts = parts.into_iter();
        Some(Parts {
            index: parts.next()?,
            volumes: parts.collect(),
        })
    }

    fn sealed(&self, number: u64, bytes: &[u8]) -> Option<[u8; PAGE_SIZE]> {
        let mut page = [0; PAGE_SIZE];
        page.get_mut(..bytes.len())?.copy_from_slice(bytes);
        seal_page(&self.uuid, number, &mut page);
        Some(page)
    }

    /// Pieces of one kind.
    pub(crate) fn of(&mut self, wanted: Piece) -> Vec<&mut Vec<u8>> {
        let pieces = self.pieces.iter_mut().filter(|(piece, _)| *piece == wanted);
        pieces.map(|(_, bytes)| bytes).collect()
    }
}

fn finish_index(index: &mut Vec<u8>, header: &[u8]) {
    let page = header_page(header);
    if let Some(first) = index.first_chunk_mut() {
        *first = page;
    }
    index.extend_from_slice(&page);
}

/// A page that ends with the checksum of what stands before.
fn header_page(bytes: &[u8]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let length = bytes.len().min(PAGE_SIZE - 4);
    page[..length].copy_from_slice(&bytes[..length]);
    let sum = crc(&page[..PAGE_SIZE - 4]);
    page[PAGE_SIZE - 4..].copy_from_slice(&sum.to_le_bytes());
    page
}

/// What the frames of leaf pages refer to.
fn page_dictionaries(header: &Header, index: &[u8]) -> PageDictionaries {
    let Some(section) = header.section(page_dictionaries::SECTION) else {
        return PageDictionaries::default();
    };
    let read = DictionaryBytes::decode(&index[section.offset as usize..]);
    read.and_then(|(bytes, _)| bytes.load()).unwrap()
}

fn leaf(page: &[u8], dictionaries: &PageDictionaries, pieces: &mut Vec<(Piece, Vec<u8>)>) {
    pieces.push((Piece::Leaf, page[FIXED].to_vec()));
    let mut reader = ByteReader::new(&page[FIXED.end..]);
    for _ in 0..page[5] {
        let mut head = Vec::new();
        for _ in 0..2 {
            put_varint(&mut head, reader.varint().unwrap());
        }
        let lengths = [(); 3].map(|()| reader.varint().unwrap() as usize);
        for _ in 0..2 {
            put_varint(&mut head, reader.varint().unwrap());
        }
        let separator = reader.varint().unwrap();
        put_varint(&mut head, separator);
        head.extend_from_slice(reader.take(separator as usize).unwrap());
        let [names, control, bits] = lengths.map(|length| reader.take(length).unwrap());
        pieces.push((Piece::Segment, head));
        for (piece, kind, frame) in [
            (Piece::Names, PageFrame::Names, names),
            (Piece::Control, PageFrame::Control, control),
        ] {
            pieces.push((piece, dictionaries.decode(kind, frame).unwrap()));
        }
        pieces.push((Piece::Bits, bits.to_vec()));
    }
}

/// A leaf page of these segments without its checksum right. No frame refers to a dictionary, which a reader that has one must
/// allow.
pub(crate) fn assemble_leaf(
    fixed: &[u8],
    segments: &[(&[u8], [&[u8]; 3])],
    frames: &mut FrameEncoder,
) -> Option<Vec<u8>> {
    let mut out = vec![0; FIXED.start];
    out[5] = segments.len() as u8;
    out.extend_from_slice(fixed.get(..FIXED.len())?);
    for (head, strings) in segments {
        let (body, lengths) = body(*strings, frames)?;
        let (counts, rest) = head.split_at(varints(head, 2));
        out.extend_from_slice(counts);
        for length in lengths {
            put_varint(&mut out, length as u64);
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(&body);
    }
    (out.len() <= PAGE_SIZE).then_some(out)
}

/// A leaf page as of version 1.4 without its checksum right.
pub(crate) fn assemble_sole(
    fixed: &[u8],
    strings: [&[u8]; 3],
    frames: &mut FrameEncoder,
) -> Option<Vec<u8>> {
    let mut out = vec![0; SOLE_FIXED.start];
    out.extend_from_slice(fixed.get(..SOLE_FIXED.len())?);
    let (body, [names, control, _]) = body(strings, frames)?;
    for length in [names, control] {
        out.extend_from_slice(&u16::try_from(length).ok()?.to_le_bytes());
    }
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&body);
    (out.len() <= PAGE_SIZE).then_some(out)
}

/// Names frame, control frame and bit area, and their lengths.
fn body(
    [names, control, bits]: [&[u8]; 3],
    frames: &mut FrameEncoder,
) -> Option<(Vec<u8>, [usize; 3])> {
    let mut body = Vec::new();
    let mut lengths = [0, 0, bits.len()];
    for (stream, length) in [names, control].into_iter().zip(&mut lengths) {
        if stream.len() > frame::MAX_FRAME {
            return None;
        }
        *length = frames.encode(stream, &mut body).ok()?;
    }
    body.extend_from_slice(bits);
    Some((body, lengths))
}

/// How many bytes the first `count` varints take.
fn varints(bytes: &[u8], count: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte < 0x80);
    let mut ends = ends.map(|(at, _)| at + 1);
    ends.nth(count - 1).unwrap_or(bytes.len())
}

/// The extents of each volume by offset, each with the first file that has it.
fn extents(parts: &Parts) -> Vec<BTreeMap<u64, Node>> {
    let image = parts.clone().open().unwrap();
    let volumes = image.volumes();
    let mut extents = vec![BTreeMap::new(); volumes.len()];
    let visited = image.walk(0, &mut |_, _, node| {
        if node.extent.stored > 0 {
            let position = node.extent.position;
            let number = volumes.partition_point(|volume| volume.end <= position);
            let at = position - volumes[number].start;
            extents[number].entry(at).or_insert_with(|| node.clone());
        }
        true
    });
    visited.unwrap();
    extents
}

/// The lengths of the blocks of a file's chunk table, if it has one.
fn table_blocks(node: &Node, chunk_shift: u32) -> Vec<usize> {
    let size = node.data_length();
    if let Some(cut) = node.extent.cut {
        let blocks = 0..cut.blocks(size);
        return blocks.map(|block| cut.block_length(size, block)).collect();
    }
    let shape = Shape::new(size, chunk_shift);
    if !shape.has_table() {
        return Vec::new();
    }
    let blocks = 0..shape.chunks().div_ceil(BLOCK_ROWS as u64);
    blocks
        .map(|block| shape.block_length(block) as usize)
        .collect()
}

fn extent(bytes: &[u8], blocks: &[usize], pieces: &mut Vec<(Piece, Vec<u8>)>) {
    if blocks.is_empty() {
        pieces.push((Piece::Small, bytes[..bytes.len() - 4].to_vec()));
        return;
    }
    let (chunks, mut table) = bytes.split_at(bytes.len() - blocks.iter().sum::<usize>());
    pieces.push((Piece::Plain, chunks.to_vec()));
    for &length in blocks {
        let (block, rest) = table.split_at(length);
        pieces.push((Piece::Table, block[4..].to_vec()));
        table = rest;
    }
}
