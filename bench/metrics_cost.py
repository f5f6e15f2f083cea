#!/usr/bin/env python3
"""The costs of counters and of the page of metrics.

    bench/metrics_cost.py reads --build build --without OTHER/blockexportd   CPU per 4 KiB read, beside a daemon without
    bench/metrics_cost.py page --build build                                 time and size of a page

reads: two daemons serve the same image in memory, one after the other for a sixth of a second, in another order every
round, and are started anew now and then, because the layout of a process in memory alone makes a difference of a few
per cent. The result is the median of the ratios within a round. "again" is a second daemon of the same program as the
reference: its ratio shows the noise of the method.

page: a daemon with 1,000 exports and 64 clients, of which each has read something.
"""

import argparse
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from harness.machine import describe  # noqa: E402
from harness.preparations import Monitor  # noqa: E402
from harness.stats import ratio_of  # noqa: E402
from harness.tools import BenchError, CLIENT_CPU, SERVER_CPU, Tools, find_tools, pinned, run_json  # noqa: E402

MEMORY = "/dev/shm"
IMAGE_BYTES = 64 << 20
MEASURE_MS = 160
WARM_UP_MS = 40
PATIENCE_S = 30.0
ROUNDS_PER_START = 10
SEED = 20
READS = 100  # of each client of the page
REFERENCE = "without"
# Queue depths of one connection: a client that waits for each reply, and one that keeps the daemon busy.
DEPTHS = (1, 32)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reads", "page"))
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--without", help="a blockexportd without counters")
    parser.add_argument("--folder", default=MEMORY, help="where the image is made, 64 MiB")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--exports", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=64)
    return parser.parse_args(arguments)


class Daemon:
    """A blockexportd in a folder of its own."""

    def __init__(self, tools: Tools, program: str, folder: Path, arguments: list[str]):
        self.socket = folder / "socket"
        self.monitor_path = folder / "monitor"
        folder.mkdir()
        command = [program, "--chardev", f"socket,id=m,path={self.monitor_path},server=on,wait=off", "--monitor",
                   "chardev=m", "--nbd-server", f"addr.type=unix,addr.path={self.socket},max-connections=0",
                   *arguments]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(pinned(tools, SERVER_CPU, command), stderr=log)
        end = time.monotonic() + PATIENCE_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{program} did not start: {(folder / 'log').read_text()}")
            time.sleep(0.01)

    def is_ready(self) -> bool:
        try:
            Monitor(self.monitor_path)
            return True
        except OSError:
            return False

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def cpu_ns_per_read(tools: Tools, daemon: Daemon, depth: int) -> float:
    command = [tools.nbdload, f"--socket={daemon.socket}", "--export=disk", "--workload=randread", "--block=4K",
               f"--depth={depth}", "--connections=1", f"--ms={MEASURE_MS}", f"--warmup-ms={WARM_UP_MS}",
               f"--server-pid={daemon.process.pid}"]
    return run_json(pinned(tools, CLIENT_CPU, command), PATIENCE_S)["server_cpu_ns_per_op"]


def measure_reads(tools: Tools, options: argparse.Namespace, folder: Path) -> None:
    if options.without is None:
        raise BenchError("--without names a daemon without counters")
    image = folder / "image"
    subprocess.run([tools.image, f"--path={image}", f"--size={IMAGE_BYTES}"], check=True)
    arguments = ["--blockdev", f"file,node-name=disk,filename={image},read-only=on", "--export",
                 "nbd,id=disk,node-name=disk", "--reactors", "1"]
    programs = {REFERENCE: options.without, "again": options.without, "with": tools.ours}
    found = {(name, depth): [] for name in programs for depth in DEPTHS}
    chance = random.Random(SEED)
    for first in range(0, options.rounds, ROUNDS_PER_START):
        daemons = {}
        try:
            for name, program in programs.items():
                daemons[name] = Daemon(tools, program, folder / f"{name}-{first}", arguments)
            for _ in range(min(ROUNDS_PER_START, options.rounds - first)):
                cells = list(found)
                chance.shuffle(cells)
                for name, depth in cells:
                    found[name, depth].append(cpu_ns_per_read(tools, daemons[name], depth))
        finally:
            for daemon in daemons.values():
                daemon.end()
    for (name, depth), values in found.items():
        ratio = ratio_of(values, found[REFERENCE, depth])
        print(f"depth {depth:2}, {name + ':':9} {statistics.median(values):7.0f} ns per read, {ratio.median:.3f} "
              f"[{ratio.low:.3f}, {ratio.high:.3f}] of {REFERENCE}", flush=True)


def hold_client(path: Path, export: str) -> socket.socket:
    """A client that has read something, and is idle."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.settimeout(PATIENCE_S)
    client.recv(18, socket.MSG_WAITALL)
    name = export.encode()
    client.sendall((3).to_bytes(4, "big") + b"IHAVEOPT" + (1).to_bytes(4, "big") + len(name).to_bytes(4, "big") + name)
    client.recv(10, socket.MSG_WAITALL)
    for cookie in range(READS):
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, cookie, 4096 * cookie, 4096))
        if len(client.recv(16 + 4096, socket.MSG_WAITALL)) != 16 + 4096:
            raise BenchError("a read failed")
    return client


def scrape(path: Path) -> tuple[float, bytes]:
    """Milliseconds until the page was received, and the page."""
    began = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.settimeout(PATIENCE_S)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        parts = []
        while part := client.recv(1 << 20):
            parts.append(part)
    elapsed_ms = (time.perf_counter() - began) * 1000
    head, body = b"".join(parts).split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200 ") or int(re.search(rb"Content-Length: (\d+)", head)[1]) != len(body):
        raise BenchError(f"no page: {head!r}")
    return elapsed_ms, body


def measure_page(tools: Tools, options: argparse.Namespace, folder: Path) -> None:
    page = folder / "metrics"
    arguments = ["--metrics", f"unix:{page},per-client=on"]
    for number in range(options.exports):
        arguments += ["--blockdev", f"null-co,node-name=node{number},size=1048576", "--export",
                      f"nbd,id=export{number},node-name=node{number}"]
    daemon = Daemon(tools, tools.ours, folder / "page", arguments)
    clients = []
    try:
        for number in range(options.clients):
            clients.append(hold_client(daemon.socket, f"node{number}"))
        pages = [scrape(page) for _ in range(options.rounds)]
        times = sorted(elapsed_ms for elapsed_ms, _ in pages)
        body = pages[-1][1]
        held = re.search(rb'blockexport_server_clients\{server="default"\} (\d+)', body)[1]
        print(f"{options.exports} exports, {int(held)} clients: {len(body)} bytes, {len(body.splitlines())} lines, "
              f"{statistics.median(times):.1f} ms, at most {times[-1]:.1f} ms of {len(times)} pages")
    finally:
        for client in clients:
            client.close()
        daemon.end()


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    tools = find_tools(options.build.resolve(), options.ours)
    with tempfile.TemporaryDirectory(prefix="metrics-cost-", dir=options.folder) as name:
        folder = Path(name)
        machine = describe(tools, folder)
        print(", ".join(f"{what}: {machine[what]}" for what in ("processor", "processors", "kernel", "blockexportd")))
        (measure_reads if options.what == "reads" else measure_page)(tools, options, folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
