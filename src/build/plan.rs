//! The first pass over the sorted entries: what the second needs to know of each in advance.
//!
//! A directory's entry comes before its children, and a hard link before the later names of its
//! file, so neither can be written from what a single pass has seen. This one counts the children
//! of every directory and groups hard links, in sorters of fixed-size tuples; [`PlannedEntries`]
//! then joins the counts to the entries by number.

use std::path::Path;

use super::directory_counts::{Children, DirectoryCounter, DirectoryCounts};
use super::hard_links::{Link, LinkGroups, LinkTable};
use super::primaries::Primary;
use crate::entry::Kind;
use crate::sort::{Content, Record, Sorted, SortedReader, TupleReader};
use crate::{Error, ErrorKind, Result};

/// Sums over a whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// All entries, the root included.
    pub entries: u64,
    /// Names of regular files; further names of one file count too.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Pipes, sockets and devices.
    pub others: u64,
    /// Bytes in regular files; a file of several names counts once.
    pub data_bytes: u64,
    /// How many of these seem to lie in holes; files of several names are not counted.
    pub hole_bytes: u64,
    /// Names beyond the first of files that have several.
    pub aliases: u64,
}

/// What is known of a sorted tree before its entries are written.
#[derive(Debug)]
pub struct Plan {
    totals: Totals,
    directories: DirectoryCounts,
    links: LinkTable,
}

impl Plan {
    /// Reads all of `sorted` once. `repeated` is shown each entry whose path was given more than once,
    /// and may refuse that; `seen` is shown every entry and its ordinal, and may fail.
    ///
    /// Holds at most `memory` bytes, and spills to nameless files in `scratch_dir` beyond. Fails
    /// with [`ErrorKind::OutOfOrder`] if an entry's directory is missing or is no directory, and
    /// with [`ErrorKind::InvalidInput`] if a mode is none of a known kind.
    pub fn compute(
        sorted: &Sorted,
        scratch_dir: &Path,
        memory: usize,
        repeated: &mut dyn FnMut(&Record) -> Result<()>,
        seen: &mut dyn FnMut(&Record, u64) -> Result<()>,
    ) -> Result<Self> {
        let mut totals = Totals::default();
        let mut counter = DirectoryCounter::new(scratch_dir, memory / 2);
        let mut groups = LinkGroups::new(scratch_dir, memory / 2);
        let mut reader = sorted.reader()?;
        let mut record = Record::empty();
        while reader.next(&mut record)? {
            if reader.repeated() > 0 {
                repeated(&record)?;
            }
            let ordinal = totals.entries;
            let kind = kind_of(&record)?;
            if ordinal == 0 && !(record.is_root() && kind == Kind::Directory) {
                return Err(no_root());
            }
            totals.entries += 1;
            *match kind {
                Kind::File => &mut totals.files,
                Kind::Directory => &mut totals.directories,
                Kind::Symlink => &mut totals.symlinks,
                _ => &mut totals.others,
            } += 1;
            if kind == Kind::File {
                totals.data_bytes = totals.data_bytes.saturating_add(record.size);
            }
            if record.identity.is_none() {
                totals.hole_bytes = totals.hole_bytes.saturating_add(record.holes_hint);
            }
            seen(&record, ordinal)?;
            counter.add(&record, ordinal, kind == Kind::Directory)?;
            groups.add(&record, ordinal)?;
        }
        if totals.entries == 0 {
            return Err(no_root());
        }
        let directories = counter
            .finish()?
            .map_err(|lost| describe(lost.ordinal, sorted))?;
        let links = groups.finish()?;
        totals.aliases = links.aliases;
        totals.data_bytes = totals.data_bytes.saturating_sub(links.alias_bytes);
        Ok(Self {
            totals,
            directories,
            links,
        })
    }

