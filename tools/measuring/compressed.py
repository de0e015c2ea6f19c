"""Compressed images beside each other, all at one level: how small, how dear to make, and what a random file and a large one cost."""

import json
import os
import subprocess

from . import commands, formats, solid
from .cleanup import need_space
from .commands import Failed, run, timed
from .questions import SAMPLE, Questions
from .tables import Table, median
from .transport import page_cache_mib

# What `dgfs pack` takes by itself.
LEVEL = 3
BLOCK = "128K"
LARGE_BYTES = 1 << 30
# Files whose stored lengths are asked for, one program each.
WEIGHED = 300
PAGE, CHUNK = 4096, 128 << 10


class DgfsZstd(formats.Dgfs):
    name = "dgfs, zstd"

    def pack_flags(self):
        return ("--compress", f"zstd:{self.level}")

    def stored_bytes(self, path):
        told = run(self.programs.dgfs, "stat", "--json", "--data", self.data, self.index, path)
        return json.loads(told)["contents"]["stored_bytes"]


class SquashfsZstd(formats.Squashfs):
    name = "squashfs, zstd"

    @property
    def flags(self):
        return ("-comp", "zstd", "-Xcompression-level", str(self.level), "-b", BLOCK)


class SquashfsZstdWholeFiles(SquashfsZstd):
    name = "squashfs, zstd, no fragments"

    @property
    def flags(self):
        return (*super().flags, "-no-fragments")


class ErofsLz4hc(formats.Erofs):
    name, compressor = "EROFS, lz4hc", "lz4hc"

    def missing(self):
        reason = super().missing()
        if reason is None and self.compressor not in compressors():
            reason = f"this mkfs.erofs has no {self.compressor}, only {', '.join(compressors())}"
        return reason

    def flags(self):
        return (f"-z{self.compressor}",)

    def build(self, tree):
        cost = timed("mkfs.erofs", "--quiet", *self.flags(), self.image(), tree.path)
        self.image_bytes, self.metadata_bytes = os.path.getsize(self.image()), None
        return cost


class ErofsZstd(ErofsLz4hc):
    name, compressor = "EROFS, zstd", "zstd"

    def flags(self):
        return (f"-zzstd,level={self.level}", "-C131072")


class SquashfsDaemonZstd(formats.DaemonFormat):
    """squashfuse_ll on the image without fragments, its best case for random files."""

    name, needs = "squashfuse_ll, zstd, no fragments", ("mksquashfs", "squashfuse_ll")

    def build(self, tree):
        self.hosts = [formats.Host(self, "data")]
        self.hosts[0].make(tree.bytes + tree.entries * 256 + (128 << 20))
        self.path = os.path.join(self.hosts[0].directory, "image")
        flags = ["-comp", "zstd", "-Xcompression-level", self.level, "-b", BLOCK, "-no-fragments"]
        timed("mksquashfs", tree.path, self.path, *flags, "-no-progress", "-quiet", "-noappend", accept=(0, 1))
        self.detach()
        return None

    def command(self):
        return ["squashfuse_ll", self.path, self.mount_point]


# With what a large file is read, for whoever is fast enough to pack one.
OF_LARGE = [DgfsZstd, SquashfsZstd, SquashfsDaemonZstd]
FORMATS = [DgfsZstd, SquashfsZstd, SquashfsZstdWholeFiles, ErofsLz4hc, ErofsZstd, SquashfsDaemonZstd]


def compressors():
    """What mkfs.erofs can compress with, by its own help."""
    told = subprocess.run(["mkfs.erofs", "--help"], capture_output=True, text=True, check=False)
    for line in (told.stdout + told.stderr).splitlines():
        if line.startswith("Available compressors are:"):
            return [word.strip() for word in line.split(":")[1].split(",")]
    return []


