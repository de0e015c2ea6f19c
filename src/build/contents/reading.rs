//! Reads contents into the bytes of a batch, has them compressed, and takes checksums of what is stored.

use std::fs::File;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise, fstat};
use rustix::io::{ReadWriteFlags, preadv2};

use super::claims::Claims;
use super::compress::{Codecs, Compressor};
use super::cutting::{CutPiece, Cutting};
use super::digest::{ChunkDigests, Digest};
use super::grouping::{Candidate, Group, Grouping, stem};
use super::lengths::Lengths;
use super::source::OpenFile;
use crate::build::placed::StoredChunk;
use crate::entry::Timestamp;
use crate::format::checksum::crc;
use crate::{Error, ErrorKind, Result};

/// What all workers know.
#[derive(Debug)]
pub(super) struct Sources {
    /// The scratch file.
    pub(super) spool: Option<Arc<File>>,
    /// Contents are cut in chunks of 2 to the power of this many bytes.
    pub(super) chunk_shift: u32,
    /// Files that a worker has the device read at the same time.
    pub(super) files_ahead: usize,
    /// What contents are compressed with, if they are.
    pub(super) codecs: Option<Arc<Codecs>>,
    /// What was seen so far, if digests of contents are taken, by which equal ones are found.
    pub(super) claims: Option<Arc<Claims>>,
    /// The lengths of all files, if they are known: of one that no other file has, no digest is taken.
    pub(super) lengths: Option<Arc<Lengths>>,
    /// How files larger than a chunk are cut by content, if they are.
    pub(super) cutting: Option<Cutting>,
    /// Most bytes of small files that share a frame, if any do.
    pub(super) small_frames: Option<usize>,
}

impl Sources {
    /// How `length` bytes of data are cut by content, if they are.
    pub(super) fn cuts(&self, length: u64) -> Option<&Cutting> {
        let cutting = self.cutting.as_ref();
        cutting.filter(|_| length > 1 << self.chunk_shift)
    }

    /// The codec of a file called `name`.
    pub(super) fn codec_of(&self, name: &[u8]) -> u32 {
        self.codecs
            .as_ref()
            .map_or(0, |codecs| codecs.of(name, None))
    }
}

/// The contents that a batch holds.
#[derive(Debug)]
pub(super) struct Storage {
    bytes: Vec<u8>,
    /// Frames, one after the other.
    frames: Vec<u8>,
    chunks: Vec<Packed>,
    cut_pieces: Vec<CutPiece>,
    chunk_shift: u32,
    claims: Option<Arc<Claims>>,
    lengths: Option<Arc<Lengths>>,
    cutting: Option<Cutting>,
    small_frames: Option<usize>,
    /// Files that are to share frames, before they are grouped.
    candidates: Vec<Candidate>,
    groups: Vec<Group>,
}

/// How a chunk is to be stored, and the checksum of that.
#[derive(Debug, Clone)]
enum Packed {
    Zeros,
    Raw(u32),
    Frame(Range<usize>, u32),
}

/// Contents of one file, or a piece of it, in a [`Storage`].
#[derive(Debug)]
pub(super) struct Read {
    start: usize,
    pub(super) length: usize,
    chunks: Range<usize>,
    /// Its chunks if it is cut by content; then it has none of the others.
    cut_pieces: Range<usize>,
    codec: u32,
    /// Whether it may share a frame; then it is left as it is until it is known which files do.
    pub(super) is_candidate: bool,
    /// The number of the group it is a member of.
    pub(super) group: Option<usize>,
    /// That of all its bytes, if it was asked for.
    pub(super) digest: Option<Digest>,
    /// Whether its chunks were left as they are, as another file with these contents seems to be stored.
    pub(super) is_left: bool,
}

impl Read {
    /// Contents that are neither compressed nor known by a digest.
    pub(super) fn plain(start: usize, length: usize) -> Self {
        Self {
            start,
            length,
            chunks: 0..0,
            cut_pieces: 0..0,
            codec: 0,
            is_candidate: false,
            group: None,
            digest: None,
            is_left: false,
        }
    }

