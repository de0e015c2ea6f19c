"""The conventions at the top of docs/format.md (CRC, varint, zigzag), and the frames of section 2.4."""

import functools
import struct
import sys

from .faults import Fault, require

try:
    from compression import zstd as stdlib_zstd
except ImportError:
    stdlib_zstd = None
    try:
        import zstandard
    except ImportError:
        sys.exit("dgfs_reader: no zstd module: install python3-zstandard (Debian) or zstandard (PyPI)")

try:
    from google_crc32c import value as fast_crc32c
except ImportError:
    try:
        from crc32c import crc32c as fast_crc32c
    except ImportError:
        fast_crc32c = None

PAGE = 4096
ZSTD_MAGIC = bytes.fromhex("28 B5 2F FD")


@functools.cache
def crc_tables():
    """Tables that take a byte, and the low and the high half of four bytes at once."""
    byte = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        byte.append(value)
    high = [(half := v >> 8 ^ byte[v & 255]) >> 8 ^ byte[half & 255] for v in range(1 << 16)]
    low = [v >> 16 ^ high[v & 0xFFFF] for v in high]
    return byte, low, high


def crc32c(data):
    if fast_crc32c:
        return fast_crc32c(data)
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


def decode_frame(frame, most=65535, dictionary=None):
    """Decodes one Zstandard frame that lacks its magic number (sections 2.4 and 3.1)."""
    require(frame and frame[0] & 0b1111 == 0, "frame with a checksum, a dictionary or a reserved bit")
    # The declared size stands behind the descriptor and the window byte, which a single-segment frame lacks.
    # It is checked first because a decoder may reserve that much memory at once.
    single, size_class = frame[0] >> 5 & 1, frame[0] >> 6
    length = (single, 2, 4, 8)[size_class]
    at = 2 - single
    declared = int.from_bytes(frame[at : at + length], "little") + (256 if size_class == 1 else 0)
    require(declared <= most, f"frame declares {declared} bytes, more than {most}")
    # Not every decoder says that bytes are left over, so the end of the last block is found here.
    at, last = at + length, False
    while not last:
        require(at + 3 <= len(frame), "frame ends early")
        block = int.from_bytes(frame[at : at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else size)  # kind 1 repeats one byte
    require(at == len(frame), "frame does not fill its place")
    try:
        if stdlib_zstd:
            data = stdlib_zstd.ZstdDecompressor(dictionary).decompress(ZSTD_MAGIC + frame, most + 1)
        else:
            decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)
            data = decompressor.decompress(ZSTD_MAGIC + frame, max_output_size=most)
    except (stdlib_zstd or zstandard).ZstdError as error:
        raise Fault(f"frame does not decode: {error}") from None
    require(len(data) <= most, f"frame decodes to more than {most} bytes")
    return data


def load_dictionary(data):
    """A dictionary as the decoder wants it (section 2.9): with tables before its content, or content alone."""
    has_tables = data[:4] == bytes.fromhex("37 A4 30 EC")
    if stdlib_zstd:
        return stdlib_zstd.ZstdDict(data, is_raw=not has_tables)
    kind = zstandard.DICT_TYPE_FULLDICT if has_tables else zstandard.DICT_TYPE_RAWCONTENT
    return zstandard.ZstdCompressionDict(data, dict_type=kind)


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
                require(
                    value < 1 << 64 and (byte or not shift), "varint too large or not in its shortest form"
                )
                return value
        raise Fault("varint of more than 10 bytes")
