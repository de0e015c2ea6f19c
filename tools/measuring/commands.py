"""Running programs, and what they cost."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
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


def timed(*words, accept=(0,), shell=False):
    """Runs a program and measures it, its children included."""
    with tempfile.TemporaryFile() as output:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        program = words[0] if shell else [str(word) for word in words]
        child = subprocess.Popen(
            program, stdin=subprocess.DEVNULL, stdout=output, stderr=output, shell=shell, start_new_session=True
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            # With all it started, or what it writes to could not be unmounted.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        wall = time.monotonic() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in accept:
            output.seek(0)
            said = output.read().decode(errors="replace").strip().splitlines()[-3:]
            raise Failed(f"{' '.join(map(str, words))}: exit code {child.returncode}: {' / '.join(said)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss / 1024)


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


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0
