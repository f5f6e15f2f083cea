#!/usr/bin/env python3
"""The cost of dirty bitmaps for a 4 KiB write: one process, whose node is brought from one state to the next.

    bench/bitmap_cost.py --build build                   prints a line for each number of connections and each state
    bench/bitmap_cost.py --build build --rounds 200      with narrower intervals
    bench/bitmap_cost.py --build build --format qcow2    in an image that has bitmaps, with the store beside it

A ratio of a few per cent drowns in the differences between two processes and between two seconds. So all states are
measured in one process, on one image in memory, for a sixth of a second at a time, and in another order every round;
the result is the median of the ratios within a round. The state "again" equals the state that all are compared with:
its ratio shows the noise of the method.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.machine import describe  # noqa: E402
from harness.preparations import GRANULARITY, Monitor  # noqa: E402
from harness.stats import Ratio, ratio_of  # noqa: E402
from harness.tools import BenchError, CLIENT_CPU, SERVER_CPU, Tools, find_tools, pinned, run_json  # noqa: E402

FOLDER = Path(__file__).resolve().parent
MEMORY = "/dev/shm"
IMAGE_BYTES = 64 << 20
QUEUE_DEPTH = 32
MEASURE_MS = 160
WARM_UP_MS = 40
PATIENCE_S = 30.0
SEED = 20

# State: number of dirty bitmaps, and whether the node has a bitmap store (a node of its own, over the same image).
STATES = {"none": (0, False), "again": (0, False), "1 bitmap": (1, False), "4 bitmaps": (4, False),
          "1 bitmap in a store": (1, True)}
REFERENCE = "none"
CONNECTIONS = (1, 4)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--folder", default=MEMORY, help="where the image is made, 64 MiB")
    parser.add_argument("--format", choices=("raw", "qcow2"), default="raw", help="of the image; qcow2 is allocated")
    parser.add_argument("--operations", type=int, help=f"writes at a time, instead of {MEASURE_MS} ms")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    return parser.parse_args(arguments)


class Daemon:
    """A blockexportd with one export; its node is made anew for the states with a store."""

    def __init__(self, tools: Tools, folder: Path, image_format: str):
        self.tools = tools
        self.folder = folder
        self.image = folder / "image"
        self.format = image_format
        subprocess.run([tools.image, f"--path={self.image}", f"--size={IMAGE_BYTES}"], check=True)
        if image_format == "qcow2":
            raw = self.image.rename(folder / "raw")
            if tools.qemu_img is None:
                raise BenchError("qemu-img is not installed")
            subprocess.run([tools.qemu_img, "convert", "-f", "raw", "-O", "qcow2", "-S", "0", str(raw),
                            str(self.image)], check=True)
            raw.unlink()
        self.socket = folder / "socket"
        command = [tools.ours, "--chardev", f"socket,id=m,path={folder}/monitor,server=on,wait=off", "--monitor",
                   "chardev=m", "--nbd-server", f"addr.type=unix,addr.path={self.socket},max-connections=0"]
        self.process = subprocess.Popen(pinned(tools, SERVER_CPU, command), stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError("blockexportd did not start")
            time.sleep(0.01)
        self.monitor = Monitor(folder / "monitor")
        self.has_store: bool | None = None

    def enter(self, bitmaps: int, has_store: bool) -> None:
        """Brings the export's node into a state."""
        if has_store != self.has_store:
            self.change_node(has_store)
        for number in range(bitmaps):
            self.monitor.execute("block-dirty-bitmap-add", node="disk", name=f"bitmap{number}",
                                 granularity=GRANULARITY, persistent=has_store)

    def leave(self, bitmaps: int) -> None:
        for number in range(bitmaps):
            self.monitor.execute("block-dirty-bitmap-remove", node="disk", name=f"bitmap{number}")

    def change_node(self, has_store: bool) -> None:
        if self.has_store is not None:
            self.monitor.events.clear()
            self.monitor.execute("block-export-del", id="e", mode="hard")
            self.monitor.wait_event("BLOCK_EXPORT_DELETED")
            self.monitor.execute("blockdev-del", node_name="disk")
        store = {"bitmap_store": {"filename": str(self.folder / "store")}} if has_store else {}
        file = {"driver": "file", "filename": str(self.image)}
        node = file if self.format == "raw" else {"driver": "qcow2", "file": file}
        self.monitor.execute("blockdev-add", node_name="disk", **node, **store)
        self.monitor.execute("block-export-add", type="nbd", id="e", node_name="disk", name="disk", writable=True)
        self.has_store = has_store

    def measure(self, connections: int, operations: int | None) -> float:
        """CPU of the server in nanoseconds per write."""
        length = f"--ms={MEASURE_MS}" if operations is None else f"--ops={operations}"
        command = [self.tools.nbdload, f"--socket={self.socket}", "--export=disk", "--workload=randwrite",
                   "--block=4K", f"--depth={QUEUE_DEPTH // connections}", f"--connections={connections}",
                   length, f"--warmup-ms={WARM_UP_MS}", f"--server-pid={self.process.pid}"]
        cpu_ns = run_json(pinned(self.tools, CLIENT_CPU, command), PATIENCE_S)["server_cpu_ns_per_op"]
        if cpu_ns == 0:
            raise BenchError("no processor time of the server was counted: measure for longer")
        return cpu_ns

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def compare(daemon: Daemon, connections: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """The CPU per write of each state, round by round."""
    found = {name: [] for name in STATES}
    order = list(STATES)
    chance = random.Random(SEED)
    for _ in range(options.rounds):
        chance.shuffle(order)
        for name in order:
            bitmaps, has_store = STATES[name]
            daemon.enter(bitmaps, has_store)
            found[name].append(daemon.measure(connections, options.operations))
            daemon.leave(bitmaps)
    return found


def line_of(name: str, connections: int, cpu_ns: list[float], ratio: Ratio) -> str:
    middle = sorted(cpu_ns)[len(cpu_ns) // 2]
    return (f"{connections} connections, {name + ':':20} {middle:7.0f} ns per write, {ratio.median:.3f} "
            f"[{ratio.low:.3f}, {ratio.high:.3f}] of {REFERENCE}")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    tools = find_tools(options.build.resolve(), options.ours)
    with tempfile.TemporaryDirectory(prefix="bitmap-cost-", dir=options.folder) as folder:
        machine = describe(tools, Path(folder))
        print(", ".join(f"{what}: {machine[what]}" for what in ("processor", "processors", "kernel", "blockexportd")))
        daemon = Daemon(tools, Path(folder), options.format)
        try:
            for connections in options.connections:
                found = compare(daemon, connections, options)
                for name, cpu_ns in found.items():
                    print(line_of(name, connections, cpu_ns, ratio_of(cpu_ns, found[REFERENCE])), flush=True)
        finally:
            daemon.end()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
