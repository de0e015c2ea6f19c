"""A control group with little memory, for a reader and the daemon it asks: so that metadata cannot all stay in memory."""

import os
import signal
import time

from .commands import Failed

HIERARCHY = "/sys/fs/cgroup"


class MemoryLimit:
    """A group below our own, for version 1 or 2 of the interface. `prefix` are words that start a program in it.

    Pages that a program in the group brings into the page cache are charged to the group, and so are the kernel's
    dentries and inodes where the kernel charges them; beyond the limit the least recently used ones go.
    """

    def __init__(self, cleanup, mib):
        name = f"dgfs-simdisk-{os.getpid()}"
        with open("/proc/self/cgroup", encoding="ascii") as file:
            own = {controllers: path for _, controllers, path in (line.strip().split(":", 2) for line in file)}
        if "memory" in own:
            self.directory, setting = f"{HIERARCHY}/memory{own['memory'].rstrip('/')}/{name}", "memory.limit_in_bytes"
        else:
            self.directory, setting = f"{HIERARCHY}{own.get('', '/').rstrip('/')}/{name}", "memory.max"
        try:
            os.mkdir(self.directory)
            cleanup.add(self.directory, self.remove)
            with open(os.path.join(self.directory, setting), "w", encoding="ascii") as file:
                file.write(str(mib << 20))
        except OSError as error:
            raise Failed(f"no control group with a memory limit: {error}; run with --memory 0") from error
        self.prefix = ["sh", "-c", f'echo $$ >{self.directory}/cgroup.procs && exec "$@"', "sh"]

    def remove(self):
        """A group can be removed when its last process is gone."""
        until = time.monotonic() + 10
        while True:
            try:
                os.rmdir(self.directory)
                return
            except OSError:
                if time.monotonic() > until:
                    raise
            for pid in self.members():
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)

    def members(self):
        with open(os.path.join(self.directory, "cgroup.procs"), encoding="ascii") as file:
            return [int(line) for line in file]
