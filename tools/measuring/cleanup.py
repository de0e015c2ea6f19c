"""Nothing stays behind: what was mounted, attached, started or written is undone in reverse order, however a run ends."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time


class Cleanup:
    """A stack of things to undo. `undo(key)` does one early; the rest is done when the program ends."""

    def __init__(self):
        self.stack = []
        atexit.register(self.undo_all)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupted)

    def interrupted(self, number, _frame):
        signal.signal(number, signal.SIG_IGN)
        print(f"\n{os.path.basename(sys.argv[0])}: interrupted, cleaning up", file=sys.stderr)
        sys.exit(128 + number)

    def add(self, key, action):
        self.stack.append((key, action))

    def undo(self, key):
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place][0] == key:
                self.stack.pop(place)[1]()
                return

    def undo_all(self):
        while self.stack:
            key, action = self.stack.pop()
            try:
                action()
            except Exception as error:
                print(f"cleaning up {key}: {error}", file=sys.stderr)

    def directory(self, path):
        """Makes a directory that is removed with all it holds, but never what is mounted on it."""
        os.makedirs(path, exist_ok=True)
        self.add(path, lambda: remove_tree(path))
        return path


def remove_tree(path):
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)


def is_mounted(path):
    """By the kernel's list: a mount whose server died answers nothing, but is there."""
    spelled = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for old, new in (("\\", "\\134"), (" ", "\\040"), ("\t", "\\011"), ("\n", "\\012")):
        spelled = spelled.replace(old, new)
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        return any(line.split(" ")[1] == spelled for line in file)


def unmount(path, patience=20.0):
    """Unmounts, waiting for who is just leaving; after that it is taken out of the tree and ends with its last user."""
    until = time.monotonic() + patience
    while is_mounted(path):
        if subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0:
            return
        if time.monotonic() > until:
            subprocess.run(["umount", "-l", path], check=False)
            return
        time.sleep(0.05)


def need_space(path, bytes_needed):
    free = shutil.disk_usage(path).free
    if free < bytes_needed:
        sys.exit(f"{path}: {bytes_needed >> 20} MiB are needed and {free >> 20} MiB free; see --work")
