//! The options of a mount, and how `-o` spells them.

use super::sandbox::Sandbox;
use super::transport::Transport;
use crate::fs;
use crate::{Error, ErrorKind, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// When a listing carries attributes, which spares the kernel a lookup of each entry that a program
/// then looks at, but makes it build an inode for each entry that no program looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListAttributes {
    /// In every listing.
    #[default]
    Always,
    /// At the beginning of a directory, and as long as the kernel sees entries being looked at.
    Adaptive,
    /// In none.
    Never,
}

/// How an image is mounted. Every mount is read-only and keeps no access times.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of mount(8)"
)]
pub struct MountOptions {
    /// What carries requests and answers.
    pub transport: Transport,
    /// Threads that answer requests; as many as there are processors, at least 2, if not given.
    /// More help where a slow device makes each of them wait. With rings, each processor has equally many: two if
    /// not given.
    pub threads: Option<usize>,
    /// Give each thread a queue of its own in the kernel, where the system allows it.
    pub clone_fd: bool,
    /// Let every user in, not only the one who mounts.
    pub allow_other: bool,
    /// Let root in, besides the user who mounts.
    pub allow_root: bool,
    /// Unmount also when this process dies without a chance to do so. Needs `fusermount3`, and goes over the device:
    /// rings outlive the process by some milliseconds, and `fusermount3` leaves alone a mount that it does not find
    /// dead at once.
    pub auto_unmount: bool,
    /// What lists of mounts name as the source; `dgfs` if not given.
    pub fsname: Option<String>,
    /// What of the image is shown, and as whose.
    pub view: fs::Options,
    /// Honour set-user-id and set-group-id bits.
    pub suid: bool,
    /// Honour device files.
    pub dev: bool,
    /// Allow programs to be run.
    pub exec: bool,
    /// Let the kernel check permissions. Without it, whoever may enter the mount may read all.
    pub default_permissions: bool,
    /// Let the kernel's checks heed POSIX ACLs, if the image has any. Without it, mode, owner and group decide alone.
    pub acl: bool,
    /// When listings carry attributes.
    pub list_attributes: ListAttributes,
    /// Write the counters to this file, as JSON, when the mount ends.
    pub stats: Option<PathBuf>,
    /// Write the path of each file to this one when it is first read, as [`crate::build::Order::List`] takes them.
    pub trace: Option<PathBuf>,
    /// Limits for the threads that serve. An image that is not read from files may need more than they allow.
    pub sandbox: Option<Sandbox>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            threads: None,
            clone_fd: true,
            allow_other: false,
            allow_root: false,
            auto_unmount: false,
            fsname: None,
            view: fs::Options::default(),
            suid: false,
            dev: false,
            exec: true,
            default_permissions: true,
            acl: true,
            list_attributes: ListAttributes::default(),
            stats: None,
            trace: None,
            sandbox: None,
        }
    }
}

impl MountOptions {
    /// Fails with [`ErrorKind::Mount`] if this user may not ask for some of the options, or nobody for both of two.
    pub(super) fn check(&self) -> Result<()> {
        if self.auto_unmount && self.transport == Transport::Uring {
            let what =
                "option auto_unmount does not go with transport=uring; leave one of them out";
            return Err(Error::new(ErrorKind::Mount, what));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for (is_set, option) in [(self.suid, "suid"), (self.dev, "dev")] {
            if is_set {
                let what = format!("option {option} is for root only; leave it out");
                return Err(Error::new(ErrorKind::Mount, what));
            }
        }
        Ok(())
    }
}

/// What a list of `-o` options says, sorted by whom it concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionList {
    /// For [`super::mount`].
    pub mount: MountOptions,
    /// Memory for the image's caches in bytes, for whoever opens the image.
    pub cache: Option<usize>,
    /// Where the data volumes are, for whoever opens the image.
    pub data: Vec<PathBuf>,
    /// Where a mount in the background writes its log.
    pub log: Option<PathBuf>,
    /// Whether the serving process keeps all its rights.
    pub no_sandbox: bool,
    /// Whether contents that the kernel has in its cache stay in that of the volume as well.
    pub volume_cache: bool,
}

/// Options that mount(8) and fstab(5) pass on although they are settled before a file system sees
/// them, or that change nothing on a file system that is only read.
const IGNORED: &[&str] = &[
    "_netdev",
    "async",
    "atime",
    "auto",
    "defaults",
    "diratime",
    "dirsync",
    "group",
    "lazytime",
    "loud",
    "noatime",
    "noauto",
    "nodiratime",
    "nofail",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "ro",
    "silent",
    "strictatime",
    "sync",
    "user",
    "users",
];

