//! `dgfs info`: what an image is and how large its parts are.

use std::path::PathBuf;
use std::process::ExitCode;

use dgfs::Result;
use dgfs::format::VERSION_MAJOR;
use dgfs::image::format_uuid;
use dgfs::read::{CodecInfo, Image};
use serde::Serialize;

use super::open_image::ImageArgs;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    image: ImageArgs,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Info {
    format_version: String,
    uuid: String,
    entries: u64,
    files: u64,
    directories: u64,
    symlinks: u64,
    others: u64,
    data_bytes: u64,
    stored_bytes: u64,
    duplicate_files: u64,
    duplicate_bytes: u64,
    shared_chunks: u64,
    shared_chunk_bytes: u64,
    /// Frames that several small files share, and those files.
    shared_frames: u64,
    frame_members: u64,
    index_bytes: u64,
    index_bytes_per_entry: f64,
    leaf_pages: u64,
    inner_pages: u64,
    levels: u32,
    chunk_bytes: u64,
    /// Stored contents as a part of what they hold.
    ratio: Option<f64>,
    codecs: Vec<Codec>,
    index: PathBuf,
    volumes: Vec<Volume>,
}

/// A codec and what it was used for.
#[derive(Debug, Serialize)]
struct Codec {
    label: String,
    dictionary_bytes: u64,
    dictionary_stored: u64,
    files: u64,
    data_bytes: u64,
    stored_bytes: u64,
    /// About what would be stored without the dictionary, and no more than there is: what does not get shorter is
    /// stored as it is.
    plain_bytes: u64,
}

impl Codec {
    fn of(info: CodecInfo) -> Self {
        let note = info.note.unwrap_or_default();
        Self {
            label: String::from_utf8_lossy(&note.label).into_owned(),
            dictionary_bytes: info.dictionary_bytes,
            dictionary_stored: info.dictionary_stored,
            files: note.files,
            data_bytes: note.data_bytes,
            stored_bytes: note.stored_bytes,
            plain_bytes: note.plain_bytes.min(note.data_bytes),
        }
    }

    fn describe(&self) -> String {
        let Self {
            label,
            files,
            data_bytes,
            stored_bytes,
            ..
        } = self;
        let used = format!("{files} files, {data_bytes} bytes, {stored_bytes} as stored");
        if self.dictionary_bytes == 0 {
            return format!("zstd: {used}");
        }
        format!(
            "zstd with a dictionary of {} bytes ({} as stored) for {}: {used}, about {} without",
            self.dictionary_bytes,
            self.dictionary_stored,
            dgfs::escape::Escaped(label.as_bytes()),
            self.plain_bytes
        )
    }
}

#[derive(Debug, Serialize)]
struct Volume {
    /// Unknown if the volume is not where it was looked for.
    path: Option<PathBuf>,
    /// Bytes of extents, the header page included.
    bytes: u64,
    start: u64,
    end: u64,
}

