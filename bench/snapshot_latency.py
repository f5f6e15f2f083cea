#!/usr/bin/env python3
"""The latency of a reader while an internal snapshot of a qcow2 image is taken and deleted.

    bench/snapshot_latency.py --build build                  an image of 1 TiB in memory; prints a table
    bench/snapshot_latency.py --build build --rounds 20      with narrower intervals
    bench/snapshot_latency.py --build build --folder /var/tmp --servers ours qsd

The image has all its L2 tables (preallocation=metadata). One client reads 4 KiB at random, at depth 1 and 8, over an
export with an iothread of its own, which leaves the control reactor to the command. Every round measures states of one
process in turn: "quiet"; "around", from before a snapshot to behind it; "taken", a window within the time of
blockdev-snapshot-internal-sync; "quiet again"; "deleted", a window within that of the deletion; and "burner", where
nothing happens but another process uses as much of a processor as a snapshot does. The ratios are medians of ratios
within a round, to the quiet state before. "quiet again" shows the noise of the method, and "burner" what the processors
of this machine alone leave to the reader.

A window that does not lie within its command is measured again. A server that answers nothing during the command has no
such window: then the state "around" alone is shown, whose longest read (max) tells how long it answers nothing.
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
from harness.peers import newest  # noqa: E402
from harness.preparations import Monitor  # noqa: E402
from harness.stats import ratio_of  # noqa: E402
from harness.tools import BenchError, Tools, find_tools, run_json  # noqa: E402

FOLDER = Path(__file__).resolve().parent
MEMORY = "/dev/shm"
PATIENCE_S = 60.0
QUIET_MS = 600
WARM_UP_MS = 30
# The window is this part of the command that was measured first; nbdload takes time to start.
WINDOW_PART = 0.75
ATTEMPTS = 4
NAME = "moment"
# qemu-storage-daemon 11.1.3 with an iothread ends by a failed assertion when a snapshot is taken beside its reader.
SERVERS = ("ours", "ours-shared", "qsd", "qsd-iothread")
COPY_BYTES = 64 << 10
STATES = ("quiet", "taken", "quiet again", "deleted", "burner", "around")
# The reader of "around" runs for so long before the command, and about as long behind it.
MARGIN_MS = 150


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--qsd", help="the qemu-storage-daemon to measure (default: the newest there is)")
    parser.add_argument("--folder", default=MEMORY, help="where the image is made, about 300 MiB")
    parser.add_argument("--size", default="1T", help="of the disk")
    parser.add_argument("--span", default="16G", help="the part of the disk that the reader reads")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS[:3]),
                        help="ours and qsd-iothread have an iothread, the others none")
    return parser.parse_args(arguments)


class Server:
    """A storage daemon with the image; `kind` is of SERVERS."""

    def __init__(self, tools: Tools, kind: str, folder: Path, image: Path):
        self.tools = tools
        self.socket = folder / f"{kind}.socket"
        program = tools.qsd if kind.startswith("qsd") else tools.ours
        iothread = ["--object", "iothread,id=readers"] if kind in ("ours", "qsd-iothread") else []
        export = "type=nbd,id=e,node-name=disk,name=disk,writable=on"
        command = [program, "--chardev", f"socket,id=m,path={folder}/{kind}.monitor,server=on,wait=off",
                   "--monitor", "chardev=m", *iothread,
                   "--blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={image}",
                   "--nbd-server", f"addr.type=unix,addr.path={self.socket}",
                   "--export", export + (",iothread=readers" if iothread else "")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{kind} did not start")
            time.sleep(0.01)
        self.monitor = Monitor(folder / f"{kind}.monitor")

    def read(self, depth: int, span: str, ms: int) -> dict:
        return run_json([self.tools.nbdload, f"--socket={self.socket}", "--export=disk", "--workload=randread",
                         "--block=4K", f"--depth={depth}", f"--span={span}", "--check-every=0", "--allow-zeroes",
                         "--latency", f"--ms={ms}", f"--warmup-ms={WARM_UP_MS}"], PATIENCE_S)

    def snapshot(self, verb: str) -> float:
        """Takes or deletes the snapshot. Returns the seconds that it took."""
        begin = time.monotonic()
        if verb == "taken":
            self.monitor.execute("blockdev-snapshot-internal-sync", device="disk", name=NAME)
        else:
            self.monitor.execute("blockdev-snapshot-delete-internal-sync", device="disk", name=NAME)
        return time.monotonic() - begin

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Burner:
    """A process that copies memory to a file in pieces of 64 KiB, for a share of the time."""

    def __init__(self, folder: Path, share: float):
        code = ("import os,sys,time\n"
                f"share=min(1.0,{share})\n"
                f"file=os.open({str(folder / 'burned')!r},os.O_RDWR|os.O_CREAT)\n"
                f"block=bytes({COPY_BYTES})\n"
                "while True:\n"
                "    begin=time.monotonic()\n"
                "    while time.monotonic()-begin<0.01*share: os.pwrite(file,block,0); sum(block[:2048])\n"
                "    if share<1: time.sleep(0.01*(1-share))\n")
        self.process = subprocess.Popen([sys.executable, "-c", code])

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Measurement:
    """All rounds of one server and depth."""

    def __init__(self, server: Server, depth: int, options: argparse.Namespace, folder: Path):
        self.server = server
        self.depth = depth
        self.span = options.span
        self.folder = folder
        self.found: dict[str, list[dict]] = {state: [] for state in STATES}
        self.command_s: dict[str, list[float]] = {"taken": [], "deleted": []}
        self.share = 1.0
        self.stalls = False
        self.windows_ms = self.first_windows()

    def first_windows(self) -> dict[str, int]:
        windows = {}
        for verb in ("taken", "deleted"):
            before = self.server.cpu_seconds()
            seconds = self.server.snapshot(verb)
            if verb == "taken":
                self.share = min(1.0, (self.server.cpu_seconds() - before) / seconds)
            windows[verb] = max(WARM_UP_MS, int(seconds * WINDOW_PART * 1000) - WARM_UP_MS)
        return windows

    def during(self, verb: str) -> tuple[dict, float]:
        """A window within the command. Its result and the seconds of the command."""
        seconds = 0.0

        def command() -> None:
            nonlocal seconds
            seconds = self.server.snapshot(verb)

        task = threading.Thread(target=command)
        task.start()
        result = self.server.read(self.depth, self.span, self.windows_ms[verb])
        is_within = task.is_alive()
        task.join()
        if not is_within:
            self.windows_ms[verb] = max(10, self.windows_ms[verb] * 3 // 4)
        return (result if is_within else {}), seconds

    def change(self, verb: str) -> None:
        for _ in range(ATTEMPTS):
            result, seconds = self.during(verb)
            if result:
                self.found[verb].append(result)
                self.command_s[verb].append(seconds)
                return
            # The other command brings the state before back.
            self.server.snapshot("deleted" if verb == "taken" else "taken")
        # Each command waits for the window, or the window for the command.
        self.stalls = True

    def around(self) -> None:
        """From before a snapshot to behind it; the snapshot is deleted then."""
        length_ms = int(self.windows_ms["taken"] / WINDOW_PART) + 2 * MARGIN_MS
        results: list[dict] = []
        task = threading.Thread(target=lambda: results.append(self.server.read(self.depth, self.span, length_ms)))
        task.start()
        time.sleep((MARGIN_MS + WARM_UP_MS) / 1000)
        self.command_s["taken"].append(self.server.snapshot("taken"))
        task.join()
        if not results:
            raise BenchError("the reader failed beside a snapshot")
        self.found["around"].append(results[0])
        self.command_s["deleted"].append(self.server.snapshot("deleted"))

    def round(self) -> None:
        def quiet(state: str) -> None:
            self.found[state].append(self.server.read(self.depth, self.span, QUIET_MS))

        quiet("quiet")
        self.around()
        if self.stalls:
            return
        self.change("taken")
        if self.stalls:
            return
        quiet("quiet again")
        self.change("deleted")
        burner = Burner(self.folder, self.share)
        try:
            self.found["burner"].append(self.server.read(self.depth, self.span, QUIET_MS))
        finally:
            burner.end()

    def report(self, kind: str) -> None:
        quiet = [one["p99_us"] for one in self.found["quiet"]]
        taken_s = statistics.median(self.command_s["taken"])
        deleted_s = statistics.median(self.command_s["deleted"])
        print(f"{kind}, depth {self.depth}: a snapshot takes {taken_s:.2f} s, its deletion {deleted_s:.2f} s; "
              f"processor time of a snapshot beside no reader: {self.share:.2f} of one processor")
        for state in STATES:
            rows = self.found[state]
            if len(rows) != len(quiet):
                continue
            columns = [f"{name} {statistics.median(one[key] for one in rows):8.1f}"
                       for name, key in (("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us"), ("max", "max_us"))
                       if key in rows[0]]
            ratio = ratio_of([one["p99_us"] for one in rows], quiet)
            rate = statistics.median(one["ops_per_second"] for one in rows)
            print(f"  {state:12} {'  '.join(columns)} us  {rate:8.0f}/s  p99 {ratio.median:6.2f} "
                  f"[{ratio.low:.2f}, {ratio.high:.2f}] of quiet", flush=True)


def make_image(tools: Tools, path: Path, size: str) -> None:
    subprocess.run([tools.blockexport, "image", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata",
                    str(path), size], check=True)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    tools = find_tools(options.build.resolve(), options.ours, options.qsd,
                       newest(FOLDER.parent / "tools" / "peer_root.sh"))
    with tempfile.TemporaryDirectory(prefix="snapshot-latency-", dir=options.folder) as name:
        folder = Path(name)
        machine = describe(tools, folder)
        print(", ".join(f"{what}: {machine[what]}" for what in ("processor", "processors", "kernel", "file system",
                                                              "blockexportd", "qemu-storage-daemon")))
        for kind in options.servers:
            if kind.startswith("qsd") and tools.qsd is None:
                print("qsd: not installed")
                continue
            for depth in options.depths:
                image = folder / "disk.qcow2"
                make_image(tools, image, options.size)
                server = Server(tools, kind, folder, image)
                try:
                    measurement = Measurement(server, depth, options, folder)
                    for _ in range(options.rounds):
                        measurement.round()
                    measurement.report(kind)
                finally:
                    server.end()
                    server.socket.unlink(missing_ok=True)
                    image.unlink()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BenchError, json.JSONDecodeError) as error:
        sys.exit(f"bench: {error}")
