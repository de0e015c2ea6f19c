//! Inner pages: separators, first ordinals and positions of the pages below.

#![expect(
    clippy::cast_possible_truncation,
    reason = "names have at most 255 bytes, the text of a page fits into 32 bits"
)]

use super::bytes::{ByteReader, put_varint, unzigzag, zigzag};
use super::{MAX_INLINE_PATH, MAX_NAME, Malformed, PAGE_SIZE, Parsed};
use crate::entry::compare_paths;
use std::cmp::Ordering;

/// Byte offset of the first child.
const CHILDREN_OFFSET: usize = 32;

/// A key between the last entry before a page and the first entry in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Separator {
    /// Parent path, or what suffices of it.
    pub path: Vec<u8>,
    /// Whether the path was longer than [`MAX_INLINE_PATH`] and cut there.
    pub cut: bool,
    /// Name, or what suffices of it; empty if the page begins with a run.
    pub name: Vec<u8>,
}

impl Separator {
    /// The shortest separator of two neighbouring entries, each given as (parent path, name).
    /// `same_run` says whether they are children of one directory.
    pub fn between(before: (&[u8], &[u8]), after: (&[u8], &[u8]), same_run: bool) -> Self {
        if same_run {
            let (path, cut) = match after.0.get(..MAX_INLINE_PATH + 1) {
                Some(_) => (after.0.get(..MAX_INLINE_PATH).unwrap_or(after.0), true),
                None => (after.0, false),
            };
            return Self {
                path: path.to_vec(),
                cut,
                name: shortest_above(before.1, after.1).to_vec(),
            };
        }
        let path = shortest_above(before.0, after.0);
        match path.get(..MAX_INLINE_PATH) {
            Some(start) if path.len() > MAX_INLINE_PATH => Self {
                path: start.to_vec(),
                cut: true,
                name: Vec::new(),
            },
            _ => Self {
                path: path.to_vec(),
                cut: false,
                name: Vec::new(),
            },
        }
    }
}

/// The shortest prefix of `after` that is greater than `before`, given that `after` is.
fn shortest_above<'a>(before: &[u8], after: &'a [u8]) -> &'a [u8] {
    let common = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    after.get(..=common).unwrap_or(after)
}

/// A child as its parent page describes it.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Page number.
    pub page: u64,
    /// Ordinal of the first entry below.
    pub first_ordinal: u64,
    /// Position where the first implicit extent below begins.
    pub position: u64,
    /// Path of the separator.
    pub path: &'a [u8],
    /// Whether that path is cut.
    pub cut: bool,
    /// Name of the separator.
    pub name: &'a [u8],
}

/// Collects children until a page is full.
#[derive(Debug)]
pub struct InnerBuilder {
    level: u8,
    body: Vec<u8>,
    count: u16,
    first: (u64, u64, u64),
    last: (u64, u64),
    last_path: Vec<u8>,
}

impl InnerBuilder {
    /// A builder of pages of `level`.
    pub fn new(level: u8) -> Self {
        Self {
            level,
            body: Vec::with_capacity(PAGE_SIZE),
            count: 0,
            first: (0, 0, 0),
            last: (0, 0),
            last_path: Vec::new(),
        }
    }

    /// Number of children collected.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether no child is collected.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the next child, page `page`; returns false, and adds nothing, if the page is full.
    pub fn push(
        &mut self,
        page: u64,
        first_ordinal: u64,
        position: u64,
        separator: &Separator,
    ) -> bool {
        let before = self.body.len();
        if self.count == 0 {
            self.first = (first_ordinal, position, page);
            self.last = (first_ordinal, position);
            self.last_path.clear();
        }
        let shared = self
            .last_path
            .iter()
            .zip(&separator.path)
            .take_while(|(a, b)| a == b)
            .count();
        let rest = separator.path.get(shared..).unwrap_or(&[]);
        put_varint(&mut self.body, first_ordinal.wrapping_sub(self.last.0));
        put_varint(
            &mut self.body,
            zigzag(position.wrapping_sub(self.last.1).cast_signed()),
        );
        put_varint(&mut self.body, shared as u64);
        put_varint(
            &mut self.body,
            (rest.len() as u64) << 1 | u64::from(separator.cut),
        );
        self.body.extend_from_slice(rest);
        self.body.push(separator.name.len() as u8);
        self.body.extend_from_slice(&separator.name);
        if CHILDREN_OFFSET + self.body.len() > PAGE_SIZE || self.count == u16::MAX {
            self.body.truncate(before);
            return false;
        }
        self.count += 1;
        self.last = (first_ordinal, position);
        self.last_path.clear();
        self.last_path.extend_from_slice(&separator.path);
        true
    }

    /// The page of the children collected, its checksum still missing, and starts afresh.
    pub fn finish(&mut self) -> [u8; PAGE_SIZE] {
        let mut page = Vec::with_capacity(PAGE_SIZE);
        page.extend_from_slice(&[0; 4]);
        page.push(self.level);
        page.push(0);
        page.extend_from_slice(&self.count.to_le_bytes());
        for number in [self.first.0, self.first.1, self.first.2] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        page.extend_from_slice(&self.body);
        page.resize(PAGE_SIZE, 0);
        self.body.clear();
        self.count = 0;
        let mut out = [0; PAGE_SIZE];
        out.copy_from_slice(&page);
        out
    }
}

