//! Packs a directory tree.

use super::builder::{Builder, Repeated};
use super::options::{BuildOptions, Observer, Phase, Progress, Report, report};
use crate::source::{SkipReason, TreeOpener, WalkEvent, WalkOptions, walk};
use crate::{Error, ErrorKind, Result};
use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Packs the tree at `source` into the image with its index at `index`.
///
/// Entries that cannot be read are reported to `observer`, counted, and left out, unless the options say that
/// the first ends the build. The image's own files are left out if they lie inside the source.
pub fn pack_tree(
    source: &Path,
    index: &Path,
    options: BuildOptions,
    observer: &mut dyn Observer,
) -> Result<Report> {
    // Before any file is made: a source that is not there leaves nothing behind.
    let opener = TreeOpener::new(source)?.following(options.selection.follow);
    let mut builder = Builder::new(index, options)?;
    let options = builder.options();
    let outputs = std::iter::once(builder.publication().index());
    let mut exclude = Vec::new();
    for output in outputs.chain(builder.publication().volumes()) {
        let failed = |error| Error::io(output.path(), "examine", error);
        let metadata = output.file().metadata().map_err(failed)?;
        exclude.push((metadata.dev(), metadata.ino()));
        if let Ok(replaced) = output.path().symlink_metadata() {
            exclude.push((replaced.dev(), replaced.ino()));
        }
    }
    let walk_options = WalkOptions {
        threads: options.threads,
        xattrs: options.xattrs,
        one_file_system: options.one_file_system,
        times: options.times,
        holes: !options.reproducible,
        strict: options.strict,
        exclude,
        selection: options.selection.clone(),
        scratch_dir: builder.scratch_dir().to_path_buf(),
    };
    let progress = Cell::new(Progress {
        phase: Phase::Walking,
        entries: 0,
        total_entries: None,
        bytes: 0,
        total_bytes: None,
    });
    report(observer, progress.get())?;
    let summary = {
        let observer = RefCell::new(&mut *observer);
        walk(
            source,
            &walk_options,
            &mut |event| {
                let observer = &mut **observer.borrow_mut();
                match event {
                    WalkEvent::Problem(error) => observer.problem(&error),
                    WalkEvent::Skipped { path, reason } => {
                        let why = match reason {
                            SkipReason::Excluded => "it is the image itself",
                            SkipReason::OtherFileSystem => "another file system is mounted there",
                        };
                        observer.skipped(&path, why);
                    }
                    WalkEvent::Waiting => report(observer, progress.get())?,
                }
                Ok(())
            },
            &mut |record| {
                let mut now = progress.get();
                now.entries += 1;
                now.bytes = now.bytes.saturating_add(record.size);
                progress.set(now);
                if now.entries.is_multiple_of(256) {
                    report(*observer.borrow_mut(), now)?;
                }
                builder.add_record(&record)
            },
        )?
    };
    builder.read_from(opener, source);
    if builder.options().refuse_empty && summary.entries <= 1 {
        let what = "nothing is packed of this directory; --allow-empty makes an image all the same";
        return Err(Error::new(ErrorKind::InvalidInput, what).at_path(source));
    }
    // In a list it is no sign of anything.
    let repeated = match walk_options.selection.list {
        Some(_) => Repeated::Ignore,
        None => Repeated::Report,
    };
    builder.note(summary, repeated);
    builder.finish(observer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::Image;
    use crate::sort::Record;
    use crate::source::WalkSummary;

    #[derive(Default)]
    struct Problems(Vec<Error>);

    impl Observer for Problems {
        fn problem(&mut self, error: &Error) {
            let copy = Error::new(error.kind(), error.to_string());
            self.0.push(copy);
        }
    }

    /// Packs a root with a directory in it that came twice from the walk.
    fn pack_twice(repeated: Repeated, strict: bool) -> (Result<Report>, Vec<Error>) {
        let directory = tempfile::tempdir().unwrap();
        let index = directory.path().join("image");
        let options = BuildOptions {
            strict,
            ..BuildOptions::default()
        };
        let mut builder = Builder::new(&index, options).unwrap();
        for name in [b"".as_slice(), b"twice", b"twice"] {
            let record = Record {
                name: name.to_vec(),
                ..Record::empty()
            };
            builder.add_record(&record).unwrap();
        }
        builder.note(WalkSummary::default(), repeated);
        let mut problems = Problems::default();
        let report = builder.finish(&mut problems);
        if report.is_ok() {
            let image = Image::open(&index).unwrap();
            assert_eq!(image.header().entries, 2);
        }
        (report, problems.0)
    }

    #[test]
    fn a_name_that_was_listed_twice_is_packed_once() {
        let (report, problems) = pack_twice(Repeated::Report, false);
        assert_eq!(report.unwrap().problems, 1);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].to_string().contains("listed twice"),
            "{problems:?}"
        );
        let (report, _) = pack_twice(Repeated::Report, true);
        assert_eq!(report.unwrap_err().kind(), ErrorKind::Source);
        let (report, problems) = pack_twice(Repeated::Ignore, true);
        assert_eq!((report.unwrap().problems, problems.len()), (0, 0));
        let (report, _) = pack_twice(Repeated::Refuse, false);
        assert_eq!(report.unwrap_err().kind(), ErrorKind::OutOfOrder);
    }
}
