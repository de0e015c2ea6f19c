//! Checked little-endian and varint access to byte strings; never panics, never reads past the end.

use super::{Malformed, Parsed};

/// Longest varint of a 64-bit number.
pub const MAX_VARINT: usize = 10;

/// Reads numbers from the front of a byte string.
#[derive(Debug, Clone)]
pub struct ByteReader<'a> {
    rest: &'a [u8],
}

impl<'a> ByteReader<'a> {
    /// Reads `bytes` from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed("bytes end early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed("bytes end early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Parsed<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Parsed<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Parsed<super::Uuid> {
        self.array()
    }

    /// A varint; refuses more than 64 bits and forms longer than need be.
    #[inline]
    pub fn varint(&mut self) -> Parsed<u64> {
        match self.rest.split_first() {
            Some((&byte @ ..0x80, rest)) => {
                self.rest = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Parsed<u64> {
        let mut value = 0u64;
        for shift in (0..).step_by(7).take(MAX_VARINT) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("varint exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Malformed("varint is longer than need be"));
                }
                return Ok(value);
            }
        }
        Err(Malformed("varint exceeds 64 bits"))
    }

    /// Fails unless all bytes left are zero.
    pub fn only_zeros_left(&self) -> Parsed<()> {
        if self.rest.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(Malformed("bytes that must be zero are not"))
        }
    }
}

/// Appends the varint of `value`.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Maps a signed number to an unsigned one so that small magnitudes stay small.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    ((value >> 1) ^ (value & 1).wrapping_neg()).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64, tail: u8) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert!(out.len() <= MAX_VARINT);
            out.push(tail);
            let mut reader = ByteReader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.rest(), &[tail][..]);
        }

        #[test]
        fn zigzag_round_trips(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn no_byte_string_panics(bytes: Vec<u8>) {
            let mut reader = ByteReader::new(&bytes);
            while reader.varint().is_ok() {}
        }
    }

    #[test]
    fn refuses_long_and_oversized_varints() {
        assert!(ByteReader::new(&[0x80, 0x00]).varint().is_err());
        assert!(ByteReader::new(&[0xff; 10]).varint().is_err());
        assert!(
            ByteReader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])
                .varint()
                .is_err()
        );
        assert!(ByteReader::new(&[0x80]).varint().is_err());
    }
}
