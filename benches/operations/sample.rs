//! The trees that are measured, as images in a temporary directory.

use dgfs::build::{BuildOptions, Builder, Compression, Contents, LogObserver, NewEntry, Report};
use dgfs::entry::{Kind, Metadata, Timestamp};
use dgfs::read::Image;
use std::fmt;
use std::path::{Path, PathBuf};

/// Files in a sample; enough for some hundred leaf pages.
pub(crate) const FILES: u64 = 40_000;

/// How names, sizes and times come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Regular,
    Irregular,
    /// As irregular, with contents that compress: how long each is stored is a number of its own.
    Compressed,
}

pub(crate) const LAYOUTS: [Layout; 3] = [Layout::Regular, Layout::Irregular, Layout::Compressed];

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "regular",
            Self::Irregular => "irregular",
            Self::Compressed => "compressed",
        })
    }
}

/// An image of a sample, removed with this.
pub(crate) struct Sample {
    scratch: tempfile::TempDir,
    layout: Layout,
}

const WORDS: [&str; 8] = [
    "index", "reader", "page", "volume", "extent", "cache", "header", "chunk",
];
const ENDINGS: [&str; 4] = ["c", "rs", "html", "json"];

/// A number that looks random and follows from another.
pub(crate) fn mixed(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product ^ (product >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn pick<'a>(words: &[&'a str], number: u64) -> &'a str {
    let place = usize::try_from(number).unwrap_or(0) % words.len();
    words.get(place).copied().unwrap_or_default()
}

impl Layout {
    /// Directory and name of a file.
    pub(crate) fn path(self, number: u64) -> (String, String) {
        let (outer, inner, file) = (number / 10_000, number / 100 % 100, number % 100);
        match self {
            Self::Regular => (format!("{outer:02}/{inner:02}"), format!("{file:02}")),
            Self::Irregular | Self::Compressed => {
                let chance = mixed(number);
                let directory = format!(
                    "{}{outer}/{}_{inner}",
                    pick(&WORDS, outer),
                    pick(&WORDS, inner)
                );
                let (first, second) = (pick(&WORDS, chance), pick(&WORDS, chance >> 8));
                let ending = pick(&ENDINGS, chance >> 16);
                (directory, format!("{first}-{second}{file}.{ending}"))
            }
        }
    }

    pub(crate) fn mtime(self, number: u64) -> Timestamp {
        let chance = mixed(!number);
        match self {
            Self::Regular => Timestamp {
                seconds: 1_600_000_000,
                nanoseconds: 0,
            },
            Self::Irregular | Self::Compressed => Timestamp {
                seconds: 1_600_000_000 + i64::try_from(chance % 100_000_000).unwrap_or(0),
                nanoseconds: u32::try_from(chance >> 32).unwrap_or(0) % 1_000_000_000,
            },
        }
    }

    /// Contents of a file: a few bytes, or lines of text.
    fn contents(self, number: u64) -> Vec<u8> {
        match self {
            Self::Regular | Self::Irregular => number.to_le_bytes().to_vec(),
            Self::Compressed => {
                let lines = (0..20 + mixed(number) % 60).map(|line| {
                    let chance = mixed(number << 8 | line);
                    let (first, second) = (pick(&WORDS, chance), pick(&WORDS, chance >> 8));
                    format!("{first} {second} {}\n", chance % 1000)
                });
                lines.collect::<String>().into_bytes()
            }
        }
    }

    /// Builds an image of this layout.
    pub(crate) fn build(self, index: &Path) -> dgfs::Result<Report> {
        let options = BuildOptions {
            compression: match self {
                Self::Compressed => Compression::default(),
                Self::Regular | Self::Irregular => Compression::None,
            },
            ..BuildOptions::default()
        };
        let mut builder = Builder::new(index, options)?;
        for number in 0..FILES {
            let (directory, name) = self.path(number);
            let mut metadata = Metadata::new(Kind::File, 0o644);
            metadata.mtime = self.mtime(number);
            builder.add(NewEntry {
                path: format!("{directory}/{name}").as_bytes(),
                metadata,
                contents: Contents::Bytes(&self.contents(number)),
                target: b"",
                identity: None,
            })?;
        }
        builder.finish(&mut LogObserver)
    }
}

impl Sample {
    #[expect(
        clippy::expect_used,
        reason = "without an image there is nothing to measure"
    )]
    pub(crate) fn new(layout: Layout) -> Self {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let sample = Self { scratch, layout };
        layout.build(&sample.index()).expect("an image");
        sample
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.scratch.path().join("sample")
    }

    /// The image, with so much memory for decoded pages.
    #[expect(
        clippy::expect_used,
        reason = "without an image there is nothing to measure"
    )]
    pub(crate) fn open(&self, cache_bytes: usize) -> Image {
        let options = Image::options().cache_bytes(cache_bytes);
        options.open(&self.index()).expect("the image opens")
    }
}
