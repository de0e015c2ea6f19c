//! Holds contents that arrive with their entries until these are in order.

use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A nameless scratch file of contents, back to back.
#[derive(Debug)]
pub(super) struct Spool {
    scratch_dir: PathBuf,
    file: Option<BufWriter<File>>,
    length: u64,
}

impl Spool {
    pub(super) fn new(scratch_dir: &Path) -> Self {
        Self {
            scratch_dir: scratch_dir.to_path_buf(),
            file: None,
            length: 0,
        }
    }

    /// Copies `contents` to the end of the file; returns where they begin and how long they are.
    pub(super) fn add(&mut self, contents: &mut dyn Read) -> Result<(u64, u64)> {
        let failed = |error| Error::io(&self.scratch_dir, "write scratch data in", error);
        if self.file.is_none() {
            let file = tempfile::tempfile_in(&self.scratch_dir).map_err(failed)?;
            self.file = Some(BufWriter::with_capacity(1 << 20, file));
        }
        let start = self.length;
        if let Some(file) = &mut self.file {
            self.length += std::io::copy(contents, file).map_err(failed)?;
        }
        Ok((start, self.length - start))
    }

    /// The file, to read from.
    pub(super) fn finish(self) -> Result<Option<Arc<File>>> {
        let Some(mut file) = self.file else {
            return Ok(None);
        };
        let failed = |error| Error::io(&self.scratch_dir, "write scratch data in", error);
        file.flush().map_err(failed)?;
        let file = file
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        Ok(Some(Arc::new(file)))
    }
}
