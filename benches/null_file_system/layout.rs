//! Inode numbers of a regular tree: level after level, so that parents, children and names are arithmetic.

use std::ops::Range;
use std::str::FromStr;

/// How many children a directory of each level has; the last level is of files.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    widths: Vec<u64>,
}

/// What an inode number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory; its children have the numbers from `first_child` on.
    Directory { first_child: u64, children: u64 },
    /// A file with its number among all files.
    File(u64),
    /// The large file.
    Large,
}

/// The number of the root directory.
const ROOT: u64 = 1;

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let widths = text
            .split('x')
            .map(|number| number.parse().ok().filter(|width| *width > 0))
            .collect::<Option<Vec<u64>>>()
            .ok_or_else(|| format!("{text}: not numbers with an x between them"))?;
        let files = widths.iter().try_fold(1_u64, |product, width| {
            product
                .checked_mul(*width)
                .filter(|product| *product < 1 << 40)
        });
        match files {
            Some(_) => Ok(Self { widths }),
            None => Err(format!("{text}: too many files")),
        }
    }
}

impl Layout {
    /// First number and count of each level below the root.
    fn levels(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let mut first = ROOT + 1;
        let mut count = 1;
        self.widths.iter().map(move |width| {
            count *= width;
            let level = (first, count, *width);
            first += count;
            level
        })
    }

    /// The number of the large file, the last of all.
    pub(crate) fn large(&self) -> u64 {
        self.levels()
            .last()
            .map_or(ROOT, |(first, count, _)| first + count - 1)
            + 1
    }

    /// What `ino` stands for, if anything.
    pub(crate) fn place(&self, ino: u64) -> Option<Place> {
        if ino == self.large() {
            return Some(Place::Large);
        }
        let mut within = ino.checked_sub(ROOT)?.saturating_sub(1);
        let mut is_here = ino == ROOT;
        for (first, count, width) in self.levels() {
            if is_here {
                return Some(Place::Directory {
                    first_child: first + within * width,
                    children: width,
                });
            }
            is_here = (first..first + count).contains(&ino);
            within = ino.saturating_sub(first);
        }
        is_here.then_some(Place::File(within))
    }

    /// The number of the child called `name` of a directory, if there is one.
    pub(crate) fn child(&self, directory: u64, name: &[u8]) -> Option<u64> {
        if directory == ROOT && name == b"large" {
            return Some(self.large());
        }
        let Place::Directory {
            first_child,
            children,
        } = self.place(directory)?
        else {
            return None;
        };
        let text = std::str::from_utf8(name).ok()?;
        let number: u64 = text.parse().ok()?;
        (number < children && text.len() == digits(children)).then_some(first_child + number)
    }

    /// The numbers of the children of a directory, the large file left out.
    pub(crate) fn children(&self, directory: u64) -> Range<u64> {
        match self.place(directory) {
            Some(Place::Directory {
                first_child,
                children,
            }) => first_child..first_child + children,
            _ => 0..0,
        }
    }
}

/// The width of the names in a directory of `children` entries.
pub(crate) fn digits(children: u64) -> usize {
    children
        .saturating_sub(1)
        .checked_ilog10()
        .map_or(1, |log| log as usize + 1)
}
