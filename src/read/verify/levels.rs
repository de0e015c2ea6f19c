//! The inner pages, followed from leaf page to leaf page.

use super::Report;
use crate::entry::{compare_keys, compare_paths};
use crate::format::MAX_INLINE_PATH;
use crate::format::inner::{Child, InnerPage, Separator};
use crate::read::pages::PageStore;
use std::cmp::Ordering;

/// A key as (parent path, name).
pub(super) type Key<'a> = (&'a [u8], &'a [u8]);

/// What the level above says of a leaf page.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) first_ordinal: u64,
    pub(super) position: u64,
    /// Separators that lead to the page: its own first, then those of the inner pages that begin with it.
    pub(super) separators: Vec<Separator>,
}

/// A place in one level of inner pages.
#[derive(Debug)]
struct Cursor {
    level: u8,
    /// Pages of the level that are still to come.
    next: u64,
    end: u64,
    current: Option<(u64, InnerPage)>,
    /// What the first child of the next page must be; unknown behind damage.
    next_child: Option<u64>,
    /// Whether pages of the level are missing, so that it cannot say of every page what it should be.
    damaged: bool,
}

/// All levels, that above the leaves first.
#[derive(Debug)]
pub(super) struct Levels {
    cursors: Vec<Cursor>,
}

impl Levels {
    /// Reads every inner page once and reports what can be seen of each alone.
    pub(super) fn scan(store: &PageStore, report: &mut Report<'_>) -> Self {
        let header = store.header();
        let first = header.leaf_pages + 1;
        let end = header.root_page() + 1;
        let mut damaged = false;
        let mut starts: Vec<(u32, u64)> = Vec::new();
        for number in first..end {
            let page = match store.inner_uncached(number) {
                Ok(page) => page,
                Err(error) => {
                    report.damaged_page(number, None, error);
                    damaged = true;
                    continue;
                }
            };
            if !page.is_ordered() {
                report.page(number, "separators of an inner page are not in order");
            }
            let level = u32::from(page.level);
            let before = starts.last().map_or(0, |(level, _)| *level);
            let is_root = number == end - 1;
            if level == before + 1 || damaged && level > before {
                starts.push((level, number));
            } else if level != before {
                report.page(number, "inner page stands among those of another level");
                damaged = true;
            }
            if is_root != (level == header.levels) {
                report.page(number, "inner page is at the wrong level");
                damaged = true;
            }
        }
        let mut cursors = Vec::new();
        let mut child = 1;
        for level in 1..=header.levels {
            let start = starts.iter().find(|(own, _)| *own >= level);
            let after = starts.iter().find(|(own, _)| *own > level);
            let next = start.map_or(end, |(_, start)| *start);
            cursors.push(Cursor {
                level: u8::try_from(level).unwrap_or(u8::MAX),
                next,
                end: after.map_or(end, |(_, start)| *start),
                current: None,
                next_child: (!damaged).then_some(child),
                damaged,
            });
            child = next;
        }
        Self { cursors }
    }

    /// What the inner pages say of leaf page `number`; to be asked for one after the other. `None` if the page
    /// that should say it is damaged.
    pub(super) fn describe(
        &mut self,
        store: &PageStore,
        number: u64,
        report: &mut Report<'_>,
    ) -> Option<Described> {
        let mut described: Option<Described> = None;
        let mut wanted = number;
        let mut itself = None;
        for cursor in &mut self.cursors {
            let entered = cursor.go_to(store, wanted, report);
            let Some((above, child)) = cursor.child(wanted) else {
                break;
            };
            let said = (child.first_ordinal, child.position);
            if itself.is_some_and(|itself| itself != said) {
                report.page(wanted, "inner page contradicts the page above it");
            }
            let described = described.get_or_insert_with(|| Described {
                first_ordinal: child.first_ordinal,
                position: child.position,
                separators: Vec::new(),
            });
            described.separators.push(Separator {
                path: child.path.to_vec(),
                cut: child.cut,
                name: child.name.to_vec(),
            });
            if !entered {
                break;
            }
            itself = Some((above.1.first_ordinal, above.1.position));
            wanted = above.0;
        }
        described
    }

    /// Reports inner pages that describe more pages than there are.
    pub(super) fn finish(&self, leaf_pages: u64, report: &mut Report<'_>) {
        let mut end_below = leaf_pages + 1;
        for cursor in &self.cursors {
            let told = cursor.next_child.is_none_or(|child| child == end_below);
            if !cursor.damaged && (cursor.next != cursor.end || !told) {
                report.page(
                    cursor.end - 1,
                    "inner page describes pages that are not there",
                );
            }
            end_below = cursor.end;
        }
    }
}

