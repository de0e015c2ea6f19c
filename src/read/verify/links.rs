//! The names of hard-linked files, counted without a table of them.

use super::Report;
use crate::entry::Ino;
use crate::format::Uuid;
use crate::format::checksum::{crc, crc_append};
use crate::read::{Image, Node};

/// Sums over all names: what the first names say, and the later names that were seen. Every inode has a weight
/// that looks random, so that sums agree only if the counts of every single inode do.
#[derive(Debug)]
pub(super) struct Links {
    uuid: Uuid,
    promised: u64,
    seen: u64,
}

impl Links {
    pub(super) fn new(uuid: Uuid) -> Self {
        Self {
            uuid,
            promised: 0,
            seen: 0,
        }
    }

    fn weight(&self, ino: Ino) -> u64 {
        let low = crc_append(crc(&self.uuid), &ino.0.to_le_bytes());
        // The multiplier is odd, so that inodes which share one half still differ; it is 2^64 by the golden ratio.
        let spread = ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (u64::from(low) << 32 ^ spread) | 1
    }

    /// Takes note of a name. What is wrong with a later name by itself is the answer.
    pub(super) fn name(&mut self, image: &Image, node: &Node) -> Result<(), crate::Error> {
        let weight = self.weight(node.ino);
        if node.ino == Ino::from_ordinal(node.ordinal) {
            let others = node.links.wrapping_sub(1);
            self.promised = self.promised.wrapping_add(weight.wrapping_mul(others));
            return Ok(());
        }
        self.seen = self.seen.wrapping_add(weight);
        let first = image.node(node.ino)?;
        let mut same = Node {
            ordinal: first.ordinal,
            ..node.clone()
        };
        if same.xattrs != first.xattrs && image.xattrs(node)? == image.xattrs(&first)? {
            same.xattrs = first.xattrs;
        }
        if same == first {
            Ok(())
        } else {
            Err(crate::Error::corrupt(format!(
                "hard link differs from the first name of inode {}",
                node.ino.0
            ))
            .at_path(image.index_path()))
        }
    }

    /// Compares the counts once every name was seen.
    pub(super) fn finish(&self, report: &mut Report<'_>) {
        if self.promised != self.seen {
            let what = "link counts of hard-linked files are not the numbers of their names";
            report.add(None, crate::Error::corrupt(what).at_path(report.index));
        }
    }
}
