"""Section 2.4: leaf pages."""

import functools
import itertools
import struct

from .encoding import PAGE, Stream
from .faults import require
from .segment import Segment


class Head:
    """What a page says of one of its segments, and its bytes. Its bit area ends by itself, or only with the page."""

    separator, area_ends = b"", True

    def __init__(self, ordinal, position, entries, runs, present):
        self.ordinal, self.position, self.entries, self.runs = ordinal, position, entries, runs
        self.present = present
        require(1 <= runs <= entries <= 4096, f"{entries} entries in {runs} runs")
        require(present < 1 << 20, f"unknown column among {present:#x}")
        require(position < 1 << 63, "position of 2^63 or more")


class Leaf:
    FIELDS = struct.Struct("<IBBHQQ")
    level = 0

    def __init__(self, image, number):
        self.image, page = image, image.page(number)
        _, level, segments, self.count, self.ordinal, self.position = self.FIELDS.unpack_from(page)
        require(level == 0, f"level {level} in a leaf page")
        require(1 <= self.count <= 4096, f"{self.count} entries in a leaf page")
        require(segments <= 16, f"{segments} segments in a leaf page")
        require(image.header.segments or not segments, "segments in an image without the feature")
        require(self.ordinal + self.count <= image.header.entries, "ordinals beyond the last entry")
        stream = Stream(page[self.FIELDS.size :])
        self.heads = self.read_heads(stream, segments) if segments else [self.read_sole_head(stream)]
        # A search looks into one or two.
        self.segment = functools.cache(lambda at: Segment(image, self.heads[at]))

    def read_sole_head(self, stream):
        """The head of a page of version 1.4 and before."""
        present, runs, names, control, zero = struct.unpack("<IHHHH", stream.take(12))
        require(not zero, "bytes that should be zero are not")
        head = Head(self.ordinal, self.position, self.count, runs, present)
        head.names, head.control = stream.take(names), stream.take(control)
        head.area, head.area_ends = stream.take(len(stream.data) - stream.at), False
        return head

    def read_heads(self, stream, segments):
        heads, ordinal, position = [], self.ordinal, self.position
        for at in range(segments):
            numbers = [stream.varint() for _ in range(8)]
            entries, runs, names, control, area, present, step, separator = numbers
            require(at or not step, "first segment begins elsewhere than its page")
            require(separator <= 255, f"separator of {separator} bytes")
            position += step
            head = Head(ordinal, position, entries, runs, present)
            head.separator = stream.take(separator)
            head.names, head.control, head.area = stream.take(names), stream.take(control), stream.take(area)
            heads.append(head)
            ordinal += entries
        require(ordinal == self.ordinal + self.count, "entries of the segments and of the page disagree")
        require(not any(stream.take(len(stream.data) - stream.at)), "bytes that should be zero are not")
        return heads

    @property
    def segments(self):
        """All segments, one after the other."""
        return (self.segment(at) for at in range(len(self.heads)))

    def check(self):
        """Reads the whole page, and checks what one segment says of the next."""
        segments = list(self.segments)
        for before, segment in itertools.pairwise(segments):
            require(segment.position == before.end, "segment does not begin where the extents before it end")
        volumes = set().union(*(segment.volumes for segment in segments))
        require(len(volumes) <= 1, "implicit extents of two volumes in one page")
