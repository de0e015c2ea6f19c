"""Section 3.2: contents that are cut by content."""

import struct

from .encoding import PAGE, crc32c
from .faults import require

HEADER, ROW = 24, 20
MOST_ROWS = (PAGE - HEADER) // ROW


def shape(value):
    """Span shift and rows of the last block by the value of the column."""
    shift, rows = divmod(value - 1, 256)
    require(12 <= shift <= 62 and 1 <= rows <= MOST_ROWS, f"impossible cut {value}")
    return shift, rows


def table_length(entry):
    shift, rows = shape(entry.cut)
    blocks = -(-entry.data >> shift)
    return PAGE * (blocks - 1) + HEADER + ROW * rows if blocks else 0


def chunks(image, volume, extent, entry):
    """Yields length, position, stored length, CRC and codec of each chunk of a file, and whether it is its own."""
    header, (shift, rows) = image.header, shape(entry.cut)
    require(header.cut, "contents cut by content without the feature")
    own_bytes = entry.stored - table_length(entry)
    end = own = 0
    before = None
    for number in range(-(-entry.data >> shift)):
        start, stop = number << shift, min(number + 1 << shift, entry.data)
        length = HEADER + ROW * rows if stop == entry.data else PAGE
        block = volume.read(extent + own_bytes + number * PAGE, length)
        crc, said, first, own_before = struct.unpack_from("<IIQQ", block)
        require(crc32c(block[4:]) == crc, "chunk table with a wrong checksum")
        # A chunk across the border of two blocks stands in both.
        crosses = end > start
        require((said, first) == (number & 0xFFFFFFFF, before[0] if crosses else end), "chunk table out of step")
        require(own_before == (before[1] if crosses else own), "chunk table out of step")
        end, own, offset = first, own_before, HEADER
        while end < stop:
            require(offset + ROW <= len(block), "chunk table ends early")
            row = block[offset : offset + ROW]
            require(not crosses or row == before[2], "chunk table out of step")
            length, *where, is_own = chunk(header, entry, own, row)
            if not crosses:
                yield length, *where, is_own
            before, crosses = (end, own, row), False
            end, own, offset = end + length, own + where[1] * is_own, offset + ROW
            require(start < end <= entry.data and own <= own_bytes, "chunk table out of step")
        require(not any(block[offset:]), "bytes behind the last row of a chunk table")
    require(own == own_bytes, "chunks shorter than the extent")


def chunk(header, entry, own, row):
    position, stored, crc, packed = struct.unpack("<QI4sI", row)
    length, codec = (packed & 0xFFFFFF) + 1, packed >> 24
    zeros = (position, stored, crc, codec) == (0, 0, bytes(4), 0)
    raw = stored == length and codec == 0
    frame = header.compressed and 0 < stored < length and codec < 64
    require(zeros or raw or frame, f"chunk of {length} bytes stored as {stored}")
    require(length <= min(4 << header.chunk_shift, 1 << 24), f"chunk of {length} bytes")
    return length, position, stored, crc, codec, stored > 0 and position == entry.position + own
