//! Damage at every byte and truncation at every length of small images with every kind of entry: a reader answers
//! exactly right or with an error.
//!
//! The test takes a sample of places with every bit of a byte. `tools/corruption_sweep` takes all of them and prints
//! the table of docs/reliability.md.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that fails says where"
)]

mod images;

use dgfs::format::{PAGE_BYTES, blob};
use dgfs::read::{Image, ReadAt, VerifyOptions};
use images::Parts;
use images::answers::Truth;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Memory that a reader may take on top of the image: its caches, a page, a chunk.
const MOST_MEMORY: usize = 32 << 20;

/// Time for all questions after one damage, in an unoptimised build on a busy machine.
const MOST_TIME: Duration = Duration::from_secs(20);

/// Bits that are flipped: each alone, then all.
const MASKS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 255];

/// Part of a file, with one byte changed or its end missing.
#[derive(Clone)]
struct Damaged {
    bytes: Arc<Vec<u8>>,
    start: usize,
    length: usize,
    flip: Option<(usize, u8)>,
}

impl Damaged {
    fn sound(bytes: &Arc<Vec<u8>>) -> Self {
        let (start, length) = (0, bytes.len());
        Self {
            bytes: Arc::clone(bytes),
            start,
            length,
            flip: None,
        }
    }
}

impl ReadAt for Damaged {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.length as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self.start + offset as usize;
        buffer.copy_from_slice(&self.bytes[at..at + buffer.len()]);
        if let Some((place, mask)) = self.flip {
            if let Some(byte) = place
                .checked_sub(at)
                .and_then(|place| buffer.get_mut(place))
            {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length as u64)
    }
}

/// What became of the damages in one region.
#[derive(Default)]
struct Outcome {
    tried: u64,
    /// Not even opened.
    refused: u64,
    /// Some questions answered by errors.
    errors: u64,
    /// All questions answered right; verification reports the damage.
    right: u64,
    /// All questions answered right, and verification finds nothing.
    unnoticed: u64,
    /// Wrong answers.
    wrong: u64,
    panics: u64,
    slowest: Duration,
    memory: usize,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.refused += other.refused;
        self.errors += other.errors;
        self.right += other.right;
        self.unnoticed += other.unnoticed;
        self.wrong += other.wrong;
        self.panics += other.panics;
        self.slowest = self.slowest.max(other.slowest);
        self.memory = self.memory.max(other.memory);
    }
}

/// An image, what is true of it, and where its regions are.
struct Sweep {
    truth: Truth,
    index: Arc<Vec<u8>>,
    volumes: Vec<Arc<Vec<u8>>>,
    /// Regions of each file by their first byte; the index first.
    regions: Vec<BTreeMap<usize, &'static str>>,
    outcomes: BTreeMap<(&'static str, &'static str), Outcome>,
    complaints: Vec<String>,
}

impl Sweep {
    fn new(parts: Parts) -> Self {
        let image = parts.clone().open().unwrap();
        let truth = Truth::of(&image);
        let header = image.header();
        let page = |number: u64| (number * PAGE_BYTES) as usize;
        let mut index = BTreeMap::from([
            (0, "header"),
            (page(1), "leaf pages"),
            (page(1 + header.leaf_pages), "inner pages"),
        ]);
        for section in &header.sections {
            let name = match section.kind {
                dgfs::format::attributes::SECTION => "attributes",
                dgfs::format::volume::SECTION => "volumes",
                blob::SECTION => "blobs",
                _ => "other sections",
            };
            index.insert(section.offset as usize, name);
            index
                .entry((section.offset + section.length) as usize)
                .or_insert("padding");
        }
        index.insert(parts.index.len() - page(1), "footer");
        let mut regions = vec![index];
        for (info, volume) in image.volumes().iter().zip(&parts.volumes) {
            let mut places = BTreeMap::from([(0, "volume header")]);
            for (position, chunks, stored) in truth.extents() {
                if position >= info.start && position < info.end {
                    let at = (position - info.start) as usize;
                    places.insert(at, "contents");
                    if chunks < stored {
                        places.insert(at + chunks as usize, "chunk tables");
                    }
                }
            }
            places.insert((info.end - info.start) as usize, "padding");
            let trailer = volume.len() - page(1);
            let copy = u64::from_le_bytes(volume[trailer + 56..][..8].try_into().unwrap());
            if copy > 0 {
                places.insert(copy as usize, "copy of the index");
            }
            places.insert(trailer, "volume trailer");
            regions.push(places);
        }
        Self {
            truth,
            index: Arc::new(parts.index),
            volumes: parts.volumes.into_iter().map(Arc::new).collect(),
            regions,
            outcomes: BTreeMap::new(),
            complaints: Vec::new(),
        }
    }

