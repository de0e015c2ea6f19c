"""Sections 1 and 3: the files of an image."""

import os
import stat
import struct

from .encoding import PAGE, crc32c
from .faults import Fault, require

VOLUME_MAGIC = bytes.fromhex("89 64 67 66 76 0D 0A 1A")
TRAILER_MAGIC = bytes.fromhex("89 64 67 66 74 0D 0A 1A")


class Part:
    """A file of the image, or a stretch of one: reads are checked against its end."""

    def __init__(self, path, base=0, length=None):
        self.path, self.base = path, base
        try:
            self.file = open(path, "rb", buffering=0)
            size = os.fstat(self.file.fileno()).st_size
            require(stat.S_ISREG(os.fstat(self.file.fileno()).st_mode), "not a regular file")
        except (OSError, ValueError, Fault) as error:
            raise Fault(getattr(error, "strerror", None) or str(error), path) from None
        self.length = size - base if length is None else length

    def read(self, offset, count):
        require(
            0 <= offset and offset + count <= self.length,
            f"bytes {offset} + {count} lie outside {self.length} bytes",
        )
        pieces, at, end = [], self.base + offset, self.base + offset + count
        while at < end:
            try:
                piece = os.pread(self.file.fileno(), end - at, at)
            except OSError as error:
                raise Fault(error.strerror, self.path) from None
            if not piece:
                raise Fault("file ends early", self.path)
            pieces.append(piece)
            at += len(piece)
        return b"".join(pieces)


class Volume(Part):
    """A data volume. Its trailer says that it is whole."""

    FIELDS = struct.Struct("<8sHHIIIQ16sQQQQ")

    def __init__(self, path):
        super().__init__(path)
        try:
            require(self.length >= 2 * PAGE, "too short for a volume")
            head = self.fields(0, VOLUME_MAGIC, "header")
            self.number, self.count, self.uuid, numbers = self.fields(
                self.length - PAGE, TRAILER_MAGIC, "trailer"
            )
            self.end, self.copy_offset, self.copy_length, length = numbers
            require(head == (self.number, self.count, self.uuid, (0, 0, 0, 0)), "header and trailer disagree")
            require(length == self.length, f"has {self.length} bytes, its trailer says {length}")
            require(self.number < self.count <= 1 << 16, f"volume {self.number} of {self.count}")
            require(PAGE <= self.end <= length - PAGE, "end of the extents lies outside the file")
            if self.copy_offset or self.copy_length:
                require(self.number == 0, "index copy in a volume other than 0")
                inside = self.end <= self.copy_offset and self.copy_offset + self.copy_length <= length - PAGE
                require(
                    inside and self.copy_offset % PAGE == 0,
                    "position of the index copy contradicts the length",
                )
        except Fault as fault:
            raise Fault(str(fault), fault.path or path) from None

    def fields(self, offset, magic, what):
        page = self.read(offset, PAGE)
        found, major, _, number, count, _, features, uuid, *numbers = self.FIELDS.unpack_from(page)
        missing = "no volume" if magic == VOLUME_MAGIC else "truncated or unfinished: no trailer"
        require(found == magic, missing)
        require(crc32c(page[:-4]) == int.from_bytes(page[-4:], "little"), f"damaged {what}: wrong checksum")
        require(major == 1, f"{what} of major version {major}, this reader knows 1")
        require(features == 0, f"unknown features {features:#x} in the {what}")
        return number, count, uuid, tuple(numbers)


def pending_name(path, uuid):
    return f"{path}.{uuid[:4].hex()}.part"
