//! How much memory the tables of digests have, and how many digests they are made for.

use super::options::{BuildOptions, Dedup};
use super::order::Order;
use super::plan::Totals;

/// A table of digests that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableSize {
    /// Bytes of memory.
    pub(super) memory: usize,
    /// About how many digests will come.
    pub(super) expected: u64,
}

/// The tables of digests of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DigestTables {
    pub(super) files: TableSize,
    pub(super) chunks: TableSize,
}

impl DigestTables {
    /// The tables of a build of files that come to `totals`, whose sorted entries take `entries` bytes of memory.
    ///
    /// They have an eighth of the budget, and what the entries leave of their half, less what another order needs.
    pub(super) fn new(options: &BuildOptions, totals: &Totals, entries: usize) -> Self {
        let budget = options.memory;
        let order = match options.order {
            Order::Path => 0,
            _ => budget / 16 * 3,
        };
        let left = (budget / 2).saturating_sub(entries).saturating_sub(order);
        let memory = budget / 8 + left;
        let files = totals.files.saturating_sub(totals.aliases);
        let chunks = match options.dedup {
            Dedup::None | Dedup::Files => 0,
            Dedup::Chunks => {
                totals.data_bytes.saturating_sub(totals.hole_bytes) >> options.chunk_shift
            }
        };
        // Neither gets less than an eighth, for neither number is certain.
        let part = if chunks == 0 {
            0
        } else {
            let all = u128::from(files) + u128::from(chunks);
            let part = memory as u128 * u128::from(chunks) / all;
            usize::try_from(part)
                .unwrap_or(memory)
                .clamp(memory / 8, memory / 8 * 7)
        };
        Self {
            files: TableSize {
                memory: memory - part,
                expected: files,
            },
            chunks: TableSize {
                memory: part,
                expected: chunks,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 256 << 20;

    fn tables(dedup: Dedup, files: u64, data_bytes: u64, entries: usize) -> DigestTables {
        let options = BuildOptions {
            memory: BUDGET,
            dedup,
            ..BuildOptions::default()
        };
        let totals = Totals {
            files,
            data_bytes,
            ..Totals::default()
        };
        DigestTables::new(&options, &totals, entries)
    }

    #[test]
    fn digests_have_what_entries_do_not_need() {
        let whole = tables(Dedup::Files, 100, 1 << 40, BUDGET / 2);
        assert_eq!((whole.files.memory, whole.chunks.memory), (BUDGET / 8, 0));
        let on_disk = tables(Dedup::Files, 100_000_000, 1 << 40, BUDGET / 4);
        assert_eq!(on_disk.files.memory, BUDGET / 8 * 3);
        assert_eq!(on_disk.files.expected, 100_000_000);
    }

    #[test]
    fn files_and_chunks_share_as_they_are_many() {
        let images = tables(Dedup::Chunks, 10, 1 << 40, 0);
        assert_eq!(images.files.memory, BUDGET / 8 * 5 / 8);
        assert_eq!(images.chunks.memory, BUDGET / 8 * 5 / 8 * 7);
        assert_eq!(images.chunks.expected, 1 << 23);
        let mixed = tables(Dedup::Chunks, 1 << 23, 1 << 40, BUDGET / 4);
        assert_eq!(mixed.files.memory, mixed.chunks.memory);
    }

    #[test]
    fn another_order_takes_its_part() {
        let options = BuildOptions {
            memory: BUDGET,
            order: Order::Similarity,
            ..BuildOptions::default()
        };
        let tables = DigestTables::new(&options, &Totals::default(), BUDGET / 4);
        assert_eq!(tables.files.memory, BUDGET / 8 + BUDGET / 16);
    }
}
