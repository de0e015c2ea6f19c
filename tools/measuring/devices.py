"""Loop devices that read past the page cache, and the kernel's counts of what was read of them."""

import os

from .commands import Failed, run


class LoopDevice:
    """A file as a block device, with direct I/O: each read that a file system causes is a read of the device."""

    def __init__(self, cleanup, backing, size=None, read_only=False):
        self.cleanup, self.backing = cleanup, backing
        if size is not None:
            with open(backing, "wb") as file:
                file.truncate(size)
        words = ["losetup", "--find", "--show", "--direct-io=on"] + ["--read-only"] * read_only
        self.path = run(*words, backing).strip()
        self.name = os.path.basename(self.path)
        self.cleanup.add(self.path, lambda: run("losetup", "-d", self.path))
        with open(f"/sys/block/{self.name}/loop/dio", encoding="ascii") as file:
            if file.read().strip() != "1":
                raise Failed(f"{self.path}: no direct I/O on {backing}; its file system does not support it")

    @property
    def stat(self):
        return f"/sys/block/{self.name}/stat"

    def set_read_ahead(self, kib):
        with open(f"/sys/block/{self.name}/queue/read_ahead_kb", "w", encoding="ascii") as file:
            file.write(str(kib))

    def detach(self):
        self.cleanup.undo(self.path)


class Reads:
    """Reads and KiB of some devices since this was made."""

    def __init__(self, devices):
        self.devices = list(devices)
        self.before = self.now()

    def now(self):
        reads = kib = 0
        for device in self.devices:
            with open(device.stat, encoding="ascii") as file:
                numbers = [int(word) for word in file.read().split()]
            reads += numbers[0]
            kib += numbers[2] / 2
        return reads, kib

    def since(self):
        now = self.now()
        return now[0] - self.before[0], now[1] - self.before[1]
