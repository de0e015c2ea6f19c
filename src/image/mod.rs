//! The files that make up an image: their names and where they are found.

use crate::format::Uuid;
use std::path::{Path, PathBuf};

/// Where volume `number` of the image with index `index` lies, unless said otherwise.
pub fn volume_path(index: &Path, number: u32) -> PathBuf {
    let mut path = index.as_os_str().to_owned();
    path.push(".data");
    if number > 0 {
        path.push(format!(".{number}"));
    }
    path.into()
}

/// The name that a part of image `uuid` carries until it is published as `path`.
pub fn pending_path(path: &Path, uuid: &Uuid) -> PathBuf {
    let mut pending = path.as_os_str().to_owned();
    let digits: String = uuid
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pending.push(format!(".{digits}.part"));
    pending.into()
}

/// A UUID as people write it.
pub fn format_uuid(uuid: &Uuid) -> String {
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
    let group = |range: std::ops::Range<usize>| -> String {
        uuid.get(range)
            .unwrap_or(&[])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    groups.map(group).join("-")
}
