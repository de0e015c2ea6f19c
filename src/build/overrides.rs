//! Metadata that is packed instead of what the source has.

use super::mode_changes::{ModeChanges, update_access_list};
use crate::entry::{Metadata, Timestamp};

/// What the entries of an image get instead of what their source says, the root included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Owner of all entries.
    pub uid: Option<u32>,
    /// Group of all entries.
    pub gid: Option<u32>,
    /// Changes to all permissions but those of symbolic links. Access control lists follow, as they
    /// follow `chmod`.
    pub mode: Option<ModeChanges>,
    /// Times of modification.
    pub mtime: Option<NewTime>,
}

/// Another time of modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTime {
    /// For all entries.
    Always(Timestamp),
    /// For entries that are younger.
    AtMost(Timestamp),
}

impl Overrides {
    /// Changes `metadata`.
    pub(super) fn apply(&self, metadata: &mut Metadata) {
        metadata.uid = self.uid.unwrap_or(metadata.uid);
        metadata.gid = self.gid.unwrap_or(metadata.gid);
        if let Some(changes) = &self.mode {
            metadata.mode = changes.apply(metadata.mode);
            update_access_list(metadata);
        }
        match self.mtime {
            Some(NewTime::Always(time)) => metadata.mtime = time,
            Some(NewTime::AtMost(time)) => metadata.mtime = metadata.mtime.min(time),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Kind;

    #[test]
    fn only_what_is_given_changes() {
        let mut metadata = Metadata::new(Kind::File, 0o666);
        metadata.uid = 7;
        metadata.mtime.seconds = 100;
        let before = metadata.clone();
        Overrides::default().apply(&mut metadata);
        assert_eq!(metadata, before);
        let at = |seconds| Timestamp {
            seconds,
            nanoseconds: 5,
        };
        let all = Overrides {
            uid: Some(0),
            gid: Some(9),
            mode: Some("go-w".parse().unwrap()),
            mtime: Some(NewTime::Always(at(200))),
        };
        all.apply(&mut metadata);
        assert_eq!(
            (metadata.uid, metadata.gid, metadata.mode, metadata.mtime),
            (0, 9, 0o100_644, at(200))
        );
        for (limit, expected) in [(300, 200), (200, 200), (-1, -1)] {
            let mut metadata = metadata.clone();
            let clamp = Overrides {
                mtime: Some(NewTime::AtMost(at(limit))),
                ..Overrides::default()
            };
            clamp.apply(&mut metadata);
            assert_eq!(metadata.mtime, at(expected));
        }
    }
}
