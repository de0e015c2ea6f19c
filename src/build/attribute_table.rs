//! Numbers the combinations of mode, owner and group in order of their first appearance.

use crate::format::MAX_ATTRIBUTES;
use crate::format::attributes::{Attributes, ROW};
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;

/// The attribute section while it grows.
#[derive(Debug, Default)]
pub(super) struct AttributeTable {
    ids: HashMap<Attributes, u64>,
    rows: Vec<u8>,
    last: Option<(Attributes, u64)>,
}

impl AttributeTable {
    /// The number of `attributes`.
    pub(super) fn id(&mut self, attributes: Attributes) -> Result<u64> {
        // Neighbours mostly agree, and comparing is cheaper than hashing.
        if let Some((last, id)) = self.last {
            if last == attributes {
                return Ok(id);
            }
        }
        let next = self.ids.len() as u64;
        let id = *self.ids.entry(attributes).or_insert(next);
        if id == next {
            if self.ids.len() > MAX_ATTRIBUTES {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the tree has more than {MAX_ATTRIBUTES} combinations of mode, owner and group"
                    ),
                ));
            }
            attributes.encode_into(&mut self.rows);
        }
        self.last = Some((attributes, id));
        Ok(id)
    }

    /// Number of rows, and their bytes.
    pub(super) fn encode(&self) -> (u64, Vec<u8>) {
        debug_assert_eq!(self.rows.len(), self.ids.len() * ROW);
        (self.ids.len() as u64, self.rows.clone())
    }
}
