//! The whole way from entries to an image: sort, plan, contents, index, publication.

use crate::sample::{FILES, LAYOUTS, Layout};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Packs the sample through the library. The last step waits for the disk, so the slowest runs say more of it.
#[divan::bench(args = LAYOUTS, sample_count = 10, sample_size = 1)]
#[expect(
    clippy::expect_used,
    reason = "without an image there is nothing to measure"
)]
fn pack(bencher: Bencher<'_, '_>, layout: Layout) {
    bencher
        .counter(ItemsCount::new(FILES))
        .with_inputs(|| tempfile::tempdir().expect("a temporary directory"))
        .bench_local_values(|directory| {
            layout
                .build(&directory.path().join("image"))
                .expect("an image")
        });
}
