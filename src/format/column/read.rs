//! Reads columns in place: any value can be reached without decoding those before it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "offsets in frames and bit areas of a page fit into 32 bits, indexes into 16"
)]

use super::{CLASSED, CONSTANT, DELTA, DICTIONARY, MAX_DICTIONARY, PACKED};
use crate::format::bits::BitReader;
use crate::format::bytes::{ByteReader, unzigzag};
use crate::format::{Malformed, Parsed};

/// What the columns of a page are read from.
#[derive(Debug, Clone, Copy)]
pub struct Streams<'a> {
    /// The decoded control stream.
    pub control: &'a [u8],
    /// The bit area.
    pub bits: BitReader<'a>,
    /// The entries of all dictionaries of the page.
    pub dictionaries: &'a [u64],
}

/// Where the values of one column lie in the [`Streams`] of its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// All values are this one; also a column that is absent.
    Constant(u64),
    /// Values of `width` bits above `minimum`, from bit `bits` on.
    Packed {
        /// What is added to each value.
        minimum: u64,
        /// Bits of a value, 1 to 64.
        width: u32,
        /// First bit.
        bits: u32,
    },
    /// A class byte for each value from `classes` of the control stream on, mantissas from bit `bits` on.
    Classed {
        /// What is added to each value but those of class 0, which have it alone.
        minimum: u64,
        /// Offset of the class bytes.
        classes: u32,
        /// First bit.
        bits: u32,
    },
    /// An index byte for each value from `indexes` of the control stream on.
    Dictionary {
        /// The first of the column's entries among those of the page.
        entries: u32,
        /// Offset of the index bytes.
        indexes: u32,
    },
    /// As classed, of the differences from value to value.
    Delta {
        /// What the first difference is added to.
        first: u64,
        /// Offset of the class bytes.
        classes: u32,
        /// First bit.
        bits: u32,
    },
}

const BEYOND: Malformed = Malformed("column value exceeds 64 bits");

/// Bits of the mantissas of `classes`; refuses impossible classes.
fn mantissa_bits(classes: &[u8]) -> Parsed<usize> {
    // Not `any`: the compiler can compare many at once only if it need not stop early.
    if classes.iter().fold(0, |most, &class| class.max(most)) > 64 {
        return Err(Malformed("column has an impossible class"));
    }
    Ok(skipped_bits(classes))
}

fn skipped_bits(classes: &[u8]) -> usize {
    // In pieces whose sums fit into 16 bits, so that the compiler can add many at once.
    let piece = |classes: &[u8]| -> u16 {
        classes
            .iter()
            .map(|&class| u16::from(class.saturating_sub(1)))
            .sum()
    };
    classes
        .chunks(256)
        .map(|classes| usize::from(piece(classes)))
        .sum()
}

impl Column {
    /// Finds the next column, of `count` values. `control` reads the control stream `whole` and stands at its
    /// beginning; `at` is the bit of the bit area where the column begins. Both are
    /// moved to its end. Dictionary entries are appended to `dictionaries`. No values take no bytes.
    pub fn locate(
        count: usize,
        whole: &[u8],
        control: &mut ByteReader<'_>,
        bits: BitReader<'_>,
        at: &mut usize,
        dictionaries: &mut Vec<u64>,
    ) -> Parsed<Self> {
        if count == 0 {
            return Ok(Self::Constant(0));
        }
        let start = *at as u32;
        let offset = |control: &ByteReader<'_>| (whole.len() - control.rest().len()) as u32;
        let mode = control.u8()?;
        let (column, length) = match mode {
            CONSTANT => (Self::Constant(control.varint()?), 0),
            PACKED => {
                let minimum = control.varint()?;
                let width = u32::from(control.u8()?);
                if !(1..=64).contains(&width) {
                    return Err(Malformed("packed column has an impossible width"));
                }
                let column = Self::Packed {
                    minimum,
                    width,
                    bits: start,
                };
                (column, width as usize * count)
            }
            CLASSED | DELTA => {
                let first = control.varint()?;
                let classes = offset(control);
                let length = mantissa_bits(control.take(count)?)?;
                let column = if mode == CLASSED {
                    Self::Classed {
                        minimum: first,
                        classes,
                        bits: start,
                    }
                } else {
                    Self::Delta {
                        first,
                        classes,
                        bits: start,
                    }
                };
                (column, length)
            }
            DICTIONARY => {
                let entries = dictionaries.len();
                let last = control.u8()?;
                let mut value = 0u64;
                for _ in 0..=last {
                    value = value.checked_add(control.varint()?).ok_or(BEYOND)?;
                    dictionaries.push(value);
                }
                debug_assert!(dictionaries.len() - entries <= MAX_DICTIONARY);
                let indexes = offset(control);
                let most = control
                    .take(count)?
                    .iter()
                    .fold(0, |most, &index| index.max(most));
                if most > last {
                    return Err(Malformed(
                        "column names a dictionary entry that is not there",
                    ));
                }
                let column = Self::Dictionary {
                    entries: entries as u32,
                    indexes,
                };
                (column, 0)
            }
            _ => return Err(Malformed("column has an unknown mode")),
        };
        if length > bits.bit_length().saturating_sub(*at) {
            return Err(Malformed("bit area ends early"));
        }
        *at += length;
        Ok(column)
    }

