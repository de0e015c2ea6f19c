"""Section 2.4: the segments of leaf pages."""

import stat

from . import members
from .columns import Columns
from .contents import stored_length
from .encoding import Stream, decode_frame
from .faults import require
from .listing import escape
from .paths import LONGEST_PATH


class Entry:
    """One name in the tree: its columns, and what follows from them."""

    name = target = b""
    size = seconds = nanoseconds = children = subdirectories = deeper = first_child = 0
    hole_bytes = hole_map = 0
    member = frame_stored = frame_data = frame_offset = 0
    saved = codec = cut = place = primary = links = device = xattrs = far_target = position = stored = 0

    def __init__(self, ordinal):
        self.ordinal = ordinal

    def set_attributes(self, row):
        self.mode, self.uid, self.gid = row
        self.type = stat.S_IFMT(self.mode)
        self.is_file, self.is_directory = self.type == stat.S_IFREG, self.type == stat.S_IFDIR
        self.is_symlink = self.type == stat.S_IFLNK

    @property
    def inode(self):
        return self.ordinal - self.primary + 1

    @property
    def data(self):
        return self.size - self.hole_bytes

    @property
    def mtime(self):
        return self.seconds - (1 << 63)


class Run:
    """The children of one directory that lie in one segment. A far run has a parent instead of a path."""

    def __init__(self, entries, far, parent, path):
        self.entries, self.far, self.parent, self.path = entries, far, parent, path


