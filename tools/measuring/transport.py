"""dgfs against a file system that only answers: what is left to gain behind the same transport."""

import os
import subprocess
import time

from . import commands
from .cleanup import unmount
from .commands import Failed
from .tables import Table, median

LARGE_BYTES = 1 << 30
SWITCH = "/sys/module/fuse/parameters/enable_uring"
TRANSPORTS = ("dev", "uring")
PLACEMENTS = {"same": ([0], {0}), "apart": ([0], {1}), "free": ([], None)}


class NullMount:
    """The null file system with the layout of a tree, mounted anew each time as a format is."""

    name = "null"
    devices = ()
    is_daemon = True

    def __init__(self, cleanup, programs, work, tree):
        self.transport = "dev"
        self.cleanup, self.programs, self.tree = cleanup, programs, tree
        self.mount_point = os.path.join(work, "mount")
        self.process = None
        os.makedirs(self.mount_point, exist_ok=True)

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def mount(self):
        self.unmount()
        least, greatest = self.tree.sizes.split("-")
        words = [self.programs["null_file_system"], self.mount_point, "--shape", self.tree.shape]
        words += ["--least", least, "--greatest", greatest, "--large", str(LARGE_BYTES)]
        words += ["--transport", self.transport]
        begun = time.monotonic()
        self.cleanup.add(self.mount_point, self.stop)
        # An interruption from the terminal is for us alone; we end the server.
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        while not os.path.ismount(self.mount_point):
            if self.process.poll() is not None or time.monotonic() > begun + 20:
                raise Failed("the null file system did not mount")
            time.sleep(0.002)
        set_read_ahead(self.mount_point, 1024)
        return time.monotonic() - begun

    def stop(self):
        unmount(self.mount_point)
        if self.process:
            self.process.wait(timeout=20)
            self.process = None

    def unmount(self):
        self.cleanup.undo(self.mount_point)

    @staticmethod
    def resident_mib():
        return None


def set_read_ahead(mount_point, kib):
    """As dgfs sets it for itself."""
    device = os.stat(mount_point).st_dev
    with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb", "w", encoding="ascii") as file:
        file.write(str(kib))


def cycles(programs, forms, names, count, niceness, repeats):
    """Cold and cached cycles of open, read and close with client and server placed in three ways; medians."""
    table = Table(
        f"Cycles of open, read, close, against the null file system: {count:,} files, medians of {repeats}",
        "file system", "placement", "cold files/s", "p50 us", "CPU us client", "server",
        "cached files/s", "p50 us", "cold: ratio to null, by p50", "by CPU", "cached: ratio, by p50", "by CPU",
    )
    results = {}
    for _ in range(repeats):
        for placement, (cpus, server) in PLACEMENTS.items():
            for form in forms:
                form.mount()
                if form.pid and server:
                    commands.bind(form.pid, server)
                # The directories are known, and for dgfs the volume is in the page cache: only the service is compared.
                warm_sources(form, names, programs, count)
                for what, rounds in (("cold", 1), ("cached", 5)):
                    served = commands.cpu_seconds(form.pid) if form.pid else 0
                    answer = programs.read(
                        "files", names, form.mount_point, "--count", count, "--rounds", rounds, cpus=cpus,
                        niceness=niceness,
                    )
                    served = commands.cpu_seconds(form.pid) - served if form.pid else 0
                    answer["server_us"] = served / answer["operations"] * 1e6
                    answer["client_us"] = answer["cpu_seconds"] / answer["operations"] * 1e6
                    results.setdefault((form.name, placement, what), []).append(answer)
                form.unmount()

    def value(form, placement, what, key):
        return median([answer[key] for answer in results[form.name, placement, what]])

    def cpu(form, placement, what):
        return value(form, placement, what, "client_us") + value(form, placement, what, "server_us")

    null = forms[-1]
    for placement in PLACEMENTS:
        for form in forms:
            ratios = []
            for what in ("cold", "cached"):
                if what == "cold" and not form.is_daemon:
                    # Its device would be compared, not its service.
                    ratios += [None, None]
                    continue
                ratios.append(value(null, placement, what, "p50_us") / value(form, placement, what, "p50_us"))
                ratios.append(cpu(null, placement, what) / cpu(form, placement, what))
            table.add(
                form.name, placement,
                value(form, placement, "cold", "per_second"), value(form, placement, "cold", "p50_us"),
                value(form, placement, "cold", "client_us"), value(form, placement, "cold", "server_us"),
                value(form, placement, "cached", "per_second"), value(form, placement, "cached", "p50_us"),
                *ratios,
            )
    return table


