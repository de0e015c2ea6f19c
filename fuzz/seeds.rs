//! Writes inputs to begin with into the directories of the corpus: the parts of a small sound image.

#[path = "harness/mod.rs"]
mod harness;

use dgfs::format::codec::{Codec, Dictionary, Note, Section};
use dgfs::format::frame::ContentEncoder;
use dgfs::format::page_dictionaries::DictionaryBytes;
use harness::images::chunks::chunks_and_holes;
use harness::images::compressed::compressed;
use harness::images::cut::cut_and_moved;
use harness::images::every_kind::every_kind;
use harness::images::unpacked::{Piece, Unpacked};
use std::fs;
use std::path::Path;
use zstd_safe::CDict;

/// Whether it is a part of a segment of a leaf page.
fn is_of_segment(piece: Piece) -> bool {
    matches!(
        piece,
        Piece::Segment | Piece::Names | Piece::Control | Piece::Bits
    )
}

fn main() {
    let directory = std::env::args().nth(1).expect("usage: seeds DIRECTORY");
    let mut number = 0;
    let mut write = |target: &str, bytes: &[&[u8]]| {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("seed-{number}")), bytes.concat()).unwrap();
        number += 1;
    };
    let bases = [every_kind(), chunks_and_holes()].map(|parts| Unpacked::new(&parts));
    let mut pieces = bases.iter().flat_map(|base| &base.pieces).peekable();
    let mut trailer = false;
    while let Some((piece, bytes)) = pieces.next() {
        match piece {
            Piece::Header => write("header", &[&[0], bytes]),
            Piece::VolumeEnd => {
                write("header", &[&[1 + u8::from(trailer)], bytes]);
                trailer = !trailer;
            }
            Piece::Leaf => {
                let mut page = [&[3], bytes.as_slice()].concat();
                while let Some((_, bytes)) = pieces.next_if(|(piece, _)| is_of_segment(*piece)) {
                    page.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
                    page.extend_from_slice(bytes);
                }
                write("leaf", &[&page]);
            }
            Piece::Inner => write("inner", &[bytes]),
            Piece::Section(164) => write("tables", &[&[0], bytes]),
            Piece::Section(_) => write("tables", &[&[1], bytes]),
            Piece::Blob => {
                for choice in [2, 3] {
                    write("tables", &[&[choice], &bytes[4..]]);
                }
                write("tables", &[&[4], &[0; 4], bytes]);
            }
            Piece::Table => {
                let size = (bytes.len() as u64 - 12) / 8 * (1 << 17) - 100;
                write("extent", &[&size.to_le_bytes(), &[5], &[0; 10], bytes]);
            }
            _ => {}
        }
    }
    for names in [&harness::frame::dictionary()[..600], b""] {
        let dictionaries = DictionaryBytes {
            names: names.to_vec(),
            control: (0..40).collect(),
        };
        // Behind the magic number and the checksum.
        write("tables", &[&[0xf4], &dictionaries.encode().unwrap()[12..]]);
    }
    let dictionary = |offset, stored, length| Codec {
        dictionary: Some(Dictionary {
            offset,
            stored,
            crc: 7,
            length,
        }),
    };
    let codecs = [
        Codec::default(),
        dictionary(0, 30, 100),
        dictionary(30, 50, 50),
    ];
    let notes = [Note::default(), Note::new(b".c"), Note::new(&[b'x'; 40])];
    for section in Section::of_codecs(&codecs, Vec::new(), &notes) {
        match section.kind {
            dgfs::format::codec::SECTION => write("codecs", &[&[0, 1, 0], &section.bytes]),
            dgfs::format::codec::NOTES => write("codecs", &[&[1], &section.bytes]),
            _ => {}
        }
    }
    let bytes = harness::frame::dictionary();
    let prepared = CDict::create(&bytes, 9);
    let mut encoder = ContentEncoder::new(9).unwrap();
    for text in [
        &bytes[..40],
        &bytes[1000..1103],
        &bytes[500..6500],
        &bytes[..],
        &[7; 60_000],
    ] {
        let length = (text.len() as u16).to_le_bytes();
        let plain = encoder.encode(text, None).unwrap().to_vec();
        write("frame", &[&[0], &length, &plain]);
        let with = encoder.encode(text, Some(&prepared)).unwrap().to_vec();
        write("frame", &[&[1], &length, &with]);
        // A file of 40 bytes and a dictionary, as it is and as a frame.
        let small = encoder
            .encode(&bytes[..40], Some(&prepared))
            .unwrap()
            .to_vec();
        if small.len() < 40 {
            let of_frame = (small.len() as u16).to_le_bytes();
            write("codecs", &[&[2], &length, &of_frame, &small, text]);
            write("codecs", &[&[2], &length, &of_frame, &small, &plain]);
        }
    }
    for (of_file, blocks) in harness::cut_table::samples() {
        let length = (blocks[0].len() as u16).to_le_bytes();
        write("cut_table", &[&of_file, &length, &blocks[0], &blocks[1]]);
    }
    for base in 0..4 {
        write("image", &[&[base, 0, 0, 0x89]]);
        write("image", &[&[base, 60, 0, 1, 5, 0]]);
    }
}
