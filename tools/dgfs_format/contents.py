"""Section 3.1: extents."""

import struct

from . import cut, members
from .encoding import PAGE, Stream, crc32c, decode_frame
from .faults import require

ROWS_PER_BLOCK = 510


def table_length(header, size):
    chunks = -(-size >> header.chunk_shift)
    return 16 * -(-chunks // ROWS_PER_BLOCK) + 8 * chunks


def stored_length(header, entry):
    if entry.cut:
        require(entry.saved <= entry.data, "extent shorter than its chunk table")
        return entry.data + cut.table_length(entry) - entry.saved
    if entry.data <= 1 << header.chunk_shift:
        require(entry.saved == 0 or header.compressed, "shortened extent of one chunk")
        require(entry.saved < entry.data or not entry.data, "extent of one chunk with nothing in it")
        return entry.data + 4 - entry.saved if entry.data else 0
    require(entry.saved <= entry.data, "extent shorter than its chunk table")
    return entry.data + table_length(header, entry.data) - entry.saved


def contents(image, entry):
    """Yields the contents of a regular file part by part, each checked before it is handed out."""
    parts, ready, end = stored(image, entry), b"", 0
    for start, length in segments(image, entry):
        yield from zeros(start - end)
        end = start + length
        while length:
            ready = ready or next(parts)
            yield ready[:length]
            taken = min(length, len(ready))
            ready, length = ready[taken:], length - taken
    yield from zeros(entry.size - end)


def zeros(count):
    for at in range(0, count, 1 << 20):
        yield bytes(min(1 << 20, count - at))


def segments(image, entry):
    """Where the data of a file lies: offset and length of each part of it, in order."""
    if not entry.hole_bytes:
        return [(0, entry.size)]
    found, end, total = [], 0, 0
    if entry.data:
        stream = Stream(image.blob(entry.hole_map)[0])
        while stream.at < len(stream.data):
            gap, length = stream.varint(), stream.varint()
            require(length and (gap or not found) and len(found) < 1 << 20, "impossible segment in a hole map")
            found.append((end + gap, length))
            end, total = end + gap + length, total + length
            require(end <= entry.size, "hole map goes beyond the end of its file")
    require(total == entry.data, "hole map does not agree with the bytes of holes")
    return found


def stored(image, entry):
    """Yields the data of a regular file, without its holes, chunk by chunk."""
    if not entry.data:
        return
    number = image.volume_number(entry.position, entry.stored)
    volume, at = image.volume(number), entry.position - image.starts[number]
    if entry.cut:
        for length, position, taken, crc, codec, _ in cut.chunks(image, volume, at, entry):
            yield cut_chunk(image, length, position, taken, crc, codec) if taken else bytes(length)
        return
    if entry.member:
        yield members.contents(image, volume, at, entry)
        return
    if entry.data <= 1 << image.header.chunk_shift:
        taken = entry.stored - 4
        chunk = checked(volume, at, taken, volume.read(at + taken, 4))
        yield unpacked(image, entry.codec, chunk, entry.data)
        return
    for length, taken, crc in table(image.header, volume, at, entry):
        yield unpacked(image, entry.codec, checked(volume, at, taken, crc), length) if taken else bytes(length)
        at += taken


def cut_chunk(image, length, position, taken, crc, codec):
    """The data of a chunk that may lie anywhere."""
    number = image.volume_number(position, taken)
    chunk = checked(image.volume(number), position - image.starts[number], taken, crc)
    return unpacked(image, codec, chunk, length)


def unpacked(image, codec, chunk, length):
    """The data of a chunk as it is stored: fewer bytes are a frame."""
    if len(chunk) == length:
        return chunk
    data = decode_frame(chunk, length, image.dictionary(codec))
    require(len(data) == length, f"chunk of {length} bytes decodes to {len(data)}")
    return data


def checked(volume, offset, length, crc):
    chunk = volume.read(offset, length)
    require(crc32c(chunk) == int.from_bytes(crc, "little"), "contents with a wrong checksum")
    return chunk


def table(header, volume, extent, entry):
    """Yields length, stored length and CRC of each chunk of a file of several."""
    size, shift = entry.data, header.chunk_shift
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
            frame = header.compressed and 0 < stored < length
            require(stored == length or zeros or frame, f"chunk of {length} bytes stored as {stored}")
            offset += stored
            require(offset <= end, "chunks longer than the extent")
            yield length, stored, crc
    require(offset == end, "chunks shorter than the extent")
