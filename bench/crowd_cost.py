#!/usr/bin/env python3
"""CPU time of the daemon for many clients that seldom ask: with polling before sleeps and without, in turn.

    bench/crowd_cost.py --build build [--clients 1000] [--seconds 10] [--rounds 9]

Prints for each kind of crowd the median of the ratios within a round, with its 95 % interval. "idle": no client asks;
"once a second": each client reads 4 KiB once a second, at a time of its own.
"""

import argparse
import contextlib
import os
import random
import select
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
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


def measure(program: Path, scratch: Path, polling: str, clients: int, asks: bool, seconds: float) -> float:
    """The CPU time of the daemon in seconds."""
    path = scratch / "socket"
    path.unlink(missing_ok=True)
    command = [program, "--polling", polling, "--blockdev", f"file,node-name=disk,filename={scratch / 'image'}",
               "--nbd-server", f"addr.type=unix,addr.path={path},max-connections=0",
               "--export", "nbd,id=e,node-name=disk"]
    with subprocess.Popen(pin_apart(command)) as daemon:
        try:
            deadline = time.monotonic() + START_PATIENCE_S
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            crowd = [connect(path) for _ in range(clients)]
            time.sleep(0.5)
            clock = (~daemon.pid << 3) | 2
            before = time.clock_gettime_ns(clock)
            be_a_crowd(crowd, asks, seconds)
            used = time.clock_gettime_ns(clock) - before
            for client in crowd:
                client.close()
            return used / 1e9
        finally:
            daemon.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    allow_many_files()
    scratch = Path(tempfile.mkdtemp(prefix="bxd-crowd-"))
    try:
        with open(scratch / "image", "wb") as image:
            image.write(os.urandom(1 << 20) * (IMAGE_BYTES >> 20))
        for name, asks in (("idle", False), ("once a second", True)):
            values: dict[str, list[float]] = {"auto": [], "off": []}
            for number in range(given.rounds):
                for polling in ("auto", "off") if number % 2 == 0 else ("off", "auto"):
                    values[polling].append(measure(given.build / "blockexportd", scratch, polling, given.clients, asks,
                                                   given.seconds))
            ratio = ratio_of(values["auto"], values["off"])
            shown = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else "no CPU time at all"
            medians = ", ".join(f"{key} {statistics.median(used) / given.seconds:.4%}" for key, used in values.items())
            print(f"{given.clients} clients, {name}: {medians} of a processor; polling/asleep {shown}", flush=True)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
