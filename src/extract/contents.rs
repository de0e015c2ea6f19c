//! Contents of files, with their holes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::read::{Image, Node};
use crate::{Error, ErrorKind, Result};

/// Bytes read at once.
const STEP: usize = 1 << 20;

/// Writes the contents of `node` to `file`, which is new and empty. What is a hole in the image becomes one
/// again; zeros that are data stay data. Errors of writing name no path.
pub(super) fn write(image: &Image, node: &Node, file: &File, scratch: &mut Vec<u8>) -> Result<()> {
    let failed =
        |source: std::io::Error| Error::new(ErrorKind::Io, "cannot write").caused_by(source);
    let map = image.holes(node)?;
    let mut written = 0;
    for segment in map.segments() {
        let mut at = segment.offset;
        while at < segment.end() {
            let length = usize::try_from(segment.end() - at).unwrap_or(STEP);
            let bytes = image.read_at(node, at, length.min(STEP), scratch)?;
            if bytes.is_empty() {
                return Err(Error::corrupt("contents are shorter than the file"));
            }
            file.write_all_at(bytes, at).map_err(failed)?;
            at += bytes.len() as u64;
            written = at;
        }
    }
    if written < node.size {
        file.set_len(node.size).map_err(failed)?;
    }
    Ok(())
}
