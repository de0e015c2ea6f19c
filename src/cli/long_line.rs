//! The line of one entry as `dgfs ls -l` prints it.

use std::fmt;

use dgfs::entry::Kind;
use dgfs::read::Node;
use rustix::fs::{major, minor};

use super::timestamp::Utc;
use dgfs::escape::Escaped;

/// `MODE LINKS UID GID SIZE MTIME PATH`, and ` -> TARGET` for a symbolic link.
#[derive(Debug)]
pub(super) struct LongLine<'a> {
    pub(super) node: &'a Node,
    /// What the entry is called; the root is `.`.
    pub(super) path: &'a [u8],
    /// Target of a symbolic link.
    pub(super) target: Option<&'a [u8]>,
}

impl fmt::Display for LongLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        write!(
            f,
            "{} {} {} {} ",
            Mode(node.mode),
            node.links,
            node.uid,
            node.gid
        )?;
        if node.kind().is_device() {
            write!(f, "{},{}", major(node.rdev), minor(node.rdev))?;
        } else {
            write!(f, "{}", node.size)?;
        }
        write!(f, " {} {}", Utc(node.mtime), Escaped(self.path))?;
        match self.target {
            Some(target) => write!(f, " -> {}", Escaped(target)),
            None => Ok(()),
        }
    }
}

/// Type and permissions in ten characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode(pub(super) u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.0;
        let is = |bit: u32| mode & bit != 0;
        let letter = |bit, letter| if is(bit) { letter } else { '-' };
        let execute = |bit, special, both, only| match (is(bit), is(special)) {
            (true, true) => both,
            (false, true) => only,
            (true, false) => 'x',
            (false, false) => '-',
        };
        let text: [char; 10] = [
            Kind::from_mode(mode).map_or('?', Kind::letter),
            letter(0o400, 'r'),
            letter(0o200, 'w'),
            execute(0o100, 0o4000, 's', 'S'),
            letter(0o040, 'r'),
            letter(0o020, 'w'),
            execute(0o010, 0o2000, 's', 'S'),
            letter(0o004, 'r'),
            letter(0o002, 'w'),
            execute(0o001, 0o1000, 't', 'T'),
        ];
        text.iter().try_for_each(|c| fmt::Write::write_char(f, *c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        let cases = [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o104_755, "-rwsr-xr-x"),
            (0o106_644, "-rwSr-Sr--"),
            (0o102_755, "-rwxr-sr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_600, "prw-------"),
            (0o140_000, "s---------"),
            (0o020_666, "crw-rw-rw-"),
            (0o060_660, "brw-rw----"),
        ];
        for (mode, text) in cases {
            assert_eq!(Mode(mode).to_string(), text, "{mode:o}");
        }
    }
}
