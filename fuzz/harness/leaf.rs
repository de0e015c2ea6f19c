//! A leaf page.

use super::images::unpacked::{FIXED, SOLE_FIXED, assemble_leaf, assemble_sole};
use super::{cut, cut_u16, page};
use dgfs::entry::Kind;
use dgfs::format::attributes::Attributes;
use dgfs::format::frame::FrameEncoder;
use dgfs::format::leaf::{LeafContext, LeafPage, MAX_SEGMENTS, RowCursor, Segment};
use dgfs::format::{MAX_LEAF_ENTRIES, MAX_NAME};
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static FRAMES: RefCell<FrameEncoder> = RefCell::new(FrameEncoder::new(1).unwrap());
    static TABLE: Arc<[(Attributes, Kind)]> = table();
}

/// One row for each kind, so that a page can name any.
fn table() -> Arc<[(Attributes, Kind)]> {
    let kinds = [
        Kind::Directory,
        Kind::File,
        Kind::Symlink,
        Kind::CharDevice,
        Kind::BlockDevice,
        Kind::Fifo,
        Kind::Socket,
    ];
    let row = |kind: Kind| {
        let mode = kind.mode_bits() | 0o644;
        (
            Attributes {
                mode,
                uid: 0,
                gid: 0,
            },
            kind,
        )
    };
    kinds.into_iter().map(row).collect()
}

/// The two low bits of the first byte are 0 or 2: the rest is a page. They are 1: the rest is the numbers of a page of version 1.4,
/// its streams before compression, each with its length, and its bits. They are 3: the rest is the numbers of a page, and
/// segment after segment: numbers, streams and bits, each with its length.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let shift = 12 + u32::from(choice >> 1) % 13;
    let page = if choice & 1 == 0 {
        let mut page = page(data);
        page[4] = 0;
        page
    } else {
        let page = FRAMES.with_borrow_mut(|frames| match choice & 2 {
            0 => sole(data, frames),
            _ => segmented(data, frames),
        });
        match page {
            Some(bytes) => super::page(&bytes),
            None => return,
        }
    };
    let context = TABLE.with(|table| LeafContext::plain(table, shift));
    let Ok(opened) = LeafPage::open(Box::new(page)) else {
        assert!(LeafPage::decode(&page, &context).is_err());
        return;
    };
    examine_heads(&opened, &context);
    if let Ok(segments) = LeafPage::decode(&page, &context) {
        assert_eq!(segments.len(), opened.segments());
        for segment in &segments {
            examine(segment);
        }
    }
}

/// A page as of version 1.4.
fn sole(mut data: &[u8], frames: &mut FrameEncoder) -> Option<Vec<u8>> {
    let fixed = super::page(cut(&mut data, SOLE_FIXED.len()));
    let [names, control] = [(); 2].map(|()| cut_string(&mut data));
    assemble_sole(&fixed[..SOLE_FIXED.len()], [names, control, data], frames)
}

fn segmented(mut data: &[u8], frames: &mut FrameEncoder) -> Option<Vec<u8>> {
    let fixed = super::page(cut(&mut data, FIXED.len()));
    let mut segments = Vec::new();
    while !data.is_empty() && segments.len() <= MAX_SEGMENTS {
        let [head, names, control, bits] = [(); 4].map(|()| cut_string(&mut data));
        segments.push((head, [names, control, bits]));
    }
    assemble_leaf(&fixed[..FIXED.len()], &segments, frames)
}

/// Cuts bytes with their length from the front of `data`.
fn cut_string<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(cut_u16(data));
    cut(data, length)
}

/// Checks what a page says of its segments without looking into any.
fn examine_heads(page: &LeafPage, context: &LeafContext) {
    assert!((1..=MAX_LEAF_ENTRIES).contains(&page.len()));
    assert!((1..=MAX_SEGMENTS).contains(&page.segments()));
    let mut end = page.first_ordinal;
    for at in 0..page.segments() {
        assert_eq!(page.segment_of(end), Some(at));
        let Ok(segment) = page.segment(at, context) else {
            return;
        };
        assert_eq!(segment.first_ordinal, end);
        assert!(segment.position >= page.position);
        assert!(page.separator_of(at).len() <= MAX_NAME);
        end = segment.end();
        assert_eq!(page.segment_of(end - 1), Some(at));
        // Whatever the separators say, a search comes to a segment with entries of the run.
        let run = segment.first_ordinal..end;
        for name in [&b""[..], b"m", &[0xff; MAX_NAME]] {
            assert_eq!(page.find_in_run(&run, name), Some(at));
            let whole = page.find_in_run(&(page.first_ordinal..page.end()), name);
            assert!(whole.is_some_and(|found| found < page.segments()));
        }
    }
    assert_eq!(end, page.end());
    assert_eq!(page.segment_of(end), None);
}

/// Asks a segment everything, and checks what every reader relies on.
pub(crate) fn examine(segment: &Segment) {
    assert!((1..=MAX_LEAF_ENTRIES).contains(&segment.len()));
    // Two streams of 64 KiB and fifteen columns of 8 bytes an entry bound what a segment can become.
    assert!(segment.memory() < 2 << 20, "{} bytes", segment.memory());
    let mut cursor = RowCursor::new(segment);
    let mut name = Vec::new();
    let mut whole = Vec::new();
    while let Some(row) = cursor.row() {
        let index = cursor.index();
        assert_eq!(row.ordinal, segment.first_ordinal + index as u64);
        segment.advance_name(index, &mut name);
        assert!(name.len() <= MAX_NAME && !name.contains(&b'/') && !name.contains(&0));
        assert_eq!(name.is_empty(), row.ordinal == 0);
        assert!(name != b"." && name != b"..");
        assert!(row.mtime.nanoseconds < 1_000_000_000);
        assert!(row.position.checked_add(row.stored).is_some());
        assert!(row.primary <= row.ordinal);
        let run = segment.run_of(index).unwrap();
        assert!(run.entries.contains(&index));
        assert!(run.far_parent.is_none_or(|parent| parent < row.ordinal));
        if row.kind == Kind::Directory && row.children > 0 {
            assert!(row.first_child > row.ordinal);
            assert!(row.first_child.checked_add(row.children).is_some());
        }
        if index % 64 == 0 {
            segment.name_into(index, &mut whole);
            assert_eq!(whole, name);
            assert_eq!(segment.row(index).unwrap().ordinal, row.ordinal);
        }
        cursor.advance();
    }
    assert_eq!(cursor.index(), segment.len());
    for run in segment.runs() {
        find_in(segment, run.entries.clone());
        if run.far_parent.is_none() {
            let _ = segment.find_key(segment.path_of(run), b"name");
        }
    }
}

/// Where names ascend, each must be found at its place.
fn find_in(segment: &Segment, entries: std::ops::Range<usize>) {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for index in entries.clone() {
        let mut name = names.last().cloned().unwrap_or_default();
        segment.advance_name(index, &mut name);
        names.push(name);
    }
    let ascends = names.is_sorted_by(|a, b| a < b);
    let step = names.len().div_ceil(32);
    for (offset, name) in names.iter().enumerate().step_by(step) {
        let found = segment.find_name(entries.clone(), name);
        assert!(!ascends || found == Some(entries.start + offset));
        let _ = segment.find_name(entries.start + offset..entries.end, b"m");
    }
}
