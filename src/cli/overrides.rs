//! Options that give entries other metadata than their source has.

use nix::unistd::{Group, User};

use dgfs::build::{ModeChanges, NewTime, Overrides};
use dgfs::entry::Timestamp;
use dgfs::{Error, ErrorKind, Result};

use super::moment;

/// Options for other metadata.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Other metadata than the source has")]
pub(super) struct OverrideArgs {
    /// Make root the owner and the group of everything; the same as --owner 0 --group 0.
    #[arg(long, conflicts_with_all = ["owner", "group"])]
    all_root: bool,
    /// Owner of everything: the name of a user here, or a number; `+N` is a number even if a user is
    /// called so.
    #[arg(long, value_name = "NAME|UID", value_parser = parse_owner)]
    owner: Option<u32>,
    /// Group of everything: the name of a group here, or a number.
    #[arg(long, value_name = "NAME|GID", value_parser = parse_group)]
    group: Option<u32>,
    /// Change the permissions of everything but symbolic links, as chmod would: `go-w`,
    /// `u=rwX,go=rX`, `644`. Without u, g, o or a, a change is for all; the umask plays no part.
    #[arg(long, value_name = "CHANGES", allow_hyphen_values = true)]
    mode: Option<ModeChanges>,
    /// Time of modification of everything: 2024-02-29, 2024-02-29T12:00:00Z, @SECONDS since 1970, or
    /// that of a file whose path begins with `/` or `.`. Without an offset a time is UTC.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    mtime: Option<Timestamp>,
    /// Give the time of --mtime only to what is younger.
    #[arg(long, requires = "mtime")]
    clamp_mtime: bool,
}

impl OverrideArgs {
    /// What the options come to; `reproducible` heeds `$SOURCE_DATE_EPOCH`.
    pub(super) fn overrides(&self, reproducible: bool) -> Result<Overrides> {
        let root = self.all_root.then_some(0);
        let mtime = match self.mtime {
            Some(time) if self.clamp_mtime => Some(NewTime::AtMost(time)),
            Some(time) => Some(NewTime::Always(time)),
            None if reproducible => source_date_epoch()?.map(NewTime::AtMost),
            None => None,
        };
        Ok(Overrides {
            uid: self.owner.or(root),
            gid: self.group.or(root),
            mode: self.mode.clone(),
            mtime,
        })
    }
}

/// The time that builds agree on, in seconds since 1970.
fn source_date_epoch() -> Result<Option<Timestamp>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let seconds = text.parse().map_err(|_| {
        let what = format!("SOURCE_DATE_EPOCH is `{text}`, which is no number of seconds");
        Error::new(ErrorKind::InvalidInput, what)
    })?;
    Ok(Some(Timestamp {
        seconds,
        nanoseconds: 0,
    }))
}

fn parse_owner(text: &str) -> std::result::Result<u32, String> {
    parse_id(text, "user", |name| {
        User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()))
    })
}

fn parse_group(text: &str) -> std::result::Result<u32, String> {
    parse_id(text, "group", |name| {
        Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw()))
    })
}

/// A name that `find` knows, or a number, as `chown` takes them.
fn parse_id(
    text: &str,
    what: &str,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> std::result::Result<u32, String> {
    let number = text.strip_prefix('+').unwrap_or(text);
    if number.len() == text.len() && !text.is_empty() {
        match find(text) {
            Ok(Some(id)) => return Ok(id),
            Ok(None) => {}
            Err(errno) => log::debug!("cannot look up the {what} {text}: {errno}"),
        }
    }
    let id = number.bytes().all(|byte| byte.is_ascii_digit());
    let id = id.then(|| number.parse().ok()).flatten();
    // The last number means "none" to the system.
    id.filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("there is no {what} `{text}`; numbers go from 0 to 4294967294"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_or_numbers() {
        for (text, id) in [
            ("root", 0),
            ("0", 0),
            ("1234567", 1_234_567),
            ("+12", 12),
            ("4294967294", u32::MAX - 1),
        ] {
            assert_eq!(parse_owner(text), Ok(id), "{text}");
            assert_eq!(parse_group(text), Ok(id), "{text}");
        }
        for text in ["", "no such name", "-1", "+root", "4294967295", "++1", "+"] {
            assert!(parse_owner(text).is_err(), "{text}");
            assert!(parse_group(text).is_err(), "{text}");
        }
    }
}
