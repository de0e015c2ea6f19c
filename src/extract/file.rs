//! One regular file out of an image.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use super::contents::{self, Failure};
use super::metadata::{Refused, Restorer, Target};
use super::options::{Existing, ExtractOptions};
use super::outcome::Fate;
use super::place::Place;
use crate::read::{Image, Node};
use crate::{Error, ErrorKind, Result};

/// A file that is to be made.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
    /// Path in the image.
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) path: Vec<u8>,
    /// Bytes of the file; `None` if there is none.
    pub(super) bytes: Option<u64>,
    /// What became of it; `None` if it was passed over.
    pub(super) fate: Option<Fate>,
    pub(super) error: Option<Error>,
}

/// What all files have in common.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) image: &'a Image,
    pub(super) options: &'a ExtractOptions,
    pub(super) restorer: Restorer,
}

impl Shared<'_> {
    /// The extended attributes that `node` is to get.
    pub(super) fn xattrs(&self, node: &Node) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if !self.options.xattrs || !node.has_xattrs() {
            return Ok(Vec::new());
        }
        let mut xattrs = self.image.xattrs(node)?;
        xattrs.retain(|(name, _)| self.options.xattr_patterns.wants(name));
        Ok(xattrs)
    }

    /// Gives `target` the metadata of `node`, and says how much of them there is.
    pub(super) fn restore(&self, target: Target<'_>, node: &Node) -> (Fate, Option<Error>) {
        let xattrs = self.xattrs(node);
        let restored = match &xattrs {
            Ok(xattrs) => self.restorer.restore(target, node, xattrs),
            Err(_) => self.restorer.restore(target, node, &[]),
        };
        if let Err(refused) = restored {
            return (Fate::Failed, Some(cannot(refused)));
        }
        if let Err(error) = xattrs {
            return (Fate::Incomplete, Some(error));
        }
        if node.has_lost_mode() {
            let error = Error::corrupt("its mode and owner are lost");
            return (Fate::Incomplete, Some(error));
        }
        (Fate::Whole, None)
    }

    /// Makes a file. If that fails, nothing of it is left, unless damaged files are wanted.
    pub(super) fn make(&self, job: Job, scratch: &mut Vec<u8>) -> Made {
        let mut made = Made {
            path: job.path,
            bytes: None,
            fate: Some(Fate::Failed),
            error: None,
        };
        let (node, options) = (&job.node, self.options);
        let place = Place {
            directory: job.directory.as_fd(),
            name: &job.name,
            existing: options.existing,
        };
        let file = match place.make_file() {
            Ok(file) => file,
            Err(error)
                if error.kind() == ErrorKind::Exists && options.existing == Existing::Skip =>
            {
                made.fate = None;
                return made;
            }
            Err(error) => {
                made.error = Some(error);
                return made;
            }
        };
        let written = contents::write(self.image, node, &file, scratch, &options.stop);
        let mut damage = None;
        let written = match written {
            Err(Failure::Source(error)) => {
                let (mut ranges, found) = self.image.damaged_ranges(node);
                if ranges.is_empty() {
                    // It could be read the second time. Once is enough not to trust it.
                    ranges.push(0..node.size);
                }
                let written = if options.keep_damaged {
                    contents::write_rest(self.image, node, &file, &ranges, scratch, &options.stop)
                } else {
                    Err(Failure::Source(Error::corrupt("contents are damaged")))
                };
                let fate = Fate::of_ranges(ranges, node.data_length());
                damage = Some((fate, found.unwrap_or(error)));
                written
            }
            written => written,
        };
        if let Err(failure) = written {
            // Half a file looks like a whole one.
            let removed = place.remove();
            let (fate, error) = match (failure, damage) {
                (Failure::Source(_), Some(damage)) => damage,
                (Failure::Source(error) | Failure::Destination(error), _) => (Fate::Failed, error),
            };
            made.fate = Some(fate);
            made.error = Some(match removed {
                Ok(()) => error,
                Err(errno) => Error::new(
                    error.kind(),
                    format!("{error}; half a file was left, which cannot be removed: {errno}"),
                ),
            });
            return made;
        }
        made.bytes = Some(node.size);
        let (fate, error) = self.restore(Target::Open(file.as_fd()), node);
        (made.fate, made.error) = match damage {
            Some((fate, error)) => (Some(fate), Some(error)),
            None => (Some(fate), error),
        };
        made
    }
}

/// The error of a call that the system refused.
pub(super) fn cannot((doing, errno): Refused) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {doing}")).caused_by(errno)
}
