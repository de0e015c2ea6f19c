//! Frames of contents, with a dictionary and without.

use super::{cut, cut_u16};
use dgfs::format::frame::decode_exactly;
use zstd_safe::DDict;

/// Bytes of the dictionary: numbers in words, as text that repeats itself would have.
pub(crate) fn dictionary() -> Vec<u8> {
    let words = ["static", "int", "return", "page", "of", "the"];
    let lines = (0..400).map(|n| format!("{} {} = {};\n", words[n % 6], words[n / 6 % 6], n));
    lines.collect::<String>().into_bytes()
}

thread_local! {
    static DICTIONARY: DDict<'static> = DDict::create(&dictionary());
}

/// First byte: with the dictionary or without; two bytes: how long the contents shall be. The rest is the frame.
pub(crate) fn run(mut data: &[u8]) {
    let has_dictionary = cut(&mut data, 1).first().is_some_and(|byte| byte % 2 == 1);
    let length = usize::from(cut_u16(&mut data));
    let decode = |length: usize, before: u8| {
        let mut out = vec![before; length];
        let decoded = DICTIONARY.with(|dictionary| {
            decode_exactly(data, has_dictionary.then_some(dictionary), &mut out)
        });
        decoded.map(|()| out)
    };
    let Ok(contents) = decode(length, 0) else {
        return;
    };
    // What was in the buffer does not matter, and a frame has one length.
    assert_eq!(decode(length, 0xff), Ok(contents));
    assert!(decode(length + 1, 0).is_err());
    assert!(length == 0 || decode(length - 1, 0).is_err());
}
