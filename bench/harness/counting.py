"""Counts per operation that do not depend on time: system calls and allocations of a server under fixed loads.

The load is sent in lockstep: a complete batch, and the next one only after the last byte of the last reply. A count is
the difference between a long and a short run, each on a fresh server, divided by the difference in operations, which
removes the cost of start and connection.

Server and client share one processor as real-time tasks of the same priority, which no other task preempts and which do
not preempt each other: a task that is woken runs when the other one waits. So the server finds the complete batch when
it runs, and every batch has the same count, however busy the machine is. The tracer, which stops the server at every
call, is a real-time task too: the longer the server waits for its tracer, the more of the socket the client empties.
Where real-time scheduling is not allowed they are batch tasks, and some noise remains: a time slice may end in the
middle of a batch. In both cases the server's other threads add calls (a scenario that needs them has no threshold for
all calls).
"""

import contextlib
import os
import re
import signal
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.servers import Running, Server, Setting, allow_many_files, running
from harness.tools import BenchError, SERVER_CPU, Tools, run_json

PATIENCE_S = 30.0
TRACER_PATIENCE_S = 5.0
SHORT_BATCHES = 8
# Least difference in operations between the two runs, so that one stray call counts less than STRAY.
MORE_OPERATIONS = 1024
# A count per operation that is this small is a stray call of another thread, not part of the scenario.
STRAY = 0.005


@dataclass(frozen=True)
class Counts:
    """Calls by name during one run, and its number of operations."""

    calls: Counter
    operations: int


def share_a_processor() -> None:
    """Runs in a new process before exec: sets the common processor, and a policy without mutual preemption."""
    allow_many_files()
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CPU if SERVER_CPU in usable else min(usable)})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def go_before_others() -> None:
    """Runs in the tracer before exec: it wakes the server after every call, and no other load may delay that."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))


def started_server(tools: Tools, server: Server, setting: Setting, environment: dict | None = None):
    return running(tools, server, setting, cpu=None, before_start=share_a_processor, environment=environment)


def batch_of(scenario: dict) -> int:
    """The number of operations in one batch."""
    of = {name: int(value) for name, _, value in (word.partition("=") for word in scenario["args"])
          if name in ("--depth", "--connections")}
    return of.get("--depth", 1) * of.get("--connections", 1)


def long_batches(scenario: dict) -> int:
    """The number of batches in a long run; a pass over the map has many operations, so eight more are enough."""
    if scenario.get("mode") == "map":
        return 2 * SHORT_BATCHES
    return SHORT_BATCHES + MORE_OPERATIONS // batch_of(scenario)


def load(tools: Tools, started: Running, scenario: dict, batches: int) -> int:
    """Runs `batches` complete batches (or passes over the map); returns the number of operations."""
    options = scenario["args"]
    if scenario.get("mode") == "map":
        options = ["--mode=map", *options, f"--passes={batches}"]
    else:
        options = [*options, "--lockstep", f"--ops={batches * batch_of(scenario)}"]
    result = run_json([tools.nbdload, *started.setting.load_args(), *options], PATIENCE_S, share_a_processor)
    return result["ops"] if "ops" in result else result["extents_per_pass"] * batches


def traced_calls(tools: Tools, started: Running, scenario: dict, batches: int) -> Counts:
    """System calls of the server, all threads, during one run."""
    log = started.setting.scratch / "strace"
    log.unlink(missing_ok=True)
    command = [tools.strace, "-f", "-c", "-U", "calls,name", "-o", str(log), "-p", str(started.pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=go_before_others) as tracer:
        try:
            wait_until_traced(started.pid)
            operations = load(tools, started, scenario, batches)
        finally:
            end_tracer(tracer)
    lines = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", log.read_text(encoding="utf-8"), re.MULTILINE)
    return Counts(Counter({name: int(count) for count, name in lines if name != "total"}), operations)


def end_tracer(tracer: subprocess.Popen) -> None:
    """Makes strace detach and print; kills it if it hangs, as after an abort of the server."""
    tracer.send_signal(signal.SIGINT)
    try:
        tracer.wait(timeout=TRACER_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        tracer.kill()
        raise BenchError("the server died under strace") from error


def wait_until_traced(pid: int) -> None:
    """Every thread of the server must be attached before the first request.

    The list of threads includes the kernel's io_uring workers, which make no system calls and can not be traced.
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


def slopes(count: Callable[[int], Counts], scenario: dict) -> dict[str, float]:
    """Calls per operation by name: the slope between a short and a long run."""
    short, long = count(SHORT_BATCHES), count(long_batches(scenario))
    more = long.operations - short.operations
    each = {name: (long.calls[name] - short.calls[name]) / more for name in long.calls | short.calls}
    return {name: value for name, value in each.items() if abs(value) >= STRAY / 10}


def count_syscalls(tools: Tools, server: Server, setting: Setting, scenario: dict) -> dict[str, float]:
    def count(batches: int) -> Counts:
        with started_server(tools, server, setting) as started:
            return traced_calls(tools, started, scenario, batches)

    return slopes(count, scenario)


def count_allocations(tools: Tools, server: Server, setting: Setting, scenario: dict) -> float:
    counts = setting.scratch / "counts"
    environment = {"LD_PRELOAD": tools.malloc_count, "MALLOC_COUNT_FILE": str(counts)}

    def so_far() -> int:
        return struct.unpack("QQ", counts.read_bytes())[0]

    def count(batches: int) -> Counts:
        counts.write_bytes(bytes(16))
        with started_server(tools, server, setting, environment) as started:
            before = so_far()
            operations = load(tools, started, scenario, batches)
            return Counts(Counter({"malloc": so_far() - before}), operations)

    slope = sum(slopes(count, scenario).values())
    return 0.0 if abs(slope) < STRAY else slope
