"""The formats that are compared: how each is built, and mounted so that nothing of it is in memory.

Kernel file systems lie on a loop device of their own. What a daemon reads lies as files on a small ext4 without
a journal, itself on a loop device; dgfs has one for its index and one for its data, unless asked to keep them together.
"""

import json
import os
import re
import struct
import subprocess
import time

from . import commands
from .cleanup import unmount
from .commands import Failed, run, timed
from .devices import LoopDevice


class Format:
    """A tree in one format. Subclasses know how to build it, and how to mount it on `self.mount_point`."""

    name = ""
    needs = ()
    pid = None
    is_daemon = False
    # How much larger than its contents a file system that is filled by copying is made.
    room = 1.25

    def __init__(self, cleanup, programs, work, device_kind=LoopDevice):
        self.cleanup, self.programs, self.work, self.device_kind = cleanup, programs, work, device_kind
        self.mount_point = os.path.join(work, "mount")
        self.devices = []
        self.image_bytes = self.metadata_bytes = None
        self.launch = []

    def missing(self):
        """Why this format cannot be measured here, or None."""
        for program in self.needs:
            if not commands.has(program):
                return f"{program} is not installed"
        return None

    def prepare(self, tree):
        """Builds the image, and gives the cost."""
        os.makedirs(self.mount_point, exist_ok=True)
        cost = self.build(tree)
        run("sync", "-f", self.work)
        return cost

    def size_for(self, tree, inode):
        """Bytes for the blocks of a tree, so many for each inode and its name, and what every file system needs."""
        size = int((tree.block_bytes + tree.entries * inode) * self.room) + (320 << 20 if self.room > 1.2 else 96 << 20)
        return max(size - size % 4096, 320 << 20)

    def image(self, name="image"):
        return os.path.join(self.work, name)

    def mount(self):
        """Mounts with nothing in memory, and gives the seconds until the root answers."""
        self.unmount()
        self.attach()
        begun = time.monotonic()
        self.cleanup.add(self.mount_point, lambda: unmount(self.mount_point))
        self.start()
        os.stat(os.path.join(self.mount_point, "."))
        os.scandir(self.mount_point).close()
        return time.monotonic() - begun

    def unmount(self):
        self.cleanup.undo(self.mount_point)
        self.pid = None
        self.detach()

    def resident_mib(self):
        return commands.resident_mib(self.pid) if self.pid else None


class KernelFormat(Format):
    """A file system of the kernel, on a loop device."""

    type = ""
    options = "ro"

    def attach(self):
        self.devices = [self.device_kind(self.cleanup, self.image(), read_only=True)]

    def start(self):
        run("mount", "-t", self.type, "-o", self.options, self.devices[0].path, self.mount_point)

    def detach(self):
        for device in self.devices:
            device.detach()
        self.devices = []


class Squashfs(KernelFormat):
    name, type, needs = "squashfs", "squashfs", ("mksquashfs",)
    flags = ("-noD", "-noF", "-comp", "zstd")

    def build(self, tree):
        flags = [*self.flags, "-no-progress", "-quiet", "-noappend"]
        cost = timed("mksquashfs", tree.path, self.image(), *flags, accept=(0, 1))
        with open(self.image(), "rb") as file:
            superblock = file.read(96)
        used, inode_table = struct.unpack_from("<Q", superblock, 40)[0], struct.unpack_from("<Q", superblock, 64)[0]
        self.image_bytes, self.metadata_bytes = used, used - inode_table
        return cost


class SquashfsWholeFiles(Squashfs):
    name = "squashfs, no fragments"
    flags = ("-noD", "-noF", "-no-fragments", "-comp", "zstd")


class Erofs(KernelFormat):
    name, type, needs = "EROFS", "erofs", ("mkfs.erofs",)

    def build(self, tree):
        cost = timed("mkfs.erofs", "--quiet", self.image(), tree.path)
        self.image_bytes = os.path.getsize(self.image())
        self.metadata_bytes = self.image_bytes - tree.bytes
        return cost


class CopiedTo(KernelFormat):
    """A file system that is filled by copying."""

    def make(self, device, tree):
        raise NotImplementedError

    def build(self, tree):
        begun = time.monotonic()
        device = self.device_kind(self.cleanup, self.image(), self.size_for(tree, inode=600))
        self.make(device.path, tree)
        self.cleanup.add(self.mount_point, lambda: unmount(self.mount_point))
        self.fill_mount(device.path)
        empty = used_bytes(self.mount_point)
        cost = timed(f"cp -a '{tree.path}/.' '{self.mount_point}/' && sync -f '{self.mount_point}'", shell=True)
        used = used_bytes(self.mount_point)
        self.cleanup.undo(self.mount_point)
        device.detach()
        self.image_bytes, self.metadata_bytes = used, used - empty - tree.bytes
        cost.wall = time.monotonic() - begun
        return cost

    def fill_mount(self, device):
        run("mount", "-t", self.type, "-o", "noatime", device, self.mount_point)