/// The same, for options with a value or a free ending.
const IGNORED_PREFIXES: &[&str] = &["comment=", "subtype=", "user=", "x-", "X-"];

impl OptionList {
    /// Reads a list of options separated by commas; a backslash takes the meaning from a comma
    /// or backslash behind it. Later options win over earlier ones.
    ///
    /// Fails with [`ErrorKind::InvalidInput`] at the first option that is unknown, lacks its value
    /// or asks for what an image cannot do.
    pub fn parse(list: &OsStr) -> Result<Self> {
        let mut parsed = Self::default();
        for option in split(list.as_bytes()) {
            parsed.apply(&option)?;
        }
        Ok(parsed)
    }

    fn apply(&mut self, option: &[u8]) -> Result<()> {
        let mount = &mut self.mount;
        let mut halves = option.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(halves.next().unwrap_or_default());
        let value = halves.next();
        match (name.as_ref(), value) {
            ("", None) => {}
            ("threads", Some(value)) => {
                let threads = number::<usize>(&name, value)?;
                if !(1..=THREADS_MAX).contains(&threads) {
                    return Err(refused(format!(
                        "threads={threads} is not 1 to {THREADS_MAX}"
                    )));
                }
                mount.threads = Some(threads);
            }
            ("transport", Some(value)) => mount.transport = transport(value)?,
            ("clone_fd", None) => mount.clone_fd = true,
            ("no_clone_fd", None) => mount.clone_fd = false,
            ("allow_other", None) => mount.allow_other = true,
            ("allow_root", None) => mount.allow_root = true,
            ("auto_unmount", None) => mount.auto_unmount = true,
            ("fsname", Some(value)) => {
                mount.fsname = Some(String::from_utf8_lossy(value).into_owned());
            }
            ("subdir", Some(value)) => mount.view.subdir = Some(value.to_vec()),
            ("uid", Some(value)) => mount.view.uid = Some(number(&name, value)?),
            ("gid", Some(value)) => mount.view.gid = Some(number(&name, value)?),
            ("suid", None) => mount.suid = true,
            ("nosuid", None) => mount.suid = false,
            ("dev", None) => mount.dev = true,
            ("nodev", None) => mount.dev = false,
            ("exec", None) => mount.exec = true,
            ("noexec", None) => mount.exec = false,
            ("default_permissions", None) => mount.default_permissions = true,
            ("no_default_permissions", None) => mount.default_permissions = false,
            ("acl", None) => mount.acl = true,
            ("noacl", None) => mount.acl = false,
            ("readdirplus", Some(value)) => mount.list_attributes = list_attributes(value)?,
            ("stats", Some(value)) => mount.stats = Some(path(&name, value)?),
            ("trace", Some(value)) => mount.trace = Some(path(&name, value)?),
            ("sandbox", None) => self.no_sandbox = false,
            ("no_sandbox", None) => self.no_sandbox = true,
            ("volume_cache", None) => self.volume_cache = true,
            ("no_volume_cache", None) => self.volume_cache = false,
            ("cache", Some(value)) => self.cache = Some(size(&name, value)?),
            ("data", Some(value)) => self.data.push(path(&name, value)?),
            ("log", Some(value)) => self.log = Some(path(&name, value)?),
            ("rw", None) => {
                return Err(refused(
                    "option rw: an image can only be read; leave the option out",
                ));
            }
            ("remount", None) => {
                return Err(refused(
                    "option remount: unmount and mount again with the new options",
                ));
            }
            _ if is_ignored(option) => {}
            (known, None) if WITH_VALUE.contains(&known) => {
                return Err(refused(format!(
                    "option {known} lacks its value: {known}=…"
                )));
            }
            _ => {
                let option = String::from_utf8_lossy(option);
                return Err(refused(format!(
                    "unknown option {option}; dgfs mount --help lists those there are"
                )));
            }
        }
        Ok(())
    }
}

/// Beyond this many threads a process runs into limits of the system before it gains anything.
const THREADS_MAX: usize = 1024;

/// Options that make no sense without a value.
const WITH_VALUE: &[&str] = &[
    "transport",
    "threads",
    "fsname",
    "subdir",
    "uid",
    "gid",
    "readdirplus",
    "stats",
    "trace",
    "cache",
    "data",
    "log",
];

fn is_ignored(option: &[u8]) -> bool {
    IGNORED.iter().any(|known| known.as_bytes() == option)
        || IGNORED_PREFIXES
            .iter()
            .any(|prefix| option.starts_with(prefix.as_bytes()))
}

fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let mut options = Vec::new();
    let mut option = Vec::new();
    let mut bytes = list.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' => options.push(std::mem::take(&mut option)),
            b'\\' => option.push(bytes.next().unwrap_or(b'\\')),
            _ => option.push(byte),
        }
    }
    options.push(option);
    options
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

