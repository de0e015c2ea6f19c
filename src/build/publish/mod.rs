//! Gives the files of a finished image their names, in an order that no crash can spoil.
//!
//! # Overview
//! - A [`Place`] is where one part of the image will be: a name in an open directory;
//! - [`clear_leftovers`] tidies up after builds that were interrupted;
//! - a [`Publication`] holds the files under their pending names, locked, so that other builds see
//!   that this one is alive, and publishes them.
//!
//! The index is renamed first, when all parts are on their devices. Up to that rename the old image
//! is untouched; from then on the new one is whole, since a reader that does not find its volume
//! under the final name looks for the pending one.

mod leftovers;
mod place;
mod steps;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use self::leftovers::{clear_leftovers, is_locked};
use self::place::{Found, Place};
use self::steps::{Step, steps};
use super::output::Output;
use crate::format::Uuid;
use crate::{Error, ErrorKind, Result, image};

/// The files of an image under their pending names, until it is complete. Dropped before
/// [`Publication::commit`], it removes them.
#[derive(Debug)]
pub(super) struct Publication {
    index: Output,
    volumes: Vec<Output>,
    /// Index first, then the volumes in order; as long as the build got with making them.
    members: Vec<Member>,
    force: bool,
    /// UUID of the image that is replaced.
    replaced: Option<Uuid>,
    /// Whether the index has its name: from there on the pending volumes are parts of an image.
    published: bool,
}

/// One file under its pending name.
#[derive(Debug)]
struct Member {
    place: Place,
    pending: OsString,
    output: Output,
}

impl Publication {
    /// Clears what interrupted builds left, and creates the pending files of image `uuid`.
    ///
    /// Without `volumes` there is one, beside the index. Fails with [`ErrorKind::Exists`] if there
    /// is anything under one of the names, unless `force` is given and it is a part of an image;
    /// nothing was created then.
    pub(super) fn begin(
        index: &Path,
        volumes: &[PathBuf],
        uuid: &Uuid,
        force: bool,
    ) -> Result<Self> {
        let beside = [image::volume_path(index, 0)];
        let volumes = if volumes.is_empty() { &beside } else { volumes };
        let index_place = Place::new(index)?;
        let mut places = vec![index_place];
        for path in volumes {
            let place = Place::new(path)?;
            if places.iter().any(|other| place.is_same(other)) {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "is named for two parts of the image; each needs a file of its own",
                )
                .at_path(path));
            }
            places.push(place);
        }
        clear_leftovers(index, volumes)?;
        let replaced = check_existing(&places, uuid, force)?;

        let mut members: Vec<Member> = Vec::with_capacity(places.len());
        for place in places {
            match Member::create(place, uuid) {
                Ok(member) => members.push(member),
                Err(error) => {
                    members.iter().rev().for_each(Member::remove);
                    return Err(error);
                }
            }
        }
        let outputs = members.iter().map(|member| member.output.clone());
        let mut outputs: Vec<Output> = outputs.collect();
        let publication = Self {
            index: outputs.remove(0),
            volumes: outputs,
            members,
            force,
            replaced,
            published: false,
        };
        publication.check_rivals()?;
        Ok(publication)
    }

    /// Makes the pending files those of image `uuid`, which is known only now.
    ///
    /// The index goes first, and for good: a finished volume without a pending index of its identity
    /// would be taken for a part of another image.
    pub(super) fn identify(&mut self, uuid: &Uuid) -> Result<()> {
        for (number, member) in self.members.iter_mut().enumerate() {
            member.rename_pending(uuid)?;
            if number == 0 {
                member.place.sync_directory()?;
            }
        }
        // What has this identity holds the same bytes, so that a crash cannot mix up anything.
        self.replaced = self.replaced.filter(|replaced| replaced != uuid);
        Ok(())
    }

    /// The index.
    pub(super) fn index(&self) -> &Output {
        &self.index
    }

    /// The volumes in order of their numbers.
    pub(super) fn volumes(&self) -> &[Output] {
        &self.volumes
    }

    /// Brings everything to the devices and gives it its names.
    ///
    /// An error before the index has its name leaves everything as it was. One after that leaves the
    /// new image whole, with volumes under their pending names, which the next build or a reader
    /// finds.
    pub(super) fn commit(mut self) -> Result<()> {
        for step in steps(self.members.len()) {
            self.execute(step)?;
        }
        for path in self.unused_volumes() {
            let name = path.display();
            log::warn!("{name}: was a volume of the replaced image and is not used any more");
        }
        Ok(())
    }

    fn execute(&mut self, step: Step) -> Result<()> {
        let member = |number: usize| {
            self.members
                .get(number)
                .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no such part of the image"))
        };
        match step {
            Step::SyncFile(number) => member(number)?.output.sync(),
            Step::SyncDirectory(number) => member(number)?.place.sync_directory(),
            Step::CheckNames => self.check_names(),
            Step::Rename(0) => {
                member(0)?.publish(self.force)?;
                self.published = true;
                Ok(())
            }
            Step::Rename(number) => {
                let member = member(number)?;
                member.publish(self.force).inspect_err(|_| {
                    let pending = member.place.directory_path().join(&member.pending);
                    let name = pending.display();
                    log::warn!("the image is complete, but its volume stays at {name}");
                })
            }
        }
    }

    /// Without force: whether a file appeared under a final name during the build.
    fn check_names(&self) -> Result<()> {
        if self.force {
            return Ok(());
        }
        let mut places = self.members.iter().map(|member| &member.place);
        places.try_for_each(refuse_existing)
    }

    /// Fails if another build is after the same names. Two that begin at the same moment see each
    /// other here, since both have made and locked their files before either looks.
    fn check_rivals(&self) -> Result<()> {
        for member in &self.members {
            for path in image::pending_beside(member.place.path())? {
                let own = path.file_name() == Some(member.pending.as_os_str());
                if !own && is_locked(&member.place, &path)? {
                    return Err(rival(&path));
                }
            }
        }
        Ok(())
    }

    /// Volumes of the replaced image that have no counterpart in the new one.
    fn unused_volumes(&self) -> Vec<PathBuf> {
        let (Some(index), Some(replaced)) = (self.members.first(), self.replaced) else {
            return Vec::new();
        };
        let mut parts = image::parts_beside(index.place.path()).unwrap_or_default();
        parts.retain(|part| {
            let found = Place::new(&part.path).and_then(|place| place.examine());
            let volume = matches!(found, Ok(Found::Volume { uuid, .. }) if uuid == Some(replaced));
            volume && !part.pending
        });
        parts.into_iter().map(|part| part.path).collect()
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if !self.published {
            // The index goes last: a finished volume without a pending index beside it is taken for
            // that of a published image.
            self.members.iter().rev().for_each(Member::remove);
        }
    }
}

