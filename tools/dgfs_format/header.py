"""Sections 2.1 and 2.2: the header and its section table."""

import collections
import struct

from .encoding import PAGE, crc32c
from .faults import require

INDEX_MAGIC = bytes.fromhex("89 64 67 66 73 0D 0A 1A")
ATTRIBUTES, VOLUMES, BLOBS, CODECS, DICTIONARIES, PAGE_DICTIONARIES = 1, 2, 3, 4, 5, 7

Section = collections.namedtuple("Section", "kind crc offset length rows")


class Header:
    """The header or the footer of an index that has `length` bytes."""

    FIELDS = struct.Struct("<8sHHIQQQ16sQQQQQQQQQQIIQII")

    def __init__(self, page, length):
        (
            magic,
            major,
            self.minor,
            page_size,
            ignorable,
            self.warnings,
            self.features,
            self.uuid,
            self.length,
            self.entries,
            self.files,
            self.directories,
            self.symlinks,
            self.others,
            self.data_bytes,
            self.stored_bytes,
            self.leaves,
            self.inners,
            self.levels,
            self.chunk_shift,
            self.root,
            sections,
            _,
        ) = self.FIELDS.unpack_from(page)
        require(magic == INDEX_MAGIC, "no image")
        require(crc32c(page[:-4]) == int.from_bytes(page[-4:], "little"), "damaged header: wrong checksum")
        require(major == 1, f"image of major version {major}, this reader knows 1")
        require(page_size == PAGE, f"page size {page_size}, this reader knows {PAGE}")
        require(self.features < 1 << 6, f"image needs unknown features {self.features:#x}")
        require(self.length == length, f"index has {length} bytes, its header says {self.length}")
        pages = self.length // PAGE
        require(
            self.length % PAGE == 0 and self.leaves + self.inners + 2 <= pages,
            "page counts contradict the length",
        )
        kinds = self.files + self.directories + self.symlinks + self.others
        require(
            1 <= self.leaves <= self.entries < 1 << 63 and kinds == self.entries, "counts of entries disagree"
        )
        require(self.root == self.leaves + self.inners, "root page is not the last of the tree")
        one = self.leaves == 1
        require(
            one == (self.inners == 0) == (self.levels == 0) and self.levels <= 24,
            "levels and page counts disagree",
        )
        require(12 <= self.chunk_shift <= 24, f"chunk shift {self.chunk_shift}")
        require(sections <= 32, f"{sections} sections")
        self.acls = bool(ignorable & 1)
        self.compressed = bool(self.features >> 2 & 1)
        self.cut = bool(self.features >> 3 & 1)
        self.members = bool(self.features >> 4 & 1)
        self.segments = bool(self.features >> 5 & 1)
        more = struct.unpack_from("<QQQQQQ", page, 160 + 32 * 32)
        self.shared_files, self.shared_bytes, self.shared_chunks, self.shared_chunk_bytes = more[:4]
        self.shared_frames, self.frame_members = more[4:]
        self.sections = [
            Section._make(struct.unpack_from("<IIQQQ", page, 160 + 32 * i)) for i in range(sections)
        ]
        for section in self.sections:
            first, last = (self.root + 1) * PAGE, self.length - PAGE
            inside = first <= section.offset and section.offset + section.length <= last
            require(
                inside and section.offset % PAGE == 0,
                f"section of kind {section.kind} lies outside its place",
            )

    def section(self, kind, row_size=0, most_rows=0):
        """The only section of this kind. Kinds with rows must exist and agree with their number of rows."""
        found = [section for section in self.sections if section.kind == kind]
        require(len(found) == 1 or not (found or row_size), f"{len(found)} sections of kind {kind}")
        if row_size:
            fits = 1 <= found[0].rows <= most_rows and found[0].rows * row_size == found[0].length
            require(fits, f"section of kind {kind} has {found[0].rows} rows in {found[0].length} bytes")
        return found[0] if found else None
