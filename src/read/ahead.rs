//! Reading ahead for those who read all contents in key order.

use super::{Image, Node};

/// Bytes that are asked for ahead of the reader.
const WINDOW: u64 = 8 << 20;

/// Bytes of one request: Linux cuts longer ones at the read-ahead of the device, which is rarely less.
pub(super) const STEP: u64 = 128 << 10;

/// How far contents were asked for in advance. Volumes are opened for random reads, so that a small file costs
/// one small read; a reader of everything is better off with this.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadAhead {
    asked: u64,
}

impl ReadAhead {
    /// Tells the device that `node` is read next and what follows it soon.
    pub fn advance(&mut self, image: &Image, node: &Node) {
        let position = node.extent.position;
        if node.extent.stored == 0 || self.asked >= position.saturating_add(WINDOW / 2) {
            return;
        }
        let volumes = image.contents.volumes();
        let index = volumes.partition_point(|volume| volume.span.end <= position);
        let Some(volume) = volumes.get(index) else {
            return;
        };
        let start = self.asked.max(position);
        let end = position.saturating_add(WINDOW).min(volume.span.end);
        let mut at = start;
        while at < end {
            let offset = at.saturating_sub(volume.span.start);
            volume.part.will_need(offset, (end - at).min(STEP));
            at = at.saturating_add(STEP);
        }
        self.asked = end;
    }
}
