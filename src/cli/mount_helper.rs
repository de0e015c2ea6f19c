//! Being called by mount(8), as `mount.fuse.dgfs` or `mount.dgfs`.
//!
//! With a link of one of these names to `dgfs` in `/sbin`, a line of fstab(5) mounts an image:
//! `/images/photos.dgfs /photos fuse.dgfs allow_other,nofail 0 0`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Options of mount(8) to its helpers that have no value and no meaning here.
const SILENT: [&str; 3] = ["-s", "-n", "-v"];

/// Turns `mount.fuse.dgfs IMAGE DIR [-snv] [-o OPTIONS] [-t TYPE]` into `dgfs mount IMAGE DIR [-o
/// OPTIONS]`, and leaves the arguments of any other name alone.
///
/// mount(8) adds the option `rw` on its own; it does not mean that the user asked for it.
pub(super) fn translate(arguments: Vec<OsString>) -> Vec<OsString> {
    let is_helper = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|name| name == "mount.dgfs" || name == "mount.fuse.dgfs");
    if !is_helper {
        return arguments;
    }
    let mut translated = vec![OsString::from("dgfs"), OsString::from("mount")];
    let mut rest = arguments.into_iter().skip(1);
    while let Some(argument) = rest.next() {
        if argument == "-t" {
            rest.next();
        } else if argument == "-o" {
            let options = rest.next().unwrap_or_default();
            translated.push(argument);
            translated.push(without_rw(&options));
        } else if !SILENT.iter().any(|silent| argument == *silent) {
            translated.push(argument);
        }
    }
    translated
}

fn without_rw(options: &OsStr) -> OsString {
    let kept: Vec<&[u8]> = options
        .as_bytes()
        .split(|byte| *byte == b',')
        .filter(|option| *option != b"rw")
        .collect();
    OsString::from_vec(kept.join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> String {
        let words = translate(line.split(' ').map(OsString::from).collect());
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn what_mount_passes_becomes_what_dgfs_takes() {
        let cases = [
            (
                "/sbin/mount.fuse.dgfs a.dgfs /mnt -o rw,nosuid,allow_other",
                "dgfs mount a.dgfs /mnt -o nosuid,allow_other",
            ),
            (
                "mount.dgfs a.dgfs /mnt -n -s -t fuse.dgfs",
                "dgfs mount a.dgfs /mnt",
            ),
            ("dgfs mount a /b -o rw", "dgfs mount a /b -o rw"),
            ("/mount.dgfs/dgfs mount -t", "/mount.dgfs/dgfs mount -t"),
        ];
        for (given, expected) in cases {
            assert_eq!(translated(given), expected);
        }
    }
}
