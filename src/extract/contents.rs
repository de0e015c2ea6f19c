//! Contents of files, with their holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::read::{Image, Node};
use crate::{Error, ErrorKind};

/// Bytes read at once.
const STEP: usize = 1 << 20;

/// Why contents could not be brought out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The image does not give them.
    Source(Error),
    /// The destination does not take them.
    Destination(Error),
}

fn refused(source: io::Error) -> Failure {
    Failure::Destination(Error::new(ErrorKind::Io, "cannot write").caused_by(source))
}

/// Writes the contents of `node` to `file`, which is new and empty, until `stop` is set. What is a hole in the image
/// becomes one again; zeros that are data stay data. Errors of writing name no path.
pub(super) fn write(
    image: &Image,
    node: &Node,
    file: &File,
    scratch: &mut Vec<u8>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let map = image.holes(node).map_err(Failure::Source)?;
    let mut written = 0;
    for segment in map.segments() {
        let range = segment.offset..segment.end();
        written = write_range(image, node, file, range, scratch, stop)?;
    }
    if written < node.size {
        file.set_len(node.size).map_err(refused)?;
    }
    Ok(())
}

/// Writes what can be read of the contents of `node` to `file`; `damaged` are the ranges that cannot, which become
/// holes.
pub(super) fn write_rest(
    image: &Image,
    node: &Node,
    file: &File,
    damaged: &[Range<u64>],
    scratch: &mut Vec<u8>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    file.set_len(0).map_err(refused)?;
    let Ok(map) = image.holes(node) else {
        return file.set_len(node.size).map_err(refused);
    };
    for segment in map.segments() {
        let mut from = segment.offset;
        let after = damaged.partition_point(|range| range.end <= from);
        for range in damaged.get(after..).unwrap_or(&[]) {
            if range.start >= segment.end() {
                break;
            }
            if from < range.start {
                write_range(image, node, file, from..range.start, scratch, stop)?;
            }
            from = range.end;
        }
        if from < segment.end() {
            write_range(image, node, file, from..segment.end(), scratch, stop)?;
        }
    }
    file.set_len(node.size).map_err(refused)
}

/// Writes one range without holes; returns its end.
fn write_range(
    image: &Image,
    node: &Node,
    file: &File,
    range: Range<u64>,
    scratch: &mut Vec<u8>,
    stop: &AtomicBool,
) -> Result<u64, Failure> {
    let mut at = range.start;
    while at < range.end {
        if stop.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Interrupted, "interrupted");
            return Err(Failure::Destination(error));
        }
        let length = usize::try_from(range.end - at).unwrap_or(STEP);
        let bytes = image.read_at(node, at, length.min(STEP), scratch);
        let bytes = bytes.map_err(Failure::Source)?;
        if bytes.is_empty() {
            let error = Error::corrupt("contents are shorter than the file");
            return Err(Failure::Source(error));
        }
        file.write_all_at(bytes, at).map_err(refused)?;
        at += bytes.len() as u64;
    }
    Ok(at)
}
