//! Contents of files, with holes where there are only zeros.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::read::{Image, Node};
use crate::{Error, ErrorKind, Result};

/// Bytes read at once.
const STEP: usize = 1 << 20;

/// Smallest hole: the block size of most file systems.
const BLOCK: usize = 4096;

const ZEROS: [u8; BLOCK] = [0; BLOCK];

fn is_zero(block: &[u8]) -> bool {
    ZEROS.get(..block.len()) == Some(block)
}

/// Writes the contents of `node` to `file`, which is new and empty. Errors of writing name no path.
pub(super) fn write(image: &Image, node: &Node, file: &File, scratch: &mut Vec<u8>) -> Result<()> {
    let failed =
        |source: std::io::Error| Error::new(ErrorKind::Io, "cannot write").caused_by(source);
    let mut at = 0;
    let mut written = 0;
    while at < node.size {
        let bytes = image.read_at(node, at, STEP, scratch)?;
        if bytes.is_empty() {
            return Err(Error::corrupt("contents are shorter than the file"));
        }
        // `at` is a multiple of the block size, since every step but the last is.
        let blocks: Vec<&[u8]> = bytes.chunks(BLOCK).collect();
        let mut offset = at;
        for group in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
            let length: usize = group.iter().map(|block| block.len()).sum();
            if !group.first().is_some_and(|block| is_zero(block)) {
                let start = usize::try_from(offset - at).unwrap_or(usize::MAX);
                let data = bytes.get(start..).and_then(|rest| rest.get(..length));
                file.write_all_at(data.unwrap_or_default(), offset)
                    .map_err(failed)?;
                written = offset + length as u64;
            }
            offset += length as u64;
        }
        at = offset;
    }
    if written < node.size {
        file.set_len(node.size).map_err(failed)?;
    }
    Ok(())
}
