//! What an extraction says of its entries.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::file::Made;
use super::outcome::{Fate, Outcome, ends_all};
use super::paths::strip_components;
use super::tree::Extractor;
use crate::read::LostEntries;
use crate::{Error, Result};

impl Extractor<'_> {
    pub(super) fn report_lost(&mut self, lost: &LostEntries) {
        let what = format!("{} entries are lost: {}", lost.entries, lost.error);
        let error = Error::new(lost.error.kind(), what);
        let path = std::mem::take(&mut self.last);
        self.report(&path, Fate::Lost(lost.entries), Some(error));
        self.last = path;
    }

    /// Says what became of the entry at `path`.
    pub(super) fn report(&mut self, path: &[u8], fate: Fate, error: Option<Error>) {
        self.done.problems += match fate {
            Fate::Lost(entries) => entries,
            _ => u64::from(error.is_some()),
        };
        (self.sink)(Outcome {
            path: path.to_vec(),
            fate,
            error,
        });
    }

    pub(super) fn target_path(&self, path: &[u8]) -> PathBuf {
        match self.target(path) {
            None | Some([]) => self.destination.to_path_buf(),
            Some(target) => self.destination.join(OsStr::from_bytes(target)),
        }
    }

    /// Where below the destination the entry at `path` goes.
    pub(super) fn target<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        strip_components(path, self.shared.options.strip_components)
    }

    /// An error about the entry at `path`. One that names another file keeps it in its text.
    pub(super) fn about(&self, path: &[u8], error: Error) -> Error {
        let error = match error.path() {
            Some(_) => Error::new(error.kind(), error.to_string()),
            None => error,
        };
        error.at_path(self.target_path(path))
    }

    pub(super) fn report_about(&mut self, path: &[u8], fate: Fate, error: Error) {
        let error = self.about(path, error);
        self.report(path, fate, Some(error));
    }

    /// Counts and reports files that were made.
    pub(super) fn take(&mut self, made: Vec<Made>) -> Result<()> {
        for file in made {
            if let Some(bytes) = file.bytes {
                self.done.files += 1;
                self.done.bytes = self.done.bytes.saturating_add(bytes);
            }
            match (file.fate, file.error) {
                (_, Some(error)) if ends_all(&error) => return Err(self.about(&file.path, error)),
                (Some(fate), Some(error)) => self.report_about(&file.path, fate, error),
                (Some(fate), None) => self.report(&file.path, fate, None),
                (None, _) => {}
            }
        }
        Ok(())
    }
}
