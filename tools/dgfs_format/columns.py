"""Section 2.5: the columns of a segment."""

import itertools

from .encoding import unzigzag
from .faults import Fault, require


class Columns:
    """Reads the columns of a segment, one after the other, from the control stream and the bit area."""

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
        """Sets one attribute of each member of the domain; an absent optional column leaves them 0."""
        if domain and (bit is None or self.present >> bit & 1):
            for member, value in zip(domain, self.values(len(domain))):
                setattr(member, name, value)
