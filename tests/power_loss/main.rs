//! Loss of power at every moment of a real `dgfs pack`: it writes to a disk that records each write, sync and change of
//! names, and each beginning of that record is replayed as a disk may have kept it. Root and FUSE are needed.
//!
//! What was not synced may be there or not. Of the names given or taken since their directory was synced any subset may
//! be there; of the bytes written to a file since it was synced all, none, the first half with the last write torn, or only the
//! last write, as disks order them as they like.

#![cfg(feature = "mount")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::match_bool,
    reason = "a test that fails says where"
)]

#[macro_use]
#[path = "../mounting/mod.rs"]
mod mounting;
mod recording_disk;

use dgfs::read::{Image, VerifyOptions};
use mounting::DGFS;
use recording_disk::{Contents, Disk, Name, Operation, path_of, write};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Changes of names up to which all subsets of them are tried; of more, all, none, each alone and all but each.
const MOST_SUBSETS: usize = 5;

/// What is kept of the bytes written to a file since it was synced.
#[derive(Debug, Clone, Copy)]
enum Kept {
    All,
    Nothing,
    HalfAndTorn,
    LastAlone,
}

const KEPT: [Kept; 4] = [Kept::All, Kept::Nothing, Kept::HalfAndTorn, Kept::LastAlone];

/// A disk and what it was told but may not have done.
struct Model {
    durable: Contents,
    /// Writes since the file was synced, and changes of length as writes of nothing.
    written: BTreeMap<u64, Vec<Operation>>,
    /// Changes of names with the file concerned, since the directory was synced.
    renamed: Vec<(Operation, u64)>,
    /// All names as a running system shows them.
    shown: BTreeMap<Name, u64>,
}

fn change(names: &mut BTreeMap<Name, u64>, operation: &Operation, file: u64) {
    match operation {
        Operation::Create(name, _) => {
            names.insert(name.clone(), file);
        }
        Operation::Remove(name) => {
            names.remove(name);
        }
        Operation::Rename(from, to) => {
            names.remove(from);
            names.insert(to.clone(), file);
        }
        _ => {}
    }
}

fn directory_of(operation: &Operation) -> u64 {
    match operation {
        Operation::Create((directory, _), _)
        | Operation::Remove((directory, _))
        | Operation::Rename((directory, _), _) => *directory,
        _ => 0,
    }
}

fn apply(file: &mut Vec<u8>, operation: &Operation, torn: bool) {
    match operation {
        Operation::Write(_, offset, bytes) => {
            let length = if torn { bytes.len() / 2 } else { bytes.len() };
            write(file, *offset, &bytes[..length]);
        }
        Operation::SetLength(_, length) => file.resize(*length, 0),
        _ => {}
    }
}

impl Model {
    fn new(durable: Contents) -> Self {
        Self {
            shown: durable.names.clone(),
            durable,
            written: BTreeMap::new(),
            renamed: Vec::new(),
        }
    }

    fn execute(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(name, _) | Operation::Remove(name) | Operation::Rename(name, _) => {
                let file = match operation {
                    Operation::Create(_, file) => *file,
                    _ => self.shown[name],
                };
                change(&mut self.shown, operation, file);
                self.renamed.push((operation.clone(), file));
            }
            Operation::Write(file, ..) | Operation::SetLength(file, _) => {
                let writes = self.written.entry(*file).or_default();
                writes.push(operation.clone());
            }
            Operation::SyncFile(file) => {
                let contents = self.contents(*file, Kept::All);
                self.durable.files.insert(*file, contents);
                self.written.remove(file);
            }
            Operation::SyncDirectory(directory) => {
                let names = &mut self.durable.names;
                self.renamed.retain(|(operation, file)| {
                    let synced = directory_of(operation) == *directory;
                    if synced {
                        change(names, operation, *file);
                    }
                    !synced
                });
            }
        }
    }

    fn contents(&self, file: u64, kept: Kept) -> Vec<u8> {
        let mut contents = self.durable.files.get(&file).cloned().unwrap_or_default();
        let writes = self.written.get(&file).map_or(&[][..], Vec::as_slice);
        let half = writes.len() / 2;
        let whole = match kept {
            Kept::All => writes,
            Kept::Nothing => &[],
            Kept::HalfAndTorn => &writes[..half],
            Kept::LastAlone => &writes[writes.len().saturating_sub(1)..],
        };
        for operation in whole {
            apply(&mut contents, operation, false);
        }
        if let (Kept::HalfAndTorn, Some(operation)) = (kept, writes.get(half)) {
            apply(&mut contents, operation, true);
        }
        contents
    }

    /// The names that may be found.
    fn names(&self) -> Vec<BTreeMap<Name, u64>> {
        let count = self.renamed.len();
        let all = (1u64 << count) - 1;
        let subsets: BTreeSet<u64> = if count <= MOST_SUBSETS {
            (0..=all).collect()
        } else {
            let single = (0..count).map(|place| 1 << place);
            let singles = single.flat_map(|bit| [bit, all & !bit]);
            singles.chain([0, all]).collect()
        };
        let names = subsets.into_iter().map(|kept| {
            let mut names = self.durable.names.clone();
            for (place, (operation, file)) in self.renamed.iter().enumerate() {
                if kept >> place & 1 == 1 {
                    change(&mut names, operation, *file);
                }
            }
            names
        });
        names.collect()
    }
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    Old,
    New,
    Broken(String),
}