#[derive(Debug)]
struct Row {
    first_ordinal: u64,
    position: u64,
    path_end: u32,
    name_end: u32,
    cut: bool,
}

/// A decoded inner page.
#[derive(Debug)]
pub struct InnerPage {
    /// Level: 1 above the leaves.
    pub level: u8,
    /// Ordinal of the first entry below.
    pub first_ordinal: u64,
    /// Position of the first leaf page below.
    pub position: u64,
    first_child: u64,
    rows: Vec<Row>,
    text: Vec<u8>,
}

impl InnerPage {
    /// Parses a page whose checksum was found right.
    pub fn decode(page: &[u8; PAGE_SIZE]) -> Parsed<Self> {
        let mut reader = ByteReader::new(page);
        reader.u32()?;
        let level = reader.u8()?;
        let zero = reader.u8()?;
        let count = reader.u16()?;
        let (first_ordinal, position) = (reader.u64()?, reader.u64()?);
        let first_child = reader.u64()?;
        if level == 0 || zero != 0 || count == 0 {
            return Err(Malformed("not an inner page"));
        }
        let mut rows = Vec::with_capacity(usize::from(count).min(PAGE_SIZE / 6));
        let mut text: Vec<u8> = Vec::new();
        let (mut ordinal, mut at) = (first_ordinal, position);
        let mut path = 0..0;
        for index in 0..count {
            let step = reader.varint()?;
            let moved = unzigzag(reader.varint()?);
            if (index == 0) != (step == 0) || index == 0 && moved != 0 {
                return Err(Malformed("inner page has children out of order"));
            }
            ordinal = ordinal
                .checked_add(step)
                .filter(|&o| o < 1 << 63)
                .ok_or(Malformed("inner page has an impossible ordinal"))?;
            at = at.wrapping_add(moved.cast_unsigned());
            let shared = reader.varint()?;
            let rest = reader.varint()?;
            let (cut, rest) = (rest & 1 == 1, rest >> 1);
            if shared > path.len() as u64 || shared.saturating_add(rest) > MAX_INLINE_PATH as u64 {
                return Err(Malformed("separator has an impossible path"));
            }
            let start = text.len();
            text.extend_from_within(path.start..path.start + shared as usize);
            text.extend_from_slice(reader.take(rest as usize)?);
            path = start..text.len();
            if cut && path.len() != MAX_INLINE_PATH {
                return Err(Malformed("separator is cut at the wrong place"));
            }
            let name_length = usize::from(reader.u8()?);
            text.extend_from_slice(reader.take(name_length)?);
            rows.push(Row {
                first_ordinal: ordinal,
                position: at,
                path_end: path.end as u32,
                name_end: text.len() as u32,
                cut,
            });
        }
        reader.only_zeros_left()?;
        if first_child.checked_add(u64::from(count)).is_none() {
            return Err(Malformed("inner page has impossible children"));
        }
        Ok(Self {
            level,
            first_ordinal,
            position,
            first_child,
            rows,
            text,
        })
    }

    /// Number of children.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never true of a decoded page.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory that the decoded page takes.
    pub fn memory(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.rows.capacity() * std::mem::size_of::<Row>()
            + self.text.capacity()
    }

