"""Block devices that take their time from a model: a loop device on the file of a simulated disk."""

import os
import subprocess
import time

from .cleanup import unmount
from .commands import Failed
from .devices import LoopDevice

BLOCK = 4096


class SimulatedDevice(LoopDevice):
    """A file as a block device of a disk that is simulated; `counts` is what the disk says of itself."""

    READ_AHEAD_KIB = 128

    def __init__(self, program, cleanup, backing, size=None, read_only=False, model="barracuda", part=1, memory=None, real=False):
        self.directory = backing + ".simulated"
        os.makedirs(self.directory, exist_ok=True)
        size = size or os.path.getsize(backing)
        size += -size % BLOCK
        words = [program, self.directory, "--backing", backing, "--size", str(size), "--model", model, "--part", str(part)]
        words += [] if memory is None else ["--memory", str(memory)]
        # An interruption from the terminal is for us alone; we end the server.
        self.server = subprocess.Popen(
            words + ["--real"] * real, stdin=subprocess.DEVNULL, start_new_session=True
        )
        cleanup.add(self.directory, self.stop)
        until = time.monotonic() + 20
        while not os.path.ismount(self.directory):
            if self.server.poll() is not None or time.monotonic() > until:
                raise Failed(f"{backing}: the simulated disk did not mount")
            time.sleep(0.005)
        super().__init__(cleanup, os.path.join(self.directory, "disk"), read_only=read_only)
        # What a disk has by default, where loop devices have more.
        self.set_read_ahead(self.READ_AHEAD_KIB)
        self.counts = os.path.join(self.directory, "stats")

    def stop(self):
        unmount(self.directory)
        self.server.wait(timeout=30)

    def detach(self):
        super().detach()
        self.cleanup.undo(self.directory)


def kind(program, **how):
    """A constructor with the arguments of LoopDevice's."""

    def make(cleanup, backing, size=None, read_only=False):
        return SimulatedDevice(program, cleanup, backing, size, read_only, **how)

    return make
