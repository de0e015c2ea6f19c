#!/usr/bin/env python3
"""A second reader of dgfs images, written from docs/format.md alone.

It shares no code with the Rust crate, so that the two can check each other, and it is meant to be read beside the
format document: the section numbers below are those of docs/format.md. One page is decoded at a time.

Needs Python 3.11 and a Zstandard module: compression.zstd (Python 3.14) or zstandard (python3-zstandard in Debian).
"""

import argparse
import bisect
import collections
import datetime
import functools
import hashlib
import itertools
import os
import re
import stat
import struct
import sys

try:
    from compression import zstd as stdlib_zstd
except ImportError:
    stdlib_zstd = None
    try:
        import zstandard
    except ImportError:
        sys.exit("dgfs_reader: no Zstandard module: install python3-zstandard (Debian) or zstandard (PyPI)")

PAGE = 4096
INDEX_MAGIC = bytes.fromhex("89 64 67 66 73 0D 0A 1A")
VOLUME_MAGIC = bytes.fromhex("89 64 67 66 76 0D 0A 1A")
TRAILER_MAGIC = bytes.fromhex("89 64 67 66 74 0D 0A 1A")
ZSTD_MAGIC = bytes.fromhex("28 B5 2F FD")
ATTRIBUTES, VOLUMES, BLOBS = 1, 2, 3
LONGEST_PATH = 1024  # longer parent paths are far in leaf pages and cut in separators
ROWS_PER_BLOCK = 510
TYPES = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


class Fault(Exception):
    """Something the format tells a reader to refuse. `path` names the file if it is not the image itself."""

    def __init__(self, cause, path=None):
        super().__init__(cause)
        self.path = path


def require(condition, cause):
    if not condition:
        raise Fault(cause)


# ---------------------------------------------------------------------------------- conventions: CRC, varint, frames

try:
    from google_crc32c import value as crc32c
except ImportError:

    @functools.cache
    def crc_tables():
        """Tables for the low and the high half of four bytes: as lists of numbers, the fastest that plain Python has."""
        byte = []
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
            byte.append(value)
        high = [(half := v >> 8 ^ byte[v & 255]) >> 8 ^ byte[half & 255] for v in range(1 << 16)]
        low = [v >> 16 ^ high[v & 0xFFFF] for v in high]
        return byte, low, high

    def crc32c(data):
        byte, low, high = crc_tables()
        crc = 0xFFFFFFFF
        whole = len(data) & ~3
        for start in range(0, whole, 1 << 16):
            piece = data[start : min(start + (1 << 16), whole)]
            for word in struct.unpack(f"<{len(piece) // 4}I", piece):
                crc ^= word
                crc = low[crc & 0xFFFF] ^ high[crc >> 16]
        for value in data[whole:]:
            crc = crc >> 8 ^ byte[(crc ^ value) & 255]
        return crc ^ 0xFFFFFFFF


def unzigzag(number):
    return number >> 1 ^ -(number & 1)


def decode_frame(frame, most=65535):
    """Decodes one Zstandard frame that lacks its magic number (section 2.4)."""
    require(frame and frame[0] & 0b1111 == 0, "frame with a checksum, a dictionary or a reserved bit")
    # The declared size stands behind the descriptor and the window byte, which a single-segment frame lacks. It is
    # checked first because a decoder may reserve that much memory at once.
    single, size_class = frame[0] >> 5 & 1, frame[0] >> 6
    length = (single, 2, 4, 8)[size_class]
    at = 2 - single
    declared = int.from_bytes(frame[at : at + length], "little") + (256 if size_class == 1 else 0)
    require(declared <= most, f"frame declares {declared} bytes, more than {most}")
    try:
        if stdlib_zstd:
            decoder = stdlib_zstd.ZstdDecompressor()
            data = decoder.decompress(ZSTD_MAGIC + frame, most + 1)
            require(decoder.eof and not decoder.unused_data, "frame does not fill its place")
        else:
            decoder = zstandard.ZstdDecompressor()
            data = decoder.decompress(ZSTD_MAGIC + frame, max_output_size=most, allow_extra_data=False)
    except (stdlib_zstd or zstandard).ZstdError as error:
        raise Fault(f"frame does not decode: {error}") from None
    require(len(data) <= most, f"frame decodes to more than {most} bytes")
    return data