    /// Whether it is cut by content.
    pub(super) fn is_cut(&self) -> bool {
        !self.cut_pieces.is_empty()
    }
}

impl Storage {
    /// Room for `length` bytes, which are read from `sources`.
    pub(super) fn new(length: usize, sources: &Sources) -> Self {
        Self {
            bytes: vec![0; length],
            frames: Vec::new(),
            chunks: Vec::new(),
            cut_pieces: Vec::new(),
            chunk_shift: sources.chunk_shift,
            claims: sources.claims.clone(),
            lengths: sources.lengths.clone(),
            cutting: sources.cutting.clone(),
            small_frames: sources.small_frames,
            candidates: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Bytes that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.chunks.clear();
        self.cut_pieces.clear();
        self.candidates.clear();
        self.groups.clear();
    }

    /// Where contents go that begin at `start`.
    pub(super) fn space(&mut self, start: usize, length: usize) -> &mut [u8] {
        let space = self.bytes.get_mut(start..start + length);
        space.unwrap_or(&mut [])
    }

    /// The `length` bytes that were put at `start`.
    pub(super) fn contents(&self, start: usize, length: usize) -> &[u8] {
        self.bytes.get(start..start + length).unwrap_or(&[])
    }

    /// Compresses a piece of a file of `size` bytes, `length` bytes that were put at `start`, by `codec`, where that pays, and
    /// takes checksums, and the digest of all.
    pub(super) fn read_piece(
        &mut self,
        (start, length): (usize, usize),
        size: u64,
        codec: u32,
        compressor: &mut Compressor<'_>,
    ) -> Read {
        Read {
            chunks: self.pack(start, length, false, codec, compressor),
            codec,
            digest: self.digest(start, length, size),
            ..Read::plain(start, length)
        }
    }

    /// The same with all of a file, unless its contents seem to be stored.
    pub(super) fn read_whole(
        &mut self,
        start: usize,
        length: usize,
        codec: u32,
        compressor: &mut Compressor<'_>,
    ) -> Read {
        let digest = self.digest(start, length, length as u64);
        let claims = self.claims.as_ref().zip(digest);
        let mut read = Read {
            codec,
            digest,
            is_left: claims.is_some_and(|(claims, digest)| !claims.claim(&digest)),
            ..Read::plain(start, length)
        };
        if !read.is_left {
            self.pack_whole(&mut read, compressor);
        }
        read
    }

    /// Compresses all of a file, which may have been left until now.
    pub(super) fn pack_whole(&mut self, read: &mut Read, compressor: &mut Compressor<'_>) {
        let single = read.length <= 1 << self.chunk_shift;
        read.chunks = self.pack(read.start, read.length, single, read.codec, compressor);
        read.is_left = false;
    }

    /// The digest of `length` bytes that were put at `start`, of a file of `size`, unless nobody asks for it.
    fn digest(&self, start: usize, length: usize, size: u64) -> Option<Digest> {
        let lengths = self.lengths.as_ref();
        let is_asked =
            self.claims.is_some() && !lengths.is_some_and(|lengths| lengths.is_single(size));
        is_asked.then(|| Digest::of(self.contents(start, length)))
    }

    /// Compresses chunks by `codec`, where that pays, and takes checksums. The `single` chunk of a file is stored even if
    /// it holds zeros.
    fn pack(
        &mut self,
        start: usize,
        length: usize,
        single: bool,
        codec: u32,
        compressor: &mut Compressor<'_>,
    ) -> Range<usize> {
        let first = self.chunks.len();
        let contents = self.bytes.get(start..start + length).unwrap_or(&[]);
        for chunk in contents.chunks(1 << self.chunk_shift) {
            self.chunks.push(if !single && is_zero(chunk) {
                Packed::Zeros
            } else if let Some(frame) = compressor.frame(chunk, codec) {
                let at = self.frames.len();
                self.frames.extend_from_slice(frame);
                Packed::Frame(at..self.frames.len(), crc(frame))
            } else {
                Packed::Raw(crc(chunk))
            });
        }
        first..self.chunks.len()
    }

    /// Notes `length` bytes that were put at `start`, the contents of file `number` of the batch, which is called `name`,
    /// if they are to share a frame with others: they are compressed by [`Self::group`].
    pub(super) fn read_later(
        &mut self,
        (number, name): (usize, &[u8]),
        start: usize,
        length: usize,
        codec: u32,
    ) -> Option<Read> {
        let most = self.small_frames?;
        if length == 0 || length > (most / 2).min(1 << self.chunk_shift) {
            return None;
        }
        let digest = self.digest(start, length, length as u64);
        self.candidates.push(Candidate {
            number,
            start,
            length,
            codec,
            digest,
            stem: stem(name),
        });
        Some(Read {
            codec,
            is_left: true,
            is_candidate: true,
            digest,
            ..Read::plain(start, length)
        })
    }

    /// Puts the files that were noted into groups as far as that makes them smaller; `noted` is told the place of a file
    /// in the batch and the number of its group.
    pub(super) fn group(
        &mut self,
        compressor: &mut Compressor<'_>,
        mut noted: impl FnMut(usize, usize),
    ) {
        let mut candidates = std::mem::take(&mut self.candidates);
        // Files were read in the order in which the device had them.
        candidates.sort_by_key(|candidate| candidate.number);
        let mut grouping = Grouping {
            bytes: &self.bytes,
            most: self.small_frames.unwrap_or(0),
            frames: &mut self.frames,
        };
        self.groups = grouping.groups(candidates, compressor);
        for (group, found) in self.groups.iter().enumerate() {
            for member in &found.members {
                noted(member.number, group);
            }
        }
    }

    /// The groups of the batch, which are handed over.
    pub(super) fn take_groups(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.groups)
    }

