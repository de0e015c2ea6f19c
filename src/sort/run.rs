//! Sorted runs of records: written front-coded to scratch files, read back by cursors.

use std::cmp::Ordering;
use std::sync::Arc;

use super::merge::Cursor;
use super::run_buffer::RunBuffer;
use super::scratch::{RangeReader, Scratch, ScratchWriter};
use super::varint;
use crate::Result;

/// Bytes that the three lengths before each record take at most.
const HEAD_MAX: usize = 3 * varint::MAX_LEN;

/// Where a run lies in its scratch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Appends one run to a scratch file, record by record in key order.
#[derive(Debug)]
pub(super) struct RunWriter<'a> {
    out: &'a mut ScratchWriter,
    start: u64,
    previous: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(out: &'a mut ScratchWriter) -> Self {
        Self {
            start: out.position(),
            out,
            previous: Vec::new(),
        }
    }

    /// Appends: bytes shared with the previous key, length of the rest, length of the payload,
    /// rest of the key, payload.
    pub(super) fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        let shared = shared_len(&self.previous, key);
        let rest = key.get(shared..).unwrap_or_default();
        let out = self.out.buffer();
        varint::put(shared as u64, out);
        varint::put(rest.len() as u64, out);
        varint::put(payload.len() as u64, out);
        out.extend_from_slice(rest);
        out.extend_from_slice(payload);
        self.previous.truncate(shared);
        self.previous.extend_from_slice(rest);
        self.out.flush_if_full()
    }

    pub(super) fn finish(self) -> Run {
        Run {
            start: self.start,
            end: self.out.position(),
        }
    }
}

fn shared_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Reads the records of one run.
#[derive(Debug)]
pub(super) enum RunCursor {
    /// A run that never left memory.
    Memory {
        run: Arc<RunBuffer>,
        /// Index of the record after the current one.
        next: usize,
    },
    /// A run in a scratch file.
    File {
        reader: RangeReader,
        key: Vec<u8>,
        payload_len: usize,
    },
}

impl RunCursor {
    pub(super) fn in_memory(run: Arc<RunBuffer>) -> Self {
        Self::Memory { run, next: 0 }
    }

    pub(super) fn in_file(scratch: &Scratch, run: Run, buffer: usize) -> Self {
        Self::File {
            reader: scratch.range(run.start, run.end, buffer),
            key: Vec::new(),
            payload_len: 0,
        }
    }

    /// Key of the current record.
    pub(super) fn key(&self) -> &[u8] {
        match self {
            Self::Memory { .. } => self.current().0,
            Self::File { key, .. } => key,
        }
    }

    /// Key and payload of the current record.
    pub(super) fn current(&self) -> (&[u8], &[u8]) {
        match self {
            Self::Memory { run, next } => next
                .checked_sub(1)
                .and_then(|index| run.get(index))
                .unwrap_or_default(),
            Self::File {
                reader,
                key,
                payload_len,
            } => (key, reader.peeked().get(..*payload_len).unwrap_or_default()),
        }
    }
}

impl Cursor for RunCursor {
    fn advance(&mut self) -> Result<bool> {
        match self {
            Self::Memory { run, next } => {
                *next += 1;
                Ok(*next <= run.len())
            }
            Self::File {
                reader,
                key,
                payload_len,
            } => {
                reader.consume(*payload_len);
                *payload_len = 0;
                let mut head = reader.peek(HEAD_MAX)?;
                if head.is_empty() {
                    return Ok(false);
                }
                let before = head.len();
                let lengths = (
                    varint::take_len(&mut head),
                    varint::take_len(&mut head),
                    varint::take_len(&mut head),
                );
                let used = before - head.len();
                let (Some(shared), Some(rest), Some(payload)) = lengths else {
                    return Err(reader.damaged());
                };
                reader.consume(used);
                let needed = rest.saturating_add(payload);
                let Some(rest_bytes) = reader
                    .peek(needed)?
                    .get(..needed)
                    .and_then(|record| record.get(..rest))
                else {
                    return Err(reader.damaged());
                };
                key.truncate(shared);
                key.extend_from_slice(rest_bytes);
                reader.consume(rest);
                *payload_len = payload;
                Ok(true)
            }
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_costs_what_it_does_not_share_with_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let mut scratch = ScratchWriter::create(directory.path()).unwrap();
        // The first key shares nothing with the others, each of which differs in two bytes.
        let mut keys = vec![b"a".to_vec()];
        for number in 0..100u8 {
            let mut key = vec![b'p'; 60];
            key.extend([b'0' + number / 10, b'0' + number % 10]);
            keys.push(key);
        }
        let mut writer = RunWriter::new(&mut scratch);
        for key in &keys {
            writer.push(key, b"").unwrap();
        }
        let run = writer.finish();
        assert!(run.end - run.start < 5 * 101 + 61, "{run:?}");
        let mut cursor = RunCursor::in_file(&scratch.finish().unwrap(), run, 16);
        for key in &keys {
            assert!(cursor.advance().unwrap());
            assert_eq!(cursor.current(), (key.as_slice(), b"".as_slice()));
        }
        assert!(!cursor.advance().unwrap());
    }
}
