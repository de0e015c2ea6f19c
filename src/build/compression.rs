//! What contents are compressed with, prepared before the first is read, and what came of it.

use super::contents::Codecs;
use super::dictionaries::{Class, Dictionaries, SampleSource, Stored};
use super::options::{BuildOptions, Compression, DictionarySize};
use super::placed::Placed;
use super::samples::Reservoir;
use crate::Result;
use crate::format::codec::{Note, Section};
use std::time::Instant;

/// Codecs, dictionaries, and what each codec was used for.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    stored: Stored,
    /// By number of the codec; the first is that without a dictionary.
    notes: Vec<Note>,
    /// Bytes that samples took with the dictionary and without, by number of the codec.
    measured: Vec<(u64, u64)>,
}

/// A reservoir, if dictionaries are wanted.
pub(super) fn reservoir(options: &BuildOptions) -> Option<Reservoir> {
    match (options.compression, options.dictionaries) {
        (Compression::None, _) | (_, DictionarySize::None) => None,
        _ => Some(Reservoir::default()),
    }
}

/// Prepares codecs as `options` want them, dictionaries by what `reservoir` has chosen.
pub(super) fn prepare(
    options: &BuildOptions,
    reservoir: Option<Reservoir>,
    from: &SampleSource<'_>,
) -> Result<(Option<Codecs>, Prepared)> {
    let Compression::Zstd(level) = options.compression else {
        return Ok((None, Prepared::default()));
    };
    let size = match options.dictionaries {
        DictionarySize::Most(size) => Some(size),
        DictionarySize::Auto | DictionarySize::None => None,
    };
    let begun = Instant::now();
    let train = |chosen| Dictionaries::train(chosen, from, level, size, options.small_frames);
    let dictionaries = reservoir.map(train);
    let dictionaries = dictionaries.unwrap_or_default();
    log::debug!(
        "trained {} dictionaries in {:.2} s",
        dictionaries.list.len(),
        begun.elapsed().as_secs_f64()
    );
    let note = |class: &Class| Note::new(&class.label);
    let prepared = Prepared {
        stored: dictionaries.store()?,
        notes: [Note::default()]
            .into_iter()
            .chain(dictionaries.list.iter().map(note))
            .collect(),
        measured: [(1, 1)]
            .into_iter()
            .chain(dictionaries.list.iter().map(|c| (c.with, c.without)))
            .collect(),
    };
    let codecs = Codecs::trained(level, dictionaries)?;
    Ok((Some(codecs), prepared))
}

impl Prepared {
    /// Contents were stored.
    pub(super) fn count(&mut self, placed: &Placed) {
        if placed.shared {
            return;
        }
        let note = placed
            .codec
            .and_then(|codec| self.notes.get_mut(codec as usize));
        if let Some(note) = note {
            // Of chunks that were stored before, the file that stored them has been counted.
            let data = placed.size - placed.shared_chunks.data_bytes.min(placed.size);
            note.files += 1;
            note.data_bytes = note.data_bytes.saturating_add(data);
            note.stored_bytes = note.stored_bytes.saturating_add(placed.taken());
        }
    }

    /// The sections of the index that readers need for what was written.
    pub(super) fn sections(mut self) -> Vec<Section> {
        for (note, (with, without)) in self.notes.iter_mut().zip(self.measured) {
            let estimate = u128::from(note.stored_bytes) * u128::from(without);
            let estimate = estimate / u128::from(with.max(1));
            note.plain_bytes = u64::try_from(estimate).unwrap_or(u64::MAX);
        }
        Section::of_codecs(&self.stored.codecs, self.stored.dictionaries, &self.notes)
    }
}