/// Reads the image in `directory` whole.
fn find(directory: &Path, volumes: &[PathBuf]) -> Found {
    let index = directory.join("image");
    if !index.exists() {
        return Found::Nothing;
    }
    let volumes: Vec<_> = volumes.iter().map(|path| directory.join(path)).collect();
    let opened = Image::options().data(volumes).open(&index);
    let image = match opened {
        Ok(image) => image,
        Err(error) => return Found::Broken(error.to_string()),
    };
    let mut faults = Vec::new();
    image.verify(&VerifyOptions::default(), &mut |fault| {
        faults.push(fault.to_string());
    });
    if !faults.is_empty() {
        return Found::Broken(faults.join("; "));
    }
    let is_new = image.lookup(b"new").unwrap().is_some();
    if is_new { Found::New } else { Found::Old }
}

/// Packs `tree`, which holds a file `new` or `old`, to a disk with or without an older image, and tries all that may be
/// left of it at each moment. Returns the operations recorded and the states read.
fn lose_power(old: bool, volumes: &[&str]) -> (usize, usize) {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path();
    let mount_point = inside.join("disk");
    let volumes: Vec<PathBuf> = volumes.iter().map(PathBuf::from).collect();
    fs::create_dir(&mount_point).unwrap();
    let tree = |which: &str| {
        let tree = inside.join(which);
        fs::create_dir(&tree).unwrap();
        for number in 0..20 {
            let contents = noise(which, number, 100 + number * number * 150);
            fs::write(tree.join(number.to_string()), contents).unwrap();
        }
        fs::write(tree.join("large"), noise(which, 20, 150_000)).unwrap();
        fs::write(tree.join(which), which).unwrap();
        tree
    };
    let disk = Disk::mount(&mount_point);
    let pack = |tree: PathBuf| {
        let mut command = Command::new(DGFS);
        command.args(["pack", "-q", "--force"]);
        for volume in &volumes {
            command.arg("--data").arg(mount_point.join(volume));
        }
        let output = command.arg(tree).arg(mount_point.join("image")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    if old {
        pack(tree("old"));
    }
    let (before, _) = disk.take();
    pack(tree("new"));
    let (_, log) = disk.take();
    drop(disk);

    let before_it = if old { Found::Old } else { Found::Nothing };
    let mut model = Model::new(before);
    let mut known: BTreeMap<u64, Found> = BTreeMap::new();
    let replayed = inside.join("replayed");
    let final_name: Name = (1, OsString::from("image"));
    let mut published = false;
    for (number, operation) in log.iter().enumerate() {
        model.execute(operation);
        let index = model.durable.names.get(&final_name);
        // Once the new index has its name for good, the old image must never come back.
        published |= index.is_some_and(|file| log_creates(&log, *file));
        let versions = |kept| {
            let files = model.shown.values().chain(model.durable.names.values());
            let versions = files.map(|file| (*file, model.contents(*file, kept)));
            versions.collect::<BTreeMap<u64, Vec<u8>>>()
        };
        for (kept, versions) in KEPT.map(|kept| (kept, versions(kept))) {
            let digests: BTreeMap<u64, u64> = versions
                .iter()
                .map(|(file, contents)| (*file, digest(contents)))
                .collect();
            for names in model.names() {
                let state: Vec<_> = names
                    .iter()
                    .map(|(name, file)| (name, digests[file]))
                    .collect();
                let found = known.entry(digest(&state)).or_insert_with(|| {
                    let _ = fs::remove_dir_all(&replayed);
                    fs::create_dir_all(replayed.join("second")).unwrap();
                    for (name, file) in &names {
                        fs::write(path_of(name, &replayed), &versions[file]).unwrap();
                    }
                    find(&replayed, &volumes)
                });
                assert!(
                    *found == Found::New || *found == before_it && !published,
                    "{found:?} after operation {number} of {}, {:?}, with {kept:?} of {names:?}",
                    log.len(),
                    names_of(operation),
                );
            }
        }
    }
    assert!(published, "the image was never published");
    assert_eq!(model.names().len(), 1, "names are not synced at the end");
    let unsynced: Vec<_> = model.written.keys().collect();
    let kept: Vec<_> = model
        .shown
        .values()
        .filter(|f| unsynced.contains(f))
        .collect();
    assert!(kept.is_empty(), "contents are not synced at the end");
    (log.len(), known.len())
}

/// Bytes that do not compress, so that they take many writes; others for each tree and file.
fn noise(which: &str, number: usize, length: usize) -> Vec<u8> {
    let start = (digest(&(which, number)) >> 32) as u32;
    let numbers = (0u32..).map(|n| (start ^ n).wrapping_mul(2_654_435_761));
    let bytes = numbers.flat_map(|n| (n ^ n >> 15).to_le_bytes());
    bytes.take(length).collect()
}

fn log_creates(log: &[Operation], file: u64) -> bool {
    let mut created = log.iter();
    created.any(|operation| matches!(operation, Operation::Create(_, it) if *it == file))
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// An operation without the bytes.
fn names_of(operation: &Operation) -> String {
    match operation {
        Operation::Write(file, offset, bytes) => {
            format!("Write({file}, {offset}, {} bytes)", bytes.len())
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn every_moment_leaves_the_old_image_or_the_new_one() {
    needs_mount!("every_moment_leaves_the_old_image_or_the_new_one");
    for volumes in [
        &["image.data"][..],
        &["second/volume"],
        &["image.data", "second/volume"],
    ] {
        for old in [false, true] {
            let (operations, states) = lose_power(old, volumes);
            println!("{volumes:?}, old image {old}: {operations} operations, {states} states");
            assert!(operations > 40 && states > 100, "{operations}, {states}");
        }
    }
}
