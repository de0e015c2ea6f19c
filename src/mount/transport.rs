//! The ways that requests take from the kernel to the serving threads.

use serde::Serialize;
use std::fmt;

/// What carries requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The rings if kernel and system offer them, else the device.
    #[default]
    Auto,
    /// The device `/dev/fuse`, which every kernel has.
    Dev,
    /// Rings of shared memory (FUSE over `io_uring`, Linux 6.14), one or more for each processor. A request is
    /// answered on the processor where it was made.
    Uring,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Dev => "dev",
            Self::Uring => "uring",
        })
    }
}