impl Cursor {
    /// The page that describes page `wanted`, and what it says of it.
    fn child(&self, wanted: u64) -> Option<(&(u64, InnerPage), Child<'_>)> {
        let current = self.current.as_ref()?;
        let first = current.1.child(0)?.page;
        let index = usize::try_from(wanted.checked_sub(first)?).ok()?;
        Some((current, current.1.child(index)?))
    }

    /// Goes on until the page that describes page `wanted`. Says whether that page begins with `wanted`.
    fn go_to(&mut self, store: &PageStore, wanted: u64, report: &mut Report<'_>) -> bool {
        loop {
            let first = self.current.as_ref().and_then(|(_, page)| page.child(0));
            let first = first.map(|child| child.page);
            if self.child(wanted).is_some() || first.is_some_and(|first| wanted < first) {
                return first == Some(wanted);
            }
            let number = self.next;
            if number >= self.end {
                if !self.damaged {
                    self.damaged = true;
                    report.page(wanted, "no inner page describes this page");
                }
                return false;
            }
            self.next += 1;
            self.current = match store.inner_uncached(number) {
                Ok(page) if page.level == self.level => Some((number, page)),
                // `scan` has reported it.
                _ => None,
            };
            let children = self.current.as_ref().and_then(|(_, page)| {
                let first = page.child(0)?.page;
                Some(first..first.saturating_add(page.len() as u64))
            });
            if let (Some(children), Some(expected)) = (&children, self.next_child) {
                if children.start != expected {
                    report.page(number, "inner page skips or repeats pages");
                }
            }
            self.next_child = children.map(|children| children.end);
        }
    }
}

/// Whether `separator` leads to a page whose first key is `first`, behind one whose last key is `before`, as far
/// as that is known.
pub(super) fn separates(separator: &Separator, before: Option<Key<'_>>, first: Key<'_>) -> bool {
    if let Some(before) = before.filter(|before| before.0 == first.0) {
        let end = first.0.len().min(MAX_INLINE_PATH);
        return separator.cut == (first.0.len() > MAX_INLINE_PATH)
            && first.0.get(..end) == Some(&separator.path)
            && separator.name.as_slice() > before.1
            && separator.name.as_slice() <= first.1;
    }
    let path = separator.path.as_slice();
    if separator.cut {
        // A path that goes on behind the cut may be on either side.
        return compare_paths(path, first.0) == Ordering::Less
            && before.is_none_or(|before| {
                before.0.starts_with(path) || compare_paths(before.0, path) != Ordering::Greater
            });
    }
    let key = (path, separator.name.as_slice());
    // Whether the page begins with a run is not known if the page before is not.
    (before.is_none() || separator.name.is_empty())
        && compare_keys(key, first) != Ordering::Greater
        && before.is_none_or(|before| compare_keys(before, key) == Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = Vec<u8>> {
        let component = proptest::collection::vec(b'a'..=b'c', 1..4);
        let short = proptest::collection::vec(component, 0..4).prop_map(|c| c.join(&b'/'));
        (short, any::<bool>()).prop_map(|(short, long)| {
            let mut path = if long { vec![b'x'; 1022] } else { Vec::new() };
            path.extend_from_slice(&short);
            path
        })
    }

    proptest! {
        #[test]
        fn separators_of_the_builder_pass_and_keys_outside_do_not(
            keys in proptest::collection::btree_set((path(), proptest::collection::vec(b'a'..=b'c', 1..4)), 3),
        ) {
            let mut keys: Vec<_> = keys.iter().map(|(p, n)| (p.as_slice(), n.as_slice())).collect();
            keys.sort_by(|a, b| compare_keys(*a, *b));
            let [a, b, c] = keys[..] else { unreachable!() };
            let separator = Separator::between(a, b, a.0 == b.0);
            prop_assert!(separates(&separator, Some(a), b));
            prop_assert!(separates(&separator, None, b));
            // Behind `b`, the separator of (a, b) is too small; before it, that of (b, c) too large.
            let later = Separator::between(b, c, b.0 == c.0);
            if !separator.cut && !later.cut {
                prop_assert!(!separates(&separator, Some(b), c));
                prop_assert!(!separates(&later, Some(a), b));
            }
        }
    }
}