class Ext4(CopiedTo):
    name, type, needs = "ext4", "ext4", ("mkfs.ext4",)
    options = "ro,noatime"

    def make(self, device, tree):
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-N", tree.entries + 1000, device)


class Xfs(CopiedTo):
    name, type, needs = "XFS", "xfs", ("mkfs.xfs",)
    options = "ro,noatime,norecovery"

    def make(self, device, tree):
        run("mkfs.xfs", "-q", "-f", device)


def used_bytes(path):
    stat = os.statvfs(path)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


class Host:
    """A small ext4 on a device, which holds the files that a daemon reads."""

    def __init__(self, owner, name, device_kind=None):
        self.cleanup, self.directory = owner.cleanup, os.path.join(owner.work, name)
        self.device_kind = device_kind or owner.device_kind
        self.backing, self.device = owner.image(f"{name}.disk"), None
        os.makedirs(self.directory, exist_ok=True)

    def make(self, size):
        self.device = self.device_kind(self.cleanup, self.backing, size)
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", "-T", "largefile4", self.device.path)
        self.mount("noatime")

    def attach(self):
        self.device = self.device_kind(self.cleanup, self.backing)
        self.mount("noatime,ro")

    def mount(self, options):
        self.cleanup.add(self.directory, lambda: unmount(self.directory))
        run("mount", "-t", "ext4", "-o", options, self.device.path, self.directory)

    def detach(self):
        if self.device:
            self.cleanup.undo(self.directory)
            self.device.detach()
            self.device = None


class DaemonFormat(Format):
    """A format that a process serves through FUSE from files on hosts."""

    is_daemon = True

    def attach(self):
        for host in self.hosts:
            host.attach()
        self.devices = [host.device for host in self.hosts]

    def detach(self):
        for host in getattr(self, "hosts", []):
            host.detach()
        self.devices = []

    def find_daemon(self, before):
        """The process that appeared and serves now: the one whose command line names our mount point."""
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            if pid in before:
                continue
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if self.mount_point.encode() in words and words[0]:
                self.pid = pid
                return
        raise Failed(f"{self.name}: no process serves {self.mount_point}")

    def start(self):
        before = set(map(int, filter(str.isdigit, os.listdir("/proc"))))
        words = [*self.launch, *self.command()]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")
        until = time.monotonic() + 10
        while not os.path.ismount(self.mount_point):
            if time.monotonic() > until:
                raise Failed(f"{' '.join(words)}: nothing is mounted")
            time.sleep(0.001)
        self.find_daemon(before)

    def unmount(self):
        self.stop_daemon()
        self.detach()

    def stop_daemon(self):
        pid, self.pid = self.pid, None
        self.cleanup.undo(self.mount_point)
        # The files of a host are in use until the daemon is gone.
        until = time.monotonic() + 10
        while pid and os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
            time.sleep(0.005)

    def remount_daemon(self):
        """A new daemon on the same hosts: the kernel forgets files and directories, but what the daemon read stays."""
        self.stop_daemon()
        self.cleanup.add(self.mount_point, lambda: unmount(self.mount_point))
        self.start()


