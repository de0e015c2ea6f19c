//! What interrupted builds left: removed, or brought to its end where the image is published already.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::place::{Found, Place, examine, lock};
use super::rival;
use crate::format::Uuid;
use crate::{Result, image};

/// Removes the pending files of interrupted builds of the image with this index and these volumes,
/// and says so in the log. A finished volume is given its final name instead if its index has it
/// already, and is left alone if it may belong to another image.
///
/// Fails with [`crate::ErrorKind::Exists`] if one of these builds is still running.
pub(super) fn clear_leftovers(index: &Path, volumes: &[PathBuf]) -> Result<()> {
    let index_place = Place::new(index)?;
    let published = match index_place.examine()? {
        Found::Index { uuid } => uuid,
        _ => None,
    };
    // The volumes of an earlier build need not be those of this one.
    let mut finals: BTreeSet<PathBuf> = volumes.iter().cloned().collect();
    let parts = image::parts_beside(index)?;
    let numbers = parts.iter().filter_map(|part| part.volume);
    finals.extend(numbers.map(|number| image::volume_path(index, number)));
    for path in &finals {
        let place = Place::new(path)?;
        for pending in image::pending_beside(path)? {
            if let Some(file) = open_unlocked(&place, &pending)? {
                clear_volume(&place, &pending, &file, &index_place, published)?;
            }
        }
    }
    // The index goes last: it tells that its volumes are not published.
    for pending in image::pending_beside(index)? {
        if open_unlocked(&index_place, &pending)?.is_some() {
            remove(&index_place, &pending);
        }
    }
    Ok(())
}

/// Whether the pending file at `path`, in the directory of `place`, belongs to a running build.
pub(super) fn is_locked(place: &Place, path: &Path) -> Result<bool> {
    match open_unlocked(place, path) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == crate::ErrorKind::Exists => Ok(true),
        Err(error) => Err(error),
    }
}

/// Opens and locks the pending file at `path`; `None` if there is none that could be cleared. Fails if
/// a running build has it.
fn open_unlocked(place: &Place, path: &Path) -> Result<Option<File>> {
    let name = path.file_name().unwrap_or_default();
    let left = |why: &dyn std::fmt::Display| {
        log::warn!(
            "{}: looks like the rest of an interrupted build, but {why}; left alone",
            path.display()
        );
        Ok(None)
    };
    // For writing, since network file systems lock nothing else.
    let file = match place.open(name, OFlags::RDWR) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(errno) => return left(&errno),
    };
    match fstat(&file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
        Ok(_) => return left(&"is no regular file"),
        Err(errno) => return left(&errno),
    }
    match lock(&file) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(rival(path)),
        Err(errno) => return left(&errno),
    }
    // While the lock was taken its owner may have published or removed it.
    Ok(place.holds(name, &file).then_some(file))
}

fn clear_volume(
    place: &Place,
    pending: &Path,
    file: &File,
    index: &Place,
    published: Option<Uuid>,
) -> Result<()> {
    let Ok(Found::Volume {
        uuid: Some(uuid),
        finished: true,
    }) = examine(file)
    else {
        // Unfinished; so its index was never published.
        remove(place, pending);
        return Ok(());
    };
    if Some(uuid) == published {
        return roll_forward(place, pending, file, uuid);
    }
    let pending_index = image::pending_path(index.path(), &uuid);
    if pending_index.symlink_metadata().is_ok() {
        remove(place, pending);
    } else {
        let name = pending.display();
        let uuid = image::format_uuid(&uuid);
        log::warn!("{name}: is a finished volume of another image ({uuid}); left alone");
    }
    Ok(())
}

/// Finishes the publication of a volume whose index is published.
fn roll_forward(place: &Place, pending: &Path, file: &File, uuid: Uuid) -> Result<()> {
    let name = pending.file_name().unwrap_or_default();
    let (from, to) = (pending.display(), place.path().display());
    match place.examine()? {
        // A crash between giving the new name and taking away the old one.
        Found::Volume { .. } if place.holds(place.path().file_name().unwrap_or_default(), file) => {
            remove(place, pending);
            return Ok(());
        }
        Found::Nothing => {}
        Found::Volume { uuid: other, .. } if other != Some(uuid) => {}
        _ => {
            log::warn!("{from}: cannot be called {to}, which is something else; left alone");
            return Ok(());
        }
    }
    if let Err(errno) = place.publish(name, file, true) {
        log::warn!("{from}: cannot be called {to}: {errno}");
        return Ok(());
    }
    place.sync_directory()?;
    log::warn!("{from}: an interrupted build left this volume; it is {to} now");
    Ok(())
}

fn remove(place: &Place, pending: &Path) {
    let name = pending.display();
    match place.remove(pending.file_name().unwrap_or_default()) {
        Ok(()) => log::warn!("{name}: was left by an interrupted build; removed"),
        Err(errno) => {
            log::warn!("{name}: was left by an interrupted build; cannot remove: {errno}");
        }
    }
}