impl Info {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio for people; 52 bits are plenty"
    )]
    fn of(image: &Image) -> Result<Self> {
        let header = image.header();
        let per_entry = header.index_length as f64 / header.entries as f64;
        let volumes = image.volumes().into_iter().map(|volume| Volume {
            path: volume.path,
            bytes: volume.end - volume.start,
            start: volume.start,
            end: volume.end,
        });
        let codecs = image.codecs()?.into_iter().map(Codec::of).collect();
        let stored = header.stored_bytes as f64 / header.data_bytes as f64;
        let ratio = (header.data_bytes > 0).then_some((stored * 1000.0).round() / 1000.0);
        Ok(Self {
            format_version: format!("{VERSION_MAJOR}.{}", header.version_minor),
            uuid: format_uuid(&header.uuid),
            entries: header.entries,
            files: header.files,
            directories: header.directories,
            symlinks: header.symlinks,
            others: header.others,
            data_bytes: header.data_bytes,
            stored_bytes: header.stored_bytes,
            duplicate_files: header.shared_files,
            duplicate_bytes: header.shared_bytes,
            shared_chunks: header.shared_chunks,
            shared_chunk_bytes: header.shared_chunk_bytes,
            shared_frames: header.shared_frames,
            frame_members: header.frame_members,
            index_bytes: header.index_length,
            index_bytes_per_entry: (per_entry * 1000.0).round() / 1000.0,
            leaf_pages: header.leaf_pages,
            inner_pages: header.inner_pages,
            levels: header.levels,
            chunk_bytes: 1 << header.chunk_shift,
            ratio,
            codecs,
            index: image.index_path().to_owned(),
            volumes: volumes.collect(),
        })
    }

    fn print(&self, output: &mut Output) -> Result<()> {
        let mut row = |name: &str, value: String| output.line(format_args!("{name:>10}: {value}"));
        row("format", self.format_version.clone())?;
        row("uuid", self.uuid.clone())?;
        row(
            "entries",
            format!(
                "{}: {} files, {} directories, {} symlinks, {} others",
                self.entries, self.files, self.directories, self.symlinks, self.others
            ),
        )?;
        row(
            "data",
            match self.ratio {
                Some(ratio) => format!(
                    "{} bytes, {} as stored, ratio {ratio:.3}",
                    self.data_bytes, self.stored_bytes
                ),
                None => "0 bytes".to_owned(),
            },
        )?;
        if self.duplicate_files > 0 {
            row(
                "duplicates",
                format!(
                    "{} files, which would have taken {} bytes",
                    self.duplicate_files, self.duplicate_bytes
                ),
            )?;
        }
        if self.shared_chunks > 0 {
            row(
                "shared",
                format!(
                    "{} chunks, which would have taken {} bytes",
                    self.shared_chunks, self.shared_chunk_bytes
                ),
            )?;
        }
        if self.shared_frames > 0 {
            row(
                "frames",
                format!(
                    "{} shared by {} small files",
                    self.shared_frames, self.frame_members
                ),
            )?;
        }
        row(
            "index",
            format!(
                "{} bytes, {:.2} an entry: {}",
                self.index_bytes,
                self.index_bytes_per_entry,
                self.index.display()
            ),
        )?;
        row(
            "pages",
            format!(
                "{} leaf, {} inner on {} levels",
                self.leaf_pages, self.inner_pages, self.levels
            ),
        )?;
        row("chunk", format!("{} bytes", self.chunk_bytes))?;
        for (number, codec) in self.codecs.iter().enumerate() {
            row(&format!("codec {number}"), codec.describe())?;
        }
        for (number, volume) in self.volumes.iter().enumerate() {
            let path = volume.path.as_ref();
            let path = path.map_or("not found".into(), |path| path.display().to_string());
            row(
                &format!("volume {number}"),
                format!("{} bytes: {path}", volume.bytes),
            )?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // The index alone tells nearly everything, so a volume out of reach is no reason to say nothing.
    let (image, problems) = match args.image.open() {
        Ok(image) => (image, 0),
        Err(error) => match args.image.open_index() {
            Ok(image) => {
                super::complain(&error);
                (image, 1)
            }
            Err(error) => return Err(error),
        },
    };
    let info = Info::of(&image)?;
    let mut output = Output::new();
    if args.json {
        output.json(&info)?;
    } else {
        info.print(&mut output)?;
    }
    output.finish()?;
    Ok(super::exit_code(problems))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dgfs::format::codec::Note;

    #[test]
    fn no_estimate_is_more_than_the_data() {
        let shown = |plain_bytes| {
            let note = Note {
                files: 3,
                data_bytes: 1000,
                stored_bytes: 600,
                plain_bytes,
                ..Note::default()
            };
            Codec::of(CodecInfo {
                dictionary_bytes: 5000,
                dictionary_stored: 4000,
                note: Some(note),
            })
            .plain_bytes
        };
        assert_eq!([900, 1000, 1001].map(shown), [900, 1000, 1000]);
    }
}
