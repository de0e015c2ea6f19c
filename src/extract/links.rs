//! Further names of files.

use super::paths::split;
use super::place::{Place, is_extracted, open_failed};
use super::selection::Filter;
use super::tree::Extractor;
use crate::entry::Ino;
use crate::read::Node;
use crate::{ErrorKind, Result};

/// Hard-linked files whose first name is not extracted and whose extracted name is remembered.
const MOST_REMEMBERED: usize = 1 << 16;

impl Extractor<'_> {
    /// Whether patterns ask for the file at `path`.
    pub(super) fn is_wanted(&self, path: &[u8]) -> bool {
        let options = self.shared.options;
        let (parent, _) = split(path);
        Filter::new(&options.include, &options.exclude).wants(parent, path, false)
    }

    /// Makes `name` a further name of a file that was extracted; says no if there is none.
    pub(super) fn link(&mut self, parent: &[u8], name: &[u8], node: &Node) -> Result<bool> {
        let image = self.shared.image;
        let first = image.path_of(node.ino).ok();
        let first = first.filter(|first| self.selection.holds(first) && self.is_wanted(first));
        let first = match (first, self.elsewhere.get(&node.ino)) {
            (Some(first), _) => first,
            (None, Some(&ordinal)) => match image.path_of(Ino::from_ordinal(ordinal)) {
                Ok(path) => path,
                Err(_) => return Ok(false),
            },
            (None, None) => {
                if self.elsewhere.len() < MOST_REMEMBERED {
                    self.elsewhere.insert(node.ino, node.ordinal);
                }
                return Ok(false);
            }
        };
        let Some(first) = self.target(&first) else {
            return Ok(false);
        };
        let (first_parent, first_name) = split(first);
        let Ok(from) = self.first_names.directory(first_parent) else {
            return Ok(false);
        };
        if !is_extracted(from, first_name, node) {
            return Ok(false);
        }
        let directory = self.places.directory(parent).map_err(open_failed)?;
        Place {
            directory,
            name,
            existing: self.shared.options.existing,
        }
        .make_link(from, first_name)
        // A file system without hard links, or with too few, gets copies.
        .map_or_else(
            |error| match error.kind() {
                ErrorKind::Exists => Err(error),
                _ => Ok(false),
            },
            |()| Ok(true),
        )
    }
}
