//! Directory listings that can be resumed at any entry.

use super::{Attributes, PackFs};
use crate::Result;
use crate::entry::Ino;

/// The cookie behind `.`; 0 stands before it.
const AFTER_DOT: u64 = 1;

/// The cookie behind `..`. Child `i` of the directory is followed by cookie `AFTER_DOT_DOT + i + 1`,
/// so a listing resumes at any child without a search.
const AFTER_DOT_DOT: u64 = 2;

/// One entry of a listing.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// The name: `.`, `..` or that of a child.
    pub name: &'a [u8],
    /// Where a listing goes on behind this entry.
    pub cookie: u64,
    /// What it is. Of `..`, only the inode number and the kind are its own.
    pub attributes: Attributes,
    /// Whether all attributes are known. If not, `size` means nothing, and asking for the inode fails with the
    /// cause.
    pub is_complete: bool,
}

/// What takes a listing.
pub trait DirSink {
    /// Takes an entry, or returns `false` if there is no room for it; the listing then ends.
    fn add(&mut self, entry: &DirEntry<'_>) -> bool;
}

impl PackFs {
    /// Lists a directory from `cookie` on, 0 for its beginning: `.`, `..`, then the children in the
    /// order of their names' bytes. A cookie behind the last child lists nothing.
    pub fn list(&self, dir: Ino, cookie: u64, sink: &mut dyn DirSink) -> Result<()> {
        let directory = self.directory(dir)?;
        if cookie < AFTER_DOT {
            let taken = sink.add(&DirEntry {
                name: b".",
                cookie: AFTER_DOT,
                attributes: self.show(&directory),
                is_complete: true,
            });
            if !taken {
                return Ok(());
            }
        }
        if cookie < AFTER_DOT_DOT {
            let mut attributes = self.show(&directory);
            attributes.ino = self.parent(dir)?;
            let taken = sink.add(&DirEntry {
                name: b"..",
                cookie: AFTER_DOT_DOT,
                attributes,
                is_complete: true,
            });
            if !taken {
                return Ok(());
            }
        }
        let from = cookie.saturating_sub(AFTER_DOT_DOT);
        if from >= directory.children.count {
            return Ok(());
        }
        self.image().list(&directory, from, &mut |child| {
            sink.add(&DirEntry {
                name: child.name,
                cookie: child.index.saturating_add(AFTER_DOT_DOT + 1),
                attributes: self.show(child.node),
                is_complete: child.node.is_complete(),
            })
        })
    }
}
