#!/usr/bin/env python3
"""The latency of a reader while the configuration is reloaded, with changes of one of many other exports.

    bench/reload_latency.py --build build                  1,000 exports, on a file system in memory; prints a table
    bench/reload_latency.py --build build --rounds 40      with narrower intervals

One client reads 4 KiB at random from an export, and a reload every 100 ms changes another export: its description
("change"), or its image ("replace"). Every round measures in turn: "quiet", where nothing happens; "change";
"replace"; "quiet again", which shows the noise of the method; and "asked", where query-config is asked as often as a
reload would be made, which shows the cost of a command on the same thread. The differences are medians of the
differences within a round to the quiet state before. The reader's export has an iothread ("iothread"), or is served by
the threads of the daemon ("shared"), of which the first is the one that reloads.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.machine import describe  # noqa: E402
from harness.preparations import Monitor  # noqa: E402
from harness.tools import BenchError, Tools, find_tools, run_json  # noqa: E402

FOLDER = Path(__file__).resolve().parent
MEMORY = "/dev/shm"
PATIENCE_S = 60.0
WARM_UP_MS = 50
PAUSE_S = 0.1
IMAGE_BYTES = 16 << 20
STATES = ("quiet", "change", "replace", "quiet again", "asked")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--folder", default=MEMORY, help="where the images and the configuration are made")
    parser.add_argument("--exports", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ms", type=int, default=2000, help="length of a measurement")
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", nargs="+", choices=("iothread", "shared"), default=["iothread", "shared"])
    return parser.parse_args(arguments)


class Server:
    """A daemon with many exports in files of their own."""

    def __init__(self, tools: Tools, folder: Path, exports: int, thread: str):
        self.tools = tools
        self.folder = folder
        self.socket = folder / "nbd.socket"
        self.number = 0
        for name in ("disk.img", "other.img"):
            (folder / name).write_bytes(os.urandom(IMAGE_BYTES))
        (folder / "exports.d").mkdir(mode=0o755)
        self.write("main.toml", '[daemon]\nlog = { level = "warning" }\n'
                   f'[servers.default]\nlisten = ["unix:{self.socket}"]\n'
                   f'[chardevs.m]\nbackend = "socket"\naddr = {{ type = "unix", path = "{folder}/monitor" }}\n'
                   '[monitors.m]\nchardev = "m"\n[objects.readers]\nqom-type = "iothread"\n')
        iothread = 'iothread = "readers"\n' if thread == "iothread" else ""
        self.export("disk", "disk.img", iothread)
        for i in range(exports - 1):
            self.export(f"e{i}", "other.img")
        command = [tools.ours, "--config", str(folder / "main.toml")]
        self.process = subprocess.Popen(command)
        end = time.monotonic() + PATIENCE_S
        while not self.socket.exists() or not (folder / "monitor").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError("the daemon did not start")
            time.sleep(0.01)
        self.monitor = Monitor(folder / "monitor")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def export(self, name: str, image: str, more: str = "") -> None:
        self.write(f"exports.d/{name}.toml", f'{more}[node]\ndriver = "file"\nread-only = true\n'
                   f'filename = "{self.folder}/{image}"\n')

    def read(self, depth: int, ms: int) -> dict:
        return run_json([self.tools.nbdload, f"--socket={self.socket}", "--export=disk", "--workload=randread",
                         "--block=4K", f"--depth={depth}", "--check-every=0", "--allow-zeroes", "--latency",
                         f"--ms={ms}", f"--warmup-ms={WARM_UP_MS}"], PATIENCE_S)

    def act(self, state: str) -> float:
        """One reload, or one command. Returns its seconds."""
        self.number += 1
        if state == "change":
            self.export("e0", "other.img", f'description = "{self.number}"\n')
        elif state == "replace":
            self.export("e0", ("disk.img", "other.img")[self.number % 2])
        begin = time.monotonic()
        if state == "asked":
            self.monitor.execute("query-config")
        else:
            self.monitor.execute("config-reload")
        return time.monotonic() - begin

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Measurement:
    """All rounds of one server and depth."""

    def __init__(self, server: Server, depth: int, ms: int):
        self.server = server
        self.depth = depth
        self.ms = ms
        self.found: dict[str, list[dict]] = {state: [] for state in STATES}
        self.seconds: dict[str, list[float]] = {state: [] for state in STATES}

    def measure(self, state: str) -> None:
        results: list[dict] = []
        reader = threading.Thread(target=lambda: results.append(self.server.read(self.depth, self.ms)))
        reader.start()
        while reader.is_alive() and not state.startswith("quiet"):
            self.seconds[state].append(self.server.act(state))
            reader.join(PAUSE_S)
        reader.join()
        if not results or results[0]["errors"] != 0:
            raise BenchError(f"the reader failed: {results}")
        self.found[state].append(results[0])

    def round(self) -> None:
        for state in STATES:
            self.measure(state)

    def report(self, thread: str) -> None:
        print(f"{thread}, depth {self.depth}:")
        quiet = self.found["quiet"]
        for state in STATES:
            rows = self.found[state]
            columns = [f"{name} {statistics.median(one[key] for one in rows):8.1f}"
                       for name, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us"))]
            more = [one["p999_us"] - before["p999_us"] for one, before in zip(rows, quiet, strict=True)]
            took = self.seconds[state]
            times = f"  {statistics.median(took) * 1000:.0f} ms each, at most {max(took) * 1000:.0f}" if took else ""
            print(f"  {state:12} {'  '.join(columns)} us  p99.9 {statistics.median(more):+8.1f} us "
                  f"[{min(more):+.1f}, {max(more):+.1f}]{times}", flush=True)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    tools = find_tools(options.build.resolve(), options.ours)
    for thread in options.threads:
        with tempfile.TemporaryDirectory(prefix="reload-latency-", dir=options.folder) as name:
            folder = Path(name)
            if thread == options.threads[0]:
                machine = describe(tools, folder)
                print(", ".join(f"{what}: {machine[what]}" for what in ("processor", "processors", "kernel",
                                                                      "file system", "blockexportd")))
            server = Server(tools, folder, options.exports, thread)
            try:
                for depth in options.depths:
                    measurement = Measurement(server, depth, options.ms)
                    for _ in range(options.rounds):
                        measurement.round()
                    measurement.report(thread)
            finally:
                server.end()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchError, json.JSONDecodeError) as error:
        sys.exit(f"bench: {error}")
