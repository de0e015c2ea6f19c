//! Nodes found lately, in a fixed number of slots.

use crate::entry::Ino;
use crate::read::Node;
use std::sync::{Mutex, PoisonError};

/// A cache in which every inode has one slot, its number modulo their count; whoever comes last
/// holds it. Neighbours in the index, which is what programs read together, never compete.
#[derive(Debug)]
pub(super) struct Recent {
    slots: Box<[Mutex<Option<Node>>]>,
}

impl Recent {
    /// A cache of `slots` nodes, at least 1.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: (0..slots.max(1)).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// The node of `ino`, if it is the last that came to its slot.
    pub(super) fn get(&self, ino: Ino) -> Option<Node> {
        let slot = self
            .slot(ino)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|node| node.ino == ino).cloned()
    }

    /// Remembers a node in the place of whichever held its slot.
    pub(super) fn put(&self, node: Node) {
        if let Some(slot) = self.slot(node.ino) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
        }
    }

    fn slot(&self, ino: Ino) -> Option<&Mutex<Option<Node>>> {
        let count = self.slots.len() as u64;
        usize::try_from(ino.0 % count)
            .ok()
            .and_then(|index| self.slots.get(index))
    }
}