    /// The files of the image, the index first.
    fn files(&self) -> Vec<Damaged> {
        let files = std::iter::once(&self.index).chain(&self.volumes);
        files.map(Damaged::sound).collect()
    }

    fn region(&self, file: usize, at: usize) -> &'static str {
        let before = self.regions[file].range(..=at).next_back();
        before.map_or("", |(_, name)| name)
    }

    /// Asks everything of an image with one damage.
    fn judge(&mut self, files: Vec<Damaged>, key: (&'static str, &'static str), what: &str) {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let begun = Instant::now();
        let mut outcome = Outcome {
            tried: 1,
            ..Outcome::default()
        };
        match catch_unwind(AssertUnwindSafe(|| self.see(files, &mut outcome))) {
            Ok(None) => {}
            Ok(Some(wrong)) => self.complaints.push(format!("{what}: {wrong}")),
            Err(_) => {
                outcome.panics = 1;
                self.complaints.push(format!("{what}: panic"));
            }
        }
        outcome.slowest = begun.elapsed();
        outcome.memory = MEMORY.peak_usage().saturating_sub(before);
        if outcome.slowest > MOST_TIME || outcome.memory > MOST_MEMORY {
            self.complaints.push(format!(
                "{what}: {:?}, {} bytes",
                outcome.slowest, outcome.memory
            ));
        }
        self.outcomes.entry(key).or_default().add(&outcome);
    }

    fn see(&self, files: Vec<Damaged>, outcome: &mut Outcome) -> Option<String> {
        let mut files = files
            .into_iter()
            .map(|file| Box::new(file) as Box<dyn ReadAt>);
        let index = files.next()?;
        let options = Image::options().cache_bytes(1 << 20);
        let Ok(image) = options.open_parts(index, files.collect()) else {
            outcome.refused = 1;
            return None;
        };
        let answers = self.truth.ask(&image);
        let faults = image.verify(&VerifyOptions::default(), &mut |_| {}).faults;
        if !answers.wrong.is_empty() {
            outcome.wrong = 1;
            return Some(format!("{:?}", answers.wrong));
        }
        if answers.refused > 0 {
            outcome.errors = 1;
            // What a reader stumbles over, verification must report.
            return (faults == 0).then(|| "errors, but verification finds nothing".to_owned());
        }
        *if faults > 0 {
            &mut outcome.right
        } else {
            &mut outcome.unnoticed
        } = 1;
        (faults == 0).then(|| "verification finds nothing".to_owned())
    }

    /// Flips bits of the bytes for which `masks` gives any, in all files.
    fn flip(&mut self, masks: impl Fn(&str, usize) -> Vec<u8>) {
        for file in 0..self.regions.len() {
            for at in 0..self.files()[file].length {
                for mask in masks(self.region(file, at), at) {
                    let mut files = self.files();
                    files[file].flip = Some((at, mask));
                    let key = (
                        if file == 0 { "index" } else { "volumes" },
                        self.region(file, at),
                    );
                    self.judge(
                        files,
                        key,
                        &format!("byte {at} of file {file} xor {mask:#x}"),
                    );
                }
            }
        }
    }

    /// The same with the copy of the index in volume 0 as the index.
    fn flip_copy(&mut self, masks: impl Fn(&str, usize) -> Vec<u8>) {
        let copy = self.regions[1]
            .iter()
            .find(|(_, name)| **name == "copy of the index");
        let Some((&start, _)) = copy else { return };
        let sound = Damaged {
            start,
            length: self.index.len(),
            ..Damaged::sound(&self.volumes[0])
        };
        for at in 0..sound.length {
            for mask in masks(self.region(0, at), at) {
                let mut files = self.files();
                files[0] = Damaged {
                    flip: Some((start + at, mask)),
                    ..sound.clone()
                };
                files[1] = Damaged {
                    flip: Some((start + at, mask)),
                    ..files[1].clone()
                };
                let key = ("copy as index", self.region(0, at));
                self.judge(files, key, &format!("byte {at} of the copy xor {mask:#x}"));
            }
        }
    }

    /// Cuts each file to the lengths that are wanted.
    fn cut(&mut self, wanted: impl Fn(usize) -> bool) {
        for file in 0..self.regions.len() {
            for length in (0..self.files()[file].length).filter(|&length| wanted(length)) {
                let mut files = self.files();
                files[file].length = length;
                let key = if file == 0 {
                    ("index", "cut short")
                } else {
                    ("volumes", "cut short")
                };
                self.judge(files, key, &format!("file {file} cut to {length} bytes"));
            }
        }
    }

    fn finish(&self) {
        let shown: Vec<_> = self.complaints.iter().take(20).collect();
        assert!(
            shown.is_empty(),
            "{} complaints: {shown:#?}",
            self.complaints.len()
        );
        for (key, outcome) in &self.outcomes {
            assert_eq!(
                outcome.wrong + outcome.panics + outcome.unnoticed,
                0,
                "{key:?}"
            );
        }
    }
}

