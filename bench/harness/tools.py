"""Locations of the programs: ours in the build tree, the peers on the search path; and their execution."""

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.peers import Peers, installed

SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
CLIENT_CPU = 1
SERVER_CPU = 0


class BenchError(Exception):
    """A measurement that failed or is not reliable."""


@dataclass(frozen=True)
class Tools:
    """Paths of every program; None where a program is not there."""

    nbdload: str
    control: str
    image: str
    malloc_count: str | None
    ours: str | None
    qsd: str | None
    nbdkit: str | None
    nbd_server: str | None
    nbdcopy: str | None
    qemu_img: str | None
    taskset: str | None
    strace: str | None
    certtool: str | None
    perf: str | None
    blockexport: str | None
    peers: str  # description of the peers

    @property
    def can_pin(self) -> bool:
        return self.taskset is not None and len(os.sched_getaffinity(0)) > max(CLIENT_CPU, SERVER_CPU)


def on_path(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + SYSTEM_FOLDERS)


def find_tools(build: Path, ours: str | None = None, qsd: str | None = None, peers: Peers = installed()) -> Tools:
    """The tools of a build tree and the peers; the benchmark's own programs must have been built."""

    def built(name: str) -> str | None:
        path = build / name
        return str(path) if os.access(path, os.X_OK) else None

    def peer(name: str) -> str | None:
        return peers.find(name, on_path(name))

    own = {name: built(f"bench/{name}") for name in ("nbdload", "bench_control", "bench_image")}
    missing = [name for name, path in own.items() if path is None]
    if missing:
        raise BenchError(f"not built: {', '.join(missing)}: cmake --build {build} --target blockexport_bench")
    return Tools(
        nbdload=own["nbdload"],
        control=own["bench_control"],
        image=own["bench_image"],
        malloc_count=built("bench/libmalloc_count.so"),
        ours=ours or built("blockexportd") or built("src/daemon/blockexportd"),
        qsd=qsd or peer("qemu-storage-daemon"),
        nbdkit=peer("nbdkit"),
        nbd_server=peer("nbd-server"),
        nbdcopy=peer("nbdcopy"),
        qemu_img=peer("qemu-img"),
        taskset=on_path("taskset"),
        strace=on_path("strace"),
        certtool=on_path("certtool"),
        perf=on_path("perf"),
        blockexport=built("blockexport"),
        peers=peers.what,
    )


@functools.cache
def knows_option(program: str, option: str) -> bool:
    """Whether the program's --help names the option."""
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=10, check=False)
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", done.stdout + done.stderr) is not None


def pinned(tools: Tools, cpu: int | None, command: list[str]) -> list[str]:
    """`command`, bound to one processor if requested and possible."""
    if cpu is None or not tools.can_pin:
        return command
    return [tools.taskset, "-c", str(cpu), *command]


def run_json(command: list[str], timeout_s: float, before_start: Callable[[], None] | None = None) -> dict:
    """Runs a program of the benchmark that prints one line of JSON; any error in it is a BenchError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False,
                              preexec_fn=before_start)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"no result within {timeout_s:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if not lines:
        said = done.stderr.strip().splitlines()
        raise BenchError(said[-1].removeprefix("bench: ") if said else "no result")
    result = json.loads(lines[-1])
    if done.returncode != 0 or result.get("errors", 0) != 0:
        raise BenchError(result.get("breach") or f"{result.get('errors')} failures")
    return result
