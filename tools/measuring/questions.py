"""The questions that every format is asked, with the same answers' names for all of them."""

import os
import subprocess
import time

from . import commands
from .commands import Failed
from .devices import Reads

FIRST, SAMPLE, HOT_ROUNDS = 100, 5000, 4

LISTINGS = {
    "find": ["find", "."],
    "find -printf %s": ["find", ".", "-printf", "%s %p\\n"],
    "ls -lR": ["ls", "-lR", "."],
}


class Questions:
    """Asks one format. `names` is a file with the sample: the first touch, the cold files, the index-warm ones."""

    def __init__(self, programs, names, count, niceness):
        self.programs, self.names, self.niceness = programs, names, niceness
        self.first = min(FIRST, count // 3)
        self.sample = min(SAMPLE, (count - self.first) // 2)

    def read(self, form, part, clients=1, rounds=1, per_file=False):
        """Reads a part of the sample; with the device's reads, and the processor time of both sides for a file."""
        skip, count = part
        words = ["files", self.names, form.mount_point, "--skip", skip, "--count", count]
        words += ["--clients", clients, "--rounds", rounds]
        self.place(form, clients)
        reads = Reads(form.devices)
        served = commands.cpu_seconds(form.pid) if form.pid else 0
        counts = [device.stat for device in form.devices] if per_file else ()
        cpus = [0] if clients == 1 else range(clients)
        answer = self.programs.read(*words, cpus=cpus, counts=counts, niceness=self.niceness)
        files = answer["operations"]
        answer["device_reads"], answer["kib"] = (value / files for value in reads.since())
        served = commands.cpu_seconds(form.pid) - served if form.pid else 0
        answer["client_us"], answer["server_us"] = answer["cpu_seconds"] / files * 1e6, served / files * 1e6
        return answer

    def place(self, form, clients):
        """One client has its server on its own processor; two have one each, and the servers run where they like."""
        if form.pid:
            everywhere = set(range(os.cpu_count() or 1))
            commands.bind(form.pid, {0} if clients == 1 else everywhere)

    def list_all(self, form, command):
        self.place(form, 1)
        reads = Reads(form.devices)
        begun = time.monotonic()
        # A pipe, as a user would have: some programs see through /dev/null.
        with subprocess.Popen(
            LISTINGS[command],
            cwd=form.mount_point,
            stdout=subprocess.PIPE,
            preexec_fn=self.prepare_client,
        ) as child:
            while child.stdout.read(1 << 20):
                pass
        if child.returncode != 0:
            raise Failed(f"{form.name}: {command}: exit code {child.returncode}")
        return {"seconds": time.monotonic() - begun, "device_reads": reads.since()[0]}

    def prepare_client(self):
        commands.set_priority(self.niceness)
        os.sched_setaffinity(0, {0})

    def requests(self, form, work):
        """The requests of some work, where the daemon counts them."""
        if not hasattr(form, "requests"):
            return work(), None
        before = form.requests()["requests"]
        answer = work()
        after = form.requests()["requests"]
        return answer, {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}

    def ask(self, form):
        """All questions once; what was measured by name."""
        answers = {"load": commands.load()}
        first, cold = (0, self.first), (self.first, self.sample)
        warm = (self.first + self.sample, self.sample)

        answers["mount"] = form.mount()
        answers["first"] = self.read(form, first, per_file=True)
        form.mount()
        answers["cold"], answers["cold requests"] = self.requests(form, lambda: self.read(form, cold))
        answers["resident after cold"] = form.resident_mib()
        self.read(form, cold)
        answers["hot 1"], answers["hot requests"] = self.requests(
            form, lambda: self.read(form, cold, rounds=HOT_ROUNDS)
        )
        answers["hot 2"] = self.read(form, cold, clients=2, rounds=HOT_ROUNDS)
        for command in LISTINGS:
            form.mount()
            cold_list, requests = self.requests(form, lambda: self.list_all(form, command))
            answers[f"{command} cold"], answers[f"{command} requests"] = cold_list, requests
            answers[f"{command} warm"] = self.list_all(form, command)
            if command == "find -printf %s":
                answers["warm"] = self.read(form, warm, per_file=True)
        answers["resident"] = form.resident_mib()
        form.unmount()
        return answers
