#!/usr/bin/env python3
"""What polling before sleeps costs where it does not pay: the daemon with and without it, in turn.

    bench/polling_cost.py --build build [--clients 1000] [--seconds 10] [--rounds 9] [--kinds idle seldom quota]

Prints the median of the ratios within a round, polling to asleep, with its 95 % interval: of the daemon's CPU time for
crowds of clients, and of requests per second for a single client that sends one request at a time. Kinds:

    idle    no client of the crowd asks
    seldom  each client of the crowd reads 4 KiB once a second, at a time of its own
    quota   the daemon is in a cgroup with half a processor; needs the right to make one
"""

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness.servers import allow_many_files
from harness.stats import ratio_of

IMAGE_BYTES = 64 << 20
READ_BYTES = 4096
REPLY_BYTES = 16 + READ_BYTES
START_PATIENCE_S = 10.0
PROCESSORS = os.sched_getaffinity(0)


def connect(path: Path) -> socket.socket:
    """A client of the export in its transmission phase, with simple replies."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(path))
    client.recv(18, socket.MSG_WAITALL)
    name = b"disk"
    client.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
    client.recv(10, socket.MSG_WAITALL)
    client.setblocking(False)
    return client


def pin_apart(command: list) -> list:
    """The command on the second processor, with this process on the first, so that no scheduler chooses anew."""
    processors = sorted(PROCESSORS)
    os.sched_setaffinity(0, processors[:1])
    return ["taskset", "--cpu-list", str(processors[-1]), *command]


def ask(client: socket.socket, chance: random.Random) -> None:
    offset = chance.randrange(IMAGE_BYTES // READ_BYTES) * READ_BYTES
    client.send(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, offset, READ_BYTES))


def be_a_crowd(clients: list[socket.socket], asks: bool, seconds: float) -> None:
    chance = random.Random(1)
    end = time.monotonic() + seconds
    if not asks:
        time.sleep(seconds)
        return
    poll = select.epoll()
    by_fd = {client.fileno(): client for client in clients}
    for client in clients:
        poll.register(client, select.EPOLLIN)
    begin = time.monotonic()
    due = sorted((begin + chance.random(), number) for number in range(len(clients)))
    position = 0
    while (now := time.monotonic()) < end:
        while due[position][0] <= now:
            when, number = due[position]
            ask(clients[number], chance)
            due[position] = (when + 1, number)
            position = (position + 1) % len(due)
        for fd, _ in poll.poll(max(0.0, due[position][0] - now)):
            with contextlib.suppress(BlockingIOError):
                by_fd[fd].recv(REPLY_BYTES)


@contextlib.contextmanager
def running(program: Path, scratch: Path, polling: str, group: Path | None = None) -> Iterator[tuple[int, Path]]:
    """The process id of a daemon that serves the image, and its socket. `group`: the cgroup that it joins."""
    path = scratch / "socket"
    path.unlink(missing_ok=True)
    command = [str(program), "--polling", polling, "--blockdev", f"file,node-name=disk,filename={scratch / 'image'}",
               "--nbd-server", f"addr.type=unix,addr.path={path},max-connections=0",
               "--export", "nbd,id=e,node-name=disk"]
    if group:
        command = ["sh", "-c", f"echo $$ > '{group / 'cgroup.procs'}' && exec \"$@\"", "sh", *command]
    with subprocess.Popen(pin_apart(command)) as daemon:
        try:
            deadline = time.monotonic() + START_PATIENCE_S
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield daemon.pid, path
        finally:
            daemon.send_signal(signal.SIGTERM)


def crowd_cost(given: argparse.Namespace, scratch: Path, polling: str, asks: bool) -> float:
    """The CPU time of the daemon in seconds."""
    with running(given.build / "blockexportd", scratch, polling) as (pid, path):
        crowd = [connect(path) for _ in range(given.clients)]
        time.sleep(0.5)
        clock = (~pid << 3) | 2
        before = time.clock_gettime_ns(clock)
        be_a_crowd(crowd, asks, given.seconds)
        used = time.clock_gettime_ns(clock) - before
        for client in crowd:
            client.close()
        return used / 1e9


@contextlib.contextmanager
def half_a_processor() -> Iterator[Path]:
    """A cgroup with that quota."""
    roots = [root for root in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")) if (root / "cgroup.procs").exists()]
    group = roots[0] / f"polling-cost-{os.getpid()}"
    group.mkdir()
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text("50000 100000")
        else:
            (group / "cpu.cfs_quota_us").write_text("50000")
        yield group
    finally:
        group.rmdir()


def rate_in_a_quota(given: argparse.Namespace, scratch: Path, polling: str) -> float:
    """Reads of 4 KiB per second."""
    with half_a_processor() as group:
        with running(given.build / "blockexportd", scratch, polling, group) as (_, path):
            load = [str(given.build / "bench/nbdload"), f"--socket={path}", "--export=disk", "--workload=randread",
                    "--block=4K", "--depth=1", f"--ms={given.seconds * 1000:.0f}", "--warmup-ms=500"]
            return json.loads(subprocess.run(load, check=True, capture_output=True).stdout)["ops_per_second"]


KINDS = {
    "idle": ("CPU seconds of an idle crowd", lambda *rest: crowd_cost(*rest, asks=False)),
    "seldom": ("CPU seconds of a crowd that asks once a second", lambda *rest: crowd_cost(*rest, asks=True)),
    "quota": ("requests per second with half a processor", rate_in_a_quota),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    allow_many_files()
    scratch = Path(tempfile.mkdtemp(prefix="bxd-polling-"))
    try:
        subprocess.run([str(given.build / "bench/bench_image"), f"--path={scratch / 'image'}", f"--size={IMAGE_BYTES}"],
                       check=True, stdout=subprocess.DEVNULL)
        for kind in given.kinds:
            name, measure = KINDS[kind]
            values: dict[str, list[float]] = {"auto": [], "off": []}
            for number in range(given.rounds):
                for polling in ("auto", "off") if number % 2 == 0 else ("off", "auto"):
                    values[polling].append(measure(given, scratch, polling))
            ratio = ratio_of(values["auto"], values["off"])
            shown = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "both nothing"
            medians = ", ".join(f"{key} {statistics.median(used):.6g}" for key, used in values.items())
            print(f"{kind}: {name}: {medians}; polling/asleep {shown}", flush=True)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
