//! The parallel walk.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::events::{WalkEvent, WalkSummary};
use super::list::ListFeeder;
use super::options::WalkOptions;
use super::queue::WorkQueue;
use super::tree::Tree;
use super::worker::{Message, Worker};
use crate::sort::Record;
use crate::{Error, ErrorKind, Result, descriptors};

/// How long the caller hears nothing at most.
const PATIENCE: Duration = Duration::from_millis(200);

/// Hands a record of every entry below `root`, and of `root` itself, to `sink`, in any order.
///
/// `events` and `sink` are called in the calling thread. Symbolic links are not followed, except
/// to reach the root, unless [`Selection::follow`] says so. The first error of `events` or `sink`
/// ends the walk and is returned; with [`WalkOptions::strict`], so is the first problem. Memory does
/// not depend on the size of the tree.
///
/// A path may come twice: if its directory changes while it is listed, and if a list names it twice.
pub fn walk(
    root: &Path,
    options: &WalkOptions,
    events: &mut dyn FnMut(WalkEvent) -> Result<()>,
    sink: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<WalkSummary> {
    let tree = Tree::open(root, options)?;
    let queue = WorkQueue::new(&options.scratch_dir)?;
    let list = match &options.selection.list {
        None => {
            queue.add(&mut vec![Vec::new()])?;
            None
        }
        Some(list) => {
            let opened = File::open(&list.file);
            let opened = opened.map_err(|e| Error::io(&list.file, "open this list", e))?;
            queue.begin_feeding();
            Some((list, opened))
        }
    };
    let threads = options.threads.clamp(1, descriptors::most_threads());
    let (sender, receiver) = sync_channel(2 * threads);
    let start = |name: &str| thread::Builder::new().name(name.to_owned());
    let failed = |error| {
        Error::new(ErrorKind::Io, "cannot start a thread to walk the tree").caused_by(error)
    };
    let mut summary = thread::scope(|scope| {
        let _stop = queue.stop_on_drop();
        let (tree, queue) = (&tree, &queue);
        if let Some((list, opened)) = list {
            let feeder = ListFeeder::new(tree, list, queue, sender.clone());
            start("dgfs-list")
                .spawn_scoped(scope, move || feeder.run(opened))
                .map_err(failed)?;
        }
        for number in 0..threads {
            let sender = sender.clone();
            start("dgfs-walk")
                .spawn_scoped(scope, move || {
                    Worker::new(tree, queue, sender).run(number == 0);
                })
                .map_err(failed)?;
        }
        // The channel ends when the last thread drops its sender.
        drop(sender);
        collect(&receiver, options.strict, events, sink)
    })?;
    summary.excluded = tree.excluded.load(Ordering::Relaxed);
    Ok(summary)
}

/// Passes on what the workers send until they are done or something is fatal.
fn collect(
    receiver: &Receiver<Message>,
    strict: bool,
    events: &mut dyn FnMut(WalkEvent) -> Result<()>,
    sink: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<WalkSummary> {
    let mut summary = WalkSummary::default();
    loop {
        let message = match receiver.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => {
                events(WalkEvent::Waiting)?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(summary),
        };
        match message {
            Message::Records(records) => {
                for record in records {
                    sink(record)?;
                    summary.entries += 1;
                }
            }
            Message::Event(WalkEvent::Problem(error)) if strict => return Err(error),
            Message::Event(event) => {
                match event {
                    WalkEvent::Problem(_) => summary.problems += 1,
                    WalkEvent::Skipped { .. } => summary.skipped += 1,
                    WalkEvent::Waiting => {}
                }
                events(event)?;
            }
            Message::Failed(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;
    use crate::sort::Content;
    use crate::source::SkipReason;
    use std::collections::{BTreeMap, BTreeSet};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, symlink};

    type Walked = (BTreeMap<Vec<u8>, Record>, Vec<WalkEvent>, WalkSummary);

    fn walked(root: &Path, change: impl Fn(&mut WalkOptions)) -> Result<Walked> {
        let scratch = tempfile::tempdir().unwrap();
        let mut options = WalkOptions::new(scratch.path());
        change(&mut options);
        let (mut records, mut events) = (BTreeMap::new(), Vec::new());
        let summary = walk(
            root,
            &options,
            &mut |event| {
                // That comes whenever the machine is slow.
                if !matches!(event, WalkEvent::Waiting) {
                    events.push(event);
                }
                Ok(())
            },
            &mut |record| {
                let path = record.path();
                let before = records.insert(path, record);
                assert!(before.is_none(), "{before:?} came twice");
                Ok(())
            },
        )?;
        assert_eq!(summary.entries, records.len() as u64);
        Ok((records, events, summary))
    }

    /// Compares a record with what the standard library says of the file.
    fn check(root: &Path, path: &[u8], record: &Record) {
        let at = root.join(OsStr::from_bytes(path));
        let metadata = std::fs::symlink_metadata(&at).unwrap();
        assert_eq!(record.metadata.mode, metadata.mode(), "{at:?}");
        assert_eq!(
            (record.metadata.uid, record.metadata.gid),
            (metadata.uid(), metadata.gid())
        );
        let mtime = record.metadata.mtime;
        assert_eq!(
            (mtime.seconds, i64::from(mtime.nanoseconds)),
            (metadata.mtime(), metadata.mtime_nsec())
        );
        let is_file = metadata.is_file();
        assert_eq!(record.size, if is_file { metadata.len() } else { 0 });
        let tree = is_file && metadata.len() > 0;
        assert_eq!(
            record.content,
            if tree { Content::Tree } else { Content::None }
        );
        let linked = metadata.nlink() > 1 && !metadata.is_dir();
        assert_eq!(
            record.identity,
            linked.then(|| (metadata.dev(), metadata.ino())),
            "{at:?}"
        );
        if metadata.is_symlink() {
            let target = std::fs::read_link(&at).unwrap();
            assert_eq!(record.target, target.as_os_str().as_bytes());
        } else {
            assert!(record.target.is_empty());
        }
    }

    /// Every path below `root`, by the standard library.
    fn listed(root: &Path) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::from([Vec::new()]);
        let mut open = vec![root.to_path_buf()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let relative = entry.path().strip_prefix(root).unwrap().to_path_buf();
                all.insert(relative.as_os_str().as_bytes().to_vec());
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        all
    }

    fn mixed_tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| root.path().join(OsStr::from_bytes(name));
        for number in 0..300u32 {
            let directory =
                at(format!("d{}/e{}/f{}", number % 5, number % 7, number % 11).as_bytes());
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(number.to_string()), vec![1; number as usize]).unwrap();
        }
        std::fs::create_dir(at(b"empty")).unwrap();
        std::fs::write(at(b"empty file"), b"").unwrap();
        std::fs::write(at(b"\xff\x01\n odd"), b"x").unwrap();
        std::fs::write(at(&[b'n'; 255]), b"x").unwrap();
        std::fs::hard_link(at(b"\xff\x01\n odd"), at(b"d0/linked")).unwrap();
        symlink("d0", at(b"link")).unwrap();
        symlink("/nowhere", at(b"d0/dangling")).unwrap();
        symlink("t".repeat(4000), at(b"long link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at(b"pipe"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        root
    }

    #[test]
    fn a_walk_finds_what_the_standard_library_finds() {
        let root = mixed_tree();
        for threads in [0, 1, 4] {
            let (records, events, summary) =
                walked(root.path(), |options| options.threads = threads).unwrap();
            assert!(events.is_empty(), "{events:?}");
            assert_eq!((summary.problems, summary.skipped), (0, 0));
            assert!(records.keys().eq(&listed(root.path())));
            for (path, record) in &records {
                check(root.path(), path, record);
            }
        }
    }

    #[test]
    fn extended_attributes_of_every_kind_are_read() {
        let root = mixed_tree();
        let set = |path: &str, name: &str, value: &[u8]| {
            let at = root.path().join(path);
            rustix::fs::lsetxattr(at, name, value, rustix::fs::XattrFlags::empty())
        };
        if set("", "user.root", b"1").is_err() {
            eprintln!(
                "SKIPPED extended_attributes_of_every_kind_are_read: none in the temporary directory"
            );
            return;
        }
        set("empty file", "user.b", b"\0two").unwrap();
        set("empty file", "user.a", b"").unwrap();
        set("d0", "user.large", &[7; 3000]).unwrap();
        let (records, events, _) = walked(root.path(), |_| ()).unwrap();
        assert!(events.is_empty(), "{events:?}");
        let user = |path: &str| -> Vec<(Vec<u8>, Vec<u8>)> {
            let mut xattrs = records[path.as_bytes()].metadata.xattrs.clone();
            xattrs.retain(|(name, _)| name.starts_with(b"user."));
            xattrs
        };
        assert_eq!(user(""), [(b"user.root".to_vec(), b"1".to_vec())]);
        assert_eq!(
            user("empty file"),
            [
                (b"user.a".to_vec(), vec![]),
                (b"user.b".to_vec(), b"\0two".to_vec())
            ]
        );
        assert_eq!(user("d0"), [(b"user.large".to_vec(), vec![7; 3000])]);
        assert_eq!(user("link"), []);
        // Only root may give a link attributes.
        if set("link", "trusted.x", b"link").is_ok() {
            let (records, _, _) = walked(root.path(), |_| ()).unwrap();
            assert!(
                records[b"link".as_slice()]
                    .metadata
                    .xattrs
                    .contains(&(b"trusted.x".to_vec(), b"link".to_vec()))
            );
            assert!(
                !records[b"d0".as_slice()]
                    .metadata
                    .xattrs
                    .iter()
                    .any(|(name, _)| name == b"trusted.x")
            );
        }
        let (records, _, _) = walked(root.path(), |options| options.xattrs = false).unwrap();
        assert!(
            records
                .values()
                .all(|record| record.metadata.xattrs.is_empty())
        );
    }

    #[test]
    fn excluded_files_are_reported_and_left_out() {
        let root = mixed_tree();
        let at = root.path().join("d0/linked");
        let metadata = std::fs::metadata(&at).unwrap();
        let (records, events, summary) = walked(root.path(), |options| {
            options.exclude = vec![(metadata.dev(), metadata.ino())];
        })
        .unwrap();
        assert_eq!(summary.skipped, 2);
        assert!(!records.contains_key(b"d0/linked".as_slice()));
        assert_eq!(records.len() + 2, listed(root.path()).len());
        assert!(events.iter().any(|event| matches!(
            event,
            WalkEvent::Skipped { path, reason: SkipReason::Excluded } if *path == at
        )));
    }

    #[test]
    fn an_error_of_the_sink_ends_the_walk() {
        let root = mixed_tree();
        let options = WalkOptions {
            threads: 3,
            ..WalkOptions::new(root.path())
        };
        for limit in [0, 1, 300] {
            let mut taken = 0;
            let result = walk(root.path(), &options, &mut |_| Ok(()), &mut |_| {
                taken += 1;
                if taken > limit {
                    return Err(Error::new(ErrorKind::Limit, "enough"));
                }
                Ok(())
            });
            assert_eq!(result.map_err(|e| e.kind()), Err(ErrorKind::Limit));
            assert_eq!(taken, limit + 1);
        }
    }

    #[test]
    fn the_root_must_be_a_directory() {
        let root = mixed_tree();
        for name in ["absent", "empty file"] {
            let error = walked(&root.path().join(name), |_| ()).unwrap_err();
            assert_eq!(error.path(), Some(root.path().join(name).as_path()));
        }
        let (records, _, _) = walked(&root.path().join("link"), |_| ()).unwrap();
        assert!(records.len() > 1, "a link to the root is followed");
        assert_eq!(
            records[b"".as_slice()].metadata.kind(),
            Some(Kind::Directory)
        );
    }
}
