"""Section 2.8: inner pages."""

import collections
import struct

from .encoding import Stream, unzigzag
from .faults import require
from .paths import LONGEST_PATH

Child = collections.namedtuple("Child", "page first level ordinal position path cut name")


class Inner:
    FIELDS = struct.Struct("<IBBHQQQ")

    def __init__(self, image, number):
        page = image.page(number)
        _, self.level, zero, n, self.ordinal, self.position, self.first_child = self.FIELDS.unpack_from(page)
        require(1 <= self.level <= image.header.levels, f"level {self.level} in an inner page")
        require(n >= (2 if number == image.header.root else 1), f"inner page with {n} children")
        lowest, beyond = (
            (1, image.header.leaves + 1) if self.level == 1 else (image.header.leaves + 1, number)
        )
        require(
            lowest <= self.first_child and self.first_child + n <= beyond, "child pages outside their level"
        )
        stream = Stream(page[self.FIELDS.size :])
        ordinal, position, path, self.rows = self.ordinal, self.position, b"", []
        for i in range(n):
            step = stream.varint()
            ordinal += step
            position += unzigzag(stream.varint())
            require(bool(i) == bool(step), "ordinals of the children not in order")
            require(
                0 <= position < 1 << 63 and ordinal < image.header.entries, "position or ordinal out of range"
            )
            shared = stream.varint()
            require(shared <= len(path), "separator path shares more than there is")
            length, cut = divmod(stream.varint(), 2)
            path = path[:shared] + stream.take(length)
            require(
                len(path) == LONGEST_PATH or len(path) < LONGEST_PATH and not cut,
                f"separator path of {len(path)} bytes",
            )
            name = stream.take(stream.byte())
            self.rows.append(
                Child(self.first_child + i, i == 0, self.level - 1, ordinal, position, path, cut, name)
            )
        image.check_zero(zero or any(stream.take(len(stream.data) - stream.at)))
