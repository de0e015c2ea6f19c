//! Columns of numbers: the five encodings of section 2.5 of the format, and the choice among them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "classes, widths and dictionary indexes are below 256"
)]

use super::bits::{BitReader, BitWriter};
use super::bytes::{ByteReader, put_varint, unzigzag, zigzag};
use super::{Malformed, Parsed};

const CONSTANT: u8 = 0;
const PACKED: u8 = 1;
const CLASSED: u8 = 2;
const DICTIONARY: u8 = 3;
const DELTA: u8 = 4;

/// Most values that a dictionary holds: its index is a byte.
const MAX_DICTIONARY: usize = 256;

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

/// Decodes the next column, of `count` values, into `out`, which is cleared first. `at` is the bit of the bit
/// area where the column begins and is moved to its end.
pub fn decode(
    count: usize,
    control: &mut ByteReader<'_>,
    bits: BitReader<'_>,
    at: &mut usize,
    out: &mut Vec<u64>,
) -> Parsed<()> {
    const BEYOND: Malformed = Malformed("column value exceeds 64 bits");
    out.clear();
    if count == 0 {
        return Ok(());
    }
    let mode = control.u8()?;
    match mode {
        CONSTANT => {
            let value = control.varint()?;
            out.resize(count, value);
        }
        PACKED => {
            let minimum = control.varint()?;
            let width = u32::from(control.u8()?);
            if !(1..=64).contains(&width) {
                return Err(Malformed("packed column has an impossible width"));
            }
            if width as usize * count > bits.bit_length().saturating_sub(*at) {
                return Err(Malformed("bit area ends early"));
            }
            for _ in 0..count {
                let value = bits.get(*at, width)?;
                *at += width as usize;
                out.push(minimum.checked_add(value).ok_or(BEYOND)?);
            }
        }
        CLASSED => {
            let minimum = control.varint()?;
            for &class in control.take(count)? {
                let value = mantissa(class, bits, at)?;
                out.push(minimum.checked_add(value).ok_or(BEYOND)?);
            }
        }
        DICTIONARY => {
            let entries = usize::from(control.u8()?) + 1;
            let mut table = [0u64; MAX_DICTIONARY];
            let mut value = 0u64;
            for slot in table.iter_mut().take(entries) {
                value = value.checked_add(control.varint()?).ok_or(BEYOND)?;
                *slot = value;
            }
            for &index in control.take(count)? {
                let index = usize::from(index);
                if index >= entries {
                    return Err(Malformed(
                        "column names a dictionary entry that is not there",
                    ));
                }
                out.push(table.get(index).copied().unwrap_or_default());
            }
        }
        DELTA => {
            let mut value = control.varint()?;
            for &class in control.take(count)? {
                let difference = unzigzag(mantissa(class, bits, at)?);
                value = value.wrapping_add(difference.cast_unsigned());
                out.push(value);
            }
        }
        _ => return Err(Malformed("column has an unknown mode")),
    }
    Ok(())
}

fn mantissa(class: u8, bits: BitReader<'_>, at: &mut usize) -> Parsed<u64> {
    match class {
        0 => Ok(0),
        1..=64 => {
            let width = u32::from(class) - 1;
            let low = bits.get(*at, width)?;
            *at += width as usize;
            Ok((1 << width) | low)
        }
        _ => Err(Malformed("column has an impossible class")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(columns: &[Vec<u64>]) -> Vec<u8> {
        let mut encoder = ColumnEncoder::default();
        let (mut control, mut bits) = (Vec::new(), BitWriter::default());
        let mut modes = Vec::new();
        for values in columns {
            modes.extend(control.get(control.len()..).map(|_| control.len()));
            encoder.encode(values, &mut control, &mut bits);
        }
        let mut area = Vec::new();
        bits.copy_into(&mut area);
        let mut reader = ByteReader::new(&control);
        let (mut at, mut out) = (0, Vec::new());
        for values in columns {
            decode(
                values.len(),
                &mut reader,
                BitReader::new(&area),
                &mut at,
                &mut out,
            )
            .unwrap();
            assert_eq!(&out, values);
        }
        assert!(reader.rest().is_empty());
        assert_eq!(at, bits.bit_length());
        modes
            .iter()
            .filter_map(|&at| control.get(at).copied())
            .collect()
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![
            proptest::collection::vec(any::<u64>(), 0..50),
            proptest::collection::vec(0u64..20, 0..300),
            (
                any::<u64>(),
                proptest::collection::vec(0u64..10_000, 0..300)
            )
                .prop_map(|(base, v)| v.into_iter().map(|d| base.saturating_add(d)).collect()),
            (any::<u64>(), proptest::collection::vec(-4i64..9, 0..300)).prop_map(|(base, v)| v
                .into_iter()
                .scan(base, |at, d| {
                    *at = at.wrapping_add(d.cast_unsigned());
                    Some(*at)
                })
                .collect()),
        ]
    }

    proptest! {
        #[test]
        fn columns_round_trip(columns in proptest::collection::vec(values(), 1..6)) {
            round_trip(&columns);
        }

        #[test]
        fn no_bytes_panic(count in 0usize..5000, control: Vec<u8>, area: Vec<u8>) {
            let _ = decode(
                count,
                &mut ByteReader::new(&control),
                BitReader::new(&area),
                &mut 0,
                &mut Vec::new(),
            );
        }
    }

    #[test]
    fn every_mode_is_chosen_where_it_pays() {
        let constant = vec![7; 500];
        let mut state = 1u64;
        let mut random = |bound: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let packed: Vec<u64> = (0..500).map(|_| 1_000_000 + random(1 << 12)).collect();
        let classed: Vec<u64> = (0..500)
            .map(|i| if i == 250 { 1 << 40 } else { 0 })
            .collect();
        let dictionary: Vec<u64> = (0..500)
            .map(|_| [3, 1 << 50, 1 << 60][random(3) as usize])
            .collect();
        let mut at = 1 << 60;
        let delta: Vec<u64> = (0..500)
            .map(|_| {
                at += 1000 + random(16);
                at
            })
            .collect();
        let modes = round_trip(&[constant, packed, classed, dictionary, delta]);
        assert_eq!(modes, [CONSTANT, PACKED, CLASSED, DICTIONARY, DELTA]);
    }
}
