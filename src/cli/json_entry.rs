//! One entry as a JSON object.

use dgfs::Result;
use dgfs::entry::{Kind, Timestamp};
use dgfs::read::{Image, Node};
use rustix::fs::{major, minor};
use serde::Serialize;

/// What `dgfs ls --json` prints of an entry, and `dgfs stat --json` the beginning of what it prints.
#[derive(Debug, Serialize)]
pub(super) struct JsonEntry {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    ino: u64,
    kind: &'static str,
    /// Permission bits in octal.
    mode: String,
    links: u64,
    uid: u32,
    gid: u32,
    size: u64,
    /// Units of 512 bytes that the data takes, holes not counted.
    blocks: u64,
    mtime: JsonTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    atime: Option<JsonTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctime: Option<JsonTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    btime: Option<JsonTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdev: Option<JsonDevice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    xattrs: Option<Vec<JsonXattr>>,
}

#[derive(Debug, Serialize)]
struct JsonTime {
    seconds: i64,
    nanoseconds: u32,
}

#[derive(Debug, Serialize)]
struct JsonDevice {
    major: u32,
    minor: u32,
}

#[derive(Debug, Serialize)]
struct JsonXattr {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    value_hex: String,
}

impl From<Timestamp> for JsonTime {
    fn from(time: Timestamp) -> Self {
        Self {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        }
    }
}

impl JsonEntry {
    /// The object of `node`, which lies at `path` of the image.
    pub(super) fn new(image: &Image, path: &[u8], node: &Node, xattrs: bool) -> Result<Self> {
        let (target, target_hex) = match node.kind() {
            Kind::Symlink => {
                let (text, hex) = text(&image.read_link(node)?);
                (Some(text), hex)
            }
            _ => (None, None),
        };
        let xattrs = if xattrs {
            let pairs = image.xattrs(node)?;
            Some(pairs.iter().map(JsonXattr::new).collect())
        } else {
            None
        };
        let times = node.other_times;
        let (path, path_hex) = text(path);
        Ok(Self {
            path,
            path_hex,
            ino: node.ino.0,
            kind: kind_name(node.kind()),
            mode: format!("{:04o}", node.mode & 0o7777),
            links: node.links,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            blocks: node.blocks(),
            mtime: node.mtime.into(),
            atime: times.map(|times| times.atime.into()),
            ctime: times.map(|times| times.ctime.into()),
            btime: times.and_then(|times| times.btime).map(JsonTime::from),
            rdev: node.kind().is_device().then(|| JsonDevice {
                major: major(node.rdev),
                minor: minor(node.rdev),
            }),
            target,
            target_hex,
            xattrs,
        })
    }
}

impl JsonXattr {
    fn new((name, value): &(Vec<u8>, Vec<u8>)) -> Self {
        let (name, name_hex) = text(name);
        Self {
            name,
            name_hex,
            value_hex: hex(value),
        }
    }
}

/// Bytes as text, and in hexadecimal too if they are not valid UTF-8.
pub(super) fn text(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::from_utf8_lossy(bytes).into_owned(),
            Some(hex(bytes)),
        ),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        hex.extend(char::from_digit(u32::from(digit), 16));
    }
    hex
}

/// The word for a kind.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice => "char_device",
        Kind::BlockDevice => "block_device",
    }
}