/// The images: one with every kind of entry, one with contents of all shapes, one with contents as frames, one with shared
/// chunks and extents in another order, one with shared frames.
fn sweeps() -> Vec<Sweep> {
    vec![
        Sweep::new(images::every_kind::every_kind()),
        Sweep::new(images::chunks::chunks_and_holes()),
        Sweep::new(images::compressed::compressed()),
        Sweep::new(images::cut::cut_and_moved()),
        Sweep::new(images::members::members()),
    ]
}

#[test]
fn a_sound_image_answers_every_question() {
    for sweep in sweeps() {
        let mut outcome = Outcome::default();
        let said = sweep.see(sweep.files(), &mut outcome);
        assert_eq!(said, Some("verification finds nothing".to_owned()));
        assert_eq!(outcome.unnoticed, 1);
    }
}

/// A sample of all regions and all bits.
#[test]
fn damage_is_answered_by_errors() {
    for mut sweep in sweeps() {
        // Where numbers stand, one bit of each byte; elsewhere of some. Primes, so that places and bits meet in all ways.
        let sample = |step: usize| {
            move |region: &str, at: usize| {
                let dense = at % 4096 < 100 || ["blobs", "chunk tables"].contains(&region);
                let wanted = dense || at.is_multiple_of(step);
                if wanted { vec![MASKS[at % 9]] } else { vec![] }
            }
        };
        sweep.flip(sample(19));
        sweep.flip_copy(sample(97));
        sweep.cut(|length| length.is_multiple_of(61) || length.is_multiple_of(4096));
        sweep.finish();
        assert!(sweep.outcomes[&("index", "leaf pages")].errors > 200);
        assert!(sweep.outcomes[&("volumes", "contents")].errors > 10);
    }
}

/// Bits that the whole sweep flips at a place: all of them, or one that changes from byte to byte if
/// `DGFS_SWEEP_ONE_BIT` is set.
fn wanted_bits() -> fn(&str, usize) -> Vec<u8> {
    if std::env::var_os("DGFS_SWEEP_ONE_BIT").is_some() {
        |_, at| vec![MASKS[at % 8]]
    } else {
        |_, _| MASKS.to_vec()
    }
}

/// Whether the whole sweep is to take the image of this number: all, unless `DGFS_SWEEP_IMAGE` names one.
fn is_wanted(image: u32) -> bool {
    let wanted = std::env::var("DGFS_SWEEP_IMAGE").ok();
    wanted.is_none_or(|wanted| wanted == image.to_string())
}

/// Every bit of every byte, and every length.
#[test]
#[ignore = "takes minutes; tools/corruption_sweep runs it"]
fn all_damage_is_answered_by_errors() {
    let mut table: BTreeMap<(&str, &str), Outcome> = BTreeMap::new();
    let sweeps = (1..).zip(sweeps()).filter(|(image, _)| is_wanted(*image));
    let sweeps = sweeps.map(|(image, mut sweep)| {
        let begun = Instant::now();
        let done = |what| println!("image {image}: {what} after {:?}", begun.elapsed());
        sweep.cut(|_| true);
        done("every length");
        sweep.flip(wanted_bits());
        done("every place");
        sweep.flip_copy(wanted_bits());
        done("the copy as the index");
        sweep
    });
    let sweeps: Vec<Sweep> = sweeps.collect();
    for sweep in &sweeps {
        for (key, outcome) in &sweep.outcomes {
            table.entry(*key).or_default().add(outcome);
        }
    }
    println!(
        "| file | region | damages | not opened | errors | all right, verify reports | unnoticed | wrong | panics | slowest, ms | memory, KiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut sum = Outcome::default();
    let row = |file: &str, region: &str, o: &Outcome| {
        println!(
            "| {file} | {region} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            o.tried,
            o.refused,
            o.errors,
            o.right,
            o.unnoticed,
            o.wrong,
            o.panics,
            o.slowest.as_millis(),
            o.memory >> 10
        );
    };
    for ((file, region), outcome) in &table {
        row(file, region, outcome);
        sum.add(outcome);
    }
    row("all", "", &sum);
    for sweep in sweeps {
        sweep.finish();
    }
}
