//! Patterns of paths and of attribute names that a user leaves out or asks for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{Error, ErrorKind, Result};

/// What version control systems keep in their working copies: names of directories and files that
/// `tar --exclude-vcs` knows, and of jj.
pub const VCS_PATTERNS: &[&str] = &[
    "CVS/",
    "RCS/",
    "SCCS/",
    ".git/",
    ".gitignore",
    ".gitattributes",
    ".gitmodules",
    ".cvsignore",
    ".svn/",
    ".arch-ids/",
    r"\{arch\}/",
    "=RELEASE-ID",
    "=meta-update",
    "=update",
    ".bzr/",
    ".bzrignore",
    ".bzrtags",
    ".hg/",
    ".hgignore",
    ".hgtags",
    "_darcs/",
    ".jj/",
];

/// Patterns of paths relative to the root of a tree.
///
/// `*` and `?` match within one name, `**` across directories, `[a-z]` one of several characters,
/// `{a,b}` one of several texts; a backslash takes a character literally. A pattern matches from
/// any directory on, or from the root if it begins with `/` or `./`. With a `/` at its end it matches
/// directories only.
#[derive(Debug, Clone, Default)]
pub struct PathPatterns {
    all: GlobSet,
    directories: GlobSet,
}

impl PathPatterns {
    /// Compiles `patterns`. Fails with [`ErrorKind::InvalidInput`] if one of them is none.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        let (mut all, mut directories) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let (body, set) = match pattern.strip_suffix('/') {
                Some(body) => (body, &mut directories),
                None => (pattern, &mut all),
            };
            let anchored = body.strip_prefix('/').or_else(|| body.strip_prefix("./"));
            let glob = match anchored {
                Some("") => return Err(refused(pattern, &"it matches nothing")),
                Some(rest) => path_glob(pattern, rest)?,
                None if matches!(body, "" | ".") => {
                    return Err(refused(pattern, &"it matches nothing"));
                }
                None if body == "**" || body.starts_with("**/") => path_glob(pattern, body)?,
                None => path_glob(pattern, &format!("**/{body}"))?,
            };
            set.add(glob);
        }
        Ok(Self {
            all: build(&all)?,
            directories: build(&directories)?,
        })
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.directories.is_empty()
    }

    /// Whether some pattern matches the entry at `path`.
    pub fn match_path(&self, path: &[u8], is_directory: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.all.is_match(path) || is_directory && self.directories.is_match(path)
    }
}

/// Patterns of names of extended attributes, where `*` matches anything.
#[derive(Debug, Clone, Default)]
pub struct AttributePatterns {
    include: GlobSet,
    exclude: GlobSet,
}

impl AttributePatterns {
    /// Takes the names that match one of `include`, all if there are none, and none of `exclude`.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self> {
        let set = |patterns: &[S]| {
            let mut set = GlobSetBuilder::new();
            for pattern in patterns.iter().map(AsRef::as_ref) {
                set.add(Glob::new(pattern).map_err(|e| refused(pattern, e.kind()))?);
            }
            build(&set)
        };
        Ok(Self {
            include: set(include)?,
            exclude: set(exclude)?,
        })
    }

    /// Whether the attribute `name` is wanted.
    pub fn wants(&self, name: &[u8]) -> bool {
        let name = OsStr::from_bytes(name);
        (self.include.is_empty() || self.include.is_match(name)) && !self.exclude.is_match(name)
    }
}

fn path_glob(pattern: &str, body: &str) -> Result<Glob> {
    GlobBuilder::new(body)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| refused(pattern, error.kind()))
}

fn build(set: &GlobSetBuilder) -> Result<GlobSet> {
    set.build()
        .map_err(|error| refused(error.glob().unwrap_or("*"), error.kind()))
}

#[cold]
fn refused(pattern: &str, why: &dyn std::fmt::Display) -> Error {
    let what = format!("`{pattern}` is no pattern: {why}");
    Error::new(ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("*.o", &["a.o", "x/a.o", "x/.o"], &["a.oo", "a.o/b"]),
            ("/*.o", &["a.o"], &["x/a.o"]),
            ("./x/*.o", &["x/a.o"], &["a.o", "x/x/a.o"]),
            ("a/*.o", &["a/b.o", "x/a/b.o"], &["a/x/b.o", "a.o"]),
            ("/a/**/*.o", &["a/b.o", "a/x/y/b.o"], &["x/a/b.o"]),
            ("**/cache", &["cache", "a/cache"], &["a/cached"]),
            ("a?c", &["abc", "x/a-c"], &["a/c", "ac"]),
            ("[ab]", &["a", "x/b"], &["c", "ab"]),
            ("x.{c,h}", &["x.c", "a/x.h"], &["x.o"]),
            (r"\*", &["*", "a/*"], &["b"]),
            ("b/**", &["b/c", "a/b/c/d"], &["b"]),
        ];
        for (pattern, matching, others) in cases {
            let patterns = PathPatterns::new([pattern]).unwrap();
            for path in *matching {
                assert!(
                    patterns.match_path(path.as_bytes(), false),
                    "{pattern} {path}"
                );
            }
            for path in *others {
                assert!(
                    !patterns.match_path(path.as_bytes(), false),
                    "{pattern} {path}"
                );
            }
        }
        let bytes = PathPatterns::new(["*.\u{fc}", "?x"]).unwrap();
        assert!(bytes.match_path(b"\xff/\xfex", false));
        assert!(bytes.match_path("\u{e4}.\u{fc}".as_bytes(), false));
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_directory() {
        let patterns = PathPatterns::new(["build/", "/top/"]).unwrap();
        assert!(patterns.match_path(b"a/build", true));
        assert!(!patterns.match_path(b"a/build", false));
        assert!(patterns.match_path(b"top", true));
        assert!(!patterns.match_path(b"a/top", true));
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_name() {
        for pattern in ["", "/", "./", "a[", "{a"] {
            let error = PathPatterns::new([pattern]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(
                error.to_string().contains(&format!("`{pattern}`")),
                "{error}"
            );
        }
        assert!(
            PathPatterns::new(VCS_PATTERNS)
                .unwrap()
                .match_path(b"a/{arch}", true)
        );
    }

    #[test]
    fn attributes_are_chosen_by_name() {
        let none: &[&str] = &[];
        let wants = |include: &[&str], exclude: &[&str], name: &str| {
            let patterns = AttributePatterns::new(include, exclude).unwrap();
            patterns.wants(name.as_bytes())
        };
        assert!(wants(none, none, "user.a"));
        assert!(wants(&["user.*"], none, "user.a/b"));
        assert!(!wants(&["user.*"], none, "trusted.a"));
        assert!(!wants(&["user.*"], &["*.a"], "user.a"));
        assert!(wants(none, &["security.*"], "system.posix_acl_access"));
    }
}
