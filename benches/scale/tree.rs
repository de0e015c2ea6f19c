//! The synthetic tree: paths, sizes and times that follow from numbers, in key order or shuffled.

use dgfs::Result;
use dgfs::entry::{Kind, Metadata, Timestamp};
use dgfs::sort::{Content, Record};

/// Children of each directory.
const WIDTH: u64 = 100;

/// Files below a directory of the first level, of the second and of the third.
const BELOW: [u64; 3] = [1_000_000, 10_000, 100];

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) files: u64,
    random_times: bool,
}

fn mixed(number: u64) -> u64 {
    let product = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (product ^ (product >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

impl Tree {
    pub(crate) fn new(files: u64, random_times: bool) -> Self {
        Self {
            files,
            random_times,
        }
    }

    /// Bytes of a file: 4096 to 12288.
    pub(crate) fn size(file: u64) -> u64 {
        4096 + mixed(file) % 8193
    }

    pub(crate) fn path(file: u64) -> String {
        let [a, b, c] = BELOW.map(|files| file / files % WIDTH);
        format!("{a:02}/{b:02}/{c:02}/{:02}", file % WIDTH)
    }

    /// A file chosen by chance, another one for each turn.
    pub(crate) fn chosen(&self, turn: u64) -> u64 {
        turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.files
    }

    /// Gives every entry to `add`, in key order.
    pub(crate) fn in_order(&self, add: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        let mut record = Record::empty();
        add(&record)?;
        self.below("", 0, 0, &mut record, add)
    }

    /// The children of a directory, then what lies below each of them.
    fn below(
        &self,
        path: &str,
        level: usize,
        first: u64,
        record: &mut Record,
        add: &mut dyn FnMut(&Record) -> Result<()>,
    ) -> Result<()> {
        let Some(&files) = BELOW.get(level) else {
            let last = self.files.min(first + WIDTH);
            return (first..last).try_for_each(|file| {
                self.fill(record, file);
                add(record)
            });
        };
        let starts = || (0..WIDTH).map(|child| (child, first + child * files));
        for (child, start) in starts().take_while(|(_, start)| *start < self.files) {
            debug_assert!(start >= first);
            *record = directory(path, child);
            add(record)?;
        }
        for (child, start) in starts().take_while(|(_, start)| *start < self.files) {
            let slash = if path.is_empty() { "" } else { "/" };
            let below = format!("{path}{slash}{child:02}");
            self.below(&below, level + 1, start, record, add)?;
        }
        Ok(())
    }

    /// Gives every entry to `add`: directories first, then files with each far from the one before.
    pub(crate) fn shuffled(&self, add: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        self.in_order(&mut |record| {
            if record.metadata.kind() == Some(Kind::Directory) {
                add(record)?;
            }
            Ok(())
        })?;
        let step = u128::from(step(self.files));
        let mut record = Record::empty();
        for turn in 0..self.files {
            let spread = u128::from(turn) * step % u128::from(self.files);
            self.fill(&mut record, u64::try_from(spread).unwrap_or(0));
            add(&record)?;
        }
        Ok(())
    }

    fn fill(&self, record: &mut Record, file: u64) {
        record.parent.clear();
        for (level, files) in BELOW.into_iter().enumerate() {
            if level > 0 {
                record.parent.push(b'/');
            }
            record.parent.extend(digits(file / files % WIDTH));
        }
        record.name.clear();
        record.name.extend(digits(file % WIDTH));
        record.metadata = Metadata::new(Kind::File, 0o644);
        record.metadata.mtime = self.mtime(file);
        record.size = Self::size(file);
        record.content = Content::Tree;
    }

    /// One second for all files, or any nanosecond of a day, as a tree written in one go has them.
    fn mtime(&self, file: u64) -> Timestamp {
        let mut time = Timestamp {
            seconds: 1_600_000_000,
            nanoseconds: 0,
        };
        if self.random_times {
            let chance = mixed(!file);
            time.seconds += i64::try_from(chance % 86_400).unwrap_or(0);
            time.nanoseconds = u32::try_from(mixed(chance) % 1_000_000_000).unwrap_or(0);
        }
        time
    }
}

/// A name: the two digits of a number below 100.
fn digits(number: u64) -> [u8; 2] {
    [number / 10, number % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0))
}

fn directory(parent: &str, child: u64) -> Record {
    let mut record = Record::empty();
    record.parent = parent.as_bytes().to_vec();
    record.name = format!("{child:02}").into_bytes();
    record
}

/// A step coprime to `count` and about half of it, so that multiples of it shuffle `0 .. count`.
fn step(count: u64) -> u64 {
    fn gcd(a: u64, b: u64) -> u64 {
        if b == 0 { a } else { gcd(b, a % b) }
    }
    (count / 2 + 1..count.max(2))
        .find(|&step| gcd(step, count) == 1)
        .unwrap_or(1)
}
