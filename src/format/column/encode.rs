//! Encodes a column in the mode that promises to be smallest.

#![expect(
    clippy::cast_possible_truncation,
    reason = "classes, widths and dictionary indexes are below 256"
)]

use super::{CLASSED, CONSTANT, DELTA, DICTIONARY, MAX_DICTIONARY, PACKED};
use crate::format::bits::BitWriter;
use crate::format::bytes::{put_varint, zigzag};

/// Bits that a non-negative number takes; 0 for 0.
fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Sixteen times the base-2 logarithm of `value`, rounded down, for `value` >= 1: integer arithmetic,
/// so that every machine makes the same choice and writes the same bytes.
fn log2_sixteenths(value: u64) -> u64 {
    let whole = u64::from(bit_length(value) - 1);
    // Linear between powers of two; off by at most 0.09 bits, which is enough to compare modes.
    let fraction = ((u128::from(value) << 4) >> whole) as u64 - 16;
    whole * 16 + fraction
}

/// About how many bytes zstd needs for symbols that occur `counts` times: their order-0 entropy, but
/// little for runs of one symbol, plus what describing the symbols costs.
fn estimated_bytes(symbols: &[u8], counts: &[u32; 256]) -> u64 {
    let total = symbols.len() as u64;
    let mut sixteenths = 0;
    let mut distinct = 0;
    for &count in counts.iter().filter(|&&count| count > 0) {
        let count = u64::from(count);
        distinct += 1;
        sixteenths += count * log2_sixteenths(total).saturating_sub(log2_sixteenths(count));
    }
    // Where neighbours repeat, zstd finds matches: charge each change of symbol about 14 bits.
    let changes = symbols
        .windows(2)
        .filter(|pair| pair.first() != pair.last())
        .count() as u64;
    let as_matches = changes * 14 * 16;
    sixteenths.min(as_matches) / 128 + distinct / 2
}

fn histogram(symbols: &[u8]) -> [u32; 256] {
    let mut counts = [0u32; 256];
    for &symbol in symbols {
        if let Some(count) = counts.get_mut(usize::from(symbol)) {
            *count += 1;
        }
    }
    counts
}

/// Encodes columns; keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct ColumnEncoder {
    classes: Vec<u8>,
    delta_classes: Vec<u8>,
    indexes: Vec<u8>,
    distinct: Vec<u64>,
}

fn classes_of(values: impl Iterator<Item = u64>, classes: &mut Vec<u8>) -> u64 {
    classes.clear();
    let mut mantissas = 0u64;
    for value in values {
        let class = bit_length(value);
        mantissas += u64::from(class.saturating_sub(1));
        classes.push(class as u8);
    }
    mantissas
}

fn put_mantissa(bits: &mut BitWriter, value: u64) {
    let class = bit_length(value);
    if class > 1 {
        bits.put(value ^ (1 << (class - 1)), class - 1);
    }
}

fn deltas(values: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let first = values.first().copied().unwrap_or(0);
    let before = std::iter::once(first).chain(values.iter().copied());
    values
        .iter()
        .zip(before)
        .map(|(v, b)| zigzag(v.wrapping_sub(b).cast_signed()))
}

impl ColumnEncoder {
    /// Fills `distinct` with the distinct values in ascending order, or leaves it empty if they are too many
    /// for a dictionary.
    fn find_distinct(&mut self, values: &[u64]) {
        self.distinct.clear();
        for &value in values {
            if self.distinct.last() == Some(&value) {
                continue;
            }
            if let Err(at) = self.distinct.binary_search(&value) {
                if self.distinct.len() == MAX_DICTIONARY {
                    self.distinct.clear();
                    return;
                }
                self.distinct.insert(at, value);
            }
        }
    }

    /// Appends the column of `values` to `control` and `bits`, in the mode that promises to be smallest after
    /// the control stream is compressed. No values take no bytes.
    pub fn encode(&mut self, values: &[u64], control: &mut Vec<u8>, bits: &mut BitWriter) {
        let Some(&first) = values.first() else { return };
        let (mut minimum, mut maximum) = (first, first);
        for &value in values {
            minimum = minimum.min(value);
            maximum = maximum.max(value);
        }
        if minimum == maximum {
            control.push(CONSTANT);
            put_varint(control, minimum);
            return;
        }
        let width = bit_length(maximum - minimum);
        let packed_cost = (values.len() as u64 * u64::from(width)).div_ceil(8);

        let mantissas = classes_of(values.iter().map(|v| v - minimum), &mut self.classes);
        let classed_cost =
            mantissas.div_ceil(8) + estimated_bytes(&self.classes, &histogram(&self.classes));

        let mantissas = classes_of(deltas(values), &mut self.delta_classes);
        let delta_cost = mantissas.div_ceil(8)
            + estimated_bytes(&self.delta_classes, &histogram(&self.delta_classes));

        self.find_distinct(values);
        let dictionary_cost = if self.distinct.is_empty() {
            u64::MAX
        } else {
            self.indexes.clear();
            for value in values {
                let index = self.distinct.binary_search(value).unwrap_or_default();
                self.indexes.push(index as u8);
            }
            let mut before = 0;
            let listed: u64 = self
                .distinct
                .iter()
                .map(|&value| {
                    let difference = value - before;
                    before = value;
                    u64::from(bit_length(difference).div_ceil(7).max(1))
                })
                .sum();
            listed + estimated_bytes(&self.indexes, &histogram(&self.indexes))
        };

        let best = packed_cost
            .min(classed_cost)
            .min(delta_cost)
            .min(dictionary_cost);
        if best == packed_cost {
            control.push(PACKED);
            put_varint(control, minimum);
            control.push(width as u8);
            for value in values {
                bits.put(value - minimum, width);
            }
        } else if best == dictionary_cost {
            control.push(DICTIONARY);
            control.push((self.distinct.len() - 1) as u8);
            let mut before = 0;
            for &value in &self.distinct {
                put_varint(control, value - before);
                before = value;
            }
            control.extend_from_slice(&self.indexes);
        } else if best == classed_cost {
            control.push(CLASSED);
            put_varint(control, minimum);
            control.extend_from_slice(&self.classes);
            for value in values {
                put_mantissa(bits, value - minimum);
            }
        } else {
            control.push(DELTA);
            put_varint(control, first);
            control.extend_from_slice(&self.delta_classes);
            for value in deltas(values) {
                put_mantissa(bits, value);
            }
        }
    }
}
