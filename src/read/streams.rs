//! Reads of one file that follow each other, found among others, and what behind them nobody needs.
//!
//! A mount is asked for contents by anybody, file by file, and the requests of one who reads in order come
//! by several threads. So a stream is known by the places of its reads alone.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Streams that are followed at once: several readers, and room for reads that turn out to be none.
const STREAMS: usize = 16;

/// Most bytes by which a read may miss the end of the one before: two requests of the largest size. What lies so near
/// may be read again, since requests overtake each other and the kernel asks for parts of chunks.
const SLACK: u64 = 2 << 20;

/// Bytes that are given back at once: the kernel may have to ask every processor for them, which costs as much as
/// reading some megabytes.
const RETURNED_AT_ONCE: u64 = 8 << 20;

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    /// Where the first read began.
    start: u64,
    /// Where the next read begins.
    next: u64,
    /// Bytes read so far; 0 marks a place that is free.
    length: u64,
    /// From where bytes may be in memory because of this stream.
    kept: u64,
    /// Number of the last read.
    used: u64,
    /// Whether a second read followed.
    is_followed: bool,
}

/// What a read suggests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Advice {
    /// Bytes that have been read and will hardly be read again.
    pub(super) behind: Range<u64>,
    /// Whether the read goes on where another one ended.
    pub(super) follows: bool,
    /// Where the next one of these probably begins.
    pub(super) next: u64,
    /// How far the first of these is from there.
    pub(super) length: u64,
}

/// The streams of one file.
#[derive(Debug, Default)]
pub(super) struct Streams {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: [Stream; STREAMS],
    reads: u64,
}

impl Streams {
    /// Notes that `range` is read.
    pub(super) fn note(&self, range: &Range<u64>) -> Advice {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.reads += 1;
        let found = state
            .streams
            .iter_mut()
            .find(|stream| stream.goes_on(range));
        if let Some(stream) = found {
            stream.used = state.reads;
            return stream.follow(range);
        }
        // A read that nothing followed goes first, then the stream that has rested longest.
        let oldest = state
            .streams
            .iter_mut()
            .min_by_key(|stream| (stream.is_followed, stream.used));
        let mut advice = Advice::default();
        if let Some(stream) = oldest {
            if stream.is_followed {
                advice.behind = stream.kept..stream.next;
            }
            *stream = Stream {
                start: range.start,
                next: range.end,
                length: range.end.saturating_sub(range.start),
                kept: range.start,
                used: state.reads,
                is_followed: false,
            };
        }
        advice
    }
}

impl Stream {
    fn goes_on(&self, range: &Range<u64>) -> bool {
        let slack = self.length.min(SLACK);
        self.length > 0 && self.next.abs_diff(range.start) <= slack
    }

    fn follow(&mut self, range: &Range<u64>) -> Advice {
        self.is_followed = true;
        self.length += range.end.saturating_sub(range.start);
        self.next = self.next.max(range.end);
        let mut advice = Advice {
            follows: true,
            next: self.next,
            length: self.next.saturating_sub(self.start),
            ..Advice::default()
        };
        let done = self.next.saturating_sub(SLACK);
        if done >= self.kept.saturating_add(RETURNED_AT_ONCE) {
            advice.behind = self.kept..done;
            self.kept = done;
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Reads `ranges`; how many followed others, and the bytes given back.
    fn read(streams: &Streams, ranges: impl IntoIterator<Item = Range<u64>>) -> (u64, u64) {
        ranges.into_iter().fold((0, 0), |(follow, behind), range| {
            let advice = streams.note(&range);
            let given = advice.behind.end.saturating_sub(advice.behind.start);
            (follow + u64::from(advice.follows), behind + given)
        })
    }

    fn steps(from: u64, step: u64, count: u64) -> impl Iterator<Item = Range<u64>> {
        (0..count).map(move |n| from + n * step..from + (n + 1) * step)
    }

    #[test]
    fn a_stream_is_known_and_given_back() {
        let streams = Streams::default();
        let (follow, behind) = read(&streams, steps(0, MIB, 100));
        assert_eq!(follow, 99, "all but the first read");
        assert_eq!(behind, 96 * MIB, "in pieces, but what may be read again");
    }

    #[test]
    fn reads_all_over_the_file_follow_nothing() {
        let streams = Streams::default();
        let scattered = (0..1000_u64).map(|n| {
            let start = n * 7919 % 1000 * MIB;
            start..start + 8200
        });
        assert_eq!(read(&streams, scattered), (0, 0));
    }

    #[test]
    fn requests_that_overtake_each_other_are_one_stream() {
        let streams = Streams::default();
        let swapped = (0..50).flat_map(|n| {
            let pair: Vec<_> = steps(2 * n * MIB, MIB, 2).collect();
            pair.into_iter().rev()
        });
        // Only the very first pair is too short to tell.
        assert!(read(&streams, swapped).0 >= 98);
    }

    #[test]
    fn parts_of_one_chunk_do_not_lose_it() {
        let streams = Streams::default();
        let chunk = 5 * MIB..5 * MIB + (128 << 10);
        for _ in 0..200 {
            assert!(streams.note(&chunk).behind.is_empty());
        }
    }

    #[test]
    fn several_streams_live_beside_scattered_reads() {
        let streams = Streams::default();
        let mut behind = 0;
        for n in 0..64 {
            for reader in 0..4 {
                let at = reader * 1000 * MIB + n * MIB;
                let advice = streams.note(&(at..at + MIB));
                assert_eq!(advice.follows, n > 0, "reader {reader}, read {n}");
                behind += advice.behind.end.saturating_sub(advice.behind.start);
            }
            for chance in 0..8 {
                let at = (5000 + (n * 8 + chance) * 7919 % 10_000) * MIB;
                streams.note(&(at..at + 8200));
            }
        }
        assert_eq!(behind, 4 * 56 * MIB);
    }

    #[test]
    fn an_abandoned_stream_leaves_nothing() {
        let streams = Streams::default();
        let (_, behind) = read(&streams, steps(0, MIB, 13));
        let others = (1..=STREAMS as u64).flat_map(|n| steps(n * 1000 * MIB, 4096, 2));
        let (_, rest) = read(&streams, others);
        assert!(behind > 0 && rest > 0);
        assert_eq!(behind + rest, 13 * MIB);
    }
}
