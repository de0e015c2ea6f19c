//! Gives the files of a finished image their names.

use super::output::Output;
use crate::format::Uuid;
use crate::{Error, ErrorKind, Result, image};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of an image under their pending names, until it is complete.
#[derive(Debug)]
pub(super) struct Publication {
    index: Output,
    volumes: Vec<Output>,
    names: Vec<(PathBuf, PathBuf)>,
    committed: bool,
}

impl Publication {
    /// Creates the pending files.
    pub(super) fn begin(
        index: &Path,
        volumes: &[PathBuf],
        uuid: &Uuid,
        force: bool,
    ) -> Result<Self> {
        let mut finals = vec![index.to_path_buf()];
        if volumes.is_empty() {
            finals.push(image::volume_path(index, 0));
        }
        finals.extend(volumes.iter().cloned());
        let mut outputs = Vec::new();
        let mut names = Vec::new();
        for path in finals {
            if !force && path.exists() {
                return Err(
                    Error::new(ErrorKind::Exists, "is there already; --force replaces it")
                        .at_path(path),
                );
            }
            let pending = image::pending_path(&path, uuid);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&pending);
            let file = file.map_err(|error| Error::io(&pending, "create", error))?;
            outputs.push(Output::new(Arc::new(file), path.clone()));
            names.push((pending, path));
        }
        let index = outputs.remove(0);
        Ok(Self {
            index,
            volumes: outputs,
            names,
            committed: false,
        })
    }

    /// The index.
    pub(super) fn index(&self) -> &Output {
        &self.index
    }

    /// The volumes in order of their numbers.
    pub(super) fn volumes(&self) -> &[Output] {
        &self.volumes
    }

    /// Brings everything to the devices and gives it its names, the index first.
    pub(super) fn commit(mut self) -> Result<()> {
        for output in self.volumes.iter().chain([&self.index]) {
            output.sync()?;
        }
        for (pending, path) in &self.names {
            std::fs::rename(pending, path)
                .map_err(|error| Error::io(path, "give its name to", error))?;
        }
        self.committed = true;
        Ok(())
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if !self.committed {
            for (pending, _) in &self.names {
                let _ = std::fs::remove_file(pending);
            }
        }
    }
}
