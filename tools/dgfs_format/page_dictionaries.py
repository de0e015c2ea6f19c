"""Section 2.10: what the frames of leaf pages refer to."""

import struct

from .encoding import Stream, crc32c, decode_frame, load_dictionary
from .faults import require

MAGIC = bytes.fromhex("89 64 67 66 70 0D 0A 1A")
LONGEST = 1 << 16


def read_page_dictionaries(section, data):
    """The dictionaries of names frames and of control frames, each None if there is none."""
    require(section.rows == 2, f"{section.rows} page dictionaries")
    stream = Stream(data)
    require(stream.take(8) == MAGIC, "page dictionaries without their magic number")
    crc, length = struct.unpack("<II", stream.take(8))
    require(length == len(data), f"page dictionaries of {length} bytes in {len(data)}")
    require(crc32c(data[12:]) == crc, "page dictionaries with a wrong checksum")
    lengths = struct.unpack("<IIII", stream.take(16))
    found = [read_one(stream, *lengths[at : at + 2]) for at in (0, 2)]
    require(stream.at == length, "bytes behind the page dictionaries")
    return found


def read_one(stream, length, stored):
    fits = bool(stored) == bool(length) and stored <= length <= LONGEST
    require(fits, f"page dictionary of {length} bytes stored as {stored}")
    data = stream.take(stored)
    data = decode_frame(data, length) if stored < length else data
    require(len(data) == length, f"page dictionary decodes to {len(data)} bytes")
    return load_dictionary(data) if length else None
