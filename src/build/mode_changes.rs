//! Changes of permission bits, as `chmod` takes them.

use std::str::FromStr;

use crate::entry::{Kind, MODE_TYPE_MASK, Metadata};
use crate::{Error, ErrorKind, Result};

const PERMISSIONS: u32 = 0o7777;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// Changes that follow each other, from a text like `644`, `go-w` or `u=rwX,go=rX`.
///
/// They mean what they mean to GNU `chmod`, but for the umask, which has no part in it: where a change
/// names nobody, it means all. As there, a directory keeps its set-id bits unless they are named or
/// an octal number has five digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChanges(Vec<Change>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    /// The bits of those it is for.
    who: u32,
    operator: Operator,
    operand: Operand,
    /// Bits that a directory keeps.
    kept: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// These bits; and `x` for directories and what somebody may execute already.
    Bits { bits: u32, maybe_execute: bool },
    /// What the user, the group or the others have: the place of their lowest bit.
    CopyOf(u32),
}

impl ModeChanges {
    /// The mode that `mode` becomes. A symbolic link keeps its own, which means nothing.
    pub fn apply(&self, mode: u32) -> u32 {
        let kind = Kind::from_mode(mode);
        if kind == Some(Kind::Symlink) {
            return mode;
        }
        let is_directory = kind == Some(Kind::Directory);
        let permissions = mode & PERMISSIONS;
        let changed = self.0.iter().fold(permissions, |permissions, change| {
            change.apply(permissions, is_directory)
        });
        mode & MODE_TYPE_MASK | changed
    }
}

impl Change {
    fn apply(self, permissions: u32, is_directory: bool) -> u32 {
        let bits = match self.operand {
            Operand::Bits {
                bits,
                maybe_execute,
            } => {
                let executes = is_directory || permissions & EXECUTE != 0;
                let more = if maybe_execute && executes {
                    EXECUTE
                } else {
                    0
                };
                bits | more
            }
            Operand::CopyOf(place) => (permissions >> place & 7) * EXECUTE,
        };
        let bits = bits & self.who;
        match self.operator {
            Operator::Add => permissions | bits,
            Operator::Remove => permissions & !bits,
            Operator::Set => {
                let kept = if is_directory { self.kept } else { 0 };
                permissions & (!self.who | kept) | bits
            }
        }
    }
}

impl FromStr for ModeChanges {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            let what = format!("`{text}` is no mode; write it as chmod takes it: 644, go-w, a+rX");
            Error::new(ErrorKind::InvalidInput, what)
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok();
            let bits = bits
                .filter(|bits| *bits <= PERMISSIONS)
                .ok_or_else(refused)?;
            let operand = Operand::Bits {
                bits,
                maybe_execute: false,
            };
            return Ok(Self(vec![Change {
                who: PERMISSIONS,
                operator: Operator::Set,
                operand,
                kept: if text.len() < 5 { SET_UID | SET_GID } else { 0 },
            }]));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes).ok_or_else(refused)?;
        }
        Ok(Self(changes))
    }
}

/// Appends the changes of a clause like `ug+rw-x`.
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let operators = ['+', '-', '='];
    let (whom, mut rest) = clause.split_at_checked(clause.find(operators)?)?;
    let mut who = 0;
    for letter in whom.chars() {
        who |= match letter {
            'u' => SET_UID | 0o700,
            'g' => SET_GID | 0o070,
            // The sticky bit is for all, as in chmod.
            'o' => STICKY | 0o007,
            'a' => PERMISSIONS,
            _ => return None,
        };
    }
    if who == 0 {
        who = PERMISSIONS;
    }
    while let Some(sign) = rest.chars().next() {
        let operator = match sign {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let operand = rest.get(1..)?;
        let end = operand.find(operators).unwrap_or(operand.len());
        let (operand, beyond) = operand.split_at_checked(end)?;
        let operand = parse_operand(operand)?;
        let named = match operand {
            Operand::Bits { bits, .. } => bits & who,
            Operand::CopyOf(_) => 0,
        };
        changes.push(Change {
            who,
            operator,
            operand,
            kept: (SET_UID | SET_GID) & !named,
        });
        rest = beyond;
    }
    Some(())
}

fn parse_operand(text: &str) -> Option<Operand> {
    match text {
        "u" => return Some(Operand::CopyOf(6)),
        "g" => return Some(Operand::CopyOf(3)),
        "o" => return Some(Operand::CopyOf(0)),
        _ => {}
    }
    let (mut bits, mut maybe_execute) = (0, false);
    for letter in text.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            's' => bits |= SET_UID | SET_GID,
            't' => bits |= STICKY,
            'X' => maybe_execute = true,
            _ => return None,
        }
    }
    Some(Operand::Bits {
        bits,
        maybe_execute,
    })
}

/// Name of the attribute that holds an access control list.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// Bytes of its head, a version number, and of each entry: tag, permissions, id.
const LIST_HEAD: usize = 4;
const LIST_ENTRY: usize = 8;

