//! The records of one run in memory, and how they are sorted.

use super::varint;

/// Below this many equal windows, comparing what is left of the keys beats loading further ones.
const SMALL_GROUP: usize = 24;

/// Bytes of a key that an element carries beside its position.
const WINDOW: usize = 8;

/// One record: a window of its key, and where the record lies.
#[derive(Debug, Clone, Copy)]
struct Element {
    /// Eight bytes of the key, the first one highest. While sorting, they move along the key.
    window: u64,
    offset: u32,
    key_len: u32,
}

/// Records back to back, and an element for each that is moved in their stead.
#[derive(Debug, Default)]
pub(super) struct RunBuffer {
    /// For each record: key, length of the payload, payload.
    arena: Vec<u8>,
    elements: Vec<Element>,
}

impl RunBuffer {
    /// Bytes in use.
    pub(super) fn size(&self) -> usize {
        self.arena.len() + self.elements.len() * size_of::<Element>()
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Adds a record; false if a buffer that is not empty cannot address it any more.
    pub(super) fn push(&mut self, key: &[u8], payload: &[u8]) -> bool {
        let (Ok(offset), Ok(key_len)) = (u32::try_from(self.arena.len()), u32::try_from(key.len()))
        else {
            return false;
        };
        self.elements.push(Element {
            window: window(key, 0),
            offset,
            key_len,
        });
        self.arena.extend_from_slice(key);
        varint::put(payload.len() as u64, &mut self.arena);
        self.arena.extend_from_slice(payload);
        true
    }

    pub(super) fn clear(&mut self) {
        self.arena.clear();
        self.elements.clear();
    }

    /// Key and payload of the record at `index`.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let element = self.elements.get(index)?;
        let record = self.arena.get(element.offset as usize..)?;
        let (key, mut rest) = record.split_at_checked(element.key_len as usize)?;
        let len = varint::take_len(&mut rest)?;
        Some((key, rest.get(..len)?))
    }

    /// Brings the records into key order; equal keys stay in the order of arrival.
    ///
    /// Elements are sorted by their windows alone. Where windows tie, the next eight bytes of those
    /// keys are loaded and only that group is sorted again. A key that ends inside the window is
    /// padded with 0, which makes no two keys equal: each holds exactly one 0 byte already.
    pub(super) fn sort(&mut self) {
        let Self { arena, elements } = self;
        let mut groups = vec![(0, elements.len(), 0)];
        while let Some((start, end, depth)) = groups.pop() {
            let Some(group) = elements.get_mut(start..end) else {
                continue;
            };
            if depth > 0 && group.len() < SMALL_GROUP {
                group.sort_unstable_by(|a, b| {
                    rest(arena, a, depth)
                        .cmp(rest(arena, b, depth))
                        .then(a.offset.cmp(&b.offset))
                });
                continue;
            }
            for element in group.iter_mut().filter(|_| depth > 0) {
                element.window = window(rest(arena, element, depth), 0);
            }
            group.sort_unstable_by_key(|element| (element.window, element.offset));
            let mut first = start;
            for tied in group.chunk_by(|a, b| a.window == b.window) {
                let goes_on = |element: &Element| element.key_len as usize > depth + WINDOW;
                if tied.len() > 1 && tied.iter().any(goes_on) {
                    groups.push((first, first + tied.len(), depth + WINDOW));
                }
                first += tied.len();
            }
        }
    }
}

/// The key of `element` from byte `depth` on.
fn rest<'a>(arena: &'a [u8], element: &Element, depth: usize) -> &'a [u8] {
    let start = element.offset as usize;
    arena
        .get(start + depth..start + element.key_len as usize)
        .unwrap_or_default()
}

fn window(key: &[u8], at: usize) -> u64 {
    let key = key.get(at..).unwrap_or_default();
    if let Some(bytes) = key.first_chunk::<WINDOW>() {
        return number(*bytes);
    }
    let mut bytes = [0; WINDOW];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    number(bytes)
}

/// The number whose order is the order of `bytes`.
fn number(bytes: [u8; WINDOW]) -> u64 {
    u64::from_le_bytes(bytes).swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorting_agrees_with_comparing_keys(
            words in prop::collection::vec(prop::collection::vec(2u8..4, 0..30), 1..300),
            repeat in 1usize..4,
        ) {
            // Long common beginnings, so that groups of every size tie on several windows.
            let mut buffer = RunBuffer::default();
            let mut expected = Vec::new();
            for (at, word) in words.iter().cycle().take(words.len() * repeat).enumerate() {
                let mut key = vec![9; 11];
                key.extend_from_slice(&word[..word.len() / 2]);
                key.push(0);
                key.extend_from_slice(&word[word.len() / 2..]);
                let payload = at.to_string().into_bytes();
                prop_assert!(buffer.push(&key, &payload));
                expected.push((key, at, payload));
            }
            buffer.sort();
            expected.sort();
            prop_assert_eq!(buffer.len(), expected.len());
            for (index, (key, _, payload)) in expected.iter().enumerate() {
                prop_assert_eq!(buffer.get(index), Some((key.as_slice(), payload.as_slice())));
            }
            prop_assert_eq!(buffer.get(expected.len()), None);
        }
    }
}
