//! `dgfs cat`: contents of files.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;

use dgfs::read::{Decoders, Image};
use dgfs::{ErrorKind, Result};

use super::open_image::{ImageArgs, find};
use super::output::Output;

/// Bytes read at once: a few chunks of the largest size that `pack` chooses by itself.
const STEP: usize = 1 << 20;

/// Bytes of a file for which it pays to start threads that decompress ahead: these take some milliseconds.
const LARGE: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Regular files of the image.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let image = Arc::new(args.image.open()?);
    let mut decoders = None;
    let mut output = Output::new();
    let mut scratch = Vec::new();
    let mut failed = 0;
    for path in &args.paths {
        match print(&image, path, &mut decoders, &mut output, &mut scratch) {
            Err(error) if error.is_broken_pipe() => return Err(error),
            Err(error) => {
                failed += 1;
                super::complain(&error);
            }
            Ok(()) => {}
        }
    }
    output.finish()?;
    Ok(super::exit_code_of(failed, args.paths.len()))
}

fn print(
    image: &Arc<Image>,
    path: &OsStr,
    decoders: &mut Option<Decoders>,
    output: &mut Output,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let node = find(image, path)?;
    if node.size >= LARGE && decoders.is_none() {
        *decoders = Some(Decoders::start(
            image,
            Decoders::suitable_threads(None),
            || (),
        ));
    }
    let mut at = 0;
    loop {
        let bytes = image
            .read_at(&node, at, STEP, scratch)
            .map_err(|e| match e.kind() {
                ErrorKind::Corrupt | ErrorKind::Io => e,
                _ => e.at_path(path),
            })?;
        if bytes.is_empty() {
            return Ok(());
        }
        output.bytes(bytes)?;
        at += bytes.len() as u64;
    }
}
