//! What devices counted, and the time that simulated disks say they needed.

use std::fs::File;
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What devices counted; a real one knows neither of seeks nor of its own time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    pub(crate) reads: u64,
    pub(crate) seeks: u64,
    pub(crate) bytes: u64,
    pub(crate) nanoseconds: u64,
}

impl Counted {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            seeks: self.seeks.saturating_sub(earlier.seeks),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            nanoseconds: self.nanoseconds.saturating_sub(earlier.nanoseconds),
        }
    }
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.seeks += other.seeks;
        self.bytes += other.bytes;
        self.nanoseconds += other.nanoseconds;
    }
}

/// The counters of one or more devices, read as one.
#[derive(Debug)]
pub(crate) struct Counters {
    files: Vec<File>,
}

impl Counters {
    pub(crate) fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let files = paths.iter().map(File::open).collect::<Result<_, _>>()?;
        Ok(Self { files })
    }

    /// The sum over all devices, as of now.
    pub(crate) fn read(&mut self) -> io::Result<Counted> {
        let mut sum = Counted::default();
        for file in &self.files {
            let mut line = [0; 512];
            let length = file.read_at(&mut line, 0)?;
            sum += parse(line.get(..length).unwrap_or_default()).ok_or_else(|| {
                io::Error::other("neither the counts of a device nor of a simulated disk")
            })?;
        }
        Ok(sum)
    }
}

/// A simulated disk gives four numbers: reads, seeks, bytes, nanoseconds. The kernel gives eleven or more, of which
/// the first is reads and the third is sectors of 512 bytes read.
fn parse(line: &[u8]) -> Option<Counted> {
    let text = std::str::from_utf8(line).ok()?;
    let numbers = text.split_whitespace().map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
    match *numbers.as_slice() {
        [reads, seeks, bytes, nanoseconds] => Some(Counted {
            reads,
            seeks,
            bytes,
            nanoseconds,
        }),
        [reads, _, sectors, _, _, _, _, _, _, _, _, ..] => Some(Counted {
            reads,
            seeks: 0,
            bytes: sectors.saturating_mul(512),
            nanoseconds: 0,
        }),
        _ => None,
    }
}
