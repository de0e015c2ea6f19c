//! What a serving process gives up once it needs no more than to read its image and answer.
//!
//! A thread gives up its capabilities and, by Landlock, the file system but for the directories that its image
//! lies in ([`Sandbox::enter`]); both concern the thread and those it starts. The process then gives up new
//! privileges and all system calls but a few ([`Sandbox::close`]). Where the kernel lacks one of these means, the
//! others remain, and a debug line in the log says so.

#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
mod system_calls;

/// Filters exist for the above only.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
mod system_calls {
    use super::Transport;

    pub(super) fn filter(_: Transport) -> std::io::Result<seccompiler::BpfProgram> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

use super::transport::Transport;
use crate::read::Image;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The device of the requests, which serving threads open once each.
const DEVICE: &str = "/dev/fuse";

/// The newest Landlock that the rules were written for; what an older kernel does not know is left out.
const LANDLOCK: ABI = ABI::V6;

/// The limits of a process that serves one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Directories and devices whose files may be read.
    readable: BTreeSet<PathBuf>,
}

impl Sandbox {
    /// Limits within which `image` can be served, and its files be found again if they are put back in place.
    pub fn new(image: &Image) -> Self {
        let volumes = image.volumes().into_iter().filter_map(|volume| volume.path);
        let parts = std::iter::once(image.index_path().to_path_buf()).chain(volumes);
        Self {
            readable: parts.flat_map(|part| readable(&part)).collect(),
        }
    }

    /// Takes from the calling thread, and from threads that it will start, all capabilities and all of the file
    /// system but what serving needs. They cannot be had back.
    pub fn enter(&self) {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        // Landlock comes first, as opening the directories may take capabilities.
        match self.restrict_files() {
            Ok(RulesetStatus::FullyEnforced) => {}
            Ok(status) => log::debug!("the kernel's Landlock limits this thread: {status:?}"),
            Err(error) => log::debug!("no Landlock for this thread: {error}"),
        }
        let _ = rustix::thread::clear_ambient_capability_set();
        if let Err(errno) = rustix::thread::set_capabilities(None, none) {
            log::debug!("capabilities are kept: {errno}");
        }
    }

    fn restrict_files(&self) -> Result<RulesetStatus, RulesetError> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?;
        for path in &self.readable {
            rules = allow(rules, path, AccessFs::ReadFile.into())?;
        }
        let both = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = allow(rules, Path::new(DEVICE), both)?;
        rules.restrict_self().map(|status| status.ruleset)
    }

    /// Takes from all threads of the process new privileges and every system call but those that serving needs:
    /// it can start no program, reach no network and open nothing for writing. Those that `transport` takes are left.
    pub fn close(&self, transport: Transport) {
        if let Err(errno) = rustix::thread::set_no_new_privs(true) {
            log::debug!("new privileges are not given up: {errno}");
        }
        let closed = system_calls::filter(transport).and_then(|filter| {
            seccompiler::apply_filter_all_threads(&filter).map_err(io::Error::other)
        });
        if let Err(error) = closed {
            log::debug!("system calls are not limited: {error}");
        }
    }
}

/// What has to be readable for the file at `part` to be opened again: its directory and, as its file system may be
/// mounted anew, the directory above the mount point, unless that is the root and with it everything.
fn readable(part: &Path) -> Vec<PathBuf> {
    // A link leads to its file's directory.
    let real = part.canonicalize().unwrap_or_else(|_| part.to_path_buf());
    let is_device = real.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_block_device() || kind.is_char_device()
    });
    let own = match real.parent() {
        // Beside a device lie all others.
        Some(directory) if !is_device => directory,
        _ => return vec![real],
    };
    let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
    let here = device(own);
    let above = own.ancestors().find(|path| device(path) != here);
    let above = above.filter(|path| path.parent().is_some());
    std::iter::once(own)
        .chain(above)
        .map(Path::to_path_buf)
        .collect()
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(opened) => rules.add_rule(PathBeneath::new(opened, access)),
        Err(error) => {
            log::debug!("{}: out of reach from now on: {error}", path.display());
            Ok(rules)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// Runs `action` in a thread of its own, which may be limited.
    fn apart<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(action).join().unwrap()
    }

    fn sandbox(directory: &Path) -> Sandbox {
        let readable = BTreeSet::from([directory.to_path_buf()]);
        Sandbox { readable }
    }

    fn has_landlock() -> bool {
        let probe = || {
            let rules = Ruleset::default().handle_access(AccessFs::ReadFile)?;
            rules.create()?.restrict_self().map(|status| status.ruleset)
        };
        apart(move || matches!(probe(), Ok(RulesetStatus::FullyEnforced)))
    }

    #[test]
    fn a_thread_reads_beside_its_image_and_nowhere_else() {
        if !has_landlock() {
            println!("SKIPPED a_thread_reads_beside_its_image_and_nowhere_else: no Landlock");
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let (inside, outside) = (scratch.path().join("in"), scratch.path().join("out"));
        for directory in [&inside, &outside] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("file"), b"x").unwrap();
        }
        let limits = sandbox(&inside);
        apart(move || {
            assert!(File::open(outside.join("file")).is_ok());
            limits.enter();
            assert!(File::open(inside.join("file")).is_ok());
            for refused in [
                File::open(outside.join("file")),
                File::options().append(true).open(inside.join("file")),
                File::create(inside.join("new")),
            ] {
                let kind = refused.err().map(|error| error.kind());
                assert_eq!(kind, Some(io::ErrorKind::PermissionDenied));
            }
            assert!(std::fs::remove_file(inside.join("file")).is_err());
            let sets = rustix::thread::capabilities(None).unwrap();
            assert!(sets.effective.is_empty() && sets.permitted.is_empty());
            assert!(
                std::net::TcpStream::connect("127.0.0.1:1")
                    .is_err_and(|error| { error.kind() == io::ErrorKind::PermissionDenied })
            );
        });
    }

    #[test]
    fn a_thread_can_open_read_only_and_start_nothing() {
        let Ok(filter) = system_calls::filter(Transport::Dev) else {
            println!("SKIPPED a_thread_can_open_read_only_and_start_nothing: no filter here");
            return;
        };
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, b"x").unwrap();
        apart(move || {
            seccompiler::apply_filter(&filter).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"x");
            std::thread::spawn(|| ()).join().unwrap();
            let refused = |error: Option<io::Error>| {
                assert_eq!(
                    error.map(|error| error.kind()),
                    Some(io::ErrorKind::PermissionDenied)
                );
            };
            refused(File::options().write(true).open(&path).err());
            refused(File::create(path.with_extension("new")).err());
            refused(std::fs::remove_file(&path).err());
            refused(std::net::UdpSocket::bind("127.0.0.1:0").err());
            refused(std::process::Command::new("true").spawn().err());
        });
    }
}
