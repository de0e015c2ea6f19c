"""DwarFS beside the formats that can be mounted here: how small solid blocks are, and what a random file of one costs.

DwarFS itself is no Debian package. The crate `dwarfs-enc` writes its format, with chunks cut by content and files in the
order of their directories; the `mkdwarfs` of the project can sort files by similarity as well, so its images are smaller still.
"""

import os
import struct
import subprocess

from . import formats
from .commands import Failed, timed
from .programs import target_directory
from .tables import Table

CRATE, VERSION = "dwarfs-enc", "0.1.0"
# magic 6, version 2, checksums 32 and 8, number 4, type 2, compression 2, length 8
SECTION = struct.Struct("<6sBB32s8sIHHQ")
BLOCK = 0
# What the crate takes where it is not told.
BLOCK_BYTES = 16 << 20


class Dwarfs(formats.Format):
    """An image that is built and looked at, not mounted."""

    name = "DwarFS, zstd"

    def program(self):
        return os.path.join(target_directory(), "peers", "bin", "mkdwarfs")

    def missing(self):
        if os.path.exists(self.program()):
            return None
        command = ["cargo", "install", "--quiet", "--locked", CRATE, "--version", VERSION, "--features", "zstd,lzma"]
        command += ["--example", "mkdwarfs", "--root", os.path.join(target_directory(), "peers")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return f"{CRATE} {VERSION} cannot be built" if done.returncode else None

    def build(self, tree):
        cost = timed(self.program(), "--input", tree.path, "--output", self.image(), "--zstd", self.level)
        self.image_bytes = os.path.getsize(self.image())
        return cost

    def blocks(self):
        """The stored length of each block."""
        lengths = []
        with open(self.image(), "rb") as file:
            while header := file.read(SECTION.size):
                if len(header) < SECTION.size or not header.startswith(b"DWARFS"):
                    raise Failed(f"{self.image()}: no section at {file.tell() - len(header)}")
                kind, length = (SECTION.unpack(header)[at] for at in (6, 8))
                if kind == BLOCK:
                    lengths.append(length)
                file.seek(length, os.SEEK_CUR)
        return lengths


def beside(tree, dwarfs, built, read):
    """Bytes of the image against bytes of a random file, inodes known. `read` has the KiB by name of the format."""
    table = Table(
        f"Small or quick to reach: {tree.name}, level {dwarfs.level}; a random file whose inode is known",
        "format", "image bytes", "of the contents", "KiB read for a file", "by",
    )
    for form, _ in built:
        if form.image_bytes and read.get(form.name) is not None:
            table.add(form.name, form.image_bytes, form.image_bytes / tree.bytes, read[form.name], "count of the device")
    blocks = dwarfs.blocks()
    mean = sum(blocks) / max(len(blocks), 1) / 1024
    by = f"mean of its {len(blocks)} blocks of {BLOCK_BYTES >> 20} MiB when decompressed"
    table.add(dwarfs.name, dwarfs.image_bytes, dwarfs.image_bytes / tree.bytes, mean, by)
    return table