    /// The bytes of all contents.
    pub(super) fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// A frame of a group.
    pub(super) fn frame(&self, range: &Range<usize>) -> &[u8] {
        self.frames.get(range.clone()).unwrap_or(&[])
    }

    /// Cuts all data of a file, `length` bytes that were put at `start`, by content, if it is to be: more than a chunk.
    pub(super) fn read_cut(
        &mut self,
        start: usize,
        length: usize,
        codec: u32,
        compressor: &mut Compressor<'_>,
    ) -> Option<Read> {
        let cutting = self.cutting.as_ref();
        let cutting = cutting.filter(|_| length > 1 << self.chunk_shift)?;
        let first = self.cut_pieces.len();
        let contents = self.bytes.get(start..start + length).unwrap_or(&[]);
        let into = (&mut self.cut_pieces, &mut self.frames);
        cutting.cut_all(contents, codec, compressor, into);
        let mut digests = ChunkDigests::new();
        for piece in self.cut_pieces.get(first..).unwrap_or(&[]) {
            digests.push(piece.digest());
        }
        Some(Read {
            cut_pieces: first..self.cut_pieces.len(),
            codec,
            digest: Some(digests.finish()),
            ..Read::plain(start, length)
        })
    }

    /// The data of `read`, which is cut by content: each chunk, and what stands for it. The frames of all.
    pub(super) fn cut_pieces(
        &self,
        read: &Read,
    ) -> (impl Iterator<Item = (&[u8], &CutPiece)>, &[u8], u32) {
        let mut rest = self.contents(read.start, read.length);
        let pieces = self.cut_pieces.get(read.cut_pieces.clone()).unwrap_or(&[]);
        let pieces = pieces.iter().map(move |piece| {
            let (bytes, behind) = rest.split_at(piece.length().min(rest.len()));
            rest = behind;
            (bytes, piece)
        });
        (pieces, &self.frames, read.codec)
    }

