"""The compiled programs: dgfs itself, and those of benches/ that are clients and servers of measurements."""

import json
import os
import subprocess

from .commands import Failed, set_priority

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCHES = ["reader", "null_file_system", "simulated_disk", "scale"]


def target_directory():
    return os.path.abspath(os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target")))


class Programs:
    """Paths of the programs, built if need be. DGFS in the environment names another dgfs."""

    def __init__(self, needed=("dgfs", "reader", "null_file_system")):
        built = {}
        wanted = [name for name in needed if name in BENCHES]
        if wanted:
            selection = [word for name in wanted for word in ("--bench", name)]
            built.update(self.build("bench", "--no-run", *selection))
        self.dgfs = os.environ.get("DGFS")
        if self.dgfs is None and "dgfs" in needed:
            self.dgfs = self.build("build", "--release", "--bin", "dgfs")["dgfs"]
        self.paths = built

    @staticmethod
    def build(*words):
        command = ["cargo", *words, "--quiet", "--message-format=json-render-diagnostics"]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: exit code {done.returncode}")
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}

    def __getitem__(self, name):
        return self.paths[name]

    def read(self, *words, cpus=(), counts=(), times=None, niceness=0, prefix=()):
        """Runs the reader and gives its answer."""
        command = [*prefix, self.paths["reader"], *map(str, words)]
        if cpus:
            command += ["--cpus", ",".join(map(str, cpus))]
        for path in counts:
            command += ["--counts", path]
        if times:
            command += ["--times", times]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, preexec_fn=lambda: set_priority(niceness)
        )
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
        if answer["errors"]:
            raise Failed(f"{answer['errors']} of {answer['operations']} reads failed: {done.stderr.strip()}")
        return answer