class Dgfs(DaemonFormat):
    """dgfs with its index and its data on devices of their own."""

    name = "dgfs"
    mount_options = ""
    apart = True

    def missing(self):
        return None

    def build(self, tree):
        room = tree.bytes * 103 // 100 + tree.entries * 64 + (32 << 20)
        self.hosts = [Host(self, "data")]
        if self.apart:
            self.hosts.append(Host(self, "index", self.index_device_kind()))
            # Scratch lies beside the index while it is built: some 100 bytes for each file, for digests of contents.
            self.hosts[1].make(tree.entries * 256 + (16 << 20))
        self.hosts[0].make(room)
        self.data = os.path.join(self.hosts[0].directory, "image.data")
        self.index = os.path.join(self.hosts[-1].directory, "image")
        pack = (self.programs.dgfs, "pack", "-q", *self.pack_flags(), "--data", self.data)
        cost = timed(*pack, tree.path, self.index, accept=(0, 1))
        self.metadata_bytes = os.path.getsize(self.index)
        self.image_bytes = self.metadata_bytes + os.path.getsize(self.data)
        self.detach()
        return cost

    def pack_flags(self):
        """As the peers, which store contents as they are."""
        return ("--compress", "none")

    def index_device_kind(self):
        return None

    def command(self):
        self.stats = os.path.join(self.work, "stats.json")
        options = f"stats={self.stats},data={self.data}" + self.mount_options
        return [self.programs.dgfs, "mount", "-o", options, self.index, self.mount_point]

    def requests(self):
        """The daemon's counters; the file is written on a signal."""
        # The daemon holds the file, so it is emptied, not removed, to know the answer from an earlier one.
        with open(self.stats, "w", encoding="ascii"):
            pass
        os.kill(self.pid, 10)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            try:
                with open(self.stats, encoding="ascii") as file:
                    text = file.read()
                return json.loads(text)
            except ValueError:
                pass
            time.sleep(0.005)
        raise Failed("dgfs wrote no statistics")


class DgfsTogether(Dgfs):
    name, apart = "dgfs, one device", False


class SquashfsDaemon(DaemonFormat):
    """squashfuse_ll, which serves the image of squashfs without fragments: its best case."""

    name, needs = "squashfuse_ll", ("mksquashfs", "squashfuse_ll")

    def build(self, tree):
        self.hosts = [Host(self, "data")]
        self.hosts[0].make(tree.bytes * 21 // 20 + tree.entries * 256 + (128 << 20))
        self.path = os.path.join(self.hosts[0].directory, "image")
        flags = ["-noD", "-noF", "-no-fragments", "-comp", "zstd", "-no-progress", "-quiet", "-noappend"]
        timed("mksquashfs", tree.path, self.path, *flags, accept=(0, 1))
        self.detach()
        return None

    def command(self):
        return ["squashfuse_ll", self.path, self.mount_point]


class ErofsDaemon(DaemonFormat):
    """erofsfuse; Debian has it since release 13."""

    name, needs = "erofsfuse", ("mkfs.erofs", "erofsfuse")

    def build(self, tree):
        self.hosts = [Host(self, "data")]
        self.hosts[0].make(tree.bytes * 5 // 4 + tree.entries * 512 + (128 << 20))
        self.path = os.path.join(self.hosts[0].directory, "image")
        timed("mkfs.erofs", "--quiet", self.path, tree.path)
        self.detach()
        return None

    def command(self):
        return ["erofsfuse", self.path, self.mount_point]


class Ntfs(DaemonFormat):
    """ntfs-3g on a device; the kernel's own driver is not in every kernel."""

    name, needs = "NTFS (ntfs-3g)", ("mkntfs", "ntfs-3g")

    def build(self, tree):
        begun = time.monotonic()
        device = self.device_kind(self.cleanup, self.image(), self.size_for(tree, inode=1500))
        run("mkntfs", "--quick", "--force", "--quiet", device.path)
        self.cleanup.add(self.mount_point, lambda: unmount(self.mount_point))
        run("ntfs-3g", "-o", "noatime,big_writes", device.path, self.mount_point)
        cost = timed(f"cp -r '{tree.path}/.' '{self.mount_point}/' && sync -f '{self.mount_point}'", shell=True)
        self.image_bytes = used_bytes(self.mount_point)
        self.metadata_bytes = self.image_bytes - tree.bytes
        self.cleanup.undo(self.mount_point)
        device.detach()
        cost.wall = time.monotonic() - begun
        return cost

    def attach(self):
        self.devices = [self.device_kind(self.cleanup, self.image())]

    def detach(self):
        for device in self.devices:
            device.detach()
        self.devices = []

    def command(self):
        return ["ntfs-3g", "-o", "ro,noatime", self.devices[0].path, self.mount_point]


ALL = [Dgfs, Squashfs, SquashfsWholeFiles, Erofs, Ext4, Xfs, SquashfsDaemon, ErofsDaemon]


def named(text):
    """The formats whose names begin with the words of a list."""
    chosen = []
    for word in text.split(","):
        plain = word.strip().lower()
        fitting = [kind for kind in [*ALL, DgfsTogether, Ntfs] if plain_name(kind.name) == plain]
        if not fitting:
            known = ", ".join(plain_name(kind.name) for kind in [*ALL, DgfsTogether, Ntfs])
            raise ValueError(f"{word}: no such format; there are {known}")
        chosen += fitting
    return chosen


def plain_name(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
