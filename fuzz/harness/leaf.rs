//! A leaf page.

use super::images::unpacked::assemble_leaf;
use super::{cut, cut_u16, page};
use dgfs::entry::Kind;
use dgfs::format::attributes::Attributes;
use dgfs::format::frame::FrameEncoder;
use dgfs::format::leaf::{LeafPage, RowCursor};
use dgfs::format::{MAX_LEAF_ENTRIES, MAX_NAME};
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes of a page between its level and the lengths of its frames.
const FIXED: usize = 24;

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

/// First byte even: the rest is a page. Odd: the rest is the page's numbers, its streams before compression, each
/// with its length, and its bits.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, mut data)) = data.split_first() else {
        return;
    };
    let shift = 12 + u32::from(choice >> 1) % 13;
    let page = if choice & 1 == 0 {
        let mut page = page(data);
        page[4] = 0;
        page
    } else {
        let fixed = super::page(cut(&mut data, FIXED));
        let names = usize::from(cut_u16(&mut data));
        let names = cut(&mut data, names);
        let control = usize::from(cut_u16(&mut data));
        let control = cut(&mut data, control);
        let streams = [names, control, data];
        let page = FRAMES.with_borrow_mut(|frames| assemble_leaf(&fixed[..FIXED], streams, frames));
        match page {
            Some(bytes) => super::page(&bytes),
            None => return,
        }
    };
    let decoded = TABLE.with(|table| LeafPage::decode(&page, table, shift));
    if let Ok(page) = decoded {
        examine(&page);
    }
}

/// Asks a page everything, and checks what every reader relies on.
pub(crate) fn examine(page: &LeafPage) {
    assert!((1..=MAX_LEAF_ENTRIES).contains(&page.len()));
    // Two streams of 64 KiB and fifteen columns of 8 bytes an entry bound what a page can become.
    assert!(page.memory() < 2 << 20, "{} bytes", page.memory());
    let mut cursor = RowCursor::new(page);
    let mut name = Vec::new();
    let mut whole = Vec::new();
    while let Some(row) = cursor.row() {
        let index = cursor.index();
        assert_eq!(row.ordinal, page.first_ordinal + index as u64);
        page.advance_name(index, &mut name);
        assert!(name.len() <= MAX_NAME && !name.contains(&b'/') && !name.contains(&0));
        assert_eq!(name.is_empty(), row.ordinal == 0);
        assert!(name != b"." && name != b"..");
        assert!(row.mtime.nanoseconds < 1_000_000_000);
        assert!(row.position.checked_add(row.stored).is_some());
        assert!(row.primary <= row.ordinal);
        let run = page.run_of(index).unwrap();
        assert!(run.entries.contains(&index));
        assert!(run.far_parent.is_none_or(|parent| parent < row.ordinal));
        if row.kind == Kind::Directory && row.children > 0 {
            assert!(row.first_child > row.ordinal);
            assert!(row.first_child.checked_add(row.children).is_some());
        }
        if index % 64 == 0 {
            page.name_into(index, &mut whole);
            assert_eq!(whole, name);
            assert_eq!(page.row(index).unwrap().ordinal, row.ordinal);
        }
        cursor.advance();
    }
    assert_eq!(cursor.index(), page.len());
    for run in page.runs() {
        find_in(page, run.entries.clone());
        if run.far_parent.is_none() {
            let _ = page.find_key(page.path_of(run), b"name");
        }
    }
}

/// Where names ascend, each must be found at its place.
fn find_in(page: &LeafPage, entries: std::ops::Range<usize>) {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for index in entries.clone() {
        let mut name = names.last().cloned().unwrap_or_default();
        page.advance_name(index, &mut name);
        names.push(name);
    }
    let ascends = names.is_sorted_by(|a, b| a < b);
    let step = names.len().div_ceil(32);
    for (offset, name) in names.iter().enumerate().step_by(step) {
        let found = page.find_name(entries.clone(), name);
        assert!(!ascends || found == Some(entries.start + offset));
        let _ = page.find_name(entries.start + offset..entries.end, b"m");
    }
}
