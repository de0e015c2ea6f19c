//! Files with holes: where their data is, and what a range of them reads as.

use super::{Image, Node, blobs};
use crate::entry::Kind;
use crate::format::holes::HoleMap;
use crate::{Error, ErrorKind, Result};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes of hole maps that are kept: enough for the largest there can be.
const KEPT_BYTES: u64 = 32 << 20;

/// What the cache's hash table is sized for.
const EXPECTED_MAPS: usize = 64;

#[derive(Debug, Clone, Copy)]
struct ByMemory;

impl Weighter<u64, Arc<HoleMap>> for ByMemory {
    fn weight(&self, _: &u64, map: &Arc<HoleMap>) -> u64 {
        (size_of::<HoleMap>() + size_of_val(map.segments())) as u64
    }
}

/// Hole maps read lately, by the offsets of their blobs.
pub(super) struct HoleMaps(Cache<u64, Arc<HoleMap>, ByMemory>);

impl std::fmt::Debug for HoleMaps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HoleMaps").field(&self.0.len()).finish()
    }
}

impl HoleMaps {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(EXPECTED_MAPS, KEPT_BYTES, ByMemory))
    }
}

impl Image {
    /// Where the regular file `node` has data, and where holes. Costs a read of the index only for files with both.
    pub fn holes(&self, node: &Node) -> Result<Arc<HoleMap>> {
        if node.kind() != Kind::File {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "only regular files have holes",
            ));
        }
        let Some(offset) = node.hole_map else {
            return Ok(Arc::new(if node.hole_bytes > 0 {
                HoleMap::empty(node.size)
            } else {
                HoleMap::dense(node.size)
            }));
        };
        // Names of one inode share a map; the sizes are compared for images in which others do.
        let known = self.hole_maps.0.get(&offset);
        if let Some(map) =
            known.filter(|map| map.size() == node.size && map.data_length() == node.data_length())
        {
            return Ok(map);
        }
        let contents = blobs::read(&self.store, offset)?;
        let map = HoleMap::decode(&contents, node.size, node.hole_bytes).map_err(|malformed| {
            Error::corrupt(malformed.0)
                .at_path(self.index_path())
                .at_offset(offset)
        })?;
        let map = Arc::new(map);
        self.hole_maps.0.insert(offset, map.clone());
        Ok(map)
    }

    /// As [`Self::read_at`], of a file with holes.
    pub(super) fn read_around_holes<'s>(
        &self,
        node: &Node,
        offset: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let end = node.size.min(offset.saturating_add(length as u64));
        scratch.clear();
        if offset >= end {
            return Ok(&[]);
        }
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        scratch.resize(in_memory(end - offset), 0);
        let map = self.holes(node)?;
        let Some(first) = map.overlapping(offset..end).next() else {
            return Ok(scratch);
        };
        // What lies apart in the file is stored without a gap: one read, however many holes there are.
        let start = first.offset.max(offset);
        let stored = map
            .overlapping(offset..end)
            .map(|segment| segment.end().min(end) - segment.offset.max(offset));
        let wanted = in_memory(stored.sum());
        let mut data = Vec::new();
        let from = first.stored_at + (start - first.offset);
        let mut rest = self.contents.read_at(node, from, wanted, &mut data)?;
        for segment in map.overlapping(offset..end) {
            let from = segment.offset.max(offset);
            let length = in_memory(segment.end().min(end) - from);
            let (bytes, behind) = rest
                .split_at_checked(length)
                .ok_or_else(|| Error::corrupt("contents are shorter than the file"))?;
            let to = in_memory(from - offset);
            if let Some(part) = scratch.get_mut(to..to + length) {
                part.copy_from_slice(bytes);
            }
            rest = behind;
        }
        Ok(scratch)
    }
}
