"""Running programs, and what they cost."""

import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass


class Failed(Exception):
    """A program that ended badly, with what it said."""


@dataclass
class Cost:
    """Seconds, and the greatest memory of one process in MiB."""

    wall: float
    cpu: float
    peak_mib: float


def run(*words, quiet=True, accept=(0,), **options):
    """Runs a program to its end and gives its standard output."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=quiet, text=True, stdin=subprocess.DEVNULL, check=False, **options)
    if done.returncode not in accept:
        said = (done.stderr or done.stdout or "").strip().splitlines()[-3:]
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}: {' / '.join(said)}")
    return done.stdout


TIME = "/usr/bin/time"


def timed(*words, accept=(0,), shell=False):
    """Runs a program and measures it, its children included.

    Through time(1), since a child of ours begins with our own memory as its peak.
    """
    program = ["sh", "-c", words[0]] if shell else [str(word) for word in words]
    with tempfile.NamedTemporaryFile("r") as answer, tempfile.TemporaryFile() as output:
        command = [TIME, "--quiet", "-o", answer.name, "-f", "%e %U %S %M", *program]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = child.wait()
        except BaseException:
            # With all it started, or what it writes to could not be unmounted.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        if code not in accept:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()[-3:]
            raise Failed(f"{' '.join(map(str, words))}: exit code {code}: {' / '.join(said)}")
        wall, user, system, peak_kib = map(float, answer.read().split())
    return Cost(wall, user + system, peak_kib / 1024)


def has(program):
    paths = os.environ.get("PATH", "").split(":") + ["/usr/sbin", "/sbin"]
    return any(os.access(os.path.join(path, program), os.X_OK) for path in paths)


def need_root(what):
    if os.geteuid() != 0:
        sys.exit(f"{what} attaches loop devices and mounts: run it as root")


def load():
    return os.getloadavg()[0]


def set_priority(niceness):
    """Runs in a child before its program."""
    if niceness:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        except PermissionError:
            pass


def bind(pid, processors):
    """Binds a process with all its threads."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), processors)
    except (FileNotFoundError, ProcessLookupError):
        pass


def cpu_seconds(pid):
    """Processor time of all threads of a process that lives."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total / 1e9


def resident_mib(pid, peak=False):
    """Memory that a process has now, or had at most, in MiB."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(wanted):
                return int(line.split()[1]) / 1024
    return 0.0
