"""Section 3.3: frames that several files share."""

from .encoding import crc32c, decode_frame
from .faults import require


class OpenFrames:
    """The frame that was opened last in a segment, for each codec."""

    def __init__(self):
        self.open = {}

    def place(self, header, entry, position):
        """Finds the frame of a member, and says whether the next implicit extent begins behind it."""
        require(header.members, "member in an image without shared frames")
        require(not entry.saved and not entry.cut, "member that is shortened or cut by content")
        require(entry.data <= 1 << header.chunk_shift, "member of more than one chunk")
        if entry.member == 1:
            require(not entry.place and entry.codec in self.open, "member without a frame to follow in")
            entry.position, entry.stored, entry.frame_data, entry.frame_offset = self.open[entry.codec]
        else:
            entry.frame_offset, is_apart = divmod(entry.member - 2, 2)
            require(entry.place or not is_apart, "member of a frame that is neither here nor opened")
            entry.position = entry.place - 1 if entry.place else position
            entry.stored = entry.frame_stored
        end = entry.frame_offset + entry.data
        require(entry.stored <= 4096 and end <= entry.frame_data <= 1 << 16, "impossible shared frame")
        require(0 < entry.stored - 4 < entry.frame_data, "shared frame that is none")
        if entry.member == 1 or not is_apart:
            self.open[entry.codec] = entry.position, entry.stored, entry.frame_data, end
        return entry.member > 1 and not entry.place


def contents(image, volume, at, entry):
    """The data of a member; the last frame of each codec is kept, decoded."""
    key = (entry.position, entry.stored, entry.frame_data)
    if image.frames.get(entry.codec, (None,))[0] != key:
        stored = volume.read(at, entry.stored)
        require(
            crc32c(stored[:-4]) == int.from_bytes(stored[-4:], "little"), "shared frame with a wrong checksum"
        )
        data = decode_frame(stored[:-4], entry.frame_data, image.dictionary(entry.codec))
        require(len(data) == entry.frame_data, f"shared frame decodes to {len(data)} bytes")
        image.frames[entry.codec] = key, data
    return image.frames[entry.codec][1][entry.frame_offset :][: entry.data]
