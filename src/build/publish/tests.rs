//! Publishing real images, with interruptions between any two steps.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::build::{BuildOptions, Builder, Contents, LogObserver, NewEntry};
use crate::entry::{Kind, Metadata};
use crate::read::Image;

const PARTS: usize = 3;

fn uuid(number: u8) -> Uuid {
    [number; 16]
}

/// The bytes of all parts of an image that says `text`.
fn parts(uuid: Uuid, text: &str) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let index = directory.path().join("i");
    let volumes: Vec<_> = (1..PARTS)
        .map(|n| directory.path().join(format!("v{n}")))
        .collect();
    let options = BuildOptions {
        volumes: volumes.clone(),
        uuid: Some(uuid),
        ..BuildOptions::default()
    };
    let mut builder = Builder::new(&index, options).unwrap();
    for path in [b"a", b"b"] {
        let entry = NewEntry {
            path,
            metadata: Metadata::new(Kind::File, 0o644),
            contents: Contents::Bytes(text.as_bytes()),
            target: b"",
            identity: None,
        };
        builder.add(entry).unwrap();
    }
    builder.finish(&mut LogObserver).unwrap();
    let paths = std::iter::once(&index).chain(&volumes);
    paths.map(|path| fs::read(path).unwrap()).collect()
}

/// An image with its second volume in a directory of its own.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("disk")).unwrap();
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn index(&self) -> PathBuf {
        self.at("i")
    }

    fn volumes(&self) -> Vec<PathBuf> {
        vec![self.at("i.data"), self.at("disk/v")]
    }

    fn begin(&self, number: u8, force: bool) -> Result<Publication> {
        Publication::begin(&self.index(), &self.volumes(), &uuid(number), force)
    }

    /// A publication of image `number`, which says `text`, up to but not including the commit.
    fn prepare(&self, number: u8, text: &str) -> Publication {
        let publication = self.begin(number, true).unwrap();
        for (member, bytes) in publication.members.iter().zip(parts(uuid(number), text)) {
            member.output.write_at(&bytes, 0).unwrap();
        }
        publication
    }

    fn pack(&self, number: u8, text: &str) {
        self.prepare(number, text).commit().unwrap();
    }

    /// What the image says, all of it read.
    fn text(&self) -> Result<String> {
        let volumes = self.volumes();
        let image = Image::options().data(volumes).open(&self.index())?;
        let mut all = Vec::new();
        for path in [b"a", b"b"] {
            let node = image.lookup(path)?.unwrap();
            let mut scratch = Vec::new();
            all.extend_from_slice(image.read_at(&node, 0, 100, &mut scratch)?);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    /// All files, sorted.
    fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        for directory in ["", "disk"] {
            for entry in fs::read_dir(self.at(directory)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                names.push(Path::new(directory).join(name).display().to_string());
            }
        }
        names.retain(|name| name != "disk");
        names.sort();
        names
    }
}

/// What `kill -9` leaves of a publication: its files, but no locks.
fn kill(mut publication: Publication) {
    publication.published = true;
}

const FINISHED: [&str; 3] = ["disk/v", "i", "i.data"];

#[test]
fn a_published_image_can_be_read_and_leaves_nothing_else() {
    let fixture = Fixture::new();
    fixture.pack(1, "one");
    assert_eq!(fixture.text().unwrap(), "oneone");
    assert_eq!(fixture.files(), FINISHED);
    fixture.pack(2, "two");
    assert_eq!(fixture.text().unwrap(), "twotwo");
    assert_eq!(fixture.files(), FINISHED);
}

#[test]
fn a_build_killed_at_any_step_leaves_the_old_image_or_the_new_one() {
    let all = steps(PARTS);
    let renamed = all.iter().position(|&step| step == Step::Rename(0));
    for done in 0..=all.len() {
        for old in [false, true] {
            let fixture = Fixture::new();
            if old {
                fixture.pack(1, "old");
            }
            let mut publication = fixture.prepare(2, "new");
            for &step in &all[..done] {
                publication.execute(step).unwrap();
            }
            kill(publication);
            let expected = match (done > renamed.unwrap(), old) {
                (true, _) => Some("newnew"),
                (false, true) => Some("oldold"),
                (false, false) => None,
            };
            assert_eq!(fixture.text().ok().as_deref(), expected, "{done} steps");

            // The next build clears up, and until it is published nothing else changes.
            let next = fixture.begin(3, true).unwrap();
            assert_eq!(fixture.text().ok().as_deref(), expected, "{done} steps");
            drop(next);
            assert_eq!(fixture.text().ok().as_deref(), expected, "{done} steps");
            let files = if expected.is_some() {
                &FINISHED[..]
            } else {
                &[]
            };
            assert_eq!(fixture.files(), files, "{done} steps");
        }
    }
}

