//! Everything a reader says of an image, question by question, and what it says of the same image damaged.

use dgfs::Result;
use dgfs::entry::{Ino, Kind};
use dgfs::format::blob::Xattrs;
use dgfs::format::header::Header;
use dgfs::read::{Image, Node};

/// What is true of one entry.
struct Known {
    path: Vec<u8>,
    node: Node,
    /// Inode numbers of it, its first name and its directory, and the path of its first name.
    first: Node,
    first_path: Vec<u8>,
    parent: Ino,
    contents: Vec<u8>,
    data: Vec<(u64, u64)>,
    target: Vec<u8>,
    xattrs: Xattrs,
    children: Vec<(Vec<u8>, Node)>,
}

impl Known {
    /// Whether `node` is this entry, as far as it is known.
    fn agrees(&self, node: &Node) -> bool {
        agree(&self.node, node)
    }
}

/// Whether a listing may show `shown` for `right`. What is not complete is, to whoever asks it, an error.
fn agree(right: &Node, shown: &Node) -> bool {
    if shown.is_complete() {
        return right == shown;
    }
    let numbers = |node: &Node| (node.ino, node.ordinal, node.mode, node.mtime, node.links);
    numbers(right) == numbers(shown) && shown.size == 0
}

/// What is true of an image.
pub(crate) struct Truth {
    pub(crate) header: Header,
    entries: Vec<Known>,
}

/// What came of asking everything.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Questions that were answered by an error.
    pub(crate) refused: u64,
    /// Questions that were answered, but not as they should.
    pub(crate) wrong: Vec<String>,
}

impl Answers {
    fn take<T: PartialEq>(&mut self, question: &str, path: &[u8], answer: Result<T>, right: &T) {
        match answer {
            Ok(answer) if answer == *right => {}
            Ok(_) => self.note(question, path),
            Err(_) => self.refused += 1,
        }
    }

    fn note(&mut self, question: &str, path: &[u8]) {
        self.wrong
            .push(format!("{question} {}", String::from_utf8_lossy(path)));
    }
}

/// All of a file's contents.
fn contents(image: &Image, node: &Node) -> Result<Vec<u8>> {
    let mut scratch = Vec::new();
    match node.kind() {
        Kind::File => image
            .read_at(node, 0, 1 << 20, &mut scratch)
            .map(<[u8]>::to_vec),
        _ => Ok(Vec::new()),
    }
}

fn data(image: &Image, node: &Node) -> Result<Vec<(u64, u64)>> {
    if node.kind() != Kind::File {
        return Ok(Vec::new());
    }
    let map = image.holes(node)?;
    Ok(map
        .segments()
        .iter()
        .map(|segment| (segment.offset, segment.length))
        .collect())
}

fn target(image: &Image, node: &Node) -> Result<Vec<u8>> {
    match node.kind() {
        Kind::Symlink => image.read_link(node),
        _ => Ok(Vec::new()),
    }
}

fn children(image: &Image, node: &Node) -> Result<Vec<(Vec<u8>, Node)>> {
    let mut children = Vec::new();
    if node.is_directory() {
        image.list(node, 0, &mut |child| {
            children.push((child.name.to_vec(), child.node.clone()));
            true
        })?;
    }
    Ok(children)
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        [] => name.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

impl Truth {
    /// What a sound image says.
    pub(crate) fn of(image: &Image) -> Self {
        let mut entries = Vec::new();
        let walked = image.walk(0, &mut |parent, name, node| {
            entries.push((join(parent, name), node.clone()));
            true
        });
        walked.unwrap();
        let known = |(path, node): (Vec<u8>, Node)| Known {
            first: image.node(node.ino).unwrap(),
            first_path: image.path_of(node.ino).unwrap(),
            parent: image.parent_of(node.ino).unwrap(),
            contents: contents(image, &node).unwrap(),
            data: data(image, &node).unwrap(),
            target: target(image, &node).unwrap(),
            xattrs: image.xattrs(&node).unwrap(),
            children: children(image, &node).unwrap(),
            path,
            node,
        };
        Self {
            header: image.header().clone(),
            entries: entries.into_iter().map(known).collect(),
        }
    }

    /// Where contents and chunk tables lie in the volumes: position, bytes of chunks, bytes of everything.
    pub(crate) fn extents(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.entries
            .iter()
            .filter(|known| known.node.extent.stored > 0)
            .map(|known| {
                let node = &known.node;
                let (size, extent) = (node.data_length(), node.extent);
                let shape = dgfs::format::extent::Shape::new(size, self.header.chunk_shift);
                let table = extent.cut.map(|cut| cut.table_length(size));
                (
                    extent.position,
                    extent.stored - table.unwrap_or(shape.table_length()),
                    extent.stored,
                )
            })
    }

    /// Asks a damaged image everything.
    pub(crate) fn ask(&self, image: &Image) -> Answers {
        let mut answers = Answers::default();
        if *image.header() != self.header {
            answers.note("header", b"");
        }
        let mut walked = 0;
        let mut right = true;
        let ended = image.walk(0, &mut |parent, name, node| {
            let known = self.entries.get(walked);
            answers.refused += u64::from(!node.is_complete());
            right &=
                known.is_some_and(|known| known.agrees(node) && known.path == join(parent, name));
            walked += 1;
            walked <= self.entries.len()
        });
        let whole = walked == self.entries.len();
        if !right || ended.is_ok() && !whole {
            answers.note("walk", b"");
        }
        answers.refused += u64::from(ended.is_err());
        for known in &self.entries {
            let path = &known.path;
            let found = image.lookup(path);
            let right = Some(known.node.clone());
            answers.take("lookup", path, found, &right);
            answers.take("node", path, image.node(known.node.ino), &known.first);
            answers.take(
                "path",
                path,
                image.path_of(known.node.ino),
                &known.first_path,
            );
            answers.take(
                "parent",
                path,
                image.parent_of(known.node.ino),
                &known.parent,
            );
            let node = &known.node;
            answers.take("contents", path, contents(image, node), &known.contents);
            answers.take("holes", path, data(image, node), &known.data);
            answers.take("target", path, target(image, node), &known.target);
            answers.take("attributes", path, image.xattrs(node), &known.xattrs);
            if node.is_directory() {
                ask_directory(image, known, &mut answers);
            }
        }
        answers
    }
}

/// A listing, which may end early with an error; children by name; names that are not there.
fn ask_directory(image: &Image, known: &Known, answers: &mut Answers) {
    let mut listed = 0;
    let mut right = true;
    let ended = image.list(&known.node, 0, &mut |child| {
        let expected = known.children.get(listed);
        answers.refused += u64::from(!child.node.is_complete());
        right &= expected.is_some_and(|(name, node)| name == child.name && agree(node, child.node));
        listed += 1;
        listed <= known.children.len()
    });
    if !right || ended.is_ok() && listed != known.children.len() {
        answers.note("listing", &known.path);
    }
    answers.refused += u64::from(ended.is_err());
    for (name, node) in &known.children {
        let found = image.lookup_in(&known.node, name);
        answers.take("child", name, found, &Some(node.clone()));
    }
    for name in [&b"\x01"[..], b"no such name", &[0xff; 255]] {
        answers.take("missing", name, image.lookup_in(&known.node, name), &None);
    }
}