    /// Sums over the tree.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The entries of `sorted`, which must be what the plan was computed from, with what the plan
    /// knows of each. May be read several times.
    pub fn entries(&self, sorted: &Sorted) -> Result<PlannedEntries> {
        Ok(PlannedEntries {
            reader: sorted.reader()?,
            counts: self.directories.counts()?,
            runs: self.directories.runs()?,
            links: self.links.reader()?,
            ordinal: 0,
            directory: 0,
        })
    }
}

/// The kind of an entry that may come from anywhere.
fn kind_of(record: &Record) -> Result<Kind> {
    record.metadata.kind().ok_or_else(|| {
        let what = format!(
            "mode {:o} names no kind of file; set its type bits",
            record.metadata.mode
        );
        Error::new(ErrorKind::InvalidInput, what).at_path(shown(record.path()))
    })
}

#[cold]
fn no_root() -> Error {
    Error::new(
        ErrorKind::OutOfOrder,
        "there is no root directory; give one with an empty name",
    )
}

/// Says what is wrong with the directory that the entry at `ordinal` lies in.
#[cold]
fn describe(ordinal: u64, sorted: &Sorted) -> Error {
    match describe_from(ordinal, sorted) {
        Ok(error) | Err(error) => error,
    }
}

fn describe_from(ordinal: u64, sorted: &Sorted) -> Result<Error> {
    let mut child = Record::empty();
    let mut reader = sorted.reader()?;
    for _ in 0..=ordinal {
        reader.next(&mut child)?;
    }
    let mut reader = sorted.reader()?;
    let mut record = Record::empty();
    let mut what = "its directory is missing; give every directory an entry of its own";
    while reader.next(&mut record)? {
        if record.path() == child.parent {
            what = "its directory is given as something else than a directory";
            break;
        }
    }
    Ok(Error::new(ErrorKind::OutOfOrder, what).at_path(shown(child.path())))
}

fn shown(path: Vec<u8>) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(path).into()
}

/// One entry, and what is known of it beyond its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedEntry {
    /// The entry as its source described it.
    pub record: Record,
    /// Its place in key order; the root is 0.
    pub ordinal: u64,
    /// Of a directory: what lies below it.
    pub children: Option<Children>,
    /// Of a file with several names in the tree: which others.
    pub link: Option<Link>,
    /// Of a first child: the directory that it is the first child of.
    pub run: Option<RunStart>,
    /// Of a file whose contents were stored before those in key order: what became of them.
    pub(super) stored_ahead: Option<Primary>,
}

/// A directory whose children begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStart {
    /// How many children it has.
    pub direct: u64,
    /// Its own ordinal.
    pub directory: u64,
}

impl PlannedEntry {
    /// An entry to read others into.
    pub fn empty() -> Self {
        Self {
            record: Record::empty(),
            ordinal: 0,
            children: None,
            link: None,
            run: None,
            stored_ahead: None,
        }
    }

    /// Whether this is a further name of a file that an earlier entry stands for.
    pub fn is_alias(&self) -> bool {
        self.link.is_some_and(|link| link.primary != self.ordinal)
    }

    /// Whether contents have to be stored for this entry.
    pub fn has_contents(&self) -> bool {
        matches!(self.record.content, Content::Tree | Content::Spool { .. }) && !self.is_alias()
    }
}

/// Reads a planned tree in key order.
#[derive(Debug)]
pub struct PlannedEntries {
    reader: SortedReader,
    counts: TupleReader<4>,
    runs: TupleReader<3>,
    links: TupleReader<3>,
    ordinal: u64,
    /// Number of the next directory in key order.
    directory: u64,
}

