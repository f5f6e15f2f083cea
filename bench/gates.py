#!/usr/bin/env python3
"""Gates without a clock: system calls and allocations per operation, against the thresholds of gates.toml.

    bench/gates.py --build build                      blockexportd, fails over a threshold
    bench/gates.py --build build --servers qsd nbdkit control   only prints
"""

import argparse
import contextlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.images import Images  # noqa: E402
from harness.servers import BY_KEY, Running, Server, running  # noqa: E402
from harness.tools import BenchError, Tools, find_tools, run_json  # noqa: E402

FOLDER = Path(__file__).resolve().parent
SHORT_BATCHES = 8
LONG_BATCHES = 72
PATIENCE_S = 30.0
TRACER_PATIENCE_S = 5.0
# A count per operation that is this small is a stray call of another thread, not part of the scenario.
STRAY = 0.005
# How often a scenario is measured before its limit counts as exceeded.
ATTEMPTS = 4


def load(tools: Tools, started: Running, scenario: dict, batches: int) -> int:
    """Runs whole batches in lockstep; the number of operations."""
    depth = next(int(word.partition("=")[2]) for word in scenario["args"] if word.startswith("--depth="))
    command = [tools.nbdload, *started.address.load_args(), "--export=disk", *scenario["args"], "--lockstep",
               f"--ops={batches * depth}"]
    return run_json(command, PATIENCE_S)["ops"]


def traced_calls(tools: Tools, started: Running, scenario: dict, batches: int, scratch: Path) -> tuple[int, int]:
    """System calls of the server, all threads, during one run: their number, and the number of operations."""
    log = scratch / "strace"
    log.unlink(missing_ok=True)
    command = [tools.strace, "-f", "-c", "-U", "calls,name", "-o", str(log), "-p", str(started.pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            wait_until_traced(started.pid)
            operations = load(tools, started, scenario, batches)
        finally:
            end_tracer(tracer)
    lines = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", log.read_text(encoding="utf-8"), re.MULTILINE)
    return sum(int(count) for count, name in lines if name != "total"), operations


def end_tracer(tracer: subprocess.Popen) -> None:
    """Makes strace let go and print; one whose server aborted under it may wait for ever, and is killed."""
    tracer.send_signal(signal.SIGINT)
    try:
        tracer.wait(timeout=TRACER_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        tracer.kill()
        raise BenchError("the server died under strace") from error


def wait_until_traced(pid: int) -> None:
    """Every thread of the server must be attached before the first request.

    The kernel's io_uring workers stand among the threads too; they make no system calls and can not be traced.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        with contextlib.suppress(OSError):
            states = [(task / "status").read_text() for task in tasks]
            if all("TracerPid:\t0\n" not in state for state in states if not state.startswith("Name:\tiou-")):
                return
        time.sleep(0.005)
    raise BenchError("strace could not attach")


def allocation_calls(tools: Tools, started: Running, scenario: dict, batches: int, counts: Path) -> tuple[int, int]:
    """Allocations of the server during one run: their number, and the number of operations."""
    def so_far() -> int:
        return struct.unpack("QQ", counts.read_bytes())[0]

    before = so_far()
    operations = load(tools, started, scenario, batches)
    return so_far() - before, operations


def per_operation(count: Callable[[int], tuple[int, int]]) -> float:
    """The slope between a short and a long run, each on a fresh server."""
    short, long = count(SHORT_BATCHES), count(LONG_BATCHES)
    slope = (long[0] - short[0]) / (long[1] - short[1])
    return 0.0 if abs(slope) < STRAY else slope


def count_syscalls(tools: Tools, server: Server, image: Path, scenario: dict, scratch: Path) -> float:
    def count(batches: int) -> tuple[int, int]:
        with running(tools, server, image, scratch) as started:
            return traced_calls(tools, started, scenario, batches, scratch)

    return per_operation(count)


def count_allocations(tools: Tools, server: Server, image: Path, scenario: dict, scratch: Path) -> float:
    counts = scratch / "counts"
    environment = {"LD_PRELOAD": tools.malloc_count, "MALLOC_COUNT_FILE": str(counts)}

    def count(batches: int) -> tuple[int, int]:
        counts.write_bytes(bytes(16))
        with running(tools, server, image, scratch, environment=environment) as started:
            return allocation_calls(tools, started, scenario, batches, counts)

    return per_operation(count)


def measured_until_within(limit: float | None, measure, *arguments) -> list[float]:
    """The values of up to ATTEMPTS measurements; no further one once a value is within the limit."""
    values: list[float] = []
    while not values or (limit is not None and values[-1] > limit and len(values) < ATTEMPTS):
        values.append(measure(*arguments))
    return values


def check(tools: Tools, server: Server, images: Images, name: str, scenario: dict, scratch: Path) -> bool:
    """Measures one scenario, prints it, and says whether it passes."""
    image = images.path("dense")
    passes = True
    words = []
    counts = {"syscalls": (tools.strace, count_syscalls), "allocations": (tools.malloc_count, count_allocations)}
    for what, (needed, measure) in counts.items():
        if needed is None:
            words.append(f"{what}: not counted ({'strace' if what == 'syscalls' else 'malloc_count'} is not there)")
            continue
        limit = scenario.get(f"max_{what}_per_op") if server.family == "ours" else None
        # How many requests meet in one batch depends on what else the machine does: a busy moment is no finding.
        value = min(measured_until_within(limit, measure, tools, server, image, scenario, scratch))
        over = limit is not None and value > limit
        passes = passes and not over
        bound = "" if limit is None else f" (at most {limit}{', EXCEEDED' if over else ''})"
        words.append(f"{value:.3f} {what}/op{bound}")
    print(f"{server.label:24} {name:14} {'; '.join(words)}", flush=True)
    return passes


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--servers", nargs="+", default=["ours", "ours-epoll"])
    parser.add_argument("--scenarios", nargs="+")
    options = parser.parse_args(arguments)
    scenarios = tomllib.loads((FOLDER / "gates.toml").read_text(encoding="utf-8"))
    tools = find_tools(options.build.resolve(), options.ours)
    passes = True
    with tempfile.TemporaryDirectory(prefix="gates-", dir=options.build.resolve()) as folder:
        scratch = Path(folder)
        images = Images(tools, scratch, small=True)
        for server in (BY_KEY[key] for key in options.servers):
            if server.program(tools) is None:
                print(f"{server.label}: not there, not counted")
                continue
            for name in options.scenarios or scenarios:
                try:
                    passes = check(tools, server, images, name, scenarios[name], scratch) and passes
                except BenchError as error:
                    print(f"{server.label:24} {name:14} failed: {error}")
                    passes = False
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
