//! Stores files that are cut by content, chunk by chunk in their order.

use std::thread::Scope;

use super::compress::Compressor;
use super::cutting::{Cutting, Preparing};
use super::digest::{ChunkDigests, Digest};
use super::reading::{Read, Sources, Storage};
use crate::Result;
use crate::build::cut_file::CutFileWriter;
use crate::build::placed::Placed;
use crate::build::volumes::VolumeSet;

/// Most chunks that each thread has in hand or before it.
const CHUNKS_AHEAD: usize = 8;

/// What the storing thread needs for such files.
pub(super) struct CutStore<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    sources: &'env Sources,
    threads: usize,
    /// Bytes of chunks that threads may have in hand.
    memory: usize,
    /// Threads for large files, once there is one.
    preparing: Option<Preparing>,
    /// For chunks that turn out not to be known after all.
    compressor: Compressor<'env>,
}

impl<'scope, 'env> CutStore<'scope, 'env> {
    /// Large files have `threads` threads of their own, and `memory` bytes for chunks on their way. Fails if memory is lacking.
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        sources: &'env Sources,
        threads: usize,
        memory: usize,
    ) -> Result<Self> {
        let codecs = sources.codecs.as_deref();
        Ok(Self {
            scope,
            sources,
            threads: threads.max(1),
            memory,
            preparing: None,
            compressor: Compressor::new(codecs.filter(|_| sources.cutting.is_some()))?,
        })
    }

    /// Stores a file that lies in one batch.
    pub(super) fn store_whole(
        &mut self,
        volumes: &mut VolumeSet,
        storage: &Storage,
        read: &Read,
        cutting: &Cutting,
    ) -> Result<Placed> {
        let average = cutting.cutter.average_shift();
        let mut file = volumes.begin_cut_file(read.length as u64, average)?;
        let (pieces, frames, codec) = storage.cut_pieces(read);
        for (bytes, piece) in pieces {
            let chunk = (bytes, frames, codec);
            piece.store(chunk, &mut file, &cutting.known, &mut self.compressor)?;
        }
        let placed = file.finish()?;
        volumes.leave_out(0);
        Ok(placed)
    }

    /// Begins a large file. Fails if memory is lacking.
    pub(super) fn begin<'s>(
        &'s mut self,
        codec: u32,
        cutting: &'s Cutting,
    ) -> Result<LargeCut<'s, 'env>> {
        let (scope, sources, threads) = (self.scope, self.sources, self.threads);
        // Frames take as much as contents at most.
        let most = self.memory / (2 * cutting.cutter.most());
        let most = most.clamp(2, CHUNKS_AHEAD * threads);
        let preparing = match self.preparing.take() {
            Some(preparing) => preparing,
            None => Preparing::start(scope, sources, &cutting.known, threads, most)?,
        };
        Ok(LargeCut {
            cutting,
            codec,
            preparing: self.preparing.insert(preparing),
            compressor: &mut self.compressor,
            digests: ChunkDigests::new(),
            window: Vec::new(),
        })
    }
}

/// A large file on its way.
pub(super) struct LargeCut<'s, 'env> {
    cutting: &'s Cutting,
    codec: u32,
    preparing: &'s mut Preparing,
    compressor: &'s mut Compressor<'env>,
    digests: ChunkDigests,
    /// What was read and is not cut yet: less than the largest chunk between two pieces.
    window: Vec<u8>,
}

impl LargeCut<'_, '_> {
    /// The file goes on with `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8], file: &mut CutFileWriter<'_>) -> Result<()> {
        self.window.extend_from_slice(bytes);
        self.cut(self.cutting.cutter.most(), file)
    }

    /// The file ends; returns its digest.
    pub(super) fn finish(mut self, file: &mut CutFileWriter<'_>) -> Result<Digest> {
        self.cut(1, file)?;
        while !self.preparing.is_empty() {
            self.store(file)?;
        }
        Ok(self.digests.finish())
    }

    /// Nothing more of the file is stored.
    pub(super) fn abandon(self) -> Result<()> {
        while !self.preparing.is_empty() {
            let prepared = self.preparing.take()?;
            self.preparing.give_back(prepared);
        }
        Ok(())
    }

    /// Has chunks prepared while at least `least` bytes wait, and stores those that are ready when there are many.
    fn cut(&mut self, least: usize, file: &mut CutFileWriter<'_>) -> Result<()> {
        let mut start = 0;
        while let Some(rest) = self.window.get(start..).filter(|rest| rest.len() >= least) {
            let length = self.cutting.cutter.cut(rest);
            let chunk = rest.get(..length).unwrap_or(rest);
            self.preparing.send(chunk, self.codec)?;
            start += length;
            if !self.preparing.has_room() {
                self.store(file)?;
            }
        }
        self.window.drain(..start.min(self.window.len()));
        Ok(())
    }

    /// Stores the next chunk.
    fn store(&mut self, file: &mut CutFileWriter<'_>) -> Result<()> {
        let prepared = self.preparing.take()?;
        self.digests.push(prepared.piece.digest());
        let chunk = (&*prepared.bytes, &*prepared.frames, prepared.codec);
        let known = &self.cutting.known;
        prepared.piece.store(chunk, file, known, self.compressor)?;
        self.preparing.give_back(prepared);
        Ok(())
    }
}
