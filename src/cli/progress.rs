//! A progress bar for commands that read all of an image.

use std::io::IsTerminal as _;
use std::sync::mpsc;
use std::time::Duration;

use dgfs::read::Image;
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);

/// Does `work`, and shows on a terminal meanwhile how many of `total` bytes of the image were read. Complaints go
/// through the bar's `suspend`.
pub(super) fn with_progress<T>(
    image: &Image,
    total: u64,
    quiet: bool,
    work: impl FnOnce(&ProgressBar) -> T,
) -> T {
    if quiet || !std::io::stderr().is_terminal() {
        return work(&ProgressBar::hidden());
    }
    let bar = ProgressBar::new(total);
    let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let is_done = is_done;
            // Ends when `done` is dropped.
            while let Err(mpsc::RecvTimeoutError::Timeout) = is_done.recv_timeout(TICK) {
                let counters = image.counters();
                bar.set_position((counters.index_bytes + counters.data_bytes).min(total));
            }
        });
        let result = work(&bar);
        drop(done);
        bar.finish_and_clear();
        result
    })
}
