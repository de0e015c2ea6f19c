//! Bit packing, lowest bit first.

#![expect(
    clippy::cast_possible_truncation,
    reason = "bit counts below 64, and values masked to their width"
)]

use super::{Malformed, Parsed};

/// Appends values of up to 64 bits to a byte string.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    filled: u32,
}

impl BitWriter {
    /// Appends the low `width` bits of `value`; higher bits must be zero.
    pub fn put(&mut self, value: u64, width: u32) {
        debug_assert!(
            width == 64 || value >> width == 0,
            "value wider than its width"
        );
        if width == 0 {
            return;
        }
        self.pending |= value << self.filled;
        let total = self.filled + width;
        if total >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes());
            let consumed = 64 - self.filled;
            self.pending = if consumed == 64 { 0 } else { value >> consumed };
            self.filled = total - 64;
        } else {
            self.filled = total;
        }
    }

    /// Appends what `other` holds.
    pub fn append(&mut self, other: &Self) {
        for chunk in other.bytes.chunks_exact(8) {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.put(u64::from_le_bytes(word), 64);
        }
        self.put(other.pending, other.filled);
    }

    /// Number of bits written.
    pub fn bit_length(&self) -> usize {
        self.bytes.len() * 8 + self.filled as usize
    }

    /// Forgets everything written.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pending = 0;
        self.filled = 0;
    }

    /// Appends the bits to `out`, the last byte padded with zeros.
    pub fn copy_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        let tail = self.pending.to_le_bytes();
        out.extend(tail.iter().take(self.filled.div_ceil(8) as usize));
    }
}

/// Reads values of up to 64 bits from anywhere in a byte string.
#[derive(Debug, Clone, Copy)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
}

impl<'a> BitReader<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Number of bits there are.
    pub fn bit_length(&self) -> usize {
        self.bytes.len() * 8
    }

    /// Fails unless all bits from bit `at` on are zero.
    pub fn only_zeros_from(&self, at: usize) -> Parsed<()> {
        let skip = at % 8;
        let tail = self.bytes.get(at / 8..).unwrap_or(&[]);
        let first = tail.first().is_none_or(|byte| byte >> skip == 0);
        if first && tail.iter().skip(1).all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(Malformed("bytes that must be zero are not"))
        }
    }

    /// Fills `values` with values of `width` (1 to 64) bits each from bit `at` on. Several that are narrow are read at
    /// once.
    pub fn get_all(&self, mut at: usize, width: u32, values: &mut [u64]) -> Parsed<()> {
        let at_once = (56 / width).max(1);
        let mask = u64::MAX >> (64 - width);
        for some in values.chunks_mut(at_once as usize) {
            let bits = width * some.len() as u32;
            let mut read = self.get(at, bits)?;
            at += bits as usize;
            for value in some {
                *value = read & mask;
                read = read.checked_shr(width).unwrap_or(0);
            }
        }
        Ok(())
    }

    /// The bits from `at` on, of which at least 57 mean something; zeros behind the last.
    #[inline]
    pub fn from(&self, at: usize) -> u64 {
        let tail = self.bytes.get(at / 8..).unwrap_or(&[]);
        let word = tail.first_chunk().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(tail) {
                *to = *from;
            }
            word
        });
        u64::from_le_bytes(word) >> (at % 8)
    }

    /// The `width` (at most 64) bits that begin at bit `at`.
    #[inline]
    pub fn get(&self, at: usize, width: u32) -> Parsed<u64> {
        if width == 0 {
            return Ok(0);
        }
        let first = at / 8;
        let skip = (at % 8) as u32;
        let mask = u64::MAX >> (64 - width);
        let tail = self.bytes.get(first..).unwrap_or(&[]);
        if let (Some(word), true) = (tail.first_chunk::<8>(), skip + width <= 64) {
            return Ok((u64::from_le_bytes(*word) >> skip) & mask);
        }
        Self::get_at_the_end(tail, skip, width)
    }

    /// The bits where there is no whole word left to read them from.
    #[cold]
    fn get_at_the_end(tail: &[u8], skip: u32, width: u32) -> Parsed<u64> {
        let mask = u64::MAX >> (64 - width);
        let needed = (skip + width).div_ceil(8) as usize;
        let covered = tail.get(..needed).ok_or(Malformed("bit area ends early"))?;
        let mut value = 0u128;
        for (index, byte) in covered.iter().enumerate() {
            value |= u128::from(*byte) << (8 * index);
        }
        Ok((value >> skip) as u64 & mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_round_trip(
            values in proptest::collection::vec((any::<u64>(), 0u32..=64), 0..200),
            split in 0usize..200,
        ) {
            let values: Vec<(u64, u32)> = values
                .into_iter()
                .map(|(v, w)| (if w == 0 { 0 } else { v & (u64::MAX >> (64 - w)) }, w))
                .collect();
            let (mut head, mut tail) = (BitWriter::default(), BitWriter::default());
            for (index, &(value, width)) in values.iter().enumerate() {
                if index < split { &mut head } else { &mut tail }.put(value, width);
            }
            head.append(&tail);
            let mut bytes = Vec::new();
            head.copy_into(&mut bytes);
            let total: usize = values.iter().map(|v| v.1 as usize).sum();
            prop_assert_eq!(head.bit_length(), total);
            prop_assert_eq!(bytes.len(), total.div_ceil(8));
            let reader = BitReader::new(&bytes);
            let mut at = 0;
            for (value, width) in values {
                prop_assert_eq!(reader.get(at, width), Ok(value));
                at += width as usize;
            }
            prop_assert!(reader.get(at + 8, 1).is_err());
        }

        #[test]
        fn many_values_at_once_are_those_one_by_one(
            width in 1u32..=64, values in proptest::collection::vec(any::<u64>(), 0..100), from in 0usize..60,
        ) {
            let values: Vec<u64> = values.into_iter().map(|v| v & (u64::MAX >> (64 - width))).collect();
            let mut bits = BitWriter::default();
            bits.put(0, from as u32);
            for &value in &values {
                bits.put(value, width);
            }
            let mut bytes = Vec::new();
            bits.copy_into(&mut bytes);
            let mut read = vec![1; values.len()];
            prop_assert_eq!(BitReader::new(&bytes).get_all(from, width, &mut read), Ok(()));
            prop_assert_eq!(read, values);
            let mut more = [0; 150];
            prop_assert!(BitReader::new(&bytes).get_all(from, width, &mut more).is_err());
        }
    }
}