    /// Whether every value is 0, as in a column that is absent.
    pub fn is_zero(&self) -> bool {
        *self == Self::Constant(0)
    }

    /// The value if it is the same everywhere, as the mode of the column says.
    pub fn constant(&self) -> Option<u64> {
        match *self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Visits the first `count` values; `None` if one has more than 64 bits.
    #[inline]
    pub fn for_each(
        &self,
        streams: &Streams<'_>,
        count: usize,
        mut visit: impl FnMut(u64),
    ) -> Option<()> {
        match *self {
            Self::Constant(value) => (0..count).for_each(|_| visit(value)),
            Self::Packed {
                minimum,
                width,
                bits,
            } => {
                for bit in (bits as usize..).step_by(width as usize).take(count) {
                    visit(minimum.checked_add(streams.bits.get(bit, width).ok()?)?);
                }
            }
            Self::Classed {
                minimum,
                classes,
                bits,
            } => {
                let mut bit = bits as usize;
                for &class in streams.control.get(classes as usize..)?.get(..count)? {
                    visit(minimum.checked_add(mantissa(streams, class, bit)?)?);
                    bit += usize::from(class.saturating_sub(1));
                }
            }
            Self::Dictionary { entries, indexes } => {
                let entries = streams.dictionaries.get(entries as usize..)?;
                for &index in streams.control.get(indexes as usize..)?.get(..count)? {
                    visit(*entries.get(usize::from(index))?);
                }
            }
            Self::Delta {
                first,
                classes,
                bits,
            } => {
                let (mut value, mut bit) = (first, bits as usize);
                for &class in streams.control.get(classes as usize..)?.get(..count)? {
                    let difference = unzigzag(mantissa(streams, class, bit)?);
                    value = value.wrapping_add(difference.cast_unsigned());
                    visit(value);
                    bit += usize::from(class.saturating_sub(1));
                }
            }
        }
        Some(())
    }

    /// How many of the first `count` values are not 0; `None` if one has more than 64 bits.
    pub fn count_nonzero(&self, streams: &Streams<'_>, count: usize) -> Option<usize> {
        match *self {
            Self::Constant(0) => Some(0),
            Self::Constant(_)
            | Self::Packed { minimum: 1.., .. }
            | Self::Classed { minimum: 1.., .. } => Some(count),
            Self::Classed { classes, .. } => {
                let classes = streams.control.get(classes as usize..)?.get(..count)?;
                Some(classes.iter().filter(|&&class| class != 0).count())
            }
            _ => {
                let mut nonzero = 0;
                self.for_each(streams, count, |value| nonzero += usize::from(value != 0))?;
                Some(nonzero)
            }
        }
    }

    /// A cursor at the value number `index`.
    pub fn cursor<'a>(&self, streams: &Streams<'a>, index: usize) -> ColumnCursor<'a> {
        let mut cursor = ColumnCursor {
            column: *self,
            bytes: &[],
            bit: 0,
            value: 0,
        };
        match *self {
            Self::Constant(value) => cursor.value = value,
            Self::Packed { width, bits, .. } => cursor.bit = bits as usize + width as usize * index,
            Self::Classed { classes, bits, .. } => {
                let classes = streams.control.get(classes as usize..).unwrap_or(&[]);
                let (before, rest) = classes.split_at(index.min(classes.len()));
                cursor.bytes = rest;
                cursor.bit = bits as usize + skipped_bits(before);
            }
            Self::Dictionary { indexes, .. } => {
                cursor.bytes = streams
                    .control
                    .get(indexes as usize + index..)
                    .unwrap_or(&[]);
            }
            Self::Delta {
                first,
                classes,
                bits,
            } => {
                let classes = streams.control.get(classes as usize..).unwrap_or(&[]);
                let (before, rest) = classes.split_at(index.min(classes.len()));
                cursor.bytes = rest;
                cursor.bit = bits as usize + skipped_bits(before);
                cursor.value = first;
                // Classes were checked, so every mantissa is there.
                let _ = self.for_each(streams, before.len(), |value| cursor.value = value);
            }
        }
        cursor
    }
}

/// A place in a column. Behind its last value, what it says means nothing.
#[derive(Debug, Clone)]
pub struct ColumnCursor<'a> {
    column: Column,
    /// Class or index bytes from here on.
    bytes: &'a [u8],
    /// The bit that this value's begin at.
    bit: usize,
    /// The constant, or the value before in a column of differences.
    value: u64,
}