    /// Child `index`.
    pub fn child(&self, index: usize) -> Option<Child<'_>> {
        let row = self.rows.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.rows.get(before)?.name_end as usize,
            None => 0,
        };
        Some(Child {
            page: self.first_child + index as u64,
            first_ordinal: row.first_ordinal,
            position: row.position,
            path: self.text.get(start..row.path_end as usize)?,
            cut: row.cut,
            name: self
                .text
                .get(row.path_end as usize..row.name_end as usize)?,
        })
    }

    /// The last child for which `not_after` holds, which must hold for a first part of the children only;
    /// the first child if it holds for none.
    fn last_where(&self, not_after: impl Fn(&Child<'_>) -> bool) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.child(middle).is_some_and(|child| not_after(&child)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }

    /// The child that holds key (`path`, `name`) if any does; `path` has at most [`MAX_INLINE_PATH`] bytes.
    pub fn find_key(&self, path: &[u8], name: &[u8]) -> usize {
        self.last_where(|child| match compare_paths(child.path, path) {
            Ordering::Less => true,
            Ordering::Equal => !child.cut && child.name <= name,
            Ordering::Greater => false,
        })
    }

    /// The child that holds the entry at `ordinal`.
    pub fn find_ordinal(&self, ordinal: u64) -> usize {
        self.last_where(|child| child.first_ordinal <= ordinal)
    }

    /// The child that holds `name` if the run of entries `first .. end` has it.
    pub fn find_in_run(&self, first: u64, end: u64, name: &[u8]) -> usize {
        self.last_where(|child| {
            child.first_ordinal <= first || child.first_ordinal < end && child.name <= name
        })
    }

    /// The child that holds the implicit extent at `position`, in images whose data lie in key order.
    pub fn find_position(&self, position: u64) -> usize {
        self.last_where(|child| child.position <= position)
    }

    /// Whether the separator name of each child is short enough and the separators ascend; lookups assume it,
    /// verification checks it.
    pub fn is_ordered(&self) -> bool {
        let children = (0..self.len()).filter_map(|index| self.child(index));
        let mut before: Option<Child<'_>> = None;
        for child in children {
            if child.name.len() > MAX_NAME {
                return false;
            }
            if let Some(before) = before {
                let ascends = match compare_paths(before.path, child.path) {
                    Ordering::Less => true,
                    // Below a cut path the names of different directories follow each other. All of them come
                    // behind the directory whose path is no longer than that.
                    Ordering::Equal => child.cut || !before.cut && before.name < child.name,
                    Ordering::Greater => false,
                };
                if !ascends {
                    return false;
                }
            }
            before = Some(child);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn separator(path: &[u8], name: &[u8]) -> Separator {
        Separator {
            path: path.to_vec(),
            cut: false,
            name: name.to_vec(),
        }
    }

    #[test]
    fn pages_round_trip_and_find() {
        let mut builder = InnerBuilder::new(1);
        assert!(builder.push(1, 0, 4096, &separator(b"", b"")));
        assert!(builder.push(2, 100, 9000, &separator(b"a/b", b"")));
        assert!(builder.push(3, 150, 8000, &separator(b"a/b", b"m")));
        assert!(builder.push(4, 300, 70_000, &separator(b"a/c", b"")));
        let page = InnerPage::decode(&builder.finish()).unwrap();
        assert!(builder.is_empty());
        assert_eq!((page.len(), page.level, page.first_ordinal), (4, 1, 0));
        let positions: Vec<u64> = (0..4).map(|i| page.child(i).unwrap().position).collect();
        assert_eq!(positions, [4096, 9000, 8000, 70_000]);
        assert_eq!(page.child(2).unwrap().name, b"m");
        assert_eq!(page.find_key(b"", b"zzz"), 0);
        assert_eq!(page.find_key(b"a/b", b"a"), 1);
        assert_eq!(page.find_key(b"a/b", b"m"), 2);
        assert_eq!(page.find_key(b"a/b", b"zz"), 2);
        assert_eq!(page.find_key(b"a/b/x", b"y"), 2);
        assert_eq!(page.find_key(b"z", b"y"), 3);
        assert_eq!(page.find_ordinal(99), 0);
        assert_eq!(page.find_ordinal(100), 1);
        assert_eq!(page.find_ordinal(u64::MAX), 3);
        // The run of a/b: ordinals 120 to 260.
        assert_eq!(page.find_in_run(120, 260, b"a"), 1);
        assert_eq!(page.find_in_run(120, 260, b"m"), 2);
        assert_eq!(page.find_in_run(120, 260, b"z"), 2);
    }

    #[test]
    fn a_full_page_refuses_and_decodes() {
        let mut builder = InnerBuilder::new(3);
        let mut pushed = 0;
        while builder.push(
            pushed + 9,
            pushed * 3,
            0,
            &separator(&[b'x'; 1024], &[b'y'; 255]),
        ) {
            pushed += 1;
        }
        assert_eq!(builder.len() as u64, pushed);
        assert!(pushed > 3);
        let page = InnerPage::decode(&builder.finish()).unwrap();
        assert_eq!(page.len() as u64, pushed);
        assert_eq!(page.child(1).unwrap().path.len(), 1024);
    }

    fn path() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(proptest::sample::select(&b"ab/.-"[..]), 0..6)
    }

    proptest! {
        #[test]
        fn separators_separate(mut keys in proptest::collection::vec((path(), path()), 2)) {
            keys.sort_by(|a, b| crate::entry::compare_keys((&a.0, &a.1), (&b.0, &b.1)));
            let (before, after) = (&keys[0], &keys[1]);
            prop_assume!(before != after);
            let sep = Separator::between(
                (&before.0, &before.1),
                (&after.0, &after.1),
                before.0 == after.0,
            );
            let sep_key = (sep.path.as_slice(), sep.name.as_slice());
            prop_assert!(compare_order((&before.0, &before.1), sep_key).is_lt());
            prop_assert!(compare_order(sep_key, (&after.0, &after.1)).is_le());
        }

        #[test]
        fn no_page_panics(mut bytes in proptest::collection::vec(any::<u8>(), 64), rest: u8) {
            bytes.resize(PAGE_SIZE, rest);
            bytes[4] = 1;
            bytes[5] = 0;
            let page: [u8; PAGE_SIZE] = bytes.try_into().unwrap();
            if let Ok(page) = InnerPage::decode(&page) {
                page.is_ordered();
                page.find_key(b"a", b"b");
            }
        }
    }

    use crate::entry::compare_keys as compare_order;
}