def made(cleanup, programs, place, tree, level, niceness, wanted=FORMATS):
    """The formats that could be built, with what that cost."""
    built = []
    for kind in wanted:
        form = kind(cleanup, programs, cleanup.directory(os.path.join(place, formats.plain_name(kind.name))))
        form.level, form.launch = level, niceness
        reason = form.missing()
        try:
            if reason:
                raise Failed(reason)
            subprocess.run(f"tar -cf - -C '{tree.path}' . | cat >/dev/null", shell=True, check=False)
            built.append((form, form.prepare(tree)))
        except Failed as error:
            print(f"LEFT OUT {kind.name}: {error}", flush=True)
    return built


def sizes(tree, built, level):
    table = Table(
        f"Compressed images, {tree.name}, level {level}, source in the page cache",
        "format", "image bytes", "of the contents", "beside squashfs", "wall s", "CPU s", "peak MiB",
    )
    base = next((form.image_bytes for form, _ in built if form.name == SquashfsZstd.name), None)
    for form, cost in built:
        if cost:
            ratio = form.image_bytes / base if base else None
            table.add(
                form.name, form.image_bytes, form.image_bytes / tree.bytes, ratio, cost.wall, cost.cpu, cost.peak_mib
            )
    return table


def random_files(ask, forms, tree, rounds):
    """Cold files, and files of a fresh mount whose directories and inodes are known."""
    half = min(SAMPLE, ask.sample)
    answers = {form.name: [] for form in forms}
    for _ in range(rounds):
        for form in forms:
            try:
                form.mount()
                answer = {"cold": ask.read(form, (0, half))}
                form.mount()
                ask.list_all(form, "find -printf %s")
                answer["warm"] = ask.read(form, (half, half), per_file=True)
                answers[form.name].append(answer)
            except (Failed, OSError) as error:
                print(f"{form.name}: {error}", flush=True)
            form.unmount()
    table = Table(
        f"Random files of compressed images, {tree.name}: {half:,} cold, then {half:,} with all inodes known; medians of {rounds}",
        "format", "cold: reads per file", "KiB", "files/s", "dgfs to it", "CPU us per file",
        "index-warm: reads", "most for one file", "KiB", "files/s", "dgfs to it", "CPU us per file",
    )

    def value(name, what, key):
        return median([answer[what][key] for answer in answers[name]])

    def cpu(name, what):
        return median([answer[what]["client_us"] + answer[what]["server_us"] for answer in answers[name]])

    for name, told in answers.items():
        if not told:
            continue
        cells = []
        for what in ("cold", "warm"):
            cells.append(value(name, what, "device_reads"))
            if what == "warm":
                cells.append(max(answer["warm"]["counts"]["most_reads"] for answer in told))
            rate = value(name, what, "per_second")
            ratio = value(DgfsZstd.name, what, "per_second") / rate if answers.get(DgfsZstd.name) else None
            cells += [value(name, what, "kib"), rate, ratio, cpu(name, what)]
        table.add(name, *cells)
    return table, {name: value(name, "warm", "kib") for name, told in answers.items() if told}