impl PlannedEntries {
    /// Puts the next entry into `out`, whose buffers it reuses; false at the end.
    pub fn next(&mut self, out: &mut PlannedEntry) -> Result<bool> {
        if !self.reader.next(&mut out.record)? {
            return Ok(false);
        }
        out.ordinal = self.ordinal;
        self.ordinal += 1;
        out.children = None;
        if out.record.metadata.kind() == Some(Kind::Directory) {
            let mut children = Children::default();
            if let Some([number, direct, subdirs, deeper]) = self.counts.peek() {
                if number == self.directory {
                    children = Children {
                        direct,
                        subdirs,
                        deeper,
                    };
                    self.counts.take()?;
                }
            }
            out.children = Some(children);
            self.directory += 1;
        }
        out.link = None;
        if let Some([ordinal, primary, count]) = self.links.peek() {
            if ordinal == out.ordinal {
                out.link = Some(Link { primary, count });
                self.links.take()?;
            }
        }
        out.run = None;
        if let Some([first_child, direct, directory]) = self.runs.peek() {
            if first_child == out.ordinal {
                out.run = Some(RunStart { direct, directory });
                self.runs.take()?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Metadata;
    use crate::sort::Sorter;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A tree as a model sees it: paths of directories, and of files with their identity.
    #[derive(Debug)]
    struct Tree {
        directories: BTreeSet<String>,
        files: BTreeMap<String, Option<(u64, u64)>>,
    }

    fn tree() -> impl Strategy<Value = Tree> {
        // Names that begin with each other, and with bytes on both sides of `/`.
        let path = || prop::collection::vec("[ab-]{1,2}", 1..6);
        (
            prop::collection::vec(path(), 0..40),
            prop::collection::vec((path(), prop::option::of((0u64..2, 0u64..9))), 0..80),
        )
            .prop_map(|(directories, files)| {
                let mut tree = Tree {
                    directories: BTreeSet::from([String::new()]),
                    files: BTreeMap::new(),
                };
                let add = |tree: &mut Tree, names: &[String]| {
                    for len in 1..=names.len() {
                        tree.directories.insert(names[..len].join("/"));
                    }
                };
                for names in &directories {
                    add(&mut tree, names);
                }
                for (names, identity) in files {
                    let (name, parents) = names.split_last().unwrap();
                    add(&mut tree, parents);
                    let mut at = parents.to_vec();
                    at.push(format!("{name}f"));
                    tree.files.insert(at.join("/"), identity);
                }
                tree
            })
    }

    fn record(path: &str, kind: Kind) -> Record {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Record {
            parent: parent.into(),
            name: name.into(),
            metadata: Metadata::new(kind, 0o644),
            size: if kind == Kind::File { 10 } else { 0 },
            content: if kind == Kind::File {
                Content::Tree
            } else {
                Content::None
            },
            ..Record::empty()
        }
    }

    fn records(tree: &Tree) -> Vec<Record> {
        let directories = tree
            .directories
            .iter()
            .map(|path| record(path, Kind::Directory));
        let files = tree.files.iter().map(|(path, identity)| Record {
            identity: *identity,
            ..record(path, Kind::File)
        });
        directories.chain(files).collect()
    }

    fn plan(records: &[Record], memory: usize) -> Result<(Totals, Vec<PlannedEntry>)> {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), memory);
        for record in records {
            sorter.add(record)?;
        }
        let tree = sorter.finish()?;
        let mut repeated = |record: &Record| panic!("{record:?} comes twice");
        let plan = Plan::compute(
            &tree,
            directory.path(),
            memory,
            &mut repeated,
            &mut |_, _| Ok(()),
        )?;
        let mut entries = plan.entries(&tree)?;
        let mut entry = PlannedEntry::empty();
        let mut all = Vec::new();
        while entries.next(&mut entry)? {
            all.push(entry.clone());
        }
        Ok((plan.totals(), all))
    }

    fn count(paths: &[String], below: &str, deep: bool) -> u64 {
        let rest = |path: &String| match below {
            "" => Some(path.clone()),
            _ => path
                .strip_prefix(below)?
                .strip_prefix('/')
                .map(str::to_owned),
        };
        let inside = paths.iter().filter_map(rest);
        inside
            .filter(|rest| !rest.is_empty() && rest.contains('/') == deep)
            .count() as u64
    }

    proptest! {
        #[test]
        fn plans_agree_with_counting(tree in tree(), memory in prop_oneof![0usize..3000, Just(1 << 20)]) {
            let (totals, entries) = plan(&records(&tree), memory).unwrap();
            let directories: Vec<String> = tree.directories.iter().cloned().collect();
            let all: Vec<String> = directories.iter().chain(tree.files.keys()).cloned().collect();
            prop_assert_eq!(entries.len(), all.len());
            prop_assert_eq!(totals.files, tree.files.len() as u64);
            prop_assert_eq!(totals.directories, directories.len() as u64);

            let mut groups: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
            for (at, entry) in entries.iter().enumerate() {
                prop_assert_eq!(entry.ordinal, at as u64);
                if let Some(identity) = entry.record.identity {
                    groups.entry(identity).or_default().push(entry.ordinal);
                }
            }
            let mut aliases = 0;
            for entry in &entries {
                let path = String::from_utf8(entry.record.path()).unwrap();
                let children = tree.directories.contains(&path).then(|| Children {
                    direct: count(&all, &path, false),
                    subdirs: count(&directories, &path, false),
                    deeper: count(&all, &path, true),
                });
                prop_assert_eq!(entry.children, children, "{}", path);
                let link = entry
                    .record
                    .identity
                    .map(|identity| &groups[&identity])
                    .filter(|group| group.len() > 1)
                    .map(|group| Link { primary: group[0], count: group.len() as u64 });
                prop_assert_eq!(entry.link, link, "{}", path);
                aliases += u64::from(entry.is_alias());
            }
            prop_assert_eq!(totals.aliases, aliases);
            prop_assert_eq!(totals.data_bytes, 10 * (totals.files - aliases));
        }

        #[test]
        fn a_missing_directory_is_found(tree in tree(), pick: prop::sample::Index, as_file: bool) {
            let used: Vec<&String> = tree
                .directories
                .iter()
                .filter(|path| !path.is_empty())
                .filter(|path| {
                    let below = format!("{path}/");
                    tree.files.keys().chain(&tree.directories).any(|p| p.starts_with(&below))
                })
                .collect();
            prop_assume!(!used.is_empty());
            let gone = used[pick.index(used.len())];
            let mut records = records(&tree);
            records.retain(|r| r.path() != gone.as_bytes());
            if as_file {
                records.push(record(gone, Kind::File));
            }
            let error = plan(&records, 1 << 20).unwrap_err();
            prop_assert_eq!(error.kind(), ErrorKind::OutOfOrder);
            prop_assert_eq!(error.path().unwrap().parent().unwrap(), Path::new(gone));
            prop_assert_eq!(error.to_string().contains("something else"), as_file);
        }
    }

    #[test]
    fn names_of_a_changed_file_are_not_linked() {
        let linked = |path: &str, size: u64| Record {
            identity: Some((1, 1)),
            size,
            ..record(path, Kind::File)
        };
        let root = record("", Kind::Directory);
        let changed = [root.clone(), linked("a", 10), linked("b", 11)];
        let (totals, entries) = plan(&changed, 1 << 20).unwrap();
        assert!(entries.iter().all(|entry| entry.link.is_none()));
        assert_eq!((totals.aliases, totals.data_bytes), (0, 21));

        let three = [root, linked("a", 10), linked("b", 11), linked("c", 10)];
        let (totals, entries) = plan(&three, 1 << 20).unwrap();
        let links: Vec<_> = entries
            .iter()
            .map(|entry| entry.link.map(|l| (l.primary, l.count)))
            .collect();
        assert_eq!(links, [None, Some((1, 2)), None, Some((1, 2))]);
        assert_eq!((totals.aliases, totals.data_bytes), (1, 21));
    }

    #[test]
    fn a_tree_needs_a_root_directory() {
        for records in [
            vec![],
            vec![record("a", Kind::File)],
            vec![record("", Kind::File)],
        ] {
            let error = plan(&records, 1 << 20).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfOrder, "{records:?}");
        }
    }
}
