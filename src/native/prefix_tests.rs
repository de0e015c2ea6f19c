//! Tests of prefixes: frames decode, whatever encoder and dictionary made them.

use super::*;
use crate::format::frame::{ContentEncoder, decode_exactly};
use zstd_safe::{DCtx, DDict, DParameter, FrameFormat, InBuffer, OutBuffer};

/// Words that come again and again, and numbers that do not.
fn text(mut seed: u64, length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word = ["static int ", "return ", "struct page *", "unsigned long "]
            [usize::try_from(seed >> 62).unwrap()];
        text.extend_from_slice(format!("{word}{:x};\n", seed >> 40 & 0xFFF).as_bytes());
    }
    text.truncate(length);
    text
}

/// Frames by each of `levels` and each dictionary decode, also by what decodes in pieces and keeps no more than the window that
/// the frame declares, and do not depend on what the encoder did before.
fn check(levels: impl Iterator<Item = i32>, dictionaries: &[usize], lengths: &[usize]) {
    for level in levels {
        let mut encoder = PrefixEncoder::new().unwrap();
        for &size in dictionaries {
            let dictionary = text(1, size);
            let mut prefix = Prefix::new(&dictionary, level).unwrap();
            assert!(prefix.memory() > dictionary.len() + INPUT);
            let readers = DDict::create(&dictionary);
            for &length in lengths {
                let case = format!("level {level}, dictionary of {size}, {length} bytes");
                let contents = text(length as u64, length);
                let frame = encoder.encode(&contents, &mut prefix).unwrap().to_vec();
                let mut out = vec![0; length];
                decode_exactly(&frame, Some(&readers), &mut out).unwrap();
                assert!(out == contents, "{case}");
                assert!(in_pieces(&frame, &dictionary) == contents, "{case}");
                let mut fresh = Prefix::new(&dictionary, level).unwrap();
                let mut other = PrefixEncoder::new().unwrap();
                let again = other.encode(&contents, &mut fresh).unwrap();
                assert!(again == frame, "{case}");
            }
        }
    }
}

fn in_pieces(frame: &[u8], dictionary: &[u8]) -> Vec<u8> {
    let mut context = DCtx::create();
    let magicless = DParameter::Format(FrameFormat::Magicless);
    context.set_parameter(magicless).unwrap();
    context.load_dictionary(dictionary).unwrap();
    let mut input = InBuffer::around(frame);
    let mut all = Vec::new();
    loop {
        let mut piece = [0; 5000];
        let mut output = OutBuffer::around(&mut piece[..]);
        let left = context.decompress_stream(&mut output, &mut input).unwrap();
        all.extend_from_slice(output.as_slice());
        if left == 0 {
            return all;
        }
    }
}

#[test]
fn frames_decode_by_the_dictionary_whatever_their_length() {
    let lengths = [1, 100, 8191, 8192, 16_384, 50_000, INPUT, INPUT + 1];
    check([1, 3, 5, 9, 19].into_iter(), &[3000, 200_000], &lengths);
    check(1..=22, &[300_000], &[3000, 20_000]);
}

#[test]
fn chunks_longer_than_the_window_decode() {
    check([1, 3, 9].into_iter(), &[512 << 10], &[1 << 20, 16 << 20]);
    check([22].into_iter(), &[40_000], &[1 << 20]);
}

#[test]
fn dictionaries_make_frames_shorter() {
    let contents = text(100, 100);
    for level in [1, 3, 9, 19] {
        let mut prefix = Prefix::new(&text(1, 3000), level).unwrap();
        let mut encoder = PrefixEncoder::new().unwrap();
        let with = encoder.encode(&contents, &mut prefix).unwrap().len();
        let mut plain = ContentEncoder::new(level).unwrap();
        assert!(with < plain.encode(&contents, None).unwrap().len());
    }
}

#[test]
fn encoders_outlive_dictionaries() {
    let mut encoder = PrefixEncoder::new().unwrap();
    let contents = text(5, 20_000);
    let mut first = Prefix::new(&text(1, 5000), 9).unwrap();
    let frame = encoder.encode(&contents, &mut first).unwrap().to_vec();
    drop(first);
    let mut second = Prefix::new(&text(1, 5000), 9).unwrap();
    assert!(encoder.encode(&contents, &mut second).unwrap() == frame);
}

#[test]
fn a_thorough_search_is_for_contents_of_its_lengths() {
    for level in [3, 4] {
        for size in [40_000, 300_000] {
            let dictionary = text(1, size);
            let mut quick = Prefix::new(&dictionary, level).unwrap();
            let mut thorough = Prefix::new(&dictionary, level).unwrap();
            assert_eq!(thorough.search_more(level, 16_384..32_769), Some(true));
            assert!(thorough.memory() > quick.memory() + (1 << 18));
            let readers = DDict::create(&dictionary);
            let mut encoder = PrefixEncoder::new().unwrap();
            for (length, is_other) in [
                (5000, false),
                (16_383, false),
                (16_384, true),
                (32_768, true),
                (32_769, false),
            ] {
                let contents = text(length as u64, length);
                let frame = encoder.encode(&contents, &mut thorough).unwrap().to_vec();
                let before = encoder.encode(&contents, &mut quick).unwrap();
                assert_eq!(frame != before, is_other, "{length} bytes");
                let mut out = vec![0; length];
                decode_exactly(&frame, Some(&readers), &mut out).unwrap();
                assert!(out == contents);
                assert!(in_pieces(&frame, &dictionary) == contents);
            }
        }
    }
    for level in [1, 5, 9, 19] {
        let mut prefix = Prefix::new(&text(1, 40_000), level).unwrap();
        assert_eq!(prefix.search_more(level, 0..usize::MAX), Some(false));
    }
}