def bytes_read(ask, form, tree, names, place):
    """What dgfs reads of its devices for a file of one chunk beside what is stored of it."""
    form.mount()
    small = [name for name in names if os.path.getsize(os.path.join(tree.path, name)) <= CHUNK]
    chosen = small[: min(WEIGHED, len(small) // 2)]
    stored = [form.stored_bytes(name) for name in chosen]
    # Others first, so that the dictionaries are there.
    sample = os.path.join(place, "weighed")
    with open(sample, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(name + "\n" for name in small[len(chosen) : 2 * len(chosen)] + chosen)
    ask = Questions(ask.programs, sample, 2 * len(chosen), ask.niceness)
    ask.list_all(form, "find -printf %s")
    ask.read(form, (0, len(chosen)))
    answer = ask.read(form, (len(chosen), len(chosen)), per_file=True)
    form.unmount()
    table = Table(
        f"{form.name}: bytes read for {len(chosen)} random files of one chunk, index and dictionaries warm",
        "stored, mean", "rounded to pages, and one page more", "read, mean", "reads", "most for one file",
    )
    pages = sum(length + -length % PAGE + PAGE for length in stored) / len(chosen)
    read = answer["kib"] * 1024
    most = answer["counts"]["most_reads"]
    table.add(sum(stored) / len(chosen), pages, read, answer["device_reads"], most)
    return table


class LargeFile:
    """A tree of one file, made of the files of another."""

    shape, sizes, entries, name = None, None, 2, "large"

    def __init__(self, tree, path):
        self.path, self.bytes = path, 0
        with open(os.path.join(path, "large"), "wb") as large:
            while self.bytes < LARGE_BYTES:
                before = self.bytes
                for name in tree.files:
                    with open(os.path.join(tree.path, name), "rb") as file:
                        piece = file.read(LARGE_BYTES - self.bytes)
                    large.write(piece)
                    self.bytes += len(piece)
                    if self.bytes == LARGE_BYTES:
                        break
                if self.bytes == before:
                    raise Failed(f"{tree.path} has no contents to make a large file of")
        self.block_bytes = self.bytes


def in_order(programs, built, niceness, rounds):
    """The large file from its front to its end, cold and with the image in the page cache."""
    answers = {}
    for _ in range(rounds):
        for form, _ in built:
            for state in ("cold", "image in the page cache"):
                form.mount()
                if state != "cold":
                    image = form.devices[0].path
                    if form.is_daemon:
                        image = getattr(form, "data", None) or form.path
                    programs.read("stream", image)
                busy, served = machine_seconds(), commands.cpu_seconds(form.pid) if form.pid else 0
                answer = programs.read("stream", os.path.join(form.mount_point, "large"), niceness=niceness)
                answer["machine"] = machine_seconds() - busy
                answer["server"] = commands.cpu_seconds(form.pid) - served if form.pid else 0
                if state == "cold" and isinstance(form, formats.Dgfs):
                    answer["left"] = page_cache_mib(form.data)
                answers.setdefault((form.name, state), []).append(answer)
                form.unmount()
    table = Table(
        f"A compressed file of {LARGE_BYTES >> 20} MiB of text, front to end, 1 MiB a read; medians of {rounds}",
        "format", "image", "MB/s", "best", "dgfs to it, best to best", "client CPU s", "daemon CPU s", "whole machine s",
    )

    def best(name, state):
        return max(answer["bytes"] / answer["seconds"] for answer in answers[name, state])

    for (name, state), told in answers.items():
        rate = median([answer["bytes"] / answer["seconds"] for answer in told])
        ratio = best(DgfsZstd.name, state) / best(name, state) if (DgfsZstd.name, state) in answers else None
        cpu = [median([answer[key] for answer in told]) for key in ("cpu_seconds", "server", "machine")]
        table.add(name, state, rate / 1e6, best(name, state) / 1e6, ratio, *cpu)
    return table


def machine_seconds():
    """Processor time of everything that runs, the kernel's own threads included; other work, too."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def answer(asked, cleanup, programs, place, tree, ask, names):
    """All tables about one tree, printed as they come."""
    rows = []

    def show(table):
        table.print()
        rows.append(table.rows)

    niceness = ["nice", "-n", str(asked.nice)] if asked.nice else []
    built = made(cleanup, programs, place, tree, asked.level, niceness)
    forms = [form for form, _ in built]
    show(sizes(tree, built, asked.level))
    table, kib = random_files(ask, forms, tree, asked.rounds)
    show(table)
    for dwarfs, _ in made(cleanup, programs, place, tree, asked.level, niceness, [solid.Dwarfs]):
        show(solid.beside(tree, dwarfs, built, kib))
        cleanup.undo(dwarfs.work)
    for form in forms:
        if isinstance(form, DgfsZstd):
            show(bytes_read(ask, form, tree, names, place))
    for form in forms:
        cleanup.undo(form.work)
    source = cleanup.directory(os.path.join(place, "large"))
    need_space(place, LARGE_BYTES * 4)
    large = LargeFile(tree, source)
    built = made(cleanup, programs, os.path.join(place, "of-large"), large, asked.level, niceness, OF_LARGE)
    show(in_order(programs, built, asked.nice, asked.rounds))
    for form, _ in built:
        cleanup.undo(form.work)
    cleanup.undo(source)
    return rows