fn number<T: std::str::FromStr>(name: &str, value: &[u8]) -> Result<T> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            let value = String::from_utf8_lossy(value);
            refused(format!("option {name}={value}: not a number in range"))
        })
}

fn list_attributes(value: &[u8]) -> Result<ListAttributes> {
    match value {
        b"always" => Ok(ListAttributes::Always),
        b"auto" => Ok(ListAttributes::Adaptive),
        b"never" => Ok(ListAttributes::Never),
        _ => {
            let value = String::from_utf8_lossy(value);
            Err(refused(format!(
                "option readdirplus={value}: neither always nor auto nor never"
            )))
        }
    }
}

fn transport(value: &[u8]) -> Result<Transport> {
    match value {
        b"auto" => Ok(Transport::Auto),
        b"dev" => Ok(Transport::Dev),
        b"uring" => Ok(Transport::Uring),
        _ => {
            let value = String::from_utf8_lossy(value);
            Err(refused(format!(
                "option transport={value}: neither auto nor dev nor uring"
            )))
        }
    }
}

fn path(name: &str, value: &[u8]) -> Result<PathBuf> {
    if value.is_empty() {
        return Err(refused(format!("option {name}= lacks a path")));
    }
    Ok(OsString::from_vec(value.to_vec()).into())
}

/// A number of bytes, with `K`, `M`, `G` or `T` for powers of 1024.
fn size(name: &str, value: &[u8]) -> Result<usize> {
    let (digits, shift) = match value.split_last() {
        Some((b'K' | b'k', digits)) => (digits, 10),
        Some((b'M' | b'm', digits)) => (digits, 20),
        Some((b'G' | b'g', digits)) => (digits, 30),
        Some((b'T' | b't', digits)) => (digits, 40),
        _ => (value, 0),
    };
    number::<u64>(name, digits)?
        .checked_mul(1 << shift)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| refused(format!("option {name}: more than memory can be")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<OptionList> {
        OptionList::parse(OsStr::new(list))
    }

    #[test]
    fn nothing_means_the_defaults() {
        for list in [
            "",
            ",",
            "ro,defaults,noauto,user=me,x-systemd.automount,_netdev,nofail",
        ] {
            assert_eq!(parse(list).unwrap(), OptionList::default(), "{list}");
        }
    }

    #[test]
    fn options_reach_their_place() {
        let list = parse(
            "transport=uring,threads=3,allow_other,auto_unmount,fsname=a\\,b,subdir=x/y,uid=7,gid=8,suid,dev,noexec,\
             no_default_permissions,readdirplus=auto,stats=/s,trace=/t,cache=3M,data=/v0,data=/v1,log=/l,no_clone_fd,no_sandbox,noacl,\
             volume_cache",
        )
        .unwrap();
        let expected = OptionList {
            mount: MountOptions {
                transport: Transport::Uring,
                threads: Some(3),
                clone_fd: false,
                allow_other: true,
                allow_root: false,
                auto_unmount: true,
                fsname: Some("a,b".into()),
                view: fs::Options {
                    subdir: Some(b"x/y".to_vec()),
                    uid: Some(7),
                    gid: Some(8),
                },
                suid: true,
                dev: true,
                exec: false,
                default_permissions: false,
                acl: false,
                list_attributes: ListAttributes::Adaptive,
                stats: Some("/s".into()),
                trace: Some("/t".into()),
                sandbox: None,
            },
            cache: Some(3 << 20),
            data: vec!["/v0".into(), "/v1".into()],
            log: Some("/l".into()),
            no_sandbox: true,
            volume_cache: true,
        };
        assert_eq!(list, expected);
    }

    #[test]
    fn refusals_name_the_option() {
        let cases = [
            ("rw", "rw"),
            ("ro,remount", "remount"),
            ("nonsense", "nonsense"),
            ("allow_other=1", "allow_other=1"),
            ("uid", "lacks its value"),
            ("uid=me", "uid=me"),
            ("uid=4294967296", "uid"),
            ("threads=0", "threads=0"),
            ("threads=5000", "threads=5000"),
            ("cache=", "cache="),
            ("cache=20000000T", "cache"),
            ("stats=", "stats"),
            ("trace", "trace"),
            ("readdirplus=maybe", "readdirplus=maybe"),
            ("transport=pigeon", "transport=pigeon"),
            ("transport", "lacks its value"),
        ];
        for (list, named) in cases {
            let error = parse(list).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{list}");
            assert!(error.to_string().contains(named), "{list}: {error}");
        }
    }
}
