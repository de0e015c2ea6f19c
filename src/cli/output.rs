//! Standard output, buffered, with errors that say so.

use std::fmt::Display;
use std::io::{BufWriter, StdoutLock, Write as _};

use dgfs::{Error, Result};
use serde::Serialize;

/// Bytes collected before they are written; a pipe holds as many.
const BUFFER: usize = 64 << 10;

/// Where results go.
#[derive(Debug)]
pub(super) struct Output(BufWriter<StdoutLock<'static>>);

fn failed(source: std::io::Error) -> Error {
    Error::io("standard output", "write", source)
}

impl Output {
    pub(super) fn new() -> Self {
        Self(BufWriter::with_capacity(BUFFER, std::io::stdout().lock()))
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).map_err(failed)
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.0, "{text}").map_err(failed)
    }

    /// Prints a value as JSON on a line.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.0, value).map_err(|e| failed(e.into()))?;
        self.bytes(b"\n")
    }

    /// Hands the rest to the system. Without it, an error at the end would go unnoticed.
    pub(super) fn finish(mut self) -> Result<()> {
        self.0.flush().map_err(failed)
    }
}
