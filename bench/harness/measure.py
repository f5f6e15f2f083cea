"""Measurement of one cell on one freshly started server."""

import json
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.cell import Cell, CPU, Point, READ_1M, READ_4K
from harness.credentials import Credentials, make_credentials
from harness.growth_cells import point_metric
from harness.images import Images
from harness.preparations import Monitor
from harness.servers import Address, Running, Server, Setting, clean_up, free_port, monitor_path, running
from harness.tools import BenchError, CLIENT_CPU, SERVER_CPU, Tools, pinned, run_json

PATIENCE_S = 60.0
OPENS = 20


@dataclass(frozen=True)
class Timing:
    """How long a loaded measurement lasts, in milliseconds."""

    measured_ms: int
    warmup_ms: int


@dataclass(frozen=True)
class Measurement:
    """Values by metric, the server's choices (as the cipher), and other work of the machine (fractions of time)."""

    values: dict[str, float]
    steal: float = 0.0
    foreign: float = 0.0
    words: dict[str, str] = field(default_factory=dict)


class Meter:
    """Measures cells with given tools, images and times."""

    def __init__(self, tools: Tools, images: Images, scratch: Path, timing: Timing, processors: int):
        self.tools = tools
        self.images = images
        self.scratch = scratch
        self.timing = timing
        self.processors = processors
        self.made: Credentials | None = None

    def credentials(self) -> Credentials:
        """The credentials of this run, created on first use."""
        if self.made is None:
            self.made = make_credentials(self.tools, self.scratch)
        return self.made

    def image_of(self, cell: Cell, server: Server) -> str:
        """The name of the image that `server` exports."""
        return self.images.readable(server.image or cell.image, server.opens_qcow2)

    def setting(self, cell: Cell, server: Server) -> Setting:
        image = self.image_of(cell, server)
        address = Address(port=free_port()) if cell.tcp else Address(path=str(self.scratch / "socket"))
        return Setting(self.images.path(image), address, self.scratch, cell.control, cell.tls,
                       self.credentials() if cell.tls else None, self.images.layouts[image].layers)

    def measure(self, cell: Cell, server: Server) -> Measurement:
        if cell.kind == "growth":
            return self.measure_growth(cell, server)
        self.images.prepare(self.image_of(cell, server), cell.condition)
        setting = self.setting(cell, server)
        if cell.kind == "start":
            return self.measure_start(cell, server, setting)
        with running(self.tools, server, setting, cpu=SERVER_CPU if cell.pin else None) as started:
            try:
                return self.measure_running(cell, started)
            except BenchError as error:
                raise BenchError(f"the server died ({error})" if started.died() else str(error)) from error

    def measure_running(self, cell: Cell, started: Running) -> Measurement:
        if cell.kind == "copy":
            return self.measure_copy(started)
        if cell.kind == "fetch":
            return self.measure_fetch(started)
        if cell.kind == "open":
            return self.measure_open(started)
        if cell.kind == "fair":
            return self.measure_fairness(cell, started)
        result = self.run_nbdload(cell, started)
        return self.disturbance(result, translate(cell, result))

    def run_nbdload(self, cell: Cell, started: Running) -> dict:
        command = [self.tools.nbdload, f"--mode={cell.kind}", *started.load_args(), *cell.args]
        if cell.kind == "load" and any(arg.startswith("--ops=") for arg in cell.args):
            command += ["--latency"]
        elif cell.kind == "load":
            command += [f"--ms={self.timing.measured_ms * cell.longer}",
                        f"--warmup-ms={self.timing.warmup_ms * cell.longer}", "--latency"]
        elif cell.kind != "map":
            command += [f"--ms={self.timing.measured_ms}"]
        if cell.image.startswith("sparse") or cell.image == "extents":
            command += ["--allow-zeroes"]
        processor = SERVER_CPU if cell.client_beside else CLIENT_CPU
        return run_json(pinned(self.tools, processor if cell.pin else None, command), PATIENCE_S)

    def disturbance(self, result: dict, values: dict[str, float]) -> Measurement:
        capacity = result["seconds"] * 1e9 * self.processors if result.get("seconds") else 0
        words = {"cipher": result["cipher"]} if result.get("cipher") else {}
        if capacity == 0 or "machine_busy_ns" not in result:
            return Measurement(values, words=words)
        foreign = result["machine_busy_ns"] - result["server_cpu_ns"] - result["client_cpu_ns"]
        return Measurement(values, result["machine_steal_ns"] / capacity, max(0.0, foreign / capacity), words)

    def measure_growth(self, cell: Cell, server: Server) -> Measurement:
        """The CPU per operation at every point, each on a fresh server."""
        values, steal, foreign = {}, 0.0, 0.0
        for point in cell.points:
            one = self.measure(at_point(cell, point), server)
            values[point_metric(point)] = one.values[CPU]
            steal, foreign = max(steal, one.steal), max(foreign, one.foreign)
        return Measurement(values, steal, foreign)

    def measure_copy(self, started: Running) -> Measurement:
        if self.tools.nbdcopy is None:
            raise BenchError("nbdcopy is not installed")
        command = pinned(self.tools, CLIENT_CPU, [self.tools.nbdcopy, started.address.uri(), "null:"])
        before_cpu, before = started.cpu_ns(), time.monotonic_ns()
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        wall, cpu = time.monotonic_ns() - before, started.cpu_ns() - before_cpu
        if done.returncode != 0:
            raise BenchError(f"nbdcopy: {done.stderr.strip().rpartition(': ')[2]}")
        values = {"wall_ms": wall / 1e6}
        if not started.server.tree:
            values["server_cpu_us"] = cpu / 1e3
        return Measurement(values)

    def measure_fetch(self, started: Running) -> Measurement:
        """A copy of the whole export into a new file, by the client of the server's entry."""
        copy = self.scratch / "fetched.img"
        copy.unlink(missing_ok=True)
        uri = started.address.uri()
        client = self.tools.blockexport if started.server.client == "pull" else self.tools.nbdcopy
        if client is None:
            raise BenchError(f"{started.server.client} is not there")
        command = [client, "pull" if started.server.client == "pull" else "--flush", uri, str(copy)]
        before_cpu, before_children = started.cpu_ns(), resource.getrusage(resource.RUSAGE_CHILDREN)
        before = time.monotonic_ns()
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        wall, cpu = time.monotonic_ns() - before, started.cpu_ns() - before_cpu
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        copy.unlink(missing_ok=True)
        if done.returncode != 0:
            raise BenchError(f"{started.server.client}: {done.stderr.strip()}")
        used = (children.ru_utime + children.ru_stime) - (before_children.ru_utime + before_children.ru_stime)
        return Measurement({"wall_ms": wall / 1e6, "server_cpu_us": cpu / 1e3, "client_cpu_us": used * 1e6})

    def measure_open(self, started: Running) -> Measurement:
        """The median time of blockdev-add of the qcow2 image over QMP; it is removed again each time."""
        file = {"driver": "file", "filename": str(started.setting.image)}
        if started.server.aio:
            file["aio"] = started.server.aio
        walls, used = [], 0
        with Monitor(monitor_path(started.setting)) as monitor:
            for _ in range(OPENS):
                before_cpu, before = started.cpu_ns(), time.monotonic_ns()
                monitor.execute("blockdev-add", driver="qcow2", node_name="opened", file=file)
                walls.append(time.monotonic_ns() - before)
                used += started.cpu_ns() - before_cpu
                monitor.execute("blockdev-del", node_name="opened")
        return Measurement({"open_ms": statistics.median(walls) / 1e6, "server_cpu_us": used / OPENS / 1e3})

    def measure_start(self, cell: Cell, server: Server, setting: Setting) -> Measurement:
        if server.tree:
            raise BenchError("detaches from its parent: its start is not comparable")
        command = server.command(self.tools, setting)
        clean_up(setting)
        load = [self.tools.nbdload, "--mode=start", *setting.load_args(), *cell.args]
        if self.tools.can_pin:
            load.append(f"--server-cpu={SERVER_CPU}")
        result = run_json(pinned(self.tools, CLIENT_CPU, [*load, "--", *command]), PATIENCE_S)
        return Measurement({"start_ms": result["start_ms"], "start_cpu_ms": result["start_cpu_ns"] / 1e6,
                            "resident_kb": result["resident_bytes"] / 1e3})

    def measure_fairness(self, cell: Cell, started: Running) -> Measurement:
        """The rates that a small and a big reader keep when both read at once, and the small one's CPU time."""
        def command(args: tuple[str, ...]) -> list[str]:
            load = [self.tools.nbdload, *started.load_args(), *args, f"--ms={self.timing.measured_ms}",
                    f"--warmup-ms={self.timing.warmup_ms}"]
            return pinned(self.tools, CLIENT_CPU if cell.pin else None, load)

        kinds = {"small": (*READ_4K, "--depth=8"), "big": READ_1M}
        alone = {name: run_json(command(args), PATIENCE_S) for name, args in kinds.items()}
        both = {name: subprocess.Popen(command(args), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                for name, args in kinds.items()}
        together = {name: finish(process) for name, process in both.items()}
        shares = {f"{name}_share": together[name]["ops_per_second"] / alone[name]["ops_per_second"] for name in kinds}
        small = together["small"]
        return Measurement({
            **shares,
            "smaller_share": min(shares.values()),
            "small_alone_us": alone["small"]["client_cpu_ns_per_op"] / 1e3,
            "small_together_us": small["client_cpu_ns_per_op"] / 1e3,
            "small_processor": small["client_cpu_ns"] / (small["seconds"] * 1e9),
        })


def at_point(cell: Cell, point: Point) -> Cell:
    """The cell for one point of a table of growth."""
    return replace(cell, kind="load", args=(*cell.args, *point.args), image=point.image or cell.image, points=(),
                   longer=point.longer)


def finish(process: subprocess.Popen) -> dict:
    output = process.communicate(timeout=PATIENCE_S)[0].strip()
    if process.returncode != 0 or not output:
        raise BenchError("a client failed")
    return json.loads(output)


def translate(cell: Cell, result: dict) -> dict[str, float]:
    """Converts nbdload's metrics to the report's."""
    if cell.kind in ("idle", "silent"):
        return {"kb_per_connection": result["proportional_bytes_per_connection"] / 1e3,
                "newcomer_us": result["newcomer_us"], "turned_away": result["turned_away"],
                "resident_kb": result["resident_bytes"] / 1e3}
    if cell.name == "map-cold":
        return {"server_cpu_us": result["cold_server_cpu_ns_per_extent"] / 1e3,
                "per_second": result["extents_per_pass"] / max(result["cold_seconds"], 1e-6)}
    values = {
        "server_cpu_us": result[f"server_cpu_ns_per_{cell.unit}"] / 1e3,
        "client_cpu_us": result[f"client_cpu_ns_per_{cell.unit}"] / 1e3,
        "per_second": result[f"{cell.unit}s_per_second"],
        "switches": result[f"server_voluntary_switches_per_{cell.unit}"],
    }
    if cell.kind == "load":
        values |= {"megabytes_per_second": result["megabytes_per_second"], "p50_us": result["p50_us"],
                   "p99_us": result["p99_us"], "p999_us": result["p999_us"],
                   "slowest_share": result["slowest_connection_share"]}
    return values