def transports(programs, cleanup, form, null, names, count, niceness, repeats):
    """Cycles of dgfs and of the null file system over /dev/fuse and over rings, one and two clients, medians; None where
    there are no rings."""
    if not offer_rings(cleanup):
        return None
    # Clients' processors, and the daemon's if it is bound; with rings each of its threads is bound by itself.
    cases = {
        "dev": (("1, same processor", 1, [0], {0}), ("1, free", 1, [], None), ("2, one processor each", 2, [0, 1], None)),
        "uring": (("1, same processor", 1, [0], None), ("1, free", 1, [], None), ("2, one processor each", 2, [0, 1], None)),
    }
    usual, results = form.mount_options, {}
    form.mount()
    for _ in range(repeats):
        for transport in TRANSPORTS:
            form.mount_options = f"{usual},transport={transport}"
            null.transport = transport
            for case, clients, cpus, server in cases[transport]:
                for served in (form, null):
                    if served is form:
                        form.remount_daemon()
                        for path in (form.index, form.data):
                            programs.read("stream", path)
                    else:
                        null.mount()
                    if server:
                        commands.bind(served.pid, server)
                    for what, rounds in (("cold", 1), ("cached", 5)):
                        before = commands.cpu_seconds(served.pid)
                        answer = programs.read(
                            "files", names, served.mount_point, "--count", count, "--clients", clients,
                            "--rounds", rounds, cpus=cpus, niceness=niceness,
                        )
                        answer["server_us"] = (commands.cpu_seconds(served.pid) - before) / answer["operations"] * 1e6
                        answer["client_us"] = answer["cpu_seconds"] / answer["operations"] * 1e6
                        answer["cpu_us"] = answer["server_us"] + answer["client_us"]
                        results.setdefault((case, transport, served.name, what), []).append(answer)
            null.unmount()
    form.unmount()
    form.mount_options, null.transport = usual, "dev"
    cleanup.undo(SWITCH)

    table = Table(
        f"Cycles of open, read, close over each transport: {count:,} files, medians of {repeats}",
        "clients", "transport", "file system", "cold files/s", "p50 us", "CPU us client", "server", "cached files/s",
        "cold files/s: x dev", "best against best", "cold: ratio to null, by files/s", "by p50", "by CPU",
        "cached: ratio, by files/s", "by p50", "by CPU",
    )

    def value(key, *which):
        return median([answer[key] for answer in results[which]])

    def best(*which):
        return max(answer["per_second"] for answer in results[which])

    for case, transport, name in sorted({key[:3] for key in results}):
        cold, others = (case, transport, name, "cold"), (case, "dev", name, "cold")
        ratios = []
        for what in ("cold", "cached"):
            mine, base = (case, transport, name, what), (case, transport, null.name, what)
            ratios.append(value("per_second", *mine) / value("per_second", *base))
            ratios += [value(key, *base) / value(key, *mine) for key in ("p50_us", "cpu_us")]
        table.add(
            case, transport, name, *(value(key, *cold) for key in ("per_second", "p50_us", "client_us", "server_us")),
            value("per_second", case, transport, name, "cached"),
            value("per_second", *cold) / value("per_second", *others), best(*cold) / best(*others), *ratios,
        )
    return table


def offer_rings(cleanup):
    """Makes the kernel offer FUSE over io_uring until the clean-up; whether it can."""
    try:
        with open(SWITCH, encoding="ascii") as file:
            before = file.read()
        cleanup.add(SWITCH, lambda: switch_rings(before))
        switch_rings("Y")
    except OSError:
        return False
    return True


def switch_rings(value):
    with open(SWITCH, "w", encoding="ascii") as file:
        file.write(value)