/// Tags of the entries that the permission bits stand for.
const OWNER: u16 = 0x01;
const OWNING_GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// Brings the access control list of an entry, if it has one, into line with its mode, as `chmod`
/// does: the bits of the group are those of the mask, if there is one.
pub(super) fn update_access_list(metadata: &mut Metadata) {
    let mode = metadata.mode;
    let mut xattrs = metadata.xattrs.iter_mut();
    let Some((_, list)) = xattrs.find(|(name, _)| name == ACCESS_LIST) else {
        return;
    };
    let Some(entries) = list.get_mut(LIST_HEAD..) else {
        return;
    };
    let tag = |entry: &[u8]| entry.first_chunk::<2>().copied().map(u16::from_le_bytes);
    let has_mask = entries
        .chunks_exact(LIST_ENTRY)
        .any(|entry| tag(entry) == Some(MASK));
    for entry in entries.chunks_exact_mut(LIST_ENTRY) {
        let bits = match tag(entry) {
            Some(OWNER) => mode >> 6,
            Some(OWNING_GROUP) if !has_mask => mode >> 3,
            Some(MASK) => mode >> 3,
            Some(OTHERS) => mode,
            _ => continue,
        };
        if let [_, _, low, high, ..] = entry {
            [*low, *high] = [u8::try_from(bits & 7).unwrap_or(0), 0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn apply(changes: &str, mode: u32) -> u32 {
        changes.parse::<ModeChanges>().unwrap().apply(mode)
    }

    #[test]
    fn known_changes() {
        for (changes, mode, expected) in [
            ("644", 0o100_777, 0o100_644),
            ("0", 0o104_755, 0o100_000),
            ("go-w", 0o100_666, 0o100_644),
            ("a+rX", 0o100_600, 0o100_644),
            ("a+rX", 0o100_700, 0o100_755),
            ("a+rX", 0o040_700, 0o040_755),
            ("u=rwX,go=rX", 0o100_751, 0o100_755),
            ("u+s,+t", 0o100_755, 0o105_755),
            ("g=u-w", 0o100_640, 0o100_640),
            ("o=", 0o101_647, 0o100_640),
            ("go=u", 0o100_700, 0o100_777),
            ("777", 0o120_777, 0o120_777),
            ("a-rwx", 0o120_777, 0o120_777),
        ] {
            assert_eq!(apply(changes, mode), expected, "{changes} {mode:o}");
        }
        for text in [
            "", "9", "17777", "777777", "u", "q+x", "u+q", "go-w,", "u+ug", "+x,y",
        ] {
            let error = text.parse::<ModeChanges>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn changes_do_what_chmod_does() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, directory) = (scratch.path().join("f"), scratch.path().join("d"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&directory).unwrap();
        for changes in [
            "a+x",
            "ug-r,o+w",
            "a+X",
            "a=X",
            "u=rwx,g=u,o=g",
            "g+s",
            "u-s",
            "a=rw,a+t",
            "o=t",
            "o+s",
            "u+t",
            "a-st",
            "ug=o",
            "g-u",
            "u+x-w=r",
            "a=",
            "u=s",
            "644",
            "0644",
            "00644",
            "2755",
        ] {
            for (path, kind) in [(&file, Kind::File), (&directory, Kind::Directory)] {
                for before in [0o000, 0o644, 0o751, 0o4711, 0o7777, 0o2070] {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(before))
                        .unwrap();
                    let done = Command::new("chmod")
                        .arg(changes)
                        .arg(path)
                        .status()
                        .unwrap();
                    assert!(done.success());
                    let expected = path.metadata().unwrap().permissions().mode();
                    let got = apply(changes, kind.mode_bits() | before);
                    assert_eq!(got, expected, "{changes} {before:o} {kind:?}");
                }
            }
        }
    }

    #[test]
    fn access_lists_follow_the_mode() {
        let entry = |tag: u16, bits: u8, id: u32| {
            let mut bytes = tag.to_le_bytes().to_vec();
            bytes.extend([bits, 0]);
            bytes.extend(id.to_le_bytes());
            bytes
        };
        let list = |entries: &[Vec<u8>]| [vec![2, 0, 0, 0], entries.concat()].concat();
        let none = u32::MAX;
        let named = entry(0x02, 7, 1000);
        for (before, after) in [
            (
                list(&[
                    entry(1, 7, none),
                    named.clone(),
                    entry(4, 5, none),
                    entry(16, 7, none),
                    entry(32, 5, none),
                ]),
                list(&[
                    entry(1, 6, none),
                    named.clone(),
                    entry(4, 5, none),
                    entry(16, 4, none),
                    entry(32, 0, none),
                ]),
            ),
            (
                list(&[entry(1, 7, none), entry(4, 5, none), entry(32, 5, none)]),
                list(&[entry(1, 6, none), entry(4, 4, none), entry(32, 0, none)]),
            ),
            (vec![2, 0], vec![2, 0]),
        ] {
            let mut metadata = Metadata::new(Kind::File, 0o640);
            metadata.xattrs = vec![(ACCESS_LIST.to_vec(), before)];
            update_access_list(&mut metadata);
            assert_eq!(metadata.xattrs[0].1, after);
        }
    }
}
