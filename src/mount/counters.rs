//! How many requests of each kind the kernel sent: the numbers that a design for few requests is
//! held to.

use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! operations {
    ($($variant:ident $name:literal,)+) => {
        /// A kind of request, by the kernel's name for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names are the kernel's, and say it all")]
        pub enum Operation {
            $($variant,)+
        }

        impl Operation {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in lower case, as the statistics file has it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

operations! {
    Lookup "lookup",
    Forget "forget",
    Getattr "getattr",
    Readlink "readlink",
    Open "open",
    Read "read",
    Flush "flush",
    Release "release",
    Fsync "fsync",
    Opendir "opendir",
    Readdir "readdir",
    Readdirplus "readdirplus",
    Releasedir "releasedir",
    Fsyncdir "fsyncdir",
    Statfs "statfs",
    Getxattr "getxattr",
    Listxattr "listxattr",
    Access "access",
    Lseek "lseek",
    Ioctl "ioctl",
    Lock "lock",
    Bmap "bmap",
    Poll "poll",
    Setattr "setattr",
    Mknod "mknod",
    Mkdir "mkdir",
    Unlink "unlink",
    Rmdir "rmdir",
    Symlink "symlink",
    Rename "rename",
    Link "link",
    Write "write",
    Create "create",
    Setxattr "setxattr",
    Removexattr "removexattr",
    Fallocate "fallocate",
    CopyFileRange "copy_file_range",
}

/// Running counts, one for each kind of request.
#[derive(Debug)]
pub(super) struct Counters {
    counts: [AtomicU64; Operation::ALL.len()],
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Counts one request.
    pub(super) fn count(&self, operation: Operation) {
        if let Some(count) = self.counts.get(operation as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts as they are now.
    pub(super) fn snapshot(&self) -> RequestCounts {
        let mut counts = [0; Operation::ALL.len()];
        for (now, count) in counts.iter_mut().zip(&self.counts) {
            *now = count.load(Ordering::Relaxed);
        }
        RequestCounts { counts }
    }
}

/// The number of requests of each kind, at one moment or between two.
///
/// Prints and serialises as a map from names to numbers, without the kinds that never came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestCounts {
    counts: [u64; Operation::ALL.len()],
}

impl RequestCounts {
    /// Requests of one kind.
    pub fn get(&self, operation: Operation) -> u64 {
        self.counts.get(operation as usize).copied().unwrap_or(0)
    }

    /// Requests of all kinds that the kernel waits for an answer to; it waits for none to `forget`.
    pub fn total(&self) -> u64 {
        self.iter()
            .filter(|(operation, _)| *operation != Operation::Forget)
            .map(|(_, count)| count)
            .sum()
    }

    /// The kinds that came at all, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, u64)> + '_ {
        Operation::ALL
            .iter()
            .copied()
            .zip(self.counts)
            .filter(|(_, count)| *count != 0)
    }

    /// What came after `earlier` was taken.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts }
    }
}

impl fmt::Debug for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|(operation, count)| (operation.name(), count)),
            )
            .finish()
    }
}

impl Serialize for RequestCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (operation, count) in self.iter() {
            map.serialize_entry(operation.name(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_kind_and_in_total() {
        let counters = Counters::new();
        counters.count(Operation::Lookup);
        let earlier = counters.snapshot();
        counters.count(Operation::Read);
        counters.count(Operation::Read);
        counters.count(Operation::CopyFileRange);
        counters.count(Operation::Forget);
        let since = counters.snapshot().since(&earlier);
        assert_eq!(since.get(Operation::Lookup), 0);
        assert_eq!(since.get(Operation::Read), 2);
        assert_eq!(since.total(), 3, "nobody waits for a forget");
        assert_eq!(
            serde_json::to_string(&since).unwrap(),
            r#"{"forget":1,"read":2,"copy_file_range":1}"#
        );
    }

    #[test]
    fn every_operation_has_its_own_count() {
        for (place, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, place);
        }
    }
}