    /// The chunks of `read` as they are to be stored, and the codec of its frames if there are any.
    pub(super) fn chunks(
        &self,
        read: &Read,
    ) -> (impl Iterator<Item = StoredChunk<'_>>, Option<u32>) {
        let bytes = self.bytes.get(read.start..read.start + read.length);
        let packed = self.chunks.get(read.chunks.clone()).unwrap_or(&[]);
        let has_frames = packed.iter().any(|p| matches!(p, Packed::Frame(..)));
        let chunks = bytes.unwrap_or(&[]).chunks(1 << self.chunk_shift);
        let stored = chunks.zip(packed).map(|(chunk, packed)| match packed {
            Packed::Zeros => StoredChunk::zeros(chunk.len()),
            Packed::Raw(crc) => StoredChunk::raw(chunk, *crc),
            Packed::Frame(range, crc) => StoredChunk {
                length: chunk.len(),
                bytes: self.frames.get(range.clone()).unwrap_or(&[]),
                crc: *crc,
            },
        });
        (stored, has_frames.then_some(read.codec))
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((0, rest)) => bytes.get(..rest.len()) == Some(rest),
        Some(_) => false,
        None => true,
    }
}

/// A file of the source tree that fits into a batch, on its way.
#[derive(Debug)]
pub(super) struct Small {
    file: File,
    mtime: Timestamp,
    /// Bytes that are there.
    done: usize,
    length: usize,
}

impl Small {
    /// Opens a file of the size of `to`, and reads what the system has of it in memory. It begins to
    /// read the rest from the device without making anybody wait.
    pub(super) fn begin(
        opener: &mut impl OpenFile,
        parent: &[u8],
        name: &[u8],
        mtime: Timestamp,
        to: &mut [u8],
    ) -> Result<Self> {
        let file = opener.open(parent, name)?;
        let length = to.len();
        let now = ReadWriteFlags::NOWAIT;
        // Where this is not known or fails, the reading that waits will say why.
        let done = preadv2(&file, &mut [IoSliceMut::new(to)], 0, now).unwrap_or(0);
        if let Some(rest) = NonZeroU64::new((length - done) as u64) {
            let _ = fadvise(&file, done as u64, Some(rest), Advice::WillNeed);
        }
        Ok(Self {
            file,
            mtime,
            done,
            length,
        })
    }

    /// Whether nothing is left to wait for.
    pub(super) fn is_complete(&self) -> bool {
        self.done == self.length
    }

    /// Waits for the rest; returns how much of the file there is, and whether it changed.
    pub(super) fn finish(mut self, to: &mut [u8]) -> Result<(usize, bool)> {
        if let Some(rest) = to.get_mut(self.done..).filter(|rest| !rest.is_empty()) {
            self.done += read_up_to(&self.file, rest, self.done as u64).map_err(cannot_read)?;
        }
        let whole = self.is_complete() && !changed(&self.file, self.length as u64, self.mtime);
        Ok((self.done, !whole))
    }
}

/// Fills `to` from the scratch file.
pub(super) fn read_spool(sources: &Sources, offset: u64, to: &mut [u8]) -> Result<()> {
    let spool = sources.spool.as_ref().ok_or_else(no_spool)?;
    spool
        .read_exact_at(to, offset)
        .map_err(|e| Error::new(ErrorKind::Io, "cannot read scratch data").caused_by(e))
}

#[cold]
pub(super) fn cannot_read(cause: impl Into<std::io::Error>) -> Error {
    Error::new(ErrorKind::Source, "cannot read").caused_by(cause)
}

#[cold]
pub(super) fn no_spool() -> Error {
    Error::new(ErrorKind::InvalidInput, "there is no scratch file")
}

/// Whether `file` is not, or no longer, what it was when it was listed.
pub(super) fn changed(file: &File, size: u64, mtime: Timestamp) -> bool {
    let Ok(now) = fstat(file) else { return true };
    u64::try_from(now.st_size) != Ok(size)
        || now.st_mtime != mtime.seconds
        || u32::try_from(now.st_mtime_nsec) != Ok(mtime.nanoseconds)
}

/// Reads until `to` is full or the file ends; returns how much.
pub(super) fn read_up_to(file: &File, to: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = to.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}