#[test]
fn a_build_that_fails_at_any_step_before_it_is_published_leaves_nothing() {
    let all = steps(PARTS);
    for done in 0..all.len() {
        let fixture = Fixture::new();
        fixture.pack(1, "old");
        let mut publication = fixture.prepare(2, "new");
        all[..done]
            .iter()
            .for_each(|&step| publication.execute(step).unwrap());
        let published = publication.published;
        drop(publication);
        let expected = if published { "newnew" } else { "oldold" };
        assert_eq!(fixture.text().unwrap(), expected, "{done} steps");
        if !published {
            assert_eq!(fixture.files(), FINISHED, "{done} steps");
        }
    }
}

#[test]
fn without_force_nothing_is_replaced_and_nothing_is_made() {
    for name in FINISHED {
        let fixture = Fixture::new();
        fs::write(fixture.at(name), "mine").unwrap();
        let error = fixture.begin(1, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert_eq!(error.path(), Some(fixture.at(name).as_path()));
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fixture.files(), [name]);
    }
}

#[test]
fn with_force_only_parts_of_images_are_replaced() {
    for name in FINISHED {
        for what in ["text", "empty", "page", "directory", "link", "wrong part"] {
            let fixture = Fixture::new();
            fixture.pack(1, "old");
            let path = fixture.at(name);
            let other = fs::read(fixture.at(if name == "i" { "i.data" } else { "i" })).unwrap();
            fs::rename(&path, fixture.at("moved")).unwrap();
            match what {
                "text" => fs::write(&path, "x".repeat(9000)).unwrap(),
                "empty" => fs::write(&path, "").unwrap(),
                "page" => fs::write(&path, [0; 4096]).unwrap(),
                "directory" => fs::create_dir(&path).unwrap(),
                "link" => symlink(fixture.at("moved"), &path).unwrap(),
                _ => fs::write(&path, other).unwrap(),
            }
            let before = fixture.files();
            let error = fixture.begin(2, true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists, "{name} {what}");
            assert_eq!(error.path(), Some(path.as_path()), "{name} {what}");
            assert!(error.to_string().contains("remove it yourself"), "{error}");
            assert_eq!(fixture.files(), before, "{name} {what}");
        }
    }
}

#[test]
fn a_damaged_image_may_be_replaced() {
    let fixture = Fixture::new();
    fixture.pack(1, "old");
    for name in FINISHED {
        let mut bytes = fs::read(fixture.at(name)).unwrap();
        bytes[100] ^= 1;
        bytes.truncate(5000);
        fs::write(fixture.at(name), bytes).unwrap();
    }
    fixture.pack(2, "new");
    assert_eq!(fixture.text().unwrap(), "newnew");
}

