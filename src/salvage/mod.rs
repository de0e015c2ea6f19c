//! Brings out of a damaged image what is still whole, and says what is not.
//!
//! # Overview
//! An image has its index twice, and every page of it carries a checksum that covers the image's identity and the page's
//! number, its first ordinal and its position. So an index can be put together again from the whole pages of both:
//! - [`parts`] finds the files, each a [`part`], [`search`] the copy of the index in a volume that does not say any more where it is;
//! - [`copies`] reads from whichever place is right;
//! - [`skeleton`] is what header and tables say, or what can be inferred where they are lost; [`attributes`] finds modes;
//! - [`leaves`] and [`blobs`] copy what is whole, [`assemble`] makes a new index of it, with new inner pages if need be.
//!
//! What comes out is an ordinary [`Image`]: only that reading what was lost fails. [`survey`] goes through it.

mod assemble;
mod attributes;
mod blobs;
mod codecs;
mod copies;
mod leaves;
mod part;
mod parts;
mod search;
mod skeleton;
mod survey;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::build::output::Output;
use crate::format::header::Header;
use crate::read::{Image, ReadAt, open_repaired};
use crate::{Error, Result};
use part::Part;
use parts::Parts;

pub use survey::Found;

/// What had to be done to the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Repairs {
    /// Leaf pages of the index.
    pub leaf_pages: u64,
    /// Leaf pages that are whole nowhere.
    pub lost_leaf_pages: u64,
    /// Pages that were damaged and could be taken from the copy.
    pub mended_pages: u64,
    /// Whether the inner pages had to be made anew.
    pub inner_pages_rebuilt: bool,
    /// Whether header and footer are lost in both places.
    pub header_rebuilt: bool,
    /// Combinations of mode and owner that are lost.
    pub lost_attributes: u64,
    /// Whether nothing proves that the other combinations are right.
    pub attributes_unproven: bool,
    /// Places where extended attributes, long link targets and the like are lost.
    pub lost_blobs: u64,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

impl Repairs {
    /// Whether something is lost that no entry shows.
    pub fn is_lossy(&self) -> bool {
        self.lost_leaf_pages > 0 || self.lost_attributes > 0 || self.attributes_unproven
    }
}

/// A damaged image, as far as it can be read.
#[derive(Debug)]
pub struct Salvage {
    image: Image,
    index: Arc<File>,
    header: Header,
    repairs: Repairs,
}

/// A volume that is not there.
struct Missing;

impl ReadAt for Missing {
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the volume is missing",
        ))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }
}

impl Salvage {
    /// Opens what is left of the image whose index or volume 0 is, or was, the file at `path`. Volumes that `data`
    /// does not name are looked for beside it. The mended index is a nameless file in the directory `scratch`.
    pub fn open(path: &Path, data: &[PathBuf], scratch: &Path) -> Result<Self> {
        Self::from_parts(&Parts::find(path, data)?, scratch)
    }

    /// The same with the bytes of the parts, wherever they come from.
    pub fn from_bytes(
        index: Option<Box<dyn ReadAt>>,
        volumes: Vec<Option<Box<dyn ReadAt>>>,
        scratch: &Path,
    ) -> Result<Self> {
        let part = |bytes: Box<dyn ReadAt>, name: String| Part {
            path: name.into(),
            bytes: bytes.into(),
        };
        let volumes = volumes.into_iter().enumerate().map(|(number, bytes)| {
            let bytes = bytes.map(|bytes| part(bytes, format!("volume {number}")));
            bytes.into_iter().collect()
        });
        let parts = Parts {
            index_path: "index".into(),
            index: index.map(|bytes| part(bytes, "index".into())),
            volumes: volumes.collect(),
        };
        Self::from_parts(&parts, scratch)
    }

    fn from_parts(parts: &Parts, scratch: &Path) -> Result<Self> {
        let mut repairs = Repairs::default();
        let mut notes = Vec::new();
        let mut note = |text| notes.push(text);
        let uuid = parts.uuid()?;
        let volumes = parts.pick_volumes(&uuid, &mut note);
        let copies = parts.copies(&uuid, volumes.first().and_then(Option::as_ref), &mut note);
        let skeleton = if let Some(header) = skeleton::find_header(&copies, &uuid)? {
            Some(skeleton::from_header(&copies, header, &volumes, &mut note))
        } else {
            repairs.header_rebuilt = true;
            note("header and footer of the index are lost".into());
            skeleton::from_pages(&copies, &uuid, &volumes)
        };
        let skeleton = skeleton.ok_or_else(|| {
            let what = "no page of the index is left, neither here nor in volume 0";
            Error::corrupt(what).at_path(&parts.index_path)
        })?;
        repairs.lost_attributes = skeleton.table.lost;
        repairs.attributes_unproven = skeleton.table.unproven;
        let file = tempfile::tempfile_in(scratch);
        let file = Arc::new(file.map_err(|e| Error::io(scratch, "make a scratch file in", e))?);
        let output = Output::new(Arc::clone(&file), scratch.to_path_buf());
        let header = assemble::assemble(&copies, &skeleton, &output, scratch, &mut repairs)?;
        let volumes = (0u32..).zip(&skeleton.spans).map(|(number, _)| {
            let found = volumes.get(number as usize).and_then(Option::as_ref);
            if let Some((part, _)) = found {
                let bytes: Box<dyn ReadAt> = Box::new(Arc::clone(&part.bytes));
                (part.path.clone(), bytes)
            } else {
                note(format!("volume {number} is missing"));
                let bytes: Box<dyn ReadAt> = Box::new(Missing);
                (parts.volume_path(number), bytes)
            }
        });
        let volumes = volumes.collect();
        let index: Box<dyn ReadAt> = Box::new(Arc::clone(&file));
        let image = open_repaired(index, &parts.index_path, volumes)?;
        repairs.notes = notes;
        Ok(Self {
            image,
            index: file,
            header,
            repairs,
        })
    }

    /// The image. What was lost cannot be read in it; everything else can.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What had to be done to its index.
    pub fn repairs(&self) -> &Repairs {
        &self.repairs
    }

    /// Copies the mended index to `out`; returns its length in bytes. If nothing is lost, it is the index as it was,
    /// bit for bit.
    pub fn write_index(&self, out: &mut dyn io::Write) -> io::Result<u64> {
        let mut page = vec![0; 1 << 16];
        let mut at = 0;
        while at < self.header.index_length {
            let step = usize::try_from(self.header.index_length - at).unwrap_or(page.len());
            let length = step.min(page.len());
            let bytes = page.get_mut(..length).unwrap_or_default();
            ReadAt::read_exact_at(&*self.index, bytes, at)?;
            out.write_all(bytes)?;
            at += length as u64;
        }
        Ok(at)
    }
}
