//! Stores files that share a frame. What is known already is left out of it, so that the thread that stores in order
//! decides what a frame holds.

use super::compress::{Codecs, Compressor};
use super::grouping::{Candidate, Group, fits, gather};
use super::reading::{Read, Storage};
use crate::Result;
use crate::build::duplicates::Duplicates;
use crate::build::placed::Placed;
use crate::build::placed::SharedChunks;
use crate::build::volumes::{VolumeSet, default_stored_length};
use crate::format::checksum::crc;
use crate::format::member::Member;

/// What is to become of a member of a group.
#[derive(Debug)]
enum Fate {
    /// Its contents were stored before.
    Known(Placed),
    /// They are in the frame, from this byte on.
    Member(u64),
    /// They are stored alone.
    Alone,
}

/// A group whose first member came.
#[derive(Debug)]
pub(super) struct Settled {
    /// By place in the batch.
    fates: Vec<(Candidate, Fate)>,
    /// The frame, if another than that of the group; its checksum.
    frame: Option<(Vec<u8>, u32)>,
    /// Position of the frame and its stored length, once it is stored.
    place: Option<(u64, u64)>,
}

/// What the storing thread needs for groups.
pub(super) struct MemberStore<'c> {
    codecs: Option<&'c Codecs>,
    /// Made when it is needed: its dictionaries take memory and time.
    compressor: Option<Compressor<'c>>,
}

impl<'c> MemberStore<'c> {
    pub(super) fn new(codecs: Option<&'c Codecs>) -> Self {
        Self {
            codecs,
            compressor: None,
        }
    }

    fn compressor(&mut self) -> Result<&mut Compressor<'c>> {
        Ok(match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(self.codecs)?),
        })
    }

    /// Compresses a file that was left, to a group or to another file, and is to be stored alone after all.
    pub(super) fn pack(&mut self, storage: &mut Storage, read: &mut Read) -> Result<()> {
        storage.pack_whole(read, self.compressor()?);
        Ok(())
    }

    /// Stores what comes at file `number` of a batch, a member of `group`. Returns where its contents are, or nothing if
    /// it is to be stored alone.
    pub(super) fn place(
        &mut self,
        volumes: &mut VolumeSet,
        duplicates: &mut Option<&mut Duplicates>,
        storage: &Storage,
        (group, settled): (&Group, &mut Option<Settled>),
        number: usize,
    ) -> Result<Option<Placed>> {
        let settled = match settled {
            Some(settled) => settled,
            None => settled.insert(self.settle(duplicates, storage, group)?),
        };
        let data = settled.data();
        let own = settled.fates.iter().find(|(file, _)| file.number == number);
        let (file, offset) = match own {
            Some((file, Fate::Known(placed))) => {
                volumes.leave_out(file.length as u64);
                return Ok(Some(placed.clone()));
            }
            Some((file, Fate::Member(offset))) => (*file, *offset),
            Some((_, Fate::Alone)) | None => return Ok(None),
        };
        let (position, stored) = settled.store(volumes, storage, group)?;
        let placed = Placed {
            position,
            size: file.length as u64,
            holes: None,
            stored,
            saved: 0,
            codec: Some(file.codec),
            cut: None,
            member: Some(Member::new(data, offset, file.length as u64, stored)?),
            shared_chunks: SharedChunks::default(),
            shared: false,
        };
        if let (Some(duplicates), Some(digest)) = (duplicates, file.digest) {
            duplicates.add(&digest, &placed)?;
        }
        Ok(Some(placed))
    }

    /// Decides what becomes of the members of a group.
    fn settle(
        &mut self,
        duplicates: &mut Option<&mut Duplicates>,
        storage: &Storage,
        group: &Group,
    ) -> Result<Settled> {
        let mut fates = Vec::with_capacity(group.members.len());
        for file in &group.members {
            let known = match (file.digest, duplicates.as_mut()) {
                (Some(digest), Some(known)) => known.find(&digest, file.length as u64)?,
                _ => None,
            };
            fates.push((*file, known.map_or(Fate::Alone, Fate::Known)));
        }
        let new = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Alone));
        let new: Vec<Candidate> = new.map(|(file, _)| *file).collect();
        let mut frame = None;
        let is_shared = if new.len() == group.members.len() {
            true
        } else if new.len() > 1 {
            let data = gather(storage.all(), &new);
            let made = self.compressor()?.shared_frame(&data, &new);
            frame = made
                .filter(|frame| fits(frame))
                .map(|frame| (frame.to_vec(), crc(frame)));
            frame.is_some()
        } else {
            false
        };
        if is_shared {
            let mut offset = 0;
            for (file, fate) in &mut fates {
                if matches!(fate, Fate::Alone) {
                    *fate = Fate::Member(offset);
                    offset += file.length as u64;
                }
            }
        }
        Ok(Settled {
            fates,
            frame,
            place: None,
        })
    }
}

impl Settled {
    /// Stores the frame, if it is not yet. Returns its position and its stored length.
    fn store(
        &mut self,
        volumes: &mut VolumeSet,
        storage: &Storage,
        group: &Group,
    ) -> Result<(u64, u64)> {
        if let Some(place) = self.place {
            return Ok(place);
        }
        let chunk_shift = volumes.chunk_shift();
        let of = |(file, fate): &(Candidate, Fate)| match fate {
            Fate::Member(_) => default_stored_length(file.length as u64, chunk_shift),
            _ => 0,
        };
        let default = self.fates.iter().map(of).sum();
        let prepared = storage.frame(&group.frame);
        let (frame, crc) = match &self.frame {
            Some((frame, crc)) => (frame.as_slice(), *crc),
            None => (prepared, group.crc),
        };
        let place = volumes.append_frame(default, frame, crc)?;
        self.place = Some(place);
        Ok(place)
    }

    /// Bytes that the frame decodes to.
    fn data(&self) -> u64 {
        let members = self.fates.iter();
        let lengths = members.map(|(file, fate)| match fate {
            Fate::Member(_) => file.length as u64,
            _ => 0,
        });
        lengths.sum()
    }
}