def warm_sources(form, names, programs, count):
    """Makes the directories known, and brings what the daemon reads into the page cache, past the mount."""
    if not getattr(form, "hosts", None):
        return
    programs.read("files", names, form.mount_point, "--count", count)
    pid_bound = os.sched_getaffinity(form.pid)
    form.remount_daemon()
    if len(pid_bound) < os.cpu_count():
        commands.bind(form.pid, pid_bound)
    for path in (form.index, form.data):
        programs.read("stream", path)


def stream(programs, cleanup, work, dgfs_kind, niceness, repeats):
    """One file of 1 GiB from its front to its end: dgfs, its volume, the null file system; and what it leaves in memory."""
    source = cleanup.directory(os.path.join(work, "large"))
    with open(os.path.join(source, "large"), "wb") as file:
        piece = os.urandom(1 << 20)
        for number in range(LARGE_BYTES >> 20):
            file.write(number.to_bytes(8, "little") + piece[8:])
    tree = OneFile(source)
    form = dgfs_kind(cleanup, programs, cleanup.directory(os.path.join(work, "dgfs-large")))
    form.prepare(tree)
    null = NullMount(cleanup, programs, cleanup.directory(os.path.join(work, "null-large")), tree)
    rates, resident = {}, []

    def measure(title, path, pid=None):
        commands_cpu = commands.cpu_seconds(pid) if pid else 0
        answer = programs.read("stream", path, niceness=niceness)
        answer["server"] = commands.cpu_seconds(pid) - commands_cpu if pid else 0
        rates.setdefault(title, []).append(answer)

    for _ in range(repeats):
        form.mount()
        measure("the volume itself, cold", form.data)
        form.mount()
        measure("dgfs, volume cold", os.path.join(form.mount_point, "large"), form.pid)
        resident.append([page_cache_mib(path) for path in (os.path.join(form.mount_point, "large"), form.data)])
        form.remount_daemon()
        programs.read("stream", form.data)
        measure("dgfs, volume in the page cache", os.path.join(form.mount_point, "large"), form.pid)
        measure("dgfs, again", os.path.join(form.mount_point, "large"), form.pid)
        form.unmount()
        if offer_rings(cleanup):
            usual, form.mount_options = form.mount_options, f"{form.mount_options},transport=uring"
            form.mount()
            measure("dgfs over rings, volume cold", os.path.join(form.mount_point, "large"), form.pid)
            form.remount_daemon()
            measure("dgfs over rings, volume in the page cache", os.path.join(form.mount_point, "large"), form.pid)
            form.unmount()
            form.mount_options = usual
            null.transport = "uring"
            null.mount()
            measure("null over rings", os.path.join(null.mount_point, "large"), null.pid)
            null.unmount()
            null.transport = "dev"
            cleanup.undo(SWITCH)
        null.mount()
        measure("null", os.path.join(null.mount_point, "large"), null.pid)
        measure("null, again", os.path.join(null.mount_point, "large"), null.pid)
        null.unmount()
    table = Table(
        f"A file of 1 GiB, front to end, 1 MiB a read; medians of {repeats}",
        "what", "MB/s", "client CPU s", "server CPU s", "ratio to null",
    )
    base = median([answer["bytes"] / answer["seconds"] for answer in rates["null"]])
    for title, answers in rates.items():
        rate = median([answer["bytes"] / answer["seconds"] for answer in answers])
        client, server = (median([answer[key] for answer in answers]) for key in ("cpu_seconds", "server"))
        table.add(title, rate / 1e6, client, server, rate / base)
    memory = Table("Page cache after reading the file once, MiB", "the file in the mount", "the volume", "both")
    file, volume = (median(column) for column in zip(*resident))
    memory.add(file, volume, file + volume)
    return table, memory


def page_cache_mib(path):
    """How much of a file is in the page cache."""
    return int(commands.run("fincore", "--bytes", "--noheadings", "--output", "RES", path)) / (1 << 20)


class OneFile:
    """A tree of one large file, for the formats and for the null file system."""

    shape, sizes, entries, bytes, block_bytes, name = "1", "1-1", 2, LARGE_BYTES, LARGE_BYTES, "large"

    def __init__(self, path):
        self.path = path
