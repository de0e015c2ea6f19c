#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use super::*;
use crate::format::Parsed;
use crate::format::bits::{BitReader, BitWriter};
use crate::format::bytes::ByteReader;
use proptest::prelude::*;

/// The values of a column from number `from` on.
fn read(column: &Column, streams: &Streams<'_>, from: usize, count: usize) -> Vec<u64> {
    let mut cursor = column.cursor(streams, from);
    (0..count).map(|_| cursor.take(streams).unwrap()).collect()
}

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
    let bits_of_area = BitReader::new(&area);
    let (mut at, mut dictionaries) = (0, Vec::new());
    let located: Vec<Column> = columns
        .iter()
        .map(|values| {
            Column::locate(
                values.len(),
                &control,
                &mut reader,
                bits_of_area,
                &mut at,
                &mut dictionaries,
            )
            .unwrap()
        })
        .collect();
    let streams = Streams {
        control: &control,
        bits: bits_of_area,
        dictionaries: &dictionaries,
    };
    for (values, column) in columns.iter().zip(located) {
        assert_eq!(read(&column, &streams, 0, values.len()), *values);
        let nonzero = values.iter().filter(|&&value| value != 0).count();
        assert_eq!(column.count_nonzero(&streams, values.len()), Some(nonzero));
        // From anywhere on.
        for from in (0..values.len()).step_by(7) {
            let some = (values.len() - from).min(3);
            assert_eq!(
                read(&column, &streams, from, some),
                values[from..from + some]
            );
            let mut cursor = column.cursor(&streams, from);
            for some in values[from..].chunks(13) {
                let mut room = vec![1; some.len()];
                cursor.take_into(&streams, &mut room).unwrap();
                assert_eq!(room, some);
            }
        }
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
        let bits = BitReader::new(&area);
        let mut dictionaries = Vec::new();
        let mut reader = ByteReader::new(&control);
        let column: Parsed<Column> =
            Column::locate(count, &control, &mut reader, bits, &mut 0, &mut dictionaries);
        if let Ok(column) = column {
            let streams = Streams { control: &control, bits, dictionaries: &dictionaries };
            let mut cursor = column.cursor(&streams, count / 3);
            for _ in 0..count {
                cursor.take(&streams);
            }
            let mut cursor = column.cursor(&streams, count / 3);
            cursor.take_into(&streams, &mut vec![0; count - count / 3]);
            column.count_nonzero(&streams, count);
        }
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
