//! `dgfs stat`: everything an image knows of one entry.

use std::ffi::OsString;
use std::process::ExitCode;

use dgfs::Result;
use dgfs::entry::Kind;
use dgfs::read::{ChunkCounts, Image, Node};
use rustix::fs::{major, minor};
use serde::Serialize;

use super::json_entry::{JsonEntry, kind_name};
use super::long_line::Mode;
use super::open_image::{ImageArgs, find, inner_path};
use super::output::Output;
use super::timestamp::Utc;
use dgfs::escape::Escaped;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// The entry.
    path: OsString,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct JsonStat {
    #[serde(flatten)]
    entry: JsonEntry,
    ordinal: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<JsonChildren>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contents: Option<Contents>,
}

#[derive(Debug, Serialize)]
struct JsonChildren {
    first_ordinal: u64,
    count: u64,
    directories: u64,
    descendants: u64,
}

/// Where the contents of a file lie.
#[derive(Debug, Serialize)]
struct Contents {
    position: u64,
    stored_bytes: u64,
    volume: usize,
    offset: u64,
    /// Of a file that is cut by content, if its volumes can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<ChunkCounts>,
    /// Of a file that shares a frame with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<Frame>,
}

/// Where in a shared frame a file is.
#[derive(Debug, Serialize)]
struct Frame {
    /// Bytes that the frame decodes to.
    bytes: u32,
    /// Where those of the file begin.
    offset: u32,
}

impl Contents {
    fn of(image: &Image, node: &Node) -> Option<Self> {
        if node.kind() != Kind::File || node.extent.stored == 0 {
            return None;
        }
        let position = node.extent.position;
        let volumes = image.volumes();
        let volume = volumes.partition_point(|volume| volume.end <= position);
        Some(Self {
            position,
            stored_bytes: node.extent.stored,
            volume,
            offset: position.checked_sub(volumes.get(volume)?.start)?,
            chunks: image.chunk_counts(node).ok().flatten(),
            frame: node.extent.member.map(|member| Frame {
                bytes: member.data,
                offset: member.offset,
            }),
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut image = args.image.open_index()?;
    let node = find(&image, &args.path)?;
    if node.extent.cut.is_some() {
        // Its table says more, if its volumes are there.
        image = args.image.open().unwrap_or(image);
    }
    let path = inner_path(&args.path);
    let path: &[u8] = if path.is_empty() { b"." } else { &path };
    let mut output = Output::new();
    if args.json {
        output.json(&JsonStat {
            entry: JsonEntry::new(&image, path, &node, true)?,
            ordinal: node.ordinal,
            children: node.is_directory().then_some(JsonChildren {
                first_ordinal: node.children.first,
                count: node.children.count,
                directories: node.children.subdirs,
                descendants: node.children.descendants,
            }),
            contents: Contents::of(&image, &node),
        })?;
    } else {
        print(&image, path, &node, &mut output)?;
    }
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn print(image: &Image, path: &[u8], node: &Node, output: &mut Output) -> Result<()> {
    let mut row = |name: &str, value: String| output.line(format_args!("{name:>9}: {value}"));
    row("path", Escaped(path).to_string())?;
    row("kind", kind_name(node.kind()).replace('_', " "))?;
    if node.kind() == Kind::Symlink {
        row("target", Escaped(&image.read_link(node)?).to_string())?;
    }
    row("inode", node.ino.0.to_string())?;
    row(
        "mode",
        format!("{:04o} {}", node.mode & 0o7777, Mode(node.mode)),
    )?;
    row("owner", format!("{}:{}", node.uid, node.gid))?;
    row("links", node.links.to_string())?;
    row("modified", Utc(node.mtime).to_string())?;
    if let Some(times) = node.other_times {
        row("accessed", Utc(times.atime).to_string())?;
        row("changed", Utc(times.ctime).to_string())?;
        let birth = times
            .btime
            .map_or("unknown".into(), |time| Utc(time).to_string());
        row("born", birth)?;
    }
    let children = node.children;
    match node.kind() {
        Kind::Directory => row(
            "children",
            format!(
                "{}, {} of them directories; {} entries below",
                children.count, children.subdirs, children.descendants
            ),
        )?,
        Kind::CharDevice | Kind::BlockDevice => row(
            "device",
            format!("{},{}", major(node.rdev), minor(node.rdev)),
        )?,
        _ => row("size", format!("{} bytes", node.size))?,
    }
    if node.hole_bytes > 0 {
        let map = image.holes(node)?;
        let segments = map.segments().len();
        row(
            "holes",
            format!(
                "{} bytes around {segments} segments of data",
                node.hole_bytes
            ),
        )?;
    }
    if let Some(contents) = Contents::of(image, node) {
        row(
            "stored",
            format!(
                "{} bytes at {} of volume {}",
                contents.stored_bytes, contents.offset, contents.volume
            ),
        )?;
        if let Some(Frame { bytes, offset }) = contents.frame {
            row(
                "frame",
                format!("{bytes} bytes of several files, this one from {offset} on"),
            )?;
        }
        if let Some(chunks) = contents.chunks {
            row(
                "chunks",
                format!(
                    "{}, {} of them shared, which would have taken {} bytes",
                    chunks.chunks, chunks.shared, chunks.shared_bytes
                ),
            )?;
        }
    }
    for (name, value) in image.xattrs(node)? {
        row("xattr", format!("{}={}", Escaped(&name), Escaped(&value)))?;
    }
    Ok(())
}
