//! Fills leaf pages with segments: a few of about one length, and a last one that takes what is left.

use crate::format::PAGE_SIZE;
use crate::format::inner::Separator;
use crate::format::leaf::{LeafBuilder, LeafFrames, NewEntry, PageBuilder};
use crate::format::page_dictionaries::DictionaryBytes;
use crate::{Error, ErrorKind, Result};
use std::collections::VecDeque;

/// Bytes of the frames of a segment: a reader decompresses them for a lookup. Shorter ones would take less time and more bytes;
/// numbers are in docs/design.md, "Segments". The bit area costs no time, so that pages of little else are not cut.
const FRAME_BYTES: usize = 850;

/// The same where files share frames: these take a reader further time, since it has to sum up more columns.
const FRAME_BYTES_SHARED: usize = 650;

/// Most entries of a segment: what takes few bytes takes time all the same.
const SEGMENT_ENTRIES: usize = 1536;

/// A page with no more free bytes than this is full: fewer than most entries take.
const SLACK: usize = 12;

/// So many entries let a segment be full with one free byte more. A try costs as much as it has entries, and lengths of
/// frames of thousands jump by tens of bytes from one number to the next, so that the last of them are found by chance.
/// For the same reason each further try is content with twice as many.
const SLACK_ENTRIES: usize = 64;

/// Most encodings of the last segment of a page in search of its best number of entries.
const MOST_TRIES: usize = 4;

/// A page with less room than this is full: what each segment begins with takes about half of it.
const LEAST_ROOM: usize = 128;

/// Entries that the first segment of an index tries to hold, and what they are expected to take.
const FIRST_GUESS: usize = 96;
const FIRST_BYTES: usize = 1360;

/// A page that is full, or the last.
pub(super) struct FilledPage {
    /// The page, whose checksum is still missing.
    pub(super) page: [u8; PAGE_SIZE],
    /// Ordinal of its first entry.
    pub(super) first_ordinal: u64,
    /// Where its first implicit extent begins.
    pub(super) position: u64,
    /// What tells it from the page before; of the first page that means nothing.
    pub(super) separator: Separator,
}

/// Parent path and name of an entry.
type Key = (Vec<u8>, Vec<u8>);

/// Takes entries in key order and gives full pages.
#[derive(Debug)]
pub(super) struct LeafFiller {
    entries: LeafBuilder,
    frames: LeafFrames,
    page: PageBuilder,
    /// Where the next implicit extent begins, before each entry that waits.
    positions: VecDeque<u64>,
    /// The segment written last, by which the next one is estimated, and the bytes of its frames.
    before: Try,
    frames_before: usize,
    /// With so many entries waiting, a segment is tried.
    enough: usize,
    /// The segment that fits best of those that were tried.
    best: Vec<u8>,
    /// Of the first entry in the page, and of the last.
    first_key: Key,
    last_key_in_page: Key,
    /// Of the last entry in the page before.
    last_key: Key,
}

impl LeafFiller {
    /// Compresses frames at zstd `level`, with `dictionaries`.
    pub(super) fn new(level: i32, dictionaries: &DictionaryBytes) -> Result<Self> {
        Ok(Self {
            entries: LeafBuilder::default(),
            frames: LeafFrames::new(level, dictionaries)?,
            page: PageBuilder::new(0),
            positions: VecDeque::new(),
            before: Try {
                entries: FIRST_GUESS,
                used: FIRST_BYTES,
            },
            frames_before: FRAME_BYTES,
            enough: FIRST_GUESS,
            best: Vec::new(),
            first_key: Key::default(),
            last_key_in_page: Key::default(),
            last_key: Key::default(),
        })
    }

    /// The entries that follow are children of the directory at `path`, whose own ordinal is `directory`.
    pub(super) fn begin_run(&mut self, path: &[u8], directory: u64) {
        self.entries.begin_run(path, directory);
    }

    /// Adds the next entry; `position` is where the next implicit extent begins before it.
    pub(super) fn push(&mut self, entry: &NewEntry<'_>, position: u64) {
        self.entries.push(entry);
        self.positions.push_back(position);
    }

