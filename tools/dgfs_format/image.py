"""An open image: its header, sections, pages, blobs and volumes."""

import bisect
import functools
import itertools
import os
import stat
import struct

from .encoding import PAGE, Stream, crc32c, decode_frame, load_dictionary
from .faults import Fault, require, warn
from .files import TRAILER_MAGIC, VOLUME_MAGIC, Part, Volume, pending_name
from .header import ATTRIBUTES, BLOBS, CODECS, DICTIONARIES, INDEX_MAGIC, PAGE_DICTIONARIES, VOLUMES, Header
from .inner import Inner
from .leaf import Leaf
from .page_dictionaries import read_page_dictionaries

TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


class Image:
    def __init__(self, path, data_paths=(), strict=False):
        self.path, self.data_paths, self.strict = path, data_paths, strict
        self.volumes = {}
        # Shared frames that were decoded last, by codec.
        self.frames = {}
        # A search from directory to directory meets the same pages again and again.
        self.decode = functools.lru_cache(maxsize=4)(self.decode)
        self.open_index()
        if self.header.warnings:
            warn(path, f"unknown features {self.header.warnings:#x}, going on without them")
        section = self.header.section(ATTRIBUTES, 12, 1 << 20)
        self.attributes = list(struct.iter_unpack("<III", self.section_bytes(section)))
        for mode, _, _ in self.attributes:
            require(mode <= 0o177777 and stat.S_IFMT(mode) in TYPES, f"mode {mode:o} in the attributes")
        section = self.header.section(VOLUMES, 16, 1 << 16)
        self.spans = list(struct.iter_unpack("<QQ", self.section_bytes(section)))
        self.starts = [start for start, _ in self.spans]
        require(self.starts == [0] + [end for _, end in self.spans[:-1]], "volumes do not follow each other")
        require(all(end >= start + PAGE for start, end in self.spans), "volume shorter than its header page")
        require(self.spans[-1][1] < 1 << 63, "positions of 2^63 or more")
        self.blobs = self.header.section(BLOBS)
        self.read_codecs()
        self.find_page_dictionaries()

    def read_codecs(self):
        """Section 2.9. Dictionaries are loaded when files need them."""
        self.codecs, self.dictionaries = [(1, 0, 0, 0, 0)], {}
        section = self.header.section(CODECS)
        self.dictionary_section = self.header.section(DICTIONARIES)
        if not self.header.compressed or not section:
            return
        section = self.header.section(CODECS, 24, 64)
        self.codecs = list(struct.iter_unpack("<IIIIQ", self.section_bytes(section)))
        room = self.dictionary_section.length if self.dictionary_section else 0
        for algorithm, length, stored, crc, offset in self.codecs:
            require(algorithm == 1, f"codec of unknown algorithm {algorithm}")
            require(length or (stored, crc, offset) == (0, 0, 0), "codec without a dictionary that says where it is")
            fits = not length or 0 < stored <= length <= 1 << 20 and offset + stored <= room
            require(fits, "impossible dictionary")
        require(not self.codecs[0][1], "first codec has a dictionary")
        require(sum(row[1] for row in self.codecs) <= 1 << 24, "too many bytes of dictionaries")

    def find_page_dictionaries(self):
        """Section 2.10: for names frames and for control frames, by any section of several that is right."""
        self.page_dictionaries, failures = None, []
        for section in self.page_dictionary_sections():
            try:
                self.page_dictionaries = self.page_dictionaries or self.load_page_dictionaries(section)
            except Fault as fault:
                failures.append(fault)
        if failures and not self.page_dictionaries:
            raise failures[0]
        self.page_dictionaries = self.page_dictionaries or (None, None)

    def page_dictionary_sections(self):
        found = [section for section in self.header.sections if section.kind == PAGE_DICTIONARIES]
        return found if self.header.segments else []

    def load_page_dictionaries(self, section):
        return read_page_dictionaries(section, self.section_bytes(section))

    def dictionary(self, codec):
        """What a frame of this codec is decoded with; None if it needs nothing."""
        require(self.header.compressed and codec < len(self.codecs), f"codec {codec} is not there")
        _, length, stored, crc, offset = self.codecs[codec]
        if length and codec not in self.dictionaries:
            data = self.index.read(self.dictionary_section.offset + offset, stored)
            require(crc32c(data) == crc, f"dictionary of codec {codec}: wrong checksum")
            data = decode_frame(data, length) if stored < length else data
            require(len(data) == length, f"dictionary of codec {codec} decodes to {len(data)} bytes")
            self.dictionaries[codec] = load_dictionary(data)
        return self.dictionaries.get(codec)

    def open_index(self):
        """Opens an index, or the copy of one in a volume 0 (section 3.4)."""
        self.index, self.own_volume = Part(self.path), None
        require(self.index.length >= PAGE, "no image: shorter than a page")
        first, last = self.index.read(0, 8), self.index.read(self.index.length - PAGE, 8)
        if first != INDEX_MAGIC and (first == VOLUME_MAGIC or last == TRAILER_MAGIC):
            return self.open_copy()
        self.read_header()
        if os.path.basename(self.path).endswith(pending_name("", self.header.uuid)):
            raise Fault("not an image yet: the index still has its pending name")

    def open_copy(self):
        volume = self.own_volume = Volume(self.path)
        require(volume.number == 0, f"volume {volume.number}: only volume 0 can hold a copy of the index")
        require(volume.copy_length >= PAGE, "volume without a copy of the index")
        self.index = Part(self.path, volume.copy_offset, volume.copy_length)
        self.read_header()
        require(self.header.uuid == volume.uuid, "copy of the index of another image")

    def read_header(self):
        length = self.index.length
        try:
            self.header = Header(self.index.read(0, PAGE), length)
        except Fault as fault:
            try:
                self.header = Header(self.index.read(length - PAGE, PAGE), length)
            except Fault:
                raise fault from None
            warn(self.path, f"{fault}, using the footer")

    def section_bytes(self, section):
        data = self.index.read(section.offset, section.length)
        require(crc32c(data) == section.crc, f"section of kind {section.kind}: wrong checksum")
        return data

    def check_zero(self, nonzero):
        """Only `verify` insists on zeros: a later minor version may put something there."""
        require(not (nonzero and self.strict and self.header.minor == 0), "bytes that should be zero are not")

    def page(self, number):
        page = self.index.read(number * PAGE, PAGE)
        checked = self.header.uuid + struct.pack("<Q", number) + page[4:]
        require(crc32c(checked) == int.from_bytes(page[:4], "little"), "wrong checksum")
        return page

    def decode(self, number):
        return Leaf(self, number) if number <= self.header.leaves else Inner(self, number)

    def load(self, number, child=None, whole=False):
        """A page of the tree. `child` is what its parent says of it; only the root page has none. Of a leaf page only a
        whole one is read to its end at once.
        """
        try:
            node = self.decode(number)
            if child:
                told = (child.level, child.ordinal, child.position)
                require(
                    told == (node.level, node.ordinal, node.position),
                    "level, ordinal or position is not as in the parent",
                )
            if number == self.header.root:
                require(
                    (node.level, node.ordinal) == (self.header.levels, 0),
                    "root page of a wrong level or ordinal",
                )
            if whole and not node.level:
                node.check()
            return node
        except Fault as fault:
            raise Fault(f"page {number}: {fault}", fault.path) from None

    def volume_number(self, position, length):
        number = bisect.bisect(self.starts, position) - 1
        start, end = self.spans[number]
        require(
            start + PAGE <= position and position + length <= end, "extent outside the extents of its volume"
        )
        return number

    def volume(self, number):
        if number not in self.volumes:
            self.volumes[number] = self.open_volume(number)
        return self.volumes[number]

    def open_volume(self, number):
        """The volume with this number: tries each final name before its pending name (section 1)."""
        beside = self.path if self.own_volume else self.path + ".data"
        beside += f".{number}" if number else ""
        failures = []
        for path in [*self.data_paths, beside]:
            for name in (path, pending_name(path, self.header.uuid)):
                try:
                    volume = Volume(name)
                    self.check_volume(volume, number)
                    return volume
                except Fault as fault:
                    failures.append((os.path.exists(name), name == path, fault))
        # Say what is wrong with a file that is there rather than that another is missing.
        raise max(failures, key=lambda failure: failure[:2])[2]

    def check_volume(self, volume, number):
        start, end = self.spans[number]
        if volume.uuid != self.header.uuid:
            raise Fault("volume of another image", volume.path)
        if (volume.number, volume.count) != (number, len(self.spans)):
            raise Fault(
                f"volume {volume.number} of {volume.count}, not {number} of {len(self.spans)}", volume.path
            )
        if volume.end != end - start:
            raise Fault(f"extents end at {volume.end}, by the index at {end - start}", volume.path)

    # Blobs (section 2.7).

    def blob(self, offset):
        """The bytes of the blob, and the offset behind it."""
        require(self.blobs and offset + 8 <= self.blobs.length, f"blob {offset} outside its section")
        crc, length = struct.unpack("<II", self.index.read(self.blobs.offset + offset, 8))
        require(
            length <= 1 << 24 and offset + 8 + length <= self.blobs.length,
            f"blob {offset} longer than its section",
        )
        data = self.index.read(self.blobs.offset + offset + 8, length)
        require(crc32c(struct.pack("<QI", offset, length) + data) == crc, f"blob {offset}: wrong checksum")
        return data, offset + 8 + length

    def target(self, entry):
        if entry.target:
            return entry.target
        target, _ = self.blob(entry.far_target)
        require(0 < len(target) < 1 << 16 and b"\0" not in target, "target that no symbolic link can have")
        return target

    def xattrs(self, entry):
        """The extended attributes, in order of names."""
        if not entry.xattrs:
            return []
        stream, found = Stream(self.blob(entry.xattrs - 1)[0]), []
        for _ in range(int.from_bytes(stream.take(2), "little")):
            name_length, value_length = struct.unpack("<BI", stream.take(5))
            found.append((stream.take(name_length), stream.take(value_length)))
            require(found[-1][0] and b"\0" not in found[-1][0], "extended attribute with an illegal name")
        require(all(a[0] < b[0] for a, b in itertools.pairwise(found)), "extended attributes not in order")
        require(stream.at == len(stream.data), "bytes behind the last extended attribute")
        require(found, "extended attributes that are none")
        return found
