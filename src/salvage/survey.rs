//! What is left of each entry.

use super::Salvage;
use crate::Error;
use crate::entry::Kind;
use crate::extract::{Fate, Outcome};
use crate::read::{Image, Node, ReadAhead, Remains};

/// How many entries met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Entries that are all there.
    pub whole: u64,
    /// Entries that lack some of their metadata.
    pub incomplete: u64,
    /// Files that lack a part of their contents.
    pub damaged: u64,
    /// Entries of which only metadata is left.
    pub metadata_only: u64,
    /// Entries of which nothing is left.
    pub lost: u64,
    /// Entries that could not be brought out, for reasons that are not the image's.
    pub failed: u64,
}

impl Found {
    /// Counts an outcome.
    pub fn add(&mut self, fate: &Fate) {
        match fate {
            Fate::Whole => self.whole += 1,
            Fate::Incomplete => self.incomplete += 1,
            Fate::Damaged(_) => self.damaged += 1,
            Fate::MetadataOnly => self.metadata_only += 1,
            Fate::Lost(entries) => self.lost += entries,
            Fate::Failed => self.failed += 1,
        }
    }

    /// Entries that are not all there.
    pub fn problems(&self) -> u64 {
        self.incomplete + self.damaged + self.metadata_only + self.lost + self.failed
    }
}

impl Salvage {
    /// Reads everything and says of each entry, in key order, how much of it there is.
    pub fn survey(&self, visit: &mut dyn FnMut(Outcome)) -> Found {
        let image = self.image();
        let mut found = Found::default();
        let mut ahead = ReadAhead::default();
        let mut path = Vec::new();
        image.walk_remains(0..image.header().entries, &mut |remains| {
            let outcome = match remains {
                Remains::Entry(parent, name, node) => {
                    path.clear();
                    path.extend_from_slice(parent);
                    if !parent.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                    ahead.advance(image, node);
                    let (fate, error) = fate_of(image, node);
                    Outcome {
                        path: path.clone(),
                        fate,
                        error,
                    }
                }
                Remains::Lost(lost) => Outcome {
                    path: path.clone(),
                    fate: Fate::Lost(lost.entries),
                    error: Some(lost.error),
                },
            };
            found.add(&outcome.fate);
            visit(outcome);
            true
        });
        found
    }
}

/// How much there is of an entry.
fn fate_of(image: &Image, node: &Node) -> (Fate, Option<Error>) {
    let contents = match node.kind() {
        Kind::File => {
            let (ranges, error) = image.damaged_ranges(node);
            (Fate::of_ranges(ranges, node.data_length()), error)
        }
        Kind::Symlink => match image.read_link(node) {
            Ok(_) => (Fate::Whole, None),
            Err(error) => (Fate::MetadataOnly, Some(error)),
        },
        _ => (Fate::Whole, None),
    };
    if contents.0 != Fate::Whole {
        return contents;
    }
    if let Err(error) = image.xattrs(node) {
        return (Fate::Incomplete, Some(error));
    }
    if node.has_lost_mode() {
        let error = Error::corrupt(format!("mode and owner of inode {} are lost", node.ino.0));
        return (Fate::Incomplete, Some(error.at_path(image.index_path())));
    }
    (Fate::Whole, None)
}
