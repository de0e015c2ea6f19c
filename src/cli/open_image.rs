//! The arguments that name an image, and the paths inside it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use dgfs::read::{Image, Node};
use dgfs::{Error, ErrorKind, Result};

#[derive(Debug, clap::Args)]
pub(super) struct ImageArgs {
    /// The image: its index, or a volume 0 with a copy of the index.
    image: PathBuf,
    /// Where a volume lies; give it once for each volume, in order. Default: beside the index.
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,
}

impl ImageArgs {
    /// Opens the image with its volumes.
    pub(super) fn open(&self) -> Result<Image> {
        Image::options().data(self.data.clone()).open(&self.image)
    }

    /// Opens the image with those of its volumes that can be opened.
    pub(super) fn open_damaged(&self) -> Result<Image> {
        let options = Image::options().data(self.data.clone());
        options.damaged(true).open(&self.image)
    }

    /// Opens the index alone; contents cannot be read.
    pub(super) fn open_index(&self) -> Result<Image> {
        Image::options().index_only(true).open(&self.image)
    }
}

/// A path as the user wrote it, as the image spells it: relative to the root, without empty
/// components and `.`.
pub(super) fn inner_path(argument: &OsStr) -> Vec<u8> {
    let components = argument.as_bytes().split(|&byte| byte == b'/');
    let components = components.filter(|name| !name.is_empty() && *name != b".");
    components.collect::<Vec<_>>().join(&b'/')
}

/// The entry at a path that the user wrote.
pub(super) fn find(image: &Image, argument: &OsStr) -> Result<Node> {
    match image.lookup(&inner_path(argument)) {
        Ok(Some(node)) => Ok(node),
        Ok(None) => {
            let what = format!("is not in image {}", image.index_path().display());
            Err(Error::new(ErrorKind::NotFound, what).at_path(argument))
        }
        Err(error) => Err(error),
    }
}

/// Puts `parent/name` into `path`; the root as parent is empty.
pub(super) fn join_into(path: &mut Vec<u8>, parent: &[u8], name: &[u8]) {
    path.clear();
    path.extend_from_slice(parent);
    if !parent.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The whole image, where a path may be left out.
pub(super) fn root_argument() -> OsString {
    OsString::from(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_brought_into_the_form_of_the_image() {
        let cases = [
            ("", ""),
            (".", ""),
            ("/", ""),
            ("a", "a"),
            ("./a//b/./c/", "a/b/c"),
            ("/a/..", "a/.."),
        ];
        for (argument, path) in cases {
            assert_eq!(inner_path(OsStr::new(argument)), path.as_bytes());
        }
    }
}
