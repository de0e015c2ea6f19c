//! A large file from its front to its end.

use crate::clients::Clients;
use crate::summary::Outcome;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file.
    path: PathBuf,
    /// Bytes of one read.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    size: usize,
}

pub(crate) fn run(arguments: &Arguments, clients: &Clients) -> io::Result<Outcome> {
    clients.run(1, |_, watch| {
        let mut buffer = vec![0; arguments.size.max(1)];
        let mut file = File::open(&arguments.path)?;
        let mut is_over = false;
        while !is_over {
            watch.measure(|| {
                let length = file.read(&mut buffer).inspect_err(|_| is_over = true)?;
                is_over |= length == 0;
                Ok(length as u64)
            })?;
        }
        Ok(())
    })
}