#[test]
fn an_image_with_the_same_uuid_is_not_replaced() {
    let fixture = Fixture::new();
    fixture.pack(1, "old");
    let error = fixture.begin(1, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    // Nor if only a volume has it.
    fs::remove_file(fixture.index()).unwrap();
    let error = fixture.begin(1, true).unwrap_err();
    assert_eq!(error.path(), Some(fixture.at("i.data").as_path()));
}

#[test]
fn what_appears_during_the_build_is_not_replaced() {
    for name in FINISHED {
        let fixture = Fixture::new();
        let publication = fixture.begin(1, false).unwrap();
        fs::write(fixture.at(name), "mine").unwrap();
        let error = publication.commit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
        assert_eq!(fixture.files(), [name]);
        assert_eq!(fs::read(fixture.at(name)).unwrap(), b"mine");
    }
}

#[test]
fn what_appears_in_the_last_moment_is_not_replaced_either() {
    for (number, name) in ["i", "i.data", "disk/v"].into_iter().enumerate() {
        let fixture = Fixture::new();
        let mut publication = fixture.prepare(1, "new");
        publication.force = false;
        let mut failed = None;
        for step in steps(PARTS) {
            if step == Step::Rename(number) {
                fs::write(fixture.at(name), "mine").unwrap();
            }
            if let Err(error) = publication.execute(step) {
                failed = Some(error);
                break;
            }
        }
        assert_eq!(failed.unwrap().kind(), ErrorKind::Exists);
        drop(publication);
        assert_eq!(fs::read(fixture.at(name)).unwrap(), b"mine");
        if number == 0 {
            assert_eq!(fixture.files(), ["i"]);
        } else {
            assert_eq!(fixture.text().unwrap(), "newnew", "{name}");
        }
    }
}

#[test]
fn two_builds_of_one_image_do_not_meet() {
    let fixture = Fixture::new();
    fixture.pack(1, "old");
    let publication = fixture.prepare(2, "new");
    for force in [false, true] {
        let error = fixture.begin(3, force).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert!(error.to_string().contains("running"), "{error}");
    }
    // Nor if they share but one volume.
    let volume = fixture.volumes().pop().unwrap();
    let error = Publication::begin(&fixture.at("j"), &[volume], &uuid(4), true).unwrap_err();
    assert!(error.to_string().contains("running"), "{error}");
    publication.commit().unwrap();
    assert_eq!(fixture.text().unwrap(), "newnew");
    assert_eq!(fixture.files(), FINISHED);
}

#[test]
fn of_builds_that_begin_together_at_most_one_goes_on() {
    for round in 0..20 {
        let fixture = Fixture::new();
        let publications: Vec<_> = std::thread::scope(|scope| {
            let begin = |number| fixture.begin(number, true);
            let threads: Vec<_> = (1..4).map(|n| scope.spawn(move || begin(n))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let (mut alive, mut files) = (0, 0);
        for publication in publications {
            match publication {
                Ok(_) => {
                    alive += 1;
                    files = fixture.files().len();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Exists, "{error}"),
            }
        }
        assert!(alive <= 1, "round {round}");
        assert_eq!(files, PARTS * alive, "round {round}");
        assert_eq!(fixture.files(), [""; 0], "round {round}");
    }
}

#[test]
fn a_finished_volume_of_another_image_is_left_alone() {
    let fixture = Fixture::new();
    // Image `j` has its volume where `i` will have its second, and was killed after its index got
    // its name.
    let volume = fixture.volumes().pop().unwrap();
    let volumes = [fixture.at("j.data"), volume.clone()];
    let mut publication = Publication::begin(&fixture.at("j"), &volumes, &uuid(9), false).unwrap();
    for (member, bytes) in publication.members.iter().zip(parts(uuid(9), "j")) {
        member.output.write_at(&bytes, 0).unwrap();
    }
    for step in steps(PARTS) {
        publication.execute(step).unwrap();
        if step == Step::Rename(0) {
            break;
        }
    }
    kill(publication);
    fixture.pack(1, "one");
    assert!(fixture.files().contains(&"disk/v.09090909.part".into()));
    let image = Image::options().data(volumes.to_vec());
    let image = image.open(&fixture.at("j")).unwrap();
    let node = image.lookup(b"b").unwrap().unwrap();
    assert_eq!(image.read_at(&node, 0, 9, &mut Vec::new()).unwrap(), b"j");
}

#[test]
fn what_only_looks_like_a_leftover_is_left_alone() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.at("i.00000001.part")).unwrap();
    fs::write(fixture.at("target"), "mine").unwrap();
    symlink(fixture.at("target"), fixture.at("i.data.00000002.part")).unwrap();
    let fifo = fixture.at("disk/v.00000003.part");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
    fixture.pack(1, "one");
    assert_eq!(fixture.files().len(), 7);
    assert_eq!(fixture.text().unwrap(), "oneone");
}

#[test]
fn leftovers_of_volumes_that_are_not_needed_any_more_are_cleared() {
    let fixture = Fixture::new();
    let publication = fixture.begin(1, false).unwrap();
    kill(publication);
    fs::write(fixture.at("i.data.7.01010101.part"), "unfinished").unwrap();
    let publication = Publication::begin(&fixture.index(), &[], &uuid(2), false).unwrap();
    // The one in another directory is not found without its name.
    let files = [
        "disk/v.01010101.part",
        "i.02020202.part",
        "i.data.02020202.part",
    ];
    assert_eq!(fixture.files(), files);
    drop(publication);
}

#[test]
fn volumes_without_a_counterpart_are_named() {
    let fixture = Fixture::new();
    fixture.pack(1, "old");
    let unused = fixture.at("i.data.1");
    fs::rename(fixture.at("disk/v"), &unused).unwrap();
    // Of no image, and of another one.
    fs::write(fixture.at("i.data.2"), "text").unwrap();
    fs::write(fixture.at("i.data.3"), &parts(uuid(8), "other")[2]).unwrap();
    let publication = fixture.prepare(2, "new");
    assert_eq!(publication.replaced, Some(uuid(1)));
    let mut publication = publication;
    for step in steps(PARTS) {
        publication.execute(step).unwrap();
    }
    assert_eq!(publication.unused_volumes(), [unused]);
}

#[test]
fn one_file_cannot_be_two_parts() {
    let fixture = Fixture::new();
    let cases = [
        vec![fixture.index()],
        vec![fixture.at("v"), fixture.at("disk/../v")],
    ];
    for volumes in cases {
        let error = Publication::begin(&fixture.index(), &volumes, &uuid(1), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(fixture.files(), [""; 0]);
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let fixture = Fixture::new();
    let volumes = [fixture.at("none/v")];
    let error = Publication::begin(&fixture.index(), &volumes, &uuid(1), false).unwrap_err();
    assert_eq!(error.path(), Some(fixture.at("none").as_path()));
    for path in ["/", "..", "x/.."] {
        let error = Publication::begin(Path::new(path), &[], &uuid(1), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
    }
    assert_eq!(fixture.files(), [""; 0]);
}

#[test]
fn files_are_for_all_to_read() {
    let fixture = Fixture::new();
    fixture.pack(1, "one");
    let probe = fixture.at("probe");
    fs::write(&probe, "").unwrap();
    // What the umask leaves of 666 and of 644.
    let umask = !fs::metadata(&probe).unwrap().mode() & 0o666;
    for name in FINISHED {
        let mode = fs::metadata(fixture.at(name)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644 & !umask, "{name}");
    }
}
