//! An inner page.

use super::page;
use dgfs::format::PAGE_SIZE;
use dgfs::format::inner::InnerPage;

/// All bytes are the page, from its level on.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = [0; PAGE_SIZE];
    bytes[4..].copy_from_slice(&page(data)[..PAGE_SIZE - 4]);
    if let Ok(page) = InnerPage::decode(&bytes) {
        examine(&page);
    }
}

/// Asks a page everything; a search must lead to a child whatever the page says.
pub(crate) fn examine(page: &InnerPage) {
    assert!(!page.is_empty() && page.level > 0);
    assert!(page.memory() < 1 << 20, "{} bytes", page.memory());
    let ordered = page.is_ordered();
    let mut before = None;
    for index in 0..page.len() {
        let child = page.child(index).unwrap();
        let first = page.child(0).unwrap().page;
        assert_eq!(child.page, first + index as u64);
        assert!(before.is_none_or(|before| before < child.first_ordinal));
        assert_eq!(page.find_ordinal(child.first_ordinal), index);
        before = Some(child.first_ordinal);
        if ordered && !child.cut {
            let found = page.find_key(child.path, child.name);
            assert!(found >= index, "{found} for child {index}");
        }
        assert!(page.find_in_run(child.first_ordinal, u64::MAX, child.name) < page.len());
        assert!(page.find_position(child.position) < page.len());
    }
    assert!(page.child(page.len()).is_none());
    for (path, name) in [
        (&b""[..], &b""[..]),
        (b"a/b", b"c"),
        (&[0xff; 1024], &[0xff; 255]),
    ] {
        assert!(page.find_key(path, name) < page.len());
        assert!(page.find_in_run(1, 100, name) < page.len());
    }
    assert!(page.find_ordinal(u64::MAX) < page.len());
}
