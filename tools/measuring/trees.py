"""The trees that are packed. What is generated or unpacked lies under target/trees and is kept for the next run."""

import os
import random
import sys

from .commands import run
from .programs import ROOT, target_directory

# Name: (full shape, small shape, bytes of a file).
GRIDS = {
    "small": ("20x100x100", "4x50x50", "4096-12288"),
    "tiny": ("100x100x100", "10x50x50", "512-1536"),
    "flat": ("1000000", "20000", "64-2048"),
}
NAMES = [*GRIDS, "linux"]

# What the file systems of disks give out space in.
BLOCK = 4096


class Tree:
    """A source tree and what is in it."""

    def __init__(self, name, size):
        self.name, self.shape, self.sizes = name, None, None
        if name in GRIDS:
            full, small, self.sizes = GRIDS[name]
            self.shape = small if size == "small" else full
            self.path = self.generated(name if size == "full" else f"{name}-{self.shape}")
        elif os.path.isdir(name):
            self.path = os.path.abspath(name)
            self.name = os.path.basename(self.path)
        else:
            self.path = run(os.path.join(ROOT, "tools/real_tree"), name).strip()
        self.count()

    def generated(self, directory):
        path = os.path.join(target_directory(), "trees", directory)
        if not os.path.isdir(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            new = f"{path}.{os.getpid()}.new"
            print(f"generating {path}", file=sys.stderr)
            generator = os.path.join(ROOT, "tools/gen_tree")
            words = ["--shape", self.shape, "--sizes", self.sizes, "--filled"]
            run(sys.executable, generator, "grid", new, *words)
            os.rename(new, path)
        return path

    def count(self):
        """Walks once: names of files for the samples, entries, bytes."""
        self.files, self.entries, self.bytes, self.block_bytes = [], 1, 0, 0
        pending = [""]
        while pending:
            below = pending.pop()
            with os.scandir(os.path.join(self.path, below)) as listing:
                for entry in listing:
                    self.entries += 1
                    name = os.path.join(below, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(name)
                        self.block_bytes += BLOCK
                    elif entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        self.bytes += size
                        self.block_bytes += size + -size % BLOCK
                        if size and "\n" not in name:
                            self.files.append(name)
        self.files.sort()

    def sample(self, path, count, seed):
        """Writes the names of `count` files in random order, one a line, and gives how many there are."""
        chosen = random.Random(seed).sample(self.files, min(count, len(self.files)))
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(name + "\n" for name in chosen)
        return len(chosen)

    def describe(self):
        return f"{self.name}: {self.entries:,} entries, {len(self.files):,} files with contents, {self.bytes:,} bytes"