    /// The next page that is full; with `flush`, the next that can be made at all.
    pub(super) fn next_page(&mut self, flush: bool) -> Result<Option<FilledPage>> {
        while !self.entries.is_empty() && (flush || self.entries.len() >= self.enough) {
            let (aim, is_last) = self.plan();
            let held = self.entries.len();
            let most = held.min(self.page.entries_left());
            let filled = if is_last {
                self.fill(aim, most, flush)?
            } else {
                self.take(aim, most, flush)?
            };
            match filled {
                Filled::Page => return Ok(Some(self.finish_page())),
                Filled::Segment => {}
                Filled::Waits => return Ok(None),
            }
        }
        Ok((flush && !self.page.is_empty()).then(|| self.finish_page()))
    }

    /// Bytes that the next segment should take, and whether it is the last of its page.
    fn plan(&self) -> (usize, bool) {
        let room = self.page.room();
        let frames = room * self.frames_before / self.before.used.max(1);
        let wanted = if self.entries.share_frames() {
            FRAME_BYTES_SHARED
        } else {
            FRAME_BYTES
        };
        let by_bytes = (frames + wanted / 2) / wanted;
        let by_entries = self.before.entries_in(room).div_ceil(SEGMENT_ENTRIES);
        let segments = by_bytes.max(by_entries).max(1);
        (room / segments, segments == 1)
    }

    /// Takes about as many entries as fill `aim` bytes, of at most `most`.
    fn take(&mut self, aim: usize, most: usize, flush: bool) -> Result<Filled> {
        let mut wish = self.before.entries_in(aim).clamp(1, SEGMENT_ENTRIES);
        if wish > most && self.page.entries_left() > most && !flush {
            self.enough = wish;
            return Ok(Filled::Waits);
        }
        wish = wish.min(most);
        loop {
            let used = self.encode(wish)?;
            if used <= self.page.room() {
                self.keep();
                self.add(Try {
                    entries: wish,
                    used,
                });
                let is_full = self.page.room() < LEAST_ROOM || self.page.entries_left() == 0;
                return Ok(if is_full {
                    Filled::Page
                } else {
                    Filled::Segment
                });
            }
            if wish == 1 {
                return self.end_page();
            }
            // Far from what was expected, as where one kind of names ends and another begins.
            wish /= 2;
        }
    }

    /// Takes as many entries as fit into the `room` that is left in the page, of at most `most`.
    fn fill(&mut self, room: usize, most: usize, flush: bool) -> Result<Filled> {
        let may_wait = !flush && self.page.entries_left() > most;
        let (mut fits, mut too_many) = (Try::NONE, Try::TOO_MANY);
        let mut wish = next_try(self.before, Try::TOO_MANY, 1, room).max(1);
        if wish > most && may_wait {
            self.enough = wish;
            return Ok(Filled::Waits);
        }
        wish = wish.min(most);
        for tries in 1.. {
            let used = self.encode(wish)?;
            let tried = Try {
                entries: wish,
                used: used.min(4 * PAGE_SIZE),
            };
            if used > room {
                too_many = tried;
            } else {
                fits = tried;
                self.keep();
            }
            let is_full = used <= room && room - used <= slack(wish) << (tries.min(MOST_TRIES) - 1);
            if is_full || (tries >= MOST_TRIES && fits.entries > 0) {
                break;
            }
            wish = next_try(fits, too_many, tries, room);
            if fits.entries == most && may_wait {
                // More entries are to come and may still go in.
                self.enough = wish.max(most + 1);
                return Ok(Filled::Waits);
            }
            wish = wish.max(fits.entries + 1).min(most);
            if wish >= too_many.entries {
                wish = too_many.entries - 1;
            }
            if wish <= fits.entries {
                break;
            }
        }
        if fits.entries == 0 {
            return self.end_page();
        }
        self.add(fits);
        Ok(Filled::Page)
    }

    /// Ends a page that the next entry does not fit into; it must have some.
    fn end_page(&self) -> Result<Filled> {
        if self.page.is_empty() {
            return Err(Error::new(
                ErrorKind::Limit,
                "an entry does not fit into a page of the index",
            ));
        }
        Ok(Filled::Page)
    }

    fn position(&self) -> u64 {
        self.positions.front().copied().unwrap_or(0)
    }

    fn encode(&mut self, count: usize) -> Result<usize> {
        let position = self.position();
        let (path, name) = (self.entries.path_of(0), self.entries.name(0));
        let (path_before, name_before) = &self.last_key_in_page;
        let separator = if self.page.is_empty() || path_before != path {
            Vec::new()
        } else {
            Separator::between((path_before, name_before), (path, name), true).name
        };
        self.entries
            .encode(count, position, &separator, &self.page, &mut self.frames)
    }

