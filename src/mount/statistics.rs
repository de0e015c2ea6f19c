//! The statistics file: what was asked, what failed, and what was read for it.

use super::counters::RequestCounts;
use super::faults::FaultCounts;
use super::transport::Transport;
use crate::read::Counters;
use crate::{Error, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What the file says, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Statistics {
    pub(super) transport: Transport,
    pub(super) requests: RequestCounts,
    pub(super) faults: FaultCounts,
    pub(super) image: Counters,
}

/// The file, open from the beginning: a process in its sandbox can open none for writing.
#[derive(Debug)]
pub(super) struct StatisticsFile {
    path: PathBuf,
    file: File,
}

impl StatisticsFile {
    /// Opens the file at `path`, which keeps what it holds until the first [`StatisticsFile::write`].
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| Error::io(path, "open", error))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// Replaces what the file holds. A failure is logged: the mount goes on.
    pub(super) fn write(&self, statistics: &Statistics) {
        if let Err(error) = self.replace(statistics) {
            let path = self.path.display();
            log::warn!("{path}: cannot write the statistics: {error}");
        }
    }

    fn replace(&self, statistics: &Statistics) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(statistics)?;
        text.push(b'\n');
        if !self.file.metadata()?.is_file() {
            return (&self.file).write_all(&text);
        }
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}
