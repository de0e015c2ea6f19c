//! `dgfs ls`: entries of an image.

use std::ffi::OsString;
use std::process::ExitCode;

use dgfs::Result;
use dgfs::entry::Kind;
use dgfs::read::{Image, Node};

use super::json_entry::JsonEntry;
use super::long_line::LongLine;
use super::open_image::{ImageArgs, find, inner_path, join_into, root_argument};
use super::output::Output;
use dgfs::escape::Escaped;

/// Control characters and bytes that are not UTF-8 are shown as \ooo (octal), a backslash as two.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the user's switches"
)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// A directory, to see what it holds, or another entry; the root if left out.
    #[arg(default_value_os_t = root_argument(), hide_default_value = true)]
    path: OsString,
    /// One line an entry: MODE LINKS UID GID SIZE MTIME PATH [-> TARGET]; SIZE is the number of
    /// children of a directory, MAJOR,MINOR of a device.
    #[arg(short)]
    long: bool,
    /// PATH itself and everything below it, in key order, with paths relative to the root.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Inode number first.
    #[arg(short, long)]
    inode: bool,
    /// One JSON object a line.
    #[arg(long, conflicts_with_all = ["long", "inode"])]
    json: bool,
    /// Extended attributes too.
    #[arg(long, requires = "json")]
    xattrs: bool,
}

struct Printer<'a> {
    args: &'a Args,
    image: &'a Image,
    output: Output,
    /// Entries of which something could not be read.
    problems: u64,
}

/// What is printed of an entry besides its name.
enum Details {
    None,
    /// The target of a symbolic link.
    Long(Option<Vec<u8>>),
    Json(Box<JsonEntry>),
}

impl Printer<'_> {
    /// Prints an entry that lies at `path` of the image and is shown as `label`.
    fn print(&mut self, path: &[u8], label: &[u8], node: &Node) -> Result<()> {
        let details = match self.details(path, node) {
            Ok(details) => details,
            // The others can be shown all the same.
            Err(error) => {
                super::complain(&format_args!("{}: {error}", Escaped(label)));
                self.problems += 1;
                return Ok(());
            }
        };
        if let Details::Json(entry) = details {
            return self.output.json(&entry);
        }
        if self.args.inode {
            self.output.bytes(format!("{} ", node.ino.0).as_bytes())?;
        }
        match details {
            Details::Long(target) => self.output.line(LongLine {
                node,
                path: label,
                target: target.as_deref(),
            }),
            _ => self.output.line(Escaped(label)),
        }
    }

    fn details(&self, path: &[u8], node: &Node) -> Result<Details> {
        if self.args.json {
            let entry = JsonEntry::new(self.image, path, node, self.args.xattrs)?;
            return Ok(Details::Json(Box::new(entry)));
        }
        if !self.args.long {
            return Ok(Details::None);
        }
        Ok(Details::Long(match node.kind() {
            Kind::Symlink => Some(self.image.read_link(node)?),
            _ => None,
        }))
    }

    fn children(&mut self, parent: &[u8], directory: &Node) -> Result<()> {
        let mut path = Vec::new();
        let mut result = Ok(());
        self.image.list(directory, 0, &mut |listed| {
            join_into(&mut path, parent, listed.name);
            result = self.print(&path, listed.name, listed.node);
            result.is_ok()
        })?;
        result
    }

    fn below(&mut self, directory: &Node) -> Result<()> {
        let mut left = directory.children.descendants;
        if left == 0 {
            return Ok(());
        }
        let mut path = Vec::new();
        let mut result = Ok(());
        let first = directory.children.first;
        self.image.walk(first, &mut |parent, name, node| {
            join_into(&mut path, parent, name);
            result = self.print(&path, &path, node);
            left -= 1;
            result.is_ok() && left > 0
        })?;
        result
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let image = args.image.open_index()?;
    let node = find(&image, &args.path)?;
    let path = inner_path(&args.path);
    let label: &[u8] = if path.is_empty() { b"." } else { &path };
    let mut printer = Printer {
        args,
        image: &image,
        output: Output::new(),
        problems: 0,
    };
    if args.recursive {
        printer.print(label, label, &node)?;
        printer.below(&node)?;
    } else if node.is_directory() {
        printer.children(&path, &node)?;
    } else {
        printer.print(label, label, &node)?;
    }
    printer.output.finish()?;
    Ok(super::exit_code(printer.problems))
}