class Stream:
    """Bytes read from front to back."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        require(count <= len(self.data) - self.at, "stream ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(value < 1 << 64 and (byte or not shift), "varint too large or not in its shortest form")
                return value
        raise Fault("varint of more than 10 bytes")


# ---------------------------------------------------------------------------------------------- sections 1 and 3: files


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
        require(0 <= offset and offset + count <= self.length, f"bytes {offset} + {count} lie outside {self.length} bytes")
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
            self.number, self.count, self.uuid, numbers = self.fields(self.length - PAGE, TRAILER_MAGIC, "trailer")
            self.end, self.copy_offset, self.copy_length, length = numbers
            require(head == (self.number, self.count, self.uuid, (0, 0, 0, 0)), "header and trailer disagree")
            require(length == self.length, f"has {self.length} bytes, its trailer says {length}")
            require(self.number < self.count <= 1 << 16, f"volume {self.number} of {self.count}")
            require(PAGE <= self.end <= length - PAGE, "end of the extents lies outside the file")
            if self.copy_offset or self.copy_length:
                require(self.number == 0, "index copy in a volume other than 0")
                inside = self.end <= self.copy_offset and self.copy_offset + self.copy_length <= length - PAGE
                require(inside and self.copy_offset % PAGE == 0, "position of the index copy contradicts the length")
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


# ------------------------------------------------------------------------------------- sections 2.1 and 2.2: the header

Section = collections.namedtuple("Section", "kind crc offset length rows")


class Header:
    """The header or the footer of an index that has `length` bytes."""

    FIELDS = struct.Struct("<8sHHIQQQ16sQQQQQQQQQQIIQII")

    def __init__(self, page, length):
        (magic, major, self.minor, page_size, _, self.warnings, unknown, self.uuid, self.length, self.entries, self.files,
         self.directories, self.symlinks, self.others, self.data_bytes, self.stored_bytes, self.leaves, self.inners,
         self.levels, self.chunk_shift, self.root, sections, _) = self.FIELDS.unpack_from(page)
        require(magic == INDEX_MAGIC, "no image")
        require(crc32c(page[:-4]) == int.from_bytes(page[-4:], "little"), "damaged header: wrong checksum")
        require(major == 1, f"image of major version {major}, this reader knows 1")
        require(page_size == PAGE, f"page size {page_size}, this reader knows {PAGE}")
        require(unknown == 0, f"image needs unknown features {unknown:#x}")
        require(self.length == length, f"index has {length} bytes, its header says {self.length}")
        pages = self.length // PAGE
        require(self.length % PAGE == 0 and self.leaves + self.inners + 2 <= pages, "page counts contradict the length")
        kinds = self.files + self.directories + self.symlinks + self.others
        require(1 <= self.leaves <= self.entries < 1 << 63 and kinds == self.entries, "counts of entries disagree")
        require(self.root == self.leaves + self.inners, "root page is not the last of the tree")
        one = self.leaves == 1
        require(one == (self.inners == 0) == (self.levels == 0) and self.levels <= 24, "levels and page counts disagree")
        require(12 <= self.chunk_shift <= 24, f"chunk shift {self.chunk_shift}")
        require(sections <= 32, f"{sections} sections")
        self.sections = [Section._make(struct.unpack_from("<IIQQQ", page, 160 + 32 * i)) for i in range(sections)]
        for section in self.sections:
            first, last = (self.root + 1) * PAGE, self.length - PAGE
            inside = first <= section.offset and section.offset + section.length <= last
            require(inside and section.offset % PAGE == 0, f"section of kind {section.kind} lies outside its place")

    def section(self, kind, row_size=0, most_rows=0):
        """The only section of this kind. Kinds with rows must exist and agree with their number of rows."""
        found = [section for section in self.sections if section.kind == kind]
        require(len(found) == 1 or not (found or row_size), f"{len(found)} sections of kind {kind}")
        if row_size:
            fits = 1 <= found[0].rows <= most_rows and found[0].rows * row_size == found[0].length
            require(fits, f"section of kind {kind} has {found[0].rows} rows in {found[0].length} bytes")
        return found[0] if found else None


# --------------------------------------------------------------------------------------- sections 2.4 and 2.5: leaf pages


class Entry:
    """One name in the tree: its columns, and what follows from them."""

    name = target = b""
    size = seconds = nanoseconds = children = subdirectories = deeper = first_child = 0
    saved = place = primary = links = device = xattrs = far_target = position = stored = 0

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
    def mtime(self):
        return self.seconds - (1 << 63)


class Run:
    """The children of one directory, or those of them that lie in one page. A far run has a parent, not a path."""

    def __init__(self, entries, far, parent, path):
        self.entries, self.far, self.parent, self.path = entries, far, parent, path


class Columns:
    """Reads the columns of a page, one after the other, from the control stream and the bit area."""

    def __init__(self, control, bit_area, present):
        self.control, self.present = control, present
        self.bits, self.left = int.from_bytes(bit_area, "little"), 8 * len(bit_area)

    def take_bits(self, width):
        self.left -= width
        require(self.left >= 0, "bit area ends early")
        value = self.bits & (1 << width) - 1
        self.bits >>= width
        return value

    def classed(self, k):
        require(k <= 64, f"class {k}")
        return (1 << k - 1) + self.take_bits(k - 1) if k else 0

    def values(self, count):
        control = self.control
        mode = control.byte()
        if mode == 0:
            values = [control.varint()] * count
        elif mode == 1:
            least, width = control.varint(), control.byte()
            require(1 <= width <= 64, f"packed column of {width} bits")
            values = [least + self.take_bits(width) for _ in range(count)]
        elif mode == 2:
            least = control.varint()
            values = [least + self.classed(k) for k in control.take(count)]
        elif mode == 3:
            last = control.byte()
            dictionary = list(itertools.accumulate(control.varint() for _ in range(last + 1)))
            indices = control.take(count)
            require(max(indices) <= last, "index outside the dictionary of a column")
            require(dictionary[-1] < 1 << 64, "column value of 2^64 or more")
            values = [dictionary[index] for index in indices]
        elif mode == 4:
            first = control.varint()
            steps = (unzigzag(self.classed(k)) for k in control.take(count))
            values = [value % (1 << 64) for value in itertools.accumulate(steps, initial=first)][1:]
        else:
            raise Fault(f"column of unknown mode {mode}")
        require(max(values) < 1 << 64, "column value of 2^64 or more")
        return values

    def fill(self, name, domain, bit=None):
        """Sets one attribute of each member of the domain. An optional column (with a bit) may be absent: all 0."""
        if domain and (bit is None or self.present >> bit & 1):
            for member, value in zip(domain, self.values(len(domain))):
                setattr(member, name, value)


class Leaf:
    FIELDS = struct.Struct("<IBBHQQIHHHH")
    level = 0

    def __init__(self, image, number):
        page = image.page(number)
        (_, level, zero, n, self.ordinal, self.position, present, r, names_length, control_length,
         also_zero) = self.FIELDS.unpack_from(page)
        require(level == 0, f"level {level} in a leaf page")
        require(1 <= r <= n <= 4096, f"{n} entries in {r} runs")
        require(self.ordinal + n <= image.header.entries, "ordinals beyond the last entry")
        require(present < 1 << 7, f"unknown column among {present:#x}")
        control_at = self.FIELDS.size + names_length
        bits_at = control_at + control_length
        require(bits_at <= PAGE, "frames longer than the page")
        names = decode_frame(page[self.FIELDS.size : control_at])
        control = Stream(decode_frame(page[control_at:bits_at]))
        columns = Columns(control, page[bits_at:], present)
        self.entries = [Entry(self.ordinal + i) for i in range(n)]

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
        for entry, entry.target in zip(symlinks, texts[r + n :]):
            pass
        self.read_columns(columns, symlinks)
        require(control.at == len(control.data), "bytes left over in the control stream")
        image.check_zero(columns.bits or zero or also_zero)
        self.place_directories()
        self.place_extents(image)

    def read_runs(self, control, suffixes):
        runs, before, at = [], b"", 0
        for suffix in suffixes:
            count, far = divmod(control.varint(), 2)
            argument = control.varint()
            require(1 <= count <= len(self.entries) - at, "entries of the runs and of the page disagree")
            if far:
                require(not suffix, "far run with a path")
                parent = self.ordinal - argument
                require(0 <= parent, "parent of a far run before the root")
                runs.append(Run(self.entries[at : at + count], 1, parent, None))
                before = b""
            else:
                require(argument <= len(before), "run path shares more than there is")
                before = before[:argument] + suffix
                require(len(before) <= LONGEST_PATH, f"run path of {len(before)} bytes")
                runs.append(Run(self.entries[at : at + count], 0, None, before))
            at += count
        require(at == len(self.entries), "entries of the runs and of the page disagree")
        return runs

    def read_names(self, shared, suffixes):
        for run in self.runs:
            before = b""
            for entry in run.entries:
                i = entry.ordinal - self.ordinal
                require(shared[i] <= len(before), "name shares more than there is")
                entry.name = before[: shared[i]] + suffixes[i]
                if entry.ordinal:
                    require(1 <= len(entry.name) <= 255 and b"/" not in entry.name and entry.name not in (b".", b".."),
                            f"illegal name {escape(entry.name)!r}")
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
        position, volumes = self.position, set()
        for entry in self.entries:
            if not entry.size:
                continue
            entry.stored = image.stored_length(entry)
            entry.position = entry.place - 1 if entry.place else position
            volume = image.volume_number(entry.position, entry.stored)
            if not entry.place:
                position += entry.stored
                volumes.add(volume)
        require(len(volumes) <= 1, "implicit extents of two volumes in one page")


# ---------------------------------------------------------------------------------------------- section 2.8: inner pages

Child = collections.namedtuple("Child", "page first level ordinal position path cut name")


def path_order(path):
    """Bytes that sort as the format sorts paths: `/` below every other byte. No path holds a NUL."""
    return path.replace(b"/", b"\0")


class Inner:
    FIELDS = struct.Struct("<IBBHQQQ")

    def __init__(self, image, number):
        page = image.page(number)
        _, self.level, zero, n, self.ordinal, self.position, self.first_child = self.FIELDS.unpack_from(page)
        require(1 <= self.level <= image.header.levels, f"level {self.level} in an inner page")
        require(n >= (2 if number == image.header.root else 1), f"inner page with {n} children")
        lowest, beyond = (1, image.header.leaves + 1) if self.level == 1 else (image.header.leaves + 1, number)
        require(lowest <= self.first_child and self.first_child + n <= beyond, "child pages outside their level")
        stream = Stream(page[self.FIELDS.size :])
        ordinal, position, path, self.rows = self.ordinal, self.position, b"", []
        for i in range(n):
            step = stream.varint()
            ordinal += step
            position += unzigzag(stream.varint())
            require(bool(i) == bool(step), "ordinals of the children not in order")
            require(0 <= position < 1 << 63 and ordinal < image.header.entries, "position or ordinal out of range")
            shared = stream.varint()
            require(shared <= len(path), "separator path shares more than there is")
            length, cut = divmod(stream.varint(), 2)
            path = path[:shared] + stream.take(length)
            require(len(path) == LONGEST_PATH or len(path) < LONGEST_PATH and not cut, f"separator path of {len(path)} bytes")
            name = stream.take(stream.byte())
            self.rows.append(Child(self.first_child + i, i == 0, self.level - 1, ordinal, position, path, cut, name))
        image.check_zero(zero or any(stream.take(len(stream.data) - stream.at)))


# ------------------------------------------------------------------------------------------------------------- the image


class Image:
    def __init__(self, path, data_paths=(), strict=False):
        self.path, self.data_paths, self.strict = path, data_paths, strict
        self.volumes = {}
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

    def open_index(self):
        """Finds the header: first in an index, then in the copy of one in a volume 0, last in the footer."""
        self.index, self.own_volume = Part(self.path), None
        require(self.index.length >= PAGE, "no image: shorter than a page")
        try:
            self.header = Header(self.index.read(0, PAGE), self.index.length)
        except Fault as fault:
            last = self.index.read(self.index.length - PAGE, PAGE)
            if last.startswith(TRAILER_MAGIC) or self.index.read(0, 8) == VOLUME_MAGIC:
                return self.open_copy()
            try:
                self.header = Header(last, self.index.length)
            except Fault:
                raise fault from None
            warn(self.path, f"{fault}, using the footer")
        if os.path.basename(self.path).endswith(pending_name("", self.header.uuid)):
            raise Fault("not an image yet: the index still has its pending name")

    def open_copy(self):
        volume = self.own_volume = Volume(self.path)
        require(volume.number == 0, f"volume {volume.number}: only volume 0 can hold a copy of the index")
        require(volume.copy_length >= PAGE, "volume without a copy of the index")
        self.index = Part(self.path, volume.copy_offset, volume.copy_length)
        try:
            self.header = Header(self.index.read(0, PAGE), self.index.length)
        except Fault as fault:
            try:
                self.header = Header(self.index.read(self.index.length - PAGE, PAGE), self.index.length)
            except Fault:
                raise Fault(f"copy of the index: {fault}") from None
        require(self.header.uuid == volume.uuid, "copy of the index of another image")

    def section_bytes(self, section):
        data = self.index.read(section.offset, section.length)
        require(crc32c(data) == section.crc, f"section of kind {section.kind}: wrong checksum")
        return data

    def check_zero(self, nonzero):
        """What the format shows as zero may mean something to a later minor version; only `verify` insists on it."""
        require(not (nonzero and self.strict and self.header.minor == 0), "bytes that should be zero are not")

    def page(self, number):
        page = self.index.read(number * PAGE, PAGE)
        checked = self.header.uuid + struct.pack("<Q", number) + page[4:]
        require(crc32c(checked) == int.from_bytes(page[:4], "little"), "wrong checksum")
        return page

    def load(self, number, child=None):
        """A page of the tree. `child` is what its parent says of it; only the root page has none."""
        try:
            node = Leaf(self, number) if number <= self.header.leaves else Inner(self, number)
            if child:
                told = (child.level, child.ordinal, child.position)
                require(told == (node.level, node.ordinal, node.position), "level, ordinal or position is not as in the parent")
            if number == self.header.root:
                require((node.level, node.ordinal) == (self.header.levels, 0), "root page of a wrong level or ordinal")
            return node
        except Fault as fault:
            raise Fault(f"page {number}: {fault}", fault.path) from None

    # Searches (end of section 2.8): each picks one child of every inner page on its way down to one leaf page.

    def descend(self, choose):
        node = self.load(self.header.root)
        while node.level:
            child = node.rows[max(0, choose(node.rows) - 1)]
            node = self.load(child.page, child)
        return node

    def find_by_path(self, parent, name):
        """For parent paths of up to 1024 bytes."""
        key = (path_order(parent), 0, name)
        leaf = self.descend(lambda rows: bisect.bisect([(path_order(c.path), c.cut, c.name) for c in rows], key))
        return next((e for run in leaf.runs if run.path == parent for e in run.entries if e.name == name), None)

    def find_in_directory(self, directory, name):
        first, beyond = directory.first_child, directory.first_child + directory.children
        leaf = self.descend(
            lambda rows: sum(c.ordinal <= first or (c.ordinal < beyond and c.name <= name) for c in rows))
        return next((e for e in leaf.entries if first <= e.ordinal < beyond and e.name == name), None)

    def find(self, path):
        """The entry with this path relative to the root, or None."""
        parent, _, name = path.rpartition(b"/")
        if len(parent) <= LONGEST_PATH:
            return self.find_by_path(parent, name)
        near = parent[: parent.rfind(b"/", 0, LONGEST_PATH + 1)] if b"/" in parent[: LONGEST_PATH + 1] else b""
        entry = self.find(near) if near else self.find_by_path(b"", b"")
        for name in path[len(near) :].strip(b"/").split(b"/"):
            if entry is None or not entry.is_directory:
                return None
            entry = self.find_in_directory(entry, name)
        return entry

    # Contents (sections 2.6 and 3.1).

    def table_length(self, size):
        chunks = -(-size >> self.header.chunk_shift)
        return 16 * -(-chunks // ROWS_PER_BLOCK) + 8 * chunks

    def stored_length(self, entry):
        if entry.size <= 1 << self.header.chunk_shift:
            require(entry.saved == 0, "shortened extent of one chunk")
            return entry.size + 4
        require(entry.saved <= entry.size, "extent shorter than its chunk table")
        return entry.size + self.table_length(entry.size) - entry.saved

    def volume_number(self, position, length):
        number = bisect.bisect(self.starts, position) - 1
        start, end = self.spans[number]
        require(start + PAGE <= position and position + length <= end, "extent outside the extents of its volume")
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
            raise Fault(f"volume {volume.number} of {volume.count}, not {number} of {len(self.spans)}", volume.path)
        if volume.end != end - start:
            raise Fault(f"extents end at {volume.end}, by the index at {end - start}", volume.path)

    def contents(self, entry):
        """Yields the contents chunk by chunk, each checked before it is handed out."""
        if not entry.size:
            return
        number = self.volume_number(entry.position, entry.stored)
        volume, extent = self.volume(number), entry.position - self.starts[number]
        if entry.size <= 1 << self.header.chunk_shift:
            yield self.checked(volume.read(extent, entry.size), volume.read(extent + entry.size, 4))
            return
        offset = 0
        for index, length, stored, crc in self.table(volume, extent, entry):
            if stored:
                chunk = self.checked(volume.read(extent + offset, stored), crc)
            else:
                chunk = bytes(length)
            offset += stored
            yield chunk

    def checked(self, chunk, crc):
        require(crc32c(chunk) == int.from_bytes(crc, "little"), "contents with a wrong checksum")
        return chunk

    def table(self, volume, extent, entry):
        """Yields (chunk number, length, stored length, CRC) of each chunk of a larger file."""
        size, shift = entry.size, self.header.chunk_shift
        chunks, end = -(-size >> shift), entry.stored - self.table_length(size)
        offset = 0
        for first in range(0, chunks, ROWS_PER_BLOCK):
            rows = min(ROWS_PER_BLOCK, chunks - first)
            block = volume.read(extent + end + first // ROWS_PER_BLOCK * PAGE, 16 + 8 * rows)
            crc, number, start = struct.unpack_from("<IIQ", block)
            require(crc32c(block[4:]) == crc, "chunk table with a wrong checksum")
            require((number, start) == (first & 0xFFFFFFFF, offset), "chunk table out of step")
            for i in range(rows):
                stored, crc = struct.unpack_from("<I4s", block, 16 + 8 * i)
                length = min(1 << shift, size - (first + i << shift))
                require(stored == length or (stored, crc) == (0, bytes(4)), f"chunk of {length} bytes stored as {stored}")
                offset += stored
                require(offset <= end, "chunks longer than the extent")
                yield first + i, length, stored, crc
        require(offset == end, "chunks shorter than the extent")

    # Blobs (section 2.7).

    def blob(self, offset):
        """The bytes of the blob, and the offset behind it."""
        require(self.blobs and offset + 8 <= self.blobs.length, f"blob {offset} outside its section")
        crc, length = struct.unpack("<II", self.index.read(self.blobs.offset + offset, 8))
        require(length <= 1 << 24 and offset + 8 + length <= self.blobs.length, f"blob {offset} longer than its section")
        data = self.index.read(self.blobs.offset + offset + 8, length)
        require(crc32c(struct.pack("<QI", offset, length) + data) == crc, f"blob {offset}: wrong checksum")
        return data, offset + 8 + length

    def target(self, entry):
        if entry.target:
            return entry.target
        target, _ = self.blob(entry.far_target)
        require(target and b"\0" not in target, "target that is empty or holds NUL")
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
        return found


# ------------------------------------------------------------------------------ section 2.3: all entries, in key order

Directory = collections.namedtuple("Directory", "parent name ordinal first_child children subdirectories deeper")


def join(parent, name):
    return parent + b"/" + name if parent else name


class Tree:
    """Follows the runs of the pages in order: each must be the one that the directories before it announce.

    Holds the directories whose runs are still to come. After a fault it is `lost`: it lets everything pass.
    """

    def __init__(self, entries):
        self.pending, self.last_key, self.lost = [], None, False
        # The root entry is the run of a directory that does not exist.
        self.begin(Directory(b"", b"", -1, 0, 1, 1, entries - 1))

    def begin(self, directory):
        self.current, self.path, self.seen = directory, join(directory.parent, directory.name), 0
        self.directories, self.found = 0, []

    def add_page(self, leaf):
        """Gives each far run its path. Returns what the page's separator must fit: the key before the page, its first key,
        and whether it begins inside a run."""
        if self.lost:
            return None
        self.lost = True
        inside, before = 0 < self.seen < self.current.children, self.last_key
        for run in leaf.runs:
            if self.seen == self.current.children:
                require(self.pending, "entries behind the last run")
                self.begin(self.pending.pop())
            else:
                require(run is leaf.runs[0], "run ends before its last entry")
            self.add_run(run)
        self.lost = False
        return before, (leaf.runs[0].path, leaf.entries[0].name), inside

    def add_run(self, run):
        directory = self.current
        if run.far:
            require(len(self.path) > LONGEST_PATH, "far run with a path of up to 1024 bytes")
            require(run.parent == directory.ordinal, f"far run names parent {run.parent}, not {directory.ordinal}")
            run.path = self.path
        require(run.path == self.path, f"run of {escape(run.path)} instead of {escape(self.path)}")
        require(run.entries[0].ordinal == directory.first_child + self.seen, "run does not begin where its directory says")
        require(not self.seen or self.last_key[1] < run.entries[0].name, "names not in order from page to page")
        self.last_key = (self.path, run.entries[-1].name)
        for entry in run.entries:
            self.seen += 1
            self.directories += entry.is_directory
            if entry.children:
                self.found.append(Directory(self.path, entry.name, entry.ordinal, entry.first_child, entry.children,
                                            entry.subdirectories, entry.deeper))
        require(self.seen <= directory.children, "run with more entries than its directory says")
        if self.seen == directory.children:
            self.end_run()

    def end_run(self):
        directory = self.current
        require(self.directories == directory.subdirectories, "count of sub-directories is wrong")
        at = directory.first_child + directory.children
        for below in self.found:
            require(below.first_child == at, f"children of entry {below.ordinal} do not begin at {at}")
            at += below.children + below.deeper
        beyond = directory.first_child + directory.children + directory.deeper
        require(at == beyond, f"entries below entry {directory.ordinal} end at {at}, not {beyond}")
        self.pending.extend(reversed(self.found))

    def finish(self):
        require(self.lost or not self.pending and self.seen == self.current.children, "tree ends early")


def child_rows(image, fault):
    """For pages 1, 2, … in turn what the parent says of the page; None where nothing is known, and for the root page.

    The children of the inner pages, taken in the order of these, are all pages of the tree but the root.
    """
    page, known = 1, True
    for number in range(image.header.leaves + 1, image.header.root + 1):
        try:
            inner = image.load(number)
            require(not known or inner.first_child == page, f"page {number}: its first child is not page {page}")
        except Fault as cause:
            fault(cause)
            known = False
            continue
        if inner.first_child >= page:
            yield from itertools.repeat(None, inner.first_child - page)
            yield from inner.rows
            page, known = inner.first_child + len(inner.rows), True
    if known and page != image.header.root:
        fault(Fault("inner pages do not lead to every page"))
    yield from itertools.repeat(None)


def check_separator(child, before, key, inside):
    """`before` and `key` are the last key before the page and its first."""
    if before is None:
        fits = child.path == child.name == b""
    else:
        path, low, high = path_order(child.path), path_order(before[0]), path_order(key[0])
        if inside:
            fits = path == high[:LONGEST_PATH] and before[1] < child.name <= key[1]
        elif child.cut:
            fits = low[:LONGEST_PATH] <= path <= high[:LONGEST_PATH] and len(high) > LONGEST_PATH
        else:
            fits = low < path <= high and not child.name
    require(fits, "separator does not separate")


def scan(image, fault):
    """Yields (parent path, entry) in key order. `fault` is called with each Fault, and may raise it."""
    tree, bounds = Tree(image.header.entries), {}
    for number, child in zip(range(1, image.header.root + 1), child_rows(image, fault)):
        try:
            node = image.load(number, child)
        except Fault as cause:
            fault(cause)
            tree.lost |= number <= image.header.leaves
            continue
        try:
            bound = bounds.pop(node.first_child, None) if node.level else tree.add_page(node)
            if child and bound:
                check_separator(child, *bound)
                if child.first:
                    bounds[number] = bound
        except Fault as cause:
            fault(Fault(f"page {number}: {cause}"))
        if node.level == 0:
            for run in node.runs:
                for entry in run.entries:
                    yield run.path, entry
    try:
        tree.finish()
    except Fault as cause:
        fault(cause)


# ------------------------------------------------------------------------------------------------------------- commands


def refuse(cause):
    raise cause


def warn(path, text):
    print(f"dgfs_reader: {path}: {text}", file=sys.stderr)


def escape(text):
    """Bytes as a line shows them: control characters, backslash and what is no UTF-8 in octal."""
    shown = text.decode("utf-8", "surrogateescape").replace("\\", "\\\\")
    return re.sub("[\0-\x1f\x7f\udc80-\udcff]", lambda match: f"\\{ord(match[0]) & 0xFF:03o}", shown)


def show_path(parent, entry):
    if parent is None:  # a far run in a damaged image
        return f"entry {entry.ordinal}"
    return escape(join(parent, entry.name)) or "."


def show_time(entry):
    try:
        time = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=entry.mtime)
        return f"{time.isoformat()}.{entry.nanoseconds:09}Z"
    except OverflowError:
        return f"@{entry.mtime}.{entry.nanoseconds:09}"


def show_line(image, parent, entry):
    links, size, arrow = entry.links + 1, entry.size, ""
    if entry.is_directory:
        links, size = 2 + entry.subdirectories, entry.children
    elif entry.is_symlink:
        target = image.target(entry)
        size, arrow = len(target), " -> " + escape(target)
    elif entry.type in (stat.S_IFCHR, stat.S_IFBLK):
        size = f"{os.major(entry.device)},{os.minor(entry.device)}"
    mode = stat.filemode(entry.mode)
    path = show_path(parent, entry)
    return f"{mode} {links} {entry.uid} {entry.gid} {size} {show_time(entry)} {path}{arrow}\n"


def list_entries(image, arguments):
    for parent, entry in scan(image, refuse):
        inode = f"{entry.inode} " if arguments.inode else ""
        sys.stdout.write(inode + show_line(image, parent, entry))


def write_contents(image, arguments):
    entry = image.find(os.fsencode(arguments.path).strip(b"/"))
    require(entry, f"{arguments.path}: no such entry")
    require(entry.is_file, f"{arguments.path}: not a regular file")
    for chunk in image.contents(entry):
        sys.stdout.buffer.write(chunk)


def write_sums(image, _):
    for parent, entry in scan(image, refuse):
        if entry.is_file:
            digest = hashlib.sha256()
            for chunk in image.contents(entry):
                digest.update(chunk)
            sys.stdout.write(f"{digest.hexdigest()}  {show_path(parent, entry)}\n")


class Verify:
    """Reads everything that there is to read and counts what is wrong."""

    def __init__(self, image):
        self.image, self.faults, self.lost_pages = image, 0, False
        self.counts = collections.Counter()
        self.inodes = {}  # inodes with names still to come: ordinal of the first name -> what it says, further names

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

    def check_blobs(self):
        section, offset, rows = self.image.blobs, 0, 0
        while section and offset < section.length:
            offset, rows = self.image.blob(offset)[1], rows + 1
        require(not section or rows == section.rows, f"{rows} blobs, the section says {section and section.rows}")

    def check_copy(self):
        index, volume = self.image.index, self.image.volumes.get(0)
        if volume and volume.copy_length:
            require(volume.copy_length == index.length, f"{volume.copy_length} bytes instead of {index.length}")
            for offset in range(0, index.length, 1 << 20):
                count = min(1 << 20, index.length - offset)
                same = index.read(offset, count) == volume.read(volume.copy_offset + offset, count)
                require(same, f"differs from the index within {count} bytes from {offset}")

    def check_entry(self, entry):
        kinds = {stat.S_IFREG: "files", stat.S_IFDIR: "directories", stat.S_IFLNK: "symlinks"}
        self.counts[kinds.get(entry.type, "others")] += 1
        self.counts["data_bytes"] += 0 if entry.primary else entry.size
        self.check_links(entry, self.image.xattrs(entry), self.image.target(entry) if entry.is_symlink else b"")
        if entry.size and self.image.volume_number(entry.position, entry.stored) in self.image.volumes:
            for _ in self.image.contents(entry):
                pass

    def check_links(self, entry, xattrs, target):
        """All names of an inode must say the same of it, and `links` must count them."""
        if not (entry.links or entry.primary):
            return
        first = entry.ordinal - entry.primary
        said = (entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.nanoseconds, entry.links, entry.device,
                entry.position, entry.stored, xattrs, target)
        if not entry.primary:
            self.inodes[first] = (said, 0)
        require(first in self.inodes, f"name of inode {entry.inode}, which is not open")
        expected, seen = self.inodes.pop(first)
        require(said == expected, f"differs from the first name of inode {entry.inode}")
        if seen < entry.links:
            self.inodes[first] = (said, seen + 1)

    def check_counts(self):
        header, spans = self.image.header, self.image.spans
        self.counts["stored_bytes"] = sum(end - start - PAGE for start, end in spans)
        for name in ("files", "directories", "symlinks", "others", "data_bytes", "stored_bytes"):
            require(self.counts[name] == getattr(header, name),
                    f"{name.replace('_', ' ')}: {self.counts[name]}, the header says {getattr(header, name)}")
        require(not self.inodes, f"{len(self.inodes)} inodes with fewer names than links")


def main():
    parser = argparse.ArgumentParser(prog="dgfs_reader", description="Reads dgfs images by docs/format.md alone.")
    parser.add_argument("--data", action="append", default=[], metavar="PATH", help="a volume that lies elsewhere")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, action, text in (
        ("ls", list_entries, "list every entry in key order"),
        ("cat", write_contents, "write the contents of a file"),
        ("sums", write_sums, "print the SHA-256 of every regular file"),
        ("verify", lambda image, _: Verify(image).run(), "check every page, table, blob and extent"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        command.add_argument("--data", action="append", default=argparse.SUPPRESS, metavar="PATH", help=argparse.SUPPRESS)
        command.add_argument("image", metavar="IMAGE", help="an index, or a volume 0 with a copy of it")
        if name == "ls":
            command.add_argument("-i", "--inode", action="store_true", help="print the inode number first")
        if name == "cat":
            command.add_argument("path", metavar="PATH", help="relative to the root")
    arguments = parser.parse_args()
    # The output is UTF-8 whatever the locale; what is not has been escaped.
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        image = Image(arguments.image, arguments.data, strict=arguments.command == "verify")
        status = arguments.action(image, arguments) or 0
        sys.stdout.flush()
    except Fault as fault:
        sys.stdout.flush()
        warn(fault.path or arguments.image, fault)
        status = 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    return status


if __name__ == "__main__":
    sys.exit(main())