impl Member {
    fn create(place: Place, uuid: &Uuid) -> Result<Self> {
        let pending = image::pending_path(place.path(), uuid);
        let name = pending.file_name().unwrap_or_default().to_owned();
        let file = place.create(&name)?;
        let member = Self {
            output: Output::new(Arc::new(file), place.path().to_path_buf()),
            pending: name,
            place,
        };
        match place::lock(member.output.file()) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(rival(&pending)),
            // The file system has no locks. An interrupted build is not recognised then.
            Err(errno) => log::debug!("{}: cannot lock: {errno}", pending.display()),
        }
        // Another build may have taken it for a leftover before it was locked.
        if member.place.holds(&member.pending, member.output.file()) {
            Ok(member)
        } else {
            Err(rival(&pending))
        }
    }

    fn rename_pending(&mut self, uuid: &Uuid) -> Result<()> {
        let pending = image::pending_path(self.place.path(), uuid);
        let name = pending.file_name().unwrap_or_default().to_owned();
        match self.place.rename(&self.pending, &name) {
            Ok(()) => {
                self.pending = name;
                Ok(())
            }
            Err(Errno::EXIST) => Err(Error::new(
                ErrorKind::Exists,
                "is a part of the same image that another build left; remove it",
            )
            .at_path(&pending)),
            Err(errno) => Err(Error::io(&pending, "give its name to", errno)),
        }
    }

    fn publish(&self, force: bool) -> Result<()> {
        self.place
            .publish(&self.pending, self.output.file(), force)
            .map_err(|errno| match errno {
                Errno::EXIST => exists(self.place.path()),
                errno => Error::io(self.place.path(), "give its name to", errno),
            })
    }

    fn remove(&self) {
        if let Err(errno) = self.place.remove(&self.pending) {
            let path = self.place.directory_path().join(&self.pending);
            log::warn!("{}: cannot remove: {errno}", path.display());
        }
    }
}

/// Checks what is under the final names; returns the UUID of the image that is replaced.
fn check_existing(places: &[Place], uuid: &Uuid, force: bool) -> Result<Option<Uuid>> {
    let mut replaced = None;
    for (number, place) in places.iter().enumerate() {
        if !force {
            refuse_existing(place)?;
            continue;
        }
        let old = match (place.examine()?, number) {
            (Found::Nothing, _) => None,
            (Found::Index { uuid }, 0) => {
                replaced = uuid;
                uuid
            }
            (Found::Volume { uuid, .. }, 1..) => uuid,
            (Found::Index { .. } | Found::Volume { .. }, _) => {
                return Err(not_replaced(place, "is another part of a dgfs image"));
            }
            (Found::Other(what), _) => return Err(not_replaced(place, what)),
        };
        if old == Some(*uuid) {
            // A reader tells the old volume from the new one by nothing but the UUID.
            return Err(Error::new(
                ErrorKind::Exists,
                "has the UUID of the new image already, so that a crash could mix them up; remove it first or choose another UUID",
            )
            .at_path(place.path()));
        }
    }
    Ok(replaced)
}

fn refuse_existing(place: &Place) -> Result<()> {
    match place.examine()? {
        Found::Nothing => Ok(()),
        _ => Err(exists(place.path())),
    }
}

#[cold]
fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Exists, "is there already; --force replaces it").at_path(path)
}

#[cold]
fn not_replaced(place: &Place, what: &str) -> Error {
    let what = format!("{what}; remove it yourself or choose another name");
    Error::new(ErrorKind::Exists, what).at_path(place.path())
}

#[cold]
fn rival(path: &Path) -> Error {
    Error::new(
        ErrorKind::Exists,
        "belongs to another build of this image that is running; wait for its end",
    )
    .at_path(path)
}

#[cfg(test)]
mod tests;
