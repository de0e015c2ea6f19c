"""Reads a whole image and counts what is wrong with it."""

import collections
import stat

from . import cut
from .contents import segments, stored
from .encoding import PAGE
from .faults import Fault, require, warn
from .listing import show_path
from .tree import scan


# Who enforces permissions looks for these where the header announces them.
ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")


class Verify:
    """Reads everything that there is to read and counts what is wrong."""

    def __init__(self, image):
        self.image, self.faults, self.counts = image, 0, collections.Counter()
        # Inodes with names still to come. By the ordinal of the first name: what it says, further names seen.
        self.inodes = {}
        # Length of every extent by its position, those of later names of a file left out.
        self.extents = {}
        # What is known of each shared frame by its position, and where in it files begin.
        self.frames = {}

    def fault(self, cause):
        self.faults += 1
        warn(cause.path or self.image.path, cause)

    def attempt(self, what, check):
        try:
            check()
        except Fault as cause:
            self.fault(Fault(f"{what}: {cause}" if what else str(cause), cause.path))

    def run(self):
        self.attempt("footer", self.check_footer)
        self.attempt("page dictionaries", self.check_page_dictionaries)
        self.attempt("blobs", self.check_blobs)
        for number in range(len(self.image.spans)):
            self.attempt("", lambda: self.image.volume(number))
        self.attempt("copy of the index", self.check_copy)
        entries = 0
        for parent, entry in scan(self.image, self.fault):
            entries += 1
            self.attempt(show_path(parent, entry), lambda: self.check_entry(entry))
        self.attempt("header", self.check_counts)
        print(f"{entries} entries, {self.faults} faults")
        return 1 if self.faults else 0

    def check_footer(self):
        index = self.image.index
        same = index.read(0, PAGE) == index.read(index.length - PAGE, PAGE)
        require(same, "is no copy of the header")

    def check_page_dictionaries(self):
        sections = self.image.page_dictionary_sections()
        for section in sections:
            self.image.load_page_dictionaries(section)
        copies = {self.image.section_bytes(section) for section in sections}
        require(len(copies) <= 1, "sections are no copies of each other")

    def check_blobs(self):
        section, offset, rows = self.image.blobs, 0, 0
        while section and offset < section.length:
            offset, rows = self.image.blob(offset)[1], rows + 1
        require(
            not section or rows == section.rows, f"{rows} blobs, the section says {section and section.rows}"
        )

    def check_copy(self):
        index, volume = self.image.index, self.image.volumes.get(0)
        if volume and volume.copy_length:
            require(
                volume.copy_length == index.length, f"{volume.copy_length} bytes instead of {index.length}"
            )
            for offset in range(0, index.length, 1 << 20):
                count = min(1 << 20, index.length - offset)
                same = index.read(offset, count) == volume.read(volume.copy_offset + offset, count)
                require(same, f"differs from the index within {count} bytes from {offset}")

    def check_acls(self, xattrs):
        named = any(name in ACLS for name, _ in xattrs)
        require(self.image.header.acls or not named, "ACL in an image that says it has none")

    def check_entry(self, entry):
        kinds = {stat.S_IFREG: "files", stat.S_IFDIR: "directories", stat.S_IFLNK: "symlinks"}
        self.counts[kinds.get(entry.type, "others")] += 1
        self.counts["data_bytes"] += 0 if entry.primary else entry.size
        xattrs = self.image.xattrs(entry)
        self.check_acls(xattrs)
        self.check_links(entry, xattrs, self.image.target(entry) if entry.is_symlink else b"")
        if entry.is_file:
            segments(self.image, entry)
            self.count_extent(entry)
        if entry.data and self.image.volume_number(entry.position, entry.stored) in self.image.volumes:
            for _ in stored(self.image, entry):
                pass

    def count_extent(self, entry):
        if not entry.data or entry.primary:
            return
        if entry.member:
            self.count_member(entry)
        elif entry.position in self.extents:
            require(self.extents[entry.position] == entry.stored, "extent that is longer in another file")
            require(entry.place, "extent of another file without a place")
            self.counts["shared_files"] += 1
            self.counts["shared_bytes"] += entry.stored
        else:
            self.extents[entry.position] = entry.stored
            self.count_chunks(entry)

    def count_member(self, entry):
        frame = (entry.stored, entry.frame_data, entry.codec)
        known = self.frames.setdefault(entry.position, (frame, set()))
        require(known[0] == frame, "shared frame that is another for another file")
        self.extents[entry.position] = entry.stored
        self.counts["shared_frames"] += not known[1]
        is_new = entry.frame_offset not in known[1]
        self.counts["frame_members" if is_new else "shared_files"] += 1
        self.counts["shared_bytes"] += 0 if is_new else entry.stored * entry.data // entry.frame_data
        known[1].add(entry.frame_offset)

    def count_chunks(self, entry):
        number = self.image.volume_number(entry.position, entry.stored)
        if entry.cut and number in self.image.volumes:
            volume, at = self.image.volume(number), entry.position - self.image.starts[number]
            for _, _, stored, _, _, is_own in cut.chunks(self.image, volume, at, entry):
                self.counts["shared_chunks"] += stored > 0 and not is_own
                self.counts["shared_chunk_bytes"] += 0 if is_own else stored

    def check_links(self, entry, xattrs, target):
        """All names of an inode must say the same of it, and `links` must count them."""
        if not (entry.links or entry.primary):
            return
        first = entry.ordinal - entry.primary
        said = (
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.hole_bytes,
            entry.hole_map,
            entry.mtime,
            entry.nanoseconds,
            entry.links,
            entry.device,
            entry.position,
            entry.stored,
            entry.codec,
            entry.cut,
            bool(entry.member),
            entry.frame_offset,
            entry.frame_data,
            xattrs,
            target,
        )
        if not entry.primary:
            self.inodes[first] = (said, 0)
        require(first in self.inodes, f"name of inode {entry.inode}, which is not open")
        expected, seen = self.inodes.pop(first)
        require(said == expected, f"differs from the first name of inode {entry.inode}")
        if seen < entry.links:
            self.inodes[first] = (said, seen + 1)

    def check_counts(self):
        header, spans = self.image.header, self.image.spans
        self.counts["stored_bytes"] = sum(self.extents.values())
        room = sum(end - start - PAGE for start, end in spans)
        require(header.stored_bytes == room, f"extents of {header.stored_bytes} bytes in volumes of {room}")
        self.counts["data_bytes"] = min(self.counts["data_bytes"], (1 << 64) - 1)
        for name in ("files", "directories", "symlinks", "others", "data_bytes", "stored_bytes"):
            require(
                self.counts[name] == getattr(header, name),
                f"{name.replace('_', ' ')}: {self.counts[name]}, the header says {getattr(header, name)}",
            )
        # A mended header does not know them.
        shared = (self.counts["shared_files"], self.counts["shared_bytes"])
        said = (header.shared_files, header.shared_bytes)
        require(said in (shared, (0, 0)), f"{shared} files and bytes shared, the header says {said}")
        shared = (self.counts["shared_chunks"], self.counts["shared_chunk_bytes"])
        said = (header.shared_chunks, header.shared_chunk_bytes)
        require(said in (shared, (0, 0)), f"{shared} chunks and bytes shared, the header says {said}")
        shared = (self.counts["shared_frames"], self.counts["frame_members"])
        said = (header.shared_frames, header.frame_members)
        require(said in (shared, (0, 0)), f"{shared} shared frames and members, the header says {said}")
        require(not self.inodes, f"{len(self.inodes)} inodes with fewer names than links")