    /// Remembers the segment that was encoded last as the best.
    fn keep(&mut self) {
        self.best.clear();
        self.best.extend_from_slice(self.entries.segment());
        self.frames_before = self.entries.frame_bytes();
    }

    /// Adds the best segment to the page.
    fn add(&mut self, tried: Try) {
        if self.page.is_empty() {
            self.first_key = self.key(0);
        }
        let count = tried.entries;
        self.last_key_in_page = self.key(count - 1);
        self.page.add(&self.best, count, self.position());
        self.entries.drain(count);
        self.positions.drain(..count);
        self.before = tried;
        let (aim, _) = self.plan();
        self.enough = tried.entries_in(aim).clamp(1, SEGMENT_ENTRIES);
    }

    fn key(&self, index: usize) -> Key {
        let entries = &self.entries;
        (
            entries.path_of(index).to_vec(),
            entries.name(index).to_vec(),
        )
    }

    fn finish_page(&mut self) -> FilledPage {
        let (first_ordinal, position) = self.page.start();
        let (path, name) = &self.first_key;
        let before = (self.last_key.0.as_slice(), self.last_key.1.as_slice());
        let filled = FilledPage {
            page: self.page.finish(),
            first_ordinal,
            position,
            separator: Separator::between(before, (path, name), before.0 == path),
        };
        self.last_key = std::mem::take(&mut self.last_key_in_page);
        self.page = PageBuilder::new(self.page.next_ordinal());
        filled
    }
}

/// What became of an attempt.
enum Filled {
    /// The page is full.
    Page,
    /// The page has one segment more.
    Segment,
    /// More entries are needed.
    Waits,
}

/// So many entries took so many bytes, or more than there was room for.
#[derive(Debug, Clone, Copy)]
struct Try {
    entries: usize,
    used: usize,
}

impl Try {
    /// None were tried that fitted.
    const NONE: Self = Self {
        entries: 0,
        used: 0,
    };
    /// None were tried that did not fit.
    const TOO_MANY: Self = Self {
        entries: usize::MAX,
        used: usize::MAX,
    };

    /// How many such entries so many bytes hold.
    fn entries_in(self, bytes: usize) -> usize {
        self.entries * bytes / self.used.max(1)
    }
}

/// Free bytes with which a segment of so many entries is full.
fn slack(entries: usize) -> usize {
    SLACK.max(entries / SLACK_ENTRIES)
}

/// The number of entries to try after so many tries in search of those that take `room` bytes, of which these are the closest:
/// as many as should leave half of the slack free.
fn next_try(fits: Try, too_many: Try, tries: usize, room: usize) -> usize {
    let (few, many) = (fits.entries, too_many.entries);
    let goal = room.saturating_sub(slack(if few > 0 { few } else { many }) / 2);
    if few == 0 {
        // What a segment has only once makes its entries look dearer than those at its end are, by about a 15th.
        let excess = too_many.used.saturating_sub(goal) * many * 16;
        let step = excess.div_ceil(too_many.used.max(1) * 15);
        // Entries at the end may take next to nothing, unlike those before them: then the step grows until it is enough.
        return many.saturating_sub(step << tries.saturating_sub(MOST_TRIES).min(12));
    }
    if many == usize::MAX {
        return few * goal / fits.used.max(1);
    }
    let free = goal.saturating_sub(fits.used);
    few + free * (many - few) / (too_many.used - fits.used).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MAX_LEAF_ENTRIES;

    #[test]
    fn a_page_is_found_soon_where_the_last_entries_cost_nothing() {
        // A few bytes too many, however many entries are left out, down to a dozen.
        let (mut wish, mut tries) = (MAX_LEAF_ENTRIES, 0);
        while wish > 12 {
            tries += 1;
            let too_many = Try {
                entries: wish,
                used: PAGE_SIZE + 4,
            };
            let next = next_try(Try::NONE, too_many, tries, PAGE_SIZE);
            assert!(next < wish, "{next} after {wish} entries");
            wish = next;
        }
        assert!(tries <= MOST_TRIES + 13, "{tries} tries");
    }
}
