//! Digests of contents, by which files with equal contents are found.

use blake3::Hasher;

/// What the hasher of digests of pieces is for: these digests differ from those of any contents.
const PIECES: &str = "dgfs 2026-11-21 digest of the pieces of a file";

/// The same for files that are cut by content.
const CHUNKS: &str = "dgfs 2026-11-21 digest of the chunks of a file";

/// The digest (BLAKE3) of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(in crate::build) fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 192 bits, which are enough: among 10^12 files, two with different contents have them in
    /// common with a probability of 10^-34.
    pub(in crate::build) fn numbers(&self) -> [u64; 3] {
        let mut words = self.0.chunks_exact(8).map(|word| {
            let word = word.first_chunk::<8>();
            word.map_or(0, |word| u64::from_le_bytes(*word))
        });
        [(); 3].map(|()| words.next().unwrap_or(0))
    }
}

/// The digest of a file that is read in pieces, as it comes.
///
/// That of a file of one piece is the digest of the piece, so it does not matter in which way a small file
/// is read; that of others is a digest of digests.
#[derive(Debug)]
pub(super) struct PieceDigests {
    first: Option<Digest>,
    pieces: u64,
    rest: Hasher,
    /// Whether no piece came without a digest.
    complete: bool,
}

impl PieceDigests {
    pub(super) fn new() -> Self {
        Self {
            first: None,
            pieces: 0,
            rest: Hasher::new_derive_key(PIECES),
            complete: true,
        }
    }

    /// Adds the next piece; all but the last are equally long.
    pub(super) fn push(&mut self, digest: Option<Digest>) {
        let Some(digest) = digest else {
            self.complete = false;
            return;
        };
        self.first.get_or_insert(digest);
        self.pieces += 1;
        self.rest.update(&digest.0);
    }

    /// The digest of all pieces; `None` if there were none, or not of each one.
    pub(super) fn finish(&self) -> Option<Digest> {
        let first = self.first.filter(|_| self.complete)?;
        Some(match self.pieces {
            1 => first,
            _ => Digest(*self.rest.finalize().as_bytes()),
        })
    }
}

/// The digest of a file that is cut by content: one of the digests of its chunks. Equal contents are cut alike.
#[derive(Debug)]
pub(super) struct ChunkDigests(Hasher);

impl ChunkDigests {
    pub(super) fn new() -> Self {
        Self(Hasher::new_derive_key(CHUNKS))
    }

    /// Adds the next chunk.
    pub(super) fn push(&mut self, digest: &Digest) {
        self.0.update(&digest.0);
    }

    /// The digest of all chunks.
    pub(super) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
