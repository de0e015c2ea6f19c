//! The order of the steps against a model of a file system that loses power.
//!
//! The model is a harsh one: of the names that were given since their directory was last brought to
//! the device, any may be there afterwards and any may not; a file that was not brought to the device
//! holds nothing.

use super::*;
use std::collections::BTreeMap;

/// A part of the old or the new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Old(usize),
    New(usize),
}

/// The name of a part: final or pending.
type Name = (usize, bool);

/// A change of names in the directory of a part.
#[derive(Debug, Clone, Copy)]
enum Change {
    Create(usize),
    Rename(usize),
}

impl Change {
    fn part(self) -> usize {
        match self {
            Self::Create(part) | Self::Rename(part) => part,
        }
    }

    fn apply(self, names: &mut BTreeMap<Name, File>) {
        match self {
            Self::Create(part) => {
                names.insert((part, true), File::New(part));
            }
            Self::Rename(part) => {
                names.remove(&(part, true));
                names.insert((part, false), File::New(part));
            }
        }
    }
}

struct Disk<'a> {
    /// For each part its directory.
    directories: &'a [usize],
    durable: BTreeMap<Name, File>,
    pending: Vec<Change>,
    synced: Vec<bool>,
}

impl Disk<'_> {
    fn new(directories: &[usize], old: bool) -> Disk<'_> {
        let parts = 0..directories.len();
        let files = parts.clone().map(|part| ((part, false), File::Old(part)));
        Disk {
            directories,
            durable: files.filter(|_| old).collect(),
            pending: parts.map(Change::Create).collect(),
            synced: vec![false; directories.len()],
        }
    }

    fn execute(&mut self, step: Step) {
        match step {
            Step::CheckNames => {}
            Step::SyncFile(part) => self.synced[part] = true,
            Step::Rename(part) => self.pending.push(Change::Rename(part)),
            Step::SyncDirectory(part) => {
                let (names, directories) = (&mut self.durable, self.directories);
                self.pending.retain(|change| {
                    let synced = directories[change.part()] == directories[part];
                    if synced {
                        change.apply(names);
                    }
                    !synced
                });
            }
        }
    }

    /// All sets of names that may be found after a loss of power.
    fn after_power_loss(&self) -> Vec<BTreeMap<Name, File>> {
        (0..1u32 << self.pending.len())
            .map(|kept| {
                let mut names = self.durable.clone();
                for (number, change) in self.pending.iter().enumerate() {
                    if kept >> number & 1 == 1 {
                        change.apply(&mut names);
                    }
                }
                names
            })
            .collect()
    }
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
enum Image {
    None,
    Old,
    New,
    Broken,
}

fn read(names: &BTreeMap<Name, File>, synced: &[bool]) -> Image {
    let mut volumes = 1..synced.len();
    match names.get(&(0, false)) {
        None => Image::None,
        Some(File::Old(_)) if volumes.all(|n| names.get(&(n, false)) == Some(&File::Old(n))) => {
            Image::Old
        }
        Some(File::New(_))
            if synced[0]
                && volumes.all(|n| {
                    let found = |pending| names.get(&(n, pending)) == Some(&File::New(n));
                    synced[n] && (found(false) || found(true))
                }) =>
        {
            Image::New
        }
        Some(_) => Image::Broken,
    }
}

#[test]
fn power_loss_leaves_the_old_image_or_the_new_one() {
    let layouts: [&[usize]; 6] = [
        &[0, 0],
        &[0, 1],
        &[0, 0, 0],
        &[0, 1, 1],
        &[0, 1, 2],
        &[0, 1, 0, 2],
    ];
    for directories in layouts {
        for old in [false, true] {
            let before = if old { Image::Old } else { Image::None };
            let mut disk = Disk::new(directories, old);
            let mut published = false;
            for step in steps(directories.len()) {
                disk.execute(step);
                for names in disk.after_power_loss() {
                    let found = read(&names, &disk.synced);
                    assert!(
                        found == Image::New || found == before && !published,
                        "{found:?} after {step:?} with {names:?}"
                    );
                }
                // From here on the answer is known, and it is for good.
                published |= step == Step::SyncDirectory(0)
                    && disk.durable.get(&(0, false)) == Some(&File::New(0));
            }
            assert!(published);
            assert_eq!(disk.after_power_loss().len(), 1, "something is not synced");
            assert!(
                disk.durable
                    .iter()
                    .all(|(&(part, pending), &file)| { !pending && file == File::New(part) })
            );
        }
    }
}
