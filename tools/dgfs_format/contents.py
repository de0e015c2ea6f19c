"""Section 3.1: extents."""

import struct

from .encoding import PAGE, crc32c
from .faults import require

ROWS_PER_BLOCK = 510


def table_length(header, size):
    chunks = -(-size >> header.chunk_shift)
    return 16 * -(-chunks // ROWS_PER_BLOCK) + 8 * chunks


def stored_length(header, entry):
    if entry.size <= 1 << header.chunk_shift:
        require(entry.saved == 0, "shortened extent of one chunk")
        return entry.size + 4
    require(entry.saved <= entry.size, "extent shorter than its chunk table")
    return entry.size + table_length(header, entry.size) - entry.saved


def contents(image, entry):
    """Yields the contents of a regular file chunk by chunk, each checked before it is handed out."""
    if not entry.size:
        return
    number = image.volume_number(entry.position, entry.stored)
    volume, at = image.volume(number), entry.position - image.starts[number]
    if entry.size <= 1 << image.header.chunk_shift:
        yield checked(volume, at, entry.size, volume.read(at + entry.size, 4))
        return
    for length, stored, crc in table(image.header, volume, at, entry):
        yield checked(volume, at, length, crc) if stored else bytes(length)
        at += stored


def checked(volume, offset, length, crc):
    chunk = volume.read(offset, length)
    require(crc32c(chunk) == int.from_bytes(crc, "little"), "contents with a wrong checksum")
    return chunk


def table(header, volume, extent, entry):
    """Yields length, stored length and CRC of each chunk of a file of several."""
    size, shift = entry.size, header.chunk_shift
    chunks, end = -(-size >> shift), entry.stored - table_length(header, size)
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
            zeros = (stored, crc) == (0, bytes(4))
            require(stored == length or zeros, f"chunk of {length} bytes stored as {stored}")
            offset += stored
            require(offset <= end, "chunks longer than the extent")
            yield length, stored, crc
    require(offset == end, "chunks shorter than the extent")
