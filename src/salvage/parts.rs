//! The files of a damaged image: which there are, which belong to it, and where the copy of the index lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copies::{Copies, Copy};
use super::part::{Part, Sealed, decode_header};
use super::search;
use crate::format::{MAX_VOLUMES, PAGE_BYTES, Uuid};
use crate::image::{format_uuid, parts_beside, volume_path};
use crate::{Error, ErrorKind, Result};

/// The files that may belong to the image.
pub(super) struct Parts {
    /// Where the index lies or should lie.
    pub(super) index_path: PathBuf,
    pub(super) index: Option<Part>,
    /// By number of the volume, those that may be it.
    pub(super) volumes: Vec<Vec<Part>>,
}

impl Parts {
    /// Looks for the parts of the image whose index or volume 0 is, or was, the file at `path`; volumes not in `data`
    /// are looked for beside it.
    pub(super) fn find(path: &Path, data: &[PathBuf]) -> Result<Self> {
        let given = Part::open(path);
        let beside = parts_beside(path).unwrap_or_default();
        let given = match given {
            // A lost index: its volumes will do.
            Err(_) if !data.is_empty() || !beside.is_empty() => None,
            given => Some(given?),
        };
        let mut parts = Self {
            index_path: path.to_path_buf(),
            index: None,
            volumes: Vec::new(),
        };
        match given {
            Some(part) if part.is_volume() => {
                if path
                    .extension()
                    .is_some_and(|extension| extension == "data")
                {
                    parts.index_path = path.with_extension("");
                    parts.index = Part::open(&parts.index_path).ok();
                }
                parts.add(0, part);
            }
            given => parts.index = given,
        }
        let named = parts.volumes.len();
        for (number, path) in data.iter().enumerate() {
            let part = Part::open(path)?;
            parts
                .volumes
                .resize(parts.volumes.len().max(number + 1), Vec::new());
            if let Some(candidates) = parts.volumes.get_mut(number) {
                *candidates = vec![part];
            }
        }
        let mut beside = parts_beside(&parts.index_path).unwrap_or_default();
        beside.sort_by_key(|part| part.pending);
        for part in beside {
            let number = part.volume.map(|number| number as usize);
            let Some(number) = number.filter(|&n| n >= named.max(data.len())) else {
                continue;
            };
            if let Ok(part) = Part::open(&part.path) {
                parts.add(number, part);
            }
        }
        Ok(parts)
    }

    fn add(&mut self, number: usize, part: Part) {
        if number >= MAX_VOLUMES {
            return;
        }
        self.volumes
            .resize(self.volumes.len().max(number + 1), Vec::new());
        if let Some(candidates) = self.volumes.get_mut(number) {
            candidates.push(part);
        }
    }

    /// The identity of the image: what the index says, or else a volume.
    pub(super) fn uuid(&self) -> Result<Uuid> {
        let index = self.index.iter();
        for part in index {
            let last = (part.length() / PAGE_BYTES).checked_sub(1);
            let offsets = [Some(0), last.map(|page| page * PAGE_BYTES)];
            for page in offsets
                .into_iter()
                .flatten()
                .filter_map(|o| part.page_at(o))
            {
                if let Some(header) = decode_header(&page)? {
                    return Ok(header.uuid);
                }
            }
        }
        let mut volumes = self.volumes.iter().flatten();
        let identity = volumes.find_map(|part| part.sealed().identity());
        identity.map(|identity| identity.uuid).ok_or_else(|| {
            let what = "nothing of it says which image it is: header and footer of the index, and first and last page of \
                the volumes, are damaged or are not of dgfs";
            Error::new(ErrorKind::NotAnImage, what).at_path(&self.index_path)
        })
    }

    /// Picks the volumes of image `uuid`; what was passed over goes to `note`.
    pub(super) fn pick_volumes(
        &self,
        uuid: &Uuid,
        note: &mut dyn FnMut(String),
    ) -> Vec<Option<(Part, Sealed)>> {
        let mut picked = Vec::new();
        for (number, candidates) in self.volumes.iter().enumerate() {
            let sealed = candidates.iter().map(|part| (part, part.sealed()));
            let sealed: Vec<_> = sealed.collect();
            let is_it = |sealed: &Sealed| {
                let identity = sealed.identity();
                identity.is_some_and(|i| i.uuid == *uuid && i.number as usize == number)
            };
            let found = sealed.iter().find(|(_, sealed)| is_it(sealed));
            let nameless = || sealed.iter().find(|(_, s)| s.identity().is_none());
            let found = found.or_else(nameless);
            for (part, sealed) in &sealed {
                if let Some(other) = sealed.identity().filter(|_| !is_it(sealed)) {
                    note(format!(
                        "{}: is volume {} of image {}, passed over",
                        part.path.display(),
                        other.number,
                        format_uuid(&other.uuid)
                    ));
                }
            }
            picked.push(found.map(|(part, sealed)| ((*part).clone(), *sealed)));
        }
        picked
    }

    /// Where a volume should lie.
    pub(super) fn volume_path(&self, number: u32) -> PathBuf {
        volume_path(&self.index_path, number)
    }

    /// The index and its copy in volume 0, as far as they are there.
    pub(super) fn copies(
        &self,
        uuid: &Uuid,
        volume: Option<&(Part, Sealed)>,
        note: &mut dyn FnMut(String),
    ) -> Copies {
        let mut copies = Vec::new();
        if let Some(index) = &self.index {
            copies.push(Copy {
                bytes: Arc::clone(&index.bytes),
                base: 0,
                length: index.length(),
            });
        }
        let Some((part, sealed)) = volume else {
            note("volume 0 is missing, and with it the copy of the index".into());
            return Copies(copies);
        };
        let place = match sealed.trailer {
            Some((_, layout)) if layout.index_length > 0 => {
                Some((layout.index_offset, layout.index_length))
            }
            Some(_) => None,
            None => {
                let start = search::find_index(part, uuid);
                start.map(|start| (start, part.length().saturating_sub(start)))
            }
        };
        if sealed.trailer.is_none() {
            note(format!(
                "{}: has lost its end{}",
                part.path.display(),
                match place {
                    Some((start, _)) => format!(
                        "; what is left of the copy of the index was found at offset {start}"
                    ),
                    None => ", and with it the copy of the index".into(),
                }
            ));
        }
        if let Some((base, length)) = place {
            copies.push(Copy {
                bytes: Arc::clone(&part.bytes),
                base,
                length,
            });
        }
        Copies(copies)
    }
}
