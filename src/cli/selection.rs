//! Options that choose what of a tree is packed.

use std::path::{Path, PathBuf};

use dgfs::source::{AttributePatterns, PathList, PathPatterns, Selection, VCS_PATTERNS};
use dgfs::{Error, Result};

/// Options that choose what is packed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is packed")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices, each with a name"
)]
pub(super) struct SelectionArgs {
    /// Leave out what PATTERN matches, directories with all below. `*` and `?` match within a name,
    /// `**` across directories, [a-z] and {a,b} choose, a backslash quotes. A pattern matches from
    /// any directory on; from SOURCE if it begins with `/` or `./`; only directories if it ends with `/`.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out what the patterns in FILE match, one on each line; `-` is standard input. Empty
    /// lines and those that begin with `#` do not count.
    #[arg(short = 'X', long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Leave out what version control systems keep: .git, .gitignore, .svn, CVS and their like.
    #[arg(long)]
    exclude_vcs: bool,
    /// Pack only the paths in FILE, one on each line, relative to SOURCE, and the directories on the
    /// way to them; `-` is standard input. A directory brings all that is below it.
    #[arg(short = 'T', long, value_name = "FILE")]
    files_from: Option<PathBuf>,
    /// Paths of --files-from end with NUL, as `find -print0` writes them.
    #[arg(long, requires = "files_from")]
    null: bool,
    /// A directory of --files-from stands for itself alone.
    #[arg(long, requires = "files_from")]
    no_recursion: bool,
    /// Pack what symbolic links lead to, files and directories, instead of the links. Those that
    /// lead nowhere, or to a directory above them, stay links and are reported.
    #[arg(short = 'L', long, visible_alias = "dereference")]
    follow: bool,
    /// Leave directories empty that other file systems are mounted on.
    #[arg(short = 'x', long)]
    pub(super) one_file_system: bool,
    /// Leave out extended attributes, access control lists among them.
    #[arg(long)]
    pub(super) no_xattrs: bool,
    /// Pack only the extended attributes whose name PATTERN matches, as `user.*`.
    #[arg(long, value_name = "PATTERN", conflicts_with = "no_xattrs")]
    xattrs_include: Vec<String>,
    /// Leave out the extended attributes whose name PATTERN matches.
    #[arg(long, value_name = "PATTERN", conflicts_with = "no_xattrs")]
    xattrs_exclude: Vec<String>,
}

impl SelectionArgs {
    /// What the options come to.
    pub(super) fn selection(&self) -> Result<Selection> {
        let mut patterns = self.exclude.clone();
        for file in &self.exclude_from {
            let file = or_standard_input(file);
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Error::io(&file, "read the patterns in", error))?;
            let lines = text.lines().filter(|line| !line.is_empty());
            patterns.extend(
                lines
                    .filter(|line| !line.starts_with('#'))
                    .map(str::to_owned),
            );
        }
        if self.exclude_vcs {
            patterns.extend(VCS_PATTERNS.iter().map(ToString::to_string));
        }
        Ok(Selection {
            exclude: PathPatterns::new(patterns)?,
            list: self.files_from.as_deref().map(|file| PathList {
                file: or_standard_input(file),
                null: self.null,
                recurse: !self.no_recursion,
            }),
            follow: self.follow,
            attributes: AttributePatterns::new(&self.xattrs_include, &self.xattrs_exclude)?,
        })
    }
}

fn or_standard_input(file: &Path) -> PathBuf {
    if file == Path::new("-") {
        "/dev/stdin".into()
    } else {
        file.to_path_buf()
    }
}
