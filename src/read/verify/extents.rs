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
    /// Bytes of implicit extents.
    implicit: u64,
    /// Bytes between them, which are those of extents that lie in another order.
    between: u64,
    /// Whether a page was lost, and with it where its extents lie.
    lost: bool,
    /// Files in volumes that are missing.
    pub(super) absent: u64,
}

/// Bytes of extents that have room from position `from` to `to`: header pages of volumes have none. `None` if
/// `to` comes first.
fn between(spans: &[Span], from: u64, to: u64) -> Option<u64> {
    let bytes = to.checked_sub(from)?;
    let headers = headers_below(spans, to).saturating_sub(headers_below(spans, from));
    Some(bytes.saturating_sub(headers))
}

/// Bytes below `position` that are those of header pages.
fn headers_below(spans: &[Span], position: u64) -> u64 {
    let begun = spans.partition_point(|span| span.start < position);
    let Some(last) = begun.checked_sub(1).and_then(|last| spans.get(last)) else {
        return 0;
    };
    (begun as u64 - 1) * PAGE_BYTES + (position - last.start).min(PAGE_BYTES)
}

impl<'a> Extents<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self {
            image,
            next: Some(PAGE_BYTES),
            implicit: 0,
            between: 0,
            lost: false,
            absent: 0,
        }
    }

    /// A page could not be read.
    pub(super) fn lose(&mut self) {
        self.next = None;
        self.lost = true;
    }

    /// Whether implicit extents that begin at `position` follow those before, if it is known where these end.
    pub(super) fn goes_on(&self, position: u64) -> Option<bool> {
        self.next.map(|next| next == position)
    }

    /// A segment of page `number` begins whose first implicit extent is at `position`.
    pub(super) fn begin_segment(&mut self, number: u64, position: u64, report: &mut Report<'_>) {
        if let Some(next) = self.next {
            match between(&self.image.spans, next, position) {
                Some(bytes) => self.between = self.between.saturating_add(bytes),
                None => report.page(
                    number,
                    "contents of a page begin before those of the page before end",
                ),
            }
        }
        self.next = Some(position);
    }

    /// Checks where the extent of a regular file lies, implicit or not. Says whether it should be read.
    pub(super) fn file(
        &mut self,
        node: &Node,
        is_implicit: bool,
        path: &dyn Fn() -> Vec<u8>,
        report: &mut Report<'_>,
    ) -> bool {
        if node.data_length() == 0 {
            return false;
        }
        let (position, stored) = (node.extent.position, node.extent.stored);
        let end = position.saturating_add(stored);
        if is_implicit {
            self.implicit = self.implicit.saturating_add(stored);
            self.next = self.next.map(|_| end);
        }
        let spans = &self.image.spans;
        let index = spans.partition_point(|span| span.end <= position);
        let span = spans.get(index);
        if !span.is_some_and(|span| position >= span.start + PAGE_BYTES && end <= span.end) {
            report.entry(path(), "contents lie outside the volumes");
            return false;
        }
        if !is_implicit && self.next.is_some_and(|next| end > next) {
            report.entry(path(), "contents lie among those of later files");
        }
        // Later names of a file have the contents of the first.
        let is_first = node.ordinal + 1 == node.ino.0;
        let volume = self.image.contents.volumes().get(index);
        let is_there = volume.is_some_and(|volume| !volume.absent);
        self.absent += u64::from(is_first && !is_there);
        is_first && is_there
    }

    /// Compares what lies between implicit extents, and behind the last one, with what the extents of files in
    /// another order take.
    pub(super) fn finish(&self, report: &mut Report<'_>) {
        let end = self.image.spans.last().map_or(0, |span| span.end);
        let stored = self.image.header().stored_bytes;
        if let Some(next) = self.next.filter(|_| !self.lost) {
            let rest = between(&self.image.spans, next, end);
            let gaps = rest.map(|rest| self.between.saturating_add(rest));
            let takes = gaps.and_then(|gaps| gaps.checked_add(self.implicit));
            if takes != Some(stored) {
                let what = match takes {
                    Some(takes) => format!(
                        "header says that contents take {stored} bytes; in the volumes they take {takes}"
                    ),
                    None => "contents of the last file end behind the volumes".to_owned(),
                };
                report.add(None, Error::corrupt(what).at_path(report.index));
            }
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
    fn headers_of_volumes_are_no_room_for_extents() {
        let spans = [(0, 5000), (5000, 9096), (9096, 9096 + 6000)];
        let spans = spans.map(|(start, end)| Span { start, end });
        let third = 9096 + PAGE_BYTES;
        let end = 9096 + 6000;
        let cases = [
            (4096, 4096, Some(0)),
            (4200, 4300, Some(100)),
            (5000, 9096, Some(0)),
            (5000, third, Some(0)),
            (4999, third, Some(1)),
            (4096, end, Some(904 + 6000 - 4096)),
            (third, end, Some(6000 - 4096)),
            (end, end, Some(0)),
            (end, 99_999, Some(99_999 - end)),
            (5000, 4096, None),
        ];
        for (from, to, bytes) in cases {
            assert_eq!(between(&spans, from, to), bytes, "{from} {to}");
        }
    }
}
