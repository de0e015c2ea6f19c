//! The same image behind a mount of its own process: time to the first answer, memory, requests and reads.

#![expect(clippy::print_stdout, reason = "a benchmark reports")]

use crate::memory::status_kib;
use crate::tree::Tree;
use dgfs::{Error, ErrorKind, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A mount served by the program; unmounted when dropped.
struct Mount {
    directory: PathBuf,
    stats: PathBuf,
    server: Child,
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Without a mount there is nothing to undo; the server ends with it, or here.
        let _ = dgfs::mount::unmount(&self.directory, true);
        if self.server.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |error| Error::io(&path, what, error)
}

impl Mount {
    /// Mounts, and says how long the first answer took.
    fn new(index: &Path) -> Result<Self> {
        let directory = index.with_extension("mount");
        let stats = index.with_extension("stats");
        fs::create_dir(&directory).map_err(failed(&directory, "make"))?;
        let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
        let before = device(&directory);
        let begun = Instant::now();
        let server = Command::new(env!("CARGO_BIN_EXE_dgfs"))
            .args(["mount", "--foreground", "-o"])
            .arg(format!("stats={}", stats.display()))
            .args([index, &directory])
            .stdin(Stdio::null())
            .spawn()
            .map_err(failed(index, "mount"))?;
        let mount = Self {
            directory,
            stats,
            server,
        };
        while device(&mount.directory) == before {
            if begun.elapsed() > Duration::from_secs(20) {
                let what = "nothing is mounted after 20 seconds";
                return Err(Error::new(ErrorKind::Mount, what).at_path(&mount.directory));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        println!(
            "mounted  first answer after {:.1} ms, the start of the program included",
            begun.elapsed().as_secs_f64() * 1e3
        );
        Ok(mount)
    }

    /// The counters so far, which the server writes on a signal.
    fn counters(&self) -> Result<Value> {
        // The server holds the file, so it is emptied, not removed, to know the answer from an earlier one.
        fs::write(&self.stats, "").map_err(failed(&self.stats, "empty"))?;
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::USR1)
            .map_err(|errno| failed(&self.stats, "ask for")(errno.into()))?;
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&self.stats).unwrap_or_default();
            if let Ok(value) = serde_json::from_str(&text) {
                return Ok(value);
            }
            if begun.elapsed() > Duration::from_secs(5) {
                return Err(Error::new(ErrorKind::Mount, "no counters").at_path(&self.stats));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn resident_kib(&self) -> u64 {
        status_kib(Some(self.server.id()), "VmRSS")
    }
}

/// Looks at random files, then reads others. A file in a directory that the kernel does not know yet costs a lookup, and
/// perhaps a page, for each unknown directory above it as well.
pub(crate) fn measure(tree: &Tree, index: &Path, lookups: u64) -> Result<()> {
    let mount = Mount::new(index)?;
    println!("         {} KiB resident", mount.resident_kib());
    for (what, first) in [("stat", 0), ("read", lookups)] {
        let before = mount.counters()?;
        let begun = Instant::now();
        for turn in first..first + lookups {
            let file = tree.chosen(turn);
            let path = mount.directory.join(Tree::path(file));
            let length = if what == "stat" {
                fs::symlink_metadata(&path)
                    .map_err(failed(&path, "look at"))?
                    .len()
            } else {
                fs::read(&path).map_err(failed(&path, "read"))?.len() as u64
            };
            assert_eq!(length, Tree::size(file), "the size of {}", path.display());
        }
        let seconds = begun.elapsed().as_secs_f64();
        let after = mount.counters()?;
        let count = |part: &str, name: &str| {
            let number = |value: &Value| {
                let found = value.get(part).and_then(|part| part.get(name));
                found.and_then(Value::as_u64).unwrap_or(0)
            };
            number(&after) - number(&before)
        };
        println!(
            "{what:<9}{lookups} files in {seconds:.2} s: {} lookups, {} reads requested; {} reads of the index, {} of the \
             volume, {} pages decoded; {} KiB resident",
            count("requests", "lookup"),
            count("requests", "read"),
            count("image", "index_reads"),
            count("image", "data_reads"),
            count("image", "pages_decoded"),
            mount.resident_kib()
        );
    }
    Ok(())
}
