//! Decompressed chunks that were read in part, kept for who reads the rest.

use super::node::Extent;
use crate::Result;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::Arc;

/// Extent, length of its data, number of the chunk: everything that says what a chunk holds.
pub(super) type Key = (Extent, u64, u64);

/// Chunks that each shard of the cache has room for, so that each of them can hold what comes to it.
const CHUNKS_OF_SHARD: usize = 8;

/// Bytes beside those of the chunk.
const OVERHEAD: usize = 128;

#[derive(Debug, Clone, Copy)]
struct ByMemory;

impl Weighter<Key, Arc<[u8]>> for ByMemory {
    fn weight(&self, _: &Key, chunk: &Arc<[u8]>) -> u64 {
        (chunk.len() + OVERHEAD) as u64
    }
}

/// The cache.
pub(super) struct DecodedChunks(Cache<Key, Arc<[u8]>, ByMemory>);

impl std::fmt::Debug for DecodedChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DecodedChunks").field(&self.0.len()).finish()
    }
}

impl DecodedChunks {
    /// Keeps up to `bytes` of chunks that have `chunk` bytes at most. There is room for two at least, since a
    /// read across a border needs both; for none where `bytes` is 0.
    pub(super) fn new(bytes: usize, chunk: usize) -> Self {
        let chunk = chunk + OVERHEAD;
        let bytes = if bytes == 0 { 0 } else { bytes.max(2 * chunk) };
        let shards = (bytes / (CHUNKS_OF_SHARD * chunk)).max(1);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity((bytes / chunk).max(1))
            .weight_capacity(bytes as u64)
            .build();
        Self(match options {
            Ok(options) => Cache::with_options(
                options,
                ByMemory,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(1, bytes as u64, ByMemory),
        })
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.0.get(key)
    }

    pub(super) fn insert(&self, key: Key, chunk: &[u8]) {
        self.0.insert(key, chunk.into());
    }

    /// The chunk; whoever asks for one that another thread decodes waits for it.
    pub(super) fn get_or_decode(
        &self,
        key: &Key,
        decode: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<[u8]>> {
        self.0.get_or_insert_with(key, || decode().map(Into::into))
    }
}
