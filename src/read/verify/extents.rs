//! Where contents lie.

use super::Report;
use crate::Error;
use crate::format::PAGE_BYTES;
use crate::format::volume::Span;
use crate::read::{Image, Node};

/// The current place in the volumes.
#[derive(Debug)]
pub(super) struct Extents<'a> {
    image: &'a Image,
    /// Where the next implicit extent begins; unknown behind a lost page.
    next: Option<u64>,
    /// Files in volumes that are missing.
    pub(super) absent: u64,
}

/// Whether the extent that begins at `to` can be the one after that which ends at `from`: it follows it at once or
/// is the first of the next volume with extents.
fn follows(spans: &[Span], mut from: u64, to: u64) -> bool {
    while from < to {
        let index = spans.partition_point(|span| span.end <= from);
        let ended = index.checked_sub(1).and_then(|before| spans.get(before));
        match (ended, spans.get(index)) {
            (Some(ended), Some(span)) if ended.end == from => from = span.start + PAGE_BYTES,
            _ => return false,
        }
    }
    from == to
}

impl<'a> Extents<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self {
            image,
            next: Some(PAGE_BYTES),
            absent: 0,
        }
    }

    /// A page could not be read.
    pub(super) fn lose(&mut self) {
        self.next = None;
    }

    /// A page begins whose first implicit extent is at `position`.
    pub(super) fn begin_page(&mut self, number: u64, position: u64, report: &mut Report<'_>) {
        let gapless = self
            .next
            .is_none_or(|next| follows(&self.image.spans, next, position));
        if !gapless {
            report.page(
                number,
                "contents of a page do not begin where those of the page before end",
            );
        }
        self.next = Some(position);
    }

    /// Checks where the extent of a regular file lies. Says whether it should be read.
    pub(super) fn file(
        &mut self,
        node: &Node,
        path: &dyn Fn() -> Vec<u8>,
        report: &mut Report<'_>,
    ) -> bool {
        if node.data_length() == 0 {
            return false;
        }
        let (position, stored) = (node.extent.position, node.extent.stored);
        let end = position.saturating_add(stored);
        let spans = &self.image.spans;
        let index = spans.partition_point(|span| span.end <= position);
        let span = spans.get(index);
        if !span.is_some_and(|span| position >= span.start + PAGE_BYTES && end <= span.end) {
            report.entry(path(), "contents lie outside the volumes");
            return false;
        }
        match self.next {
            Some(next) if position == next => self.next = Some(end),
            Some(next) if end > next => {
                report.entry(path(), "contents lie among those of later files");
            }
            _ => {}
        }
        // Later names of a file have the contents of the first.
        let is_first = node.ordinal + 1 == node.ino.0;
        let volume = self.image.contents.volumes().get(index);
        let is_there = volume.is_some_and(|volume| !volume.absent);
        self.absent += u64::from(is_first && !is_there);
        is_first && is_there
    }

    /// Compares the end of the last extent with that of the last volume.
    pub(super) fn finish(&self, report: &mut Report<'_>) {
        let end = self.image.spans.last().map_or(0, |span| span.end);
        if self
            .next
            .is_some_and(|next| !follows(&self.image.spans, next, end))
        {
            let what = "volumes do not end with the contents of the last file";
            report.add(None, Error::corrupt(what).at_path(report.index));
        }
        if self.absent > 0 && !self.image.contents.volumes().is_empty() {
            let what = format!(
                "contents of {} files lie in volumes that cannot be opened, and were not read",
                self.absent
            );
            report.add(None, Error::corrupt(what).at_path(report.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_go_on_in_the_next_volume_that_has_some() {
        let spans = [(0, 5000), (5000, 9096), (9096, 9096 + 6000)];
        let spans = spans.map(|(start, end)| Span { start, end });
        let third = 9096 + PAGE_BYTES;
        let cases = [
            (4096, 4096, true),
            (4200, 4300, false),
            (5000, 9096, true),
            (5000, third, true),
            (4999, third, false),
            (third, 9096 + 6000, false),
            (9096 + 6000, 9096 + 6000, true),
            (9096 + 6000, 99_999, false),
            (5000, 4096, false),
        ];
        for (from, to, follow) in cases {
            assert_eq!(follows(&spans, from, to), follow, "{from} {to}");
        }
    }
}