class Segment:
    """Entries that follow each other in a page, and can be read without any other segment."""

    def __init__(self, image, head):
        self.ordinal, self.position = head.ordinal, head.position
        names = decode_frame(head.names, dictionary=image.page_dictionaries[0])
        control = Stream(decode_frame(head.control, dictionary=image.page_dictionaries[1]))
        columns = Columns(control, head.area, head.present)
        self.entries = [Entry(self.ordinal + i) for i in range(head.entries)]

        n, r = head.entries, head.runs
        require(names.endswith(b"\0"), "names stream does not end with NUL")
        texts = names[:-1].split(b"\0")
        require(len(texts) >= r + n, "names stream ends early")
        self.runs = self.read_runs(control, texts[:r])
        self.read_names(control.take(n), texts[r : r + n])
        columns.fill("attribute", self.entries)
        for entry in self.entries:
            require(entry.attribute < len(image.attributes), f"attribute row {entry.attribute}")
            entry.set_attributes(image.attributes[entry.attribute])
        symlinks = [entry for entry in self.entries if entry.is_symlink]
        require(len(texts) == r + n + len(symlinks), "names stream and number of symbolic links disagree")
        for entry, target in zip(symlinks, texts[r + n :]):
            entry.target = target
        self.read_columns(columns, symlinks)
        require(control.at == len(control.data), "bytes left over in the control stream")
        require(not columns.bits, "bits that should be zero are not")
        require(columns.left < 8 or not head.area_ends, "bytes left over in the bit area")
        self.place_directories()
        self.place_extents(image)

    def read_runs(self, control, suffixes):
        runs, before, at = [], b"", 0
        for suffix in suffixes:
            count, far = divmod(control.varint(), 2)
            argument = control.varint()
            require(1 <= count <= len(self.entries) - at, "entries of the runs and of the segment disagree")
            if far:
                require(not suffix, "far run with a path")
                parent = self.ordinal + at - argument
                require(argument > 0 <= parent, "far run without a possible parent")
                runs.append(Run(self.entries[at : at + count], 1, parent, None))
                before = b""
            else:
                require(argument <= len(before), "run path shares more than there is")
                before = before[:argument] + suffix
                require(len(before) <= LONGEST_PATH, f"run path of {len(before)} bytes")
                runs.append(Run(self.entries[at : at + count], 0, None, before))
            at += count
        require(at == len(self.entries), "entries of the runs and of the segment disagree")
        return runs

    def read_names(self, shared, suffixes):
        for run in self.runs:
            before = b""
            for entry in run.entries:
                i = entry.ordinal - self.ordinal
                require(shared[i] <= len(before), "name shares more than there is")
                entry.name = before[: shared[i]] + suffixes[i]
                if entry.ordinal:
                    require(
                        1 <= len(entry.name) <= 255
                        and b"/" not in entry.name
                        and entry.name not in (b".", b".."),
                        f"illegal name {escape(entry.name)!r}",
                    )
                    require(before < entry.name, f"name {escape(entry.name)!r} not in order")
                else:
                    require(entry.name == b"" and len(run.entries) == 1, "root entry is no run of its own")
                before = entry.name

    def read_columns(self, columns, symlinks):
        entries = self.entries
        files = [entry for entry in entries if entry.is_file]
        directories = [entry for entry in entries if entry.is_directory]
        inodes = [entry for entry in entries if not entry.is_directory]
        columns.fill("size", files)
        columns.fill("seconds", entries)
        columns.fill("nanoseconds", entries)
        columns.fill("children", directories)
        columns.fill("subdirectories", directories)
        columns.fill("deeper", [entry for entry in directories if entry.subdirectories])
        columns.fill("base", [run for run in self.runs if any(entry.is_directory for entry in run.entries)])
        filled = [entry for entry in files if entry.size]
        columns.fill("saved", filled, bit=0)
        columns.fill("place", filled, bit=1)
        columns.fill("primary", inodes, bit=2)
        columns.fill("links", inodes, bit=3)
        columns.fill("device", [e for e in entries if e.type in (stat.S_IFCHR, stat.S_IFBLK)], bit=4)
        columns.fill("xattrs", entries, bit=5)
        columns.fill("far_target", [entry for entry in symlinks if not entry.target], bit=6)
        columns.fill("hole_bytes", filled, bit=7)
        columns.fill("hole_map", [entry for entry in filled if 0 < entry.hole_bytes < entry.size], bit=8)
        for bit, name in enumerate(("access", "change", "birth")):
            for part, part_bit in (("seconds", 9 + 2 * bit), ("nanoseconds", 10 + 2 * bit)):
                for entry in entries:
                    setattr(entry, f"{name}_{part}", getattr(entry, part))
                columns.fill(f"{name}_{part}", entries, bit=part_bit)
            require(
                all(getattr(entry, f"{name}_nanoseconds") < 10**9 for entry in entries),
                "more nanoseconds than a second has",
            )
        columns.fill("codec", filled, bit=15)
        require(all(entry.codec < 64 for entry in filled), "codec of 64 or more")
        columns.fill("cut", filled, bit=16)
        columns.fill("member", filled, bit=17)
        described = [entry for entry in filled if entry.member > 1]
        columns.fill("frame_stored", described, bit=18)
        columns.fill("frame_data", described, bit=19)
        require(all(entry.hole_bytes <= entry.size for entry in filled), "more hole bytes than bytes")
        for entry in entries:
            require(entry.nanoseconds < 10**9, f"{entry.nanoseconds} nanoseconds")
            require(entry.primary <= entry.ordinal, "first name of an inode before the root")
            require(max(entry.size, entry.children, entry.deeper) < 1 << 63, "size or count of 2^63 or more")
            require(entry.subdirectories <= entry.children, "more sub-directories than children")

    def place_directories(self):
        for run in self.runs:
            first_child = None
            for entry in run.entries:
                if entry.is_directory:
                    entry.first_child = self.ordinal + run.base if first_child is None else first_child
                    first_child = entry.first_child + entry.children + entry.deeper

    def place_extents(self, image):
        """Finds the extents, where the implicit ones end, and in which volumes these lie."""
        self.end, self.volumes, frames = self.position, set(), members.OpenFrames()
        for entry in self.entries:
            if not entry.data:
                require(not entry.member, "file without data in a shared frame")
                continue
            if entry.member:
                takes_place = frames.place(image.header, entry, self.end)
            else:
                entry.stored = stored_length(image.header, entry)
                entry.position = entry.place - 1 if entry.place else self.end
                takes_place = not entry.place
            volume = image.volume_number(entry.position, entry.stored)
            if takes_place:
                self.end += entry.stored
                self.volumes.add(volume)