/// The number of class `class` whose lower bits begin at `bit`.
#[inline]
fn mantissa(streams: &Streams<'_>, class: u8, bit: usize) -> Option<u64> {
    match u32::from(class) {
        0 => Some(0),
        class @ 1..=64 => Some(1 << (class - 1) | streams.bits.get(bit, class - 1).ok()?),
        _ => None,
    }
}

impl ColumnCursor<'_> {
    #[inline]
    fn mantissa(&self, streams: &Streams<'_>) -> Option<u64> {
        mantissa(streams, *self.bytes.first()?, self.bit)
    }

    /// The value here; `None` if it has more than 64 bits.
    #[inline]
    pub fn get(&self, streams: &Streams<'_>) -> Option<u64> {
        match self.column {
            Column::Constant(_) => Some(self.value),
            Column::Packed { minimum, width, .. } => {
                let value = streams.bits.get(self.bit, width).ok()?;
                minimum.checked_add(value)
            }
            Column::Classed { minimum, .. } => minimum.checked_add(self.mantissa(streams)?),
            Column::Dictionary { entries, .. } => {
                let index = usize::from(*self.bytes.first()?);
                let entry = streams.dictionaries.get(entries as usize + index);
                entry.copied()
            }
            Column::Delta { .. } => {
                let difference = unzigzag(self.mantissa(streams)?).cast_unsigned();
                Some(self.value.wrapping_add(difference))
            }
        }
    }

    /// Goes to the next value.
    pub fn advance(&mut self, streams: &Streams<'_>) {
        match self.column {
            Column::Constant(_) => {}
            Column::Packed { width, .. } => self.bit += width as usize,
            Column::Dictionary { .. } => self.bytes = self.bytes.get(1..).unwrap_or(&[]),
            Column::Classed { .. } | Column::Delta { .. } => {
                if let (Column::Delta { .. }, Some(value)) = (self.column, self.get(streams)) {
                    self.value = value;
                }
                if let Some((class, rest)) = self.bytes.split_first() {
                    self.bit += usize::from(class.saturating_sub(1));
                    self.bytes = rest;
                }
            }
        }
    }

    /// The value here, and goes to the next.
    pub fn take(&mut self, streams: &Streams<'_>) -> Option<u64> {
        let value = self.get(streams);
        self.advance(streams);
        value
    }

    /// The values from here on, as many as there is room for, and goes behind them; `None` if one has more than 64
    /// bits. Takes less time than to go from one to the next.
    pub fn take_into(&mut self, streams: &Streams<'_>, values: &mut [u64]) -> Option<()> {
        match self.column {
            Column::Constant(_) => values.fill(self.value),
            Column::Packed { minimum, width, .. } => {
                streams.bits.get_all(self.bit, width, values).ok()?;
                self.bit += width as usize * values.len();
                if minimum > 0 {
                    for value in values {
                        *value = value.checked_add(minimum)?;
                    }
                }
            }
            Column::Classed { minimum, .. } => {
                self.take_classes(streams, values)?;
                if minimum > 0 {
                    for value in values {
                        *value = value.checked_add(minimum)?;
                    }
                }
            }
            Column::Dictionary { entries, .. } => {
                let (indexes, rest) = self.bytes.split_at_checked(values.len())?;
                let entries = streams.dictionaries.get(entries as usize..)?;
                for (value, &index) in values.iter_mut().zip(indexes) {
                    *value = *entries.get(usize::from(index))?;
                }
                self.bytes = rest;
            }
            Column::Delta { .. } => {
                self.take_classes(streams, values)?;
                for value in values {
                    let difference = unzigzag(*value).cast_unsigned();
                    self.value = self.value.wrapping_add(difference);
                    *value = self.value;
                }
            }
        }
        Some(())
    }

    /// As [`Self::take_into`], of what the class bytes and their mantissas alone say.
    fn take_classes(&mut self, streams: &Streams<'_>, values: &mut [u64]) -> Option<()> {
        let (classes, rest) = self.bytes.split_at_checked(values.len())?;
        let mut bit = self.bit;
        if classes.iter().fold(0, |most, &class| class.max(most)) <= 57 {
            // That the bits are there was checked when the column was found.
            for (value, &class) in values.iter_mut().zip(classes) {
                let top = u64::from(class > 0) << class >> 1;
                *value = top | streams.bits.from(bit) & top.saturating_sub(1);
                bit += usize::from(class.saturating_sub(1));
            }
        } else {
            for (value, &class) in values.iter_mut().zip(classes) {
                *value = mantissa(streams, class, bit)?;
                bit += usize::from(class.saturating_sub(1));
            }
        }
        (self.bytes, self.bit) = (rest, bit);
        Some(())
    }
}
