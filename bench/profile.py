#!/usr/bin/env python3
"""Profiles of the server: samples of each main cell, and its system calls, written to docs/profiles.md.

    bench/profile.py --build build                     the main cells, writes docs/profiles.md (about a minute)
    bench/profile.py --build build --cells read-1m --server qsd-uring     one cell of another server, only printed

The profile is a sampling by the processor's clock (perf record -e cpu-clock), which also works in a virtual machine
without hardware counters. The system calls are counted by strace in a run of their own, since it slows what it traces.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import cells as cell_list  # noqa: E402
from harness.cell import Cell  # noqa: E402
from harness.counting import end_tracer, wait_until_traced  # noqa: E402
from harness.images import Images  # noqa: E402
from harness.machine import describe  # noqa: E402
from harness.measure import Meter, Timing  # noqa: E402
from harness.report import conditions, markdown_table, write_document  # noqa: E402
from harness.servers import BY_KEY, Running, Server, running  # noqa: E402
from harness.store import new_run  # noqa: E402
from harness.tools import BenchError, CLIENT_CPU, SERVER_CPU, Tools, find_tools, pinned, run_json  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "profiles.md"
MAIN_CELLS = ("read-4k-qd32", "read-1m", "write-4k-qd32", "write-1m", "tls-read-1m")
SAMPLES_PER_SECOND = 1999
MOST_SYMBOLS = 25
LEAST_SHARE = 0.4
TRACED_OPERATIONS = 4096
PATIENCE_S = 60.0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--cells", nargs="+", default=list(MAIN_CELLS), metavar="NAME")
    parser.add_argument("--server", default="ours", help="a server by its key in harness/servers.py")
    parser.add_argument("--ms", type=int, default=4000, help="milliseconds that are sampled")
    parser.add_argument("--ours", help="the blockexportd to look at")
    parser.add_argument("--document", type=Path, help="write into this one (runs of ours on the main cells do)")
    return parser.parse_args(arguments)


def load(meter: Meter, cell: Cell, started: Running, *options: str) -> dict:
    command = [meter.tools.nbdload, *started.load_args(), *cell.args, *options]
    return run_json(pinned(meter.tools, CLIENT_CPU, command), PATIENCE_S)


def sampled(meter: Meter, cell: Cell, started: Running, milliseconds: int) -> tuple[list[list[str]], dict]:
    """Rows of share, binary, symbol; and nbdload's result of the same run."""
    data = started.setting.scratch / "perf.data"
    command = [meter.tools.perf, "record", "--quiet", "-e", "cpu-clock", "-F", str(SAMPLES_PER_SECOND), "-o", str(data),
               "-p", str(started.pid)]
    # The warm-up covers the moments until perf is attached.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sampler:
        try:
            result = load(meter, cell, started, f"--ms={milliseconds}", "--warmup-ms=500")
        finally:
            end_tracer(sampler)
    report = subprocess.run([meter.tools.perf, "report", "--stdio", "--no-children", "--fields=overhead,dso,symbol",
                             "--field-separator=|", "-i", str(data)], capture_output=True, text=True,
                            timeout=PATIENCE_S, check=False)
    rows = []
    for line in report.stdout.splitlines():
        fields = [field.strip() for field in line.split("|", 2)]
        if len(fields) == 3 and re.fullmatch(r"[\d.]+%", fields[0]):
            rows.append([fields[0], fields[1].strip("[]"), fields[2]])
    if not rows:
        raise BenchError(f"perf has no samples: {(report.stderr.strip().splitlines() or ['nothing said'])[-1]}")
    return rows, result


def shorter(symbol: str) -> str:
    """The symbol without the mark of user or kernel space, and without redundant parts of C++ names."""
    name = re.sub(r"^\[.\] ", "", symbol)
    name = re.sub(r"\(.*", "", name.replace("(anonymous namespace)::", ""))
    return name.replace("blockexport::", "").strip() or symbol


def shares(rows: list[list[str]]) -> str:
    """The share of time of each program or library."""
    by_place = Counter()
    for share, place, _ in rows:
        by_place[place] += float(share.rstrip("%"))
    named = [f"{place} {share:.0f} %" for place, share in by_place.most_common() if share >= 1]
    return "Time by place: " + ", ".join(named) + "."


def traced(meter: Meter, cell: Cell, started: Running) -> tuple[list[list[str]], float]:
    """Rows of system call and calls per operation, the most frequent first; and their sum."""
    log = started.setting.scratch / "strace"
    command = [meter.tools.strace, "-f", "-c", "-U", "calls,name", "-o", str(log), "-p", str(started.pid)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
        try:
            wait_until_traced(started.pid)
            operations = load(meter, cell, started, f"--ops={TRACED_OPERATIONS}")["ops"]
        finally:
            end_tracer(tracer)
    found = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", log.read_text(encoding="utf-8"), re.MULTILINE)
    each = sorted(((int(count) / operations, name) for count, name in found if name != "total"), reverse=True)
    return [[name, f"{value:.3f}"] for value, name in each if value >= 0.001], sum(value for value, _ in each)


def section(meter: Meter, cell: Cell, server: Server, milliseconds: int) -> str:
    """One cell's profile as Markdown."""
    meter.images.prepare(cell.image, cell.condition)
    with running(meter.tools, server, meter.setting(cell, server), cpu=SERVER_CPU) as started:
        rows, result = sampled(meter, cell, started, milliseconds)
    lines = [f"## {cell.title}", "", f"`{cell.name}`, {server.label}; {conditions(cell, meter.images.layouts)}. "
             f"{result['server_cpu_ns_per_op'] / 1e3:.3g} µs of server CPU per operation while sampled. {shares(rows)}",
             ""]
    top = [[share, place, f"`{shorter(symbol)}`"] for share, place, symbol in rows[:MOST_SYMBOLS]
           if float(share.rstrip("%")) >= LEAST_SHARE]
    lines += [markdown_table([["share", "where", "symbol"], *top]), ""]
    if meter.tools.strace is None:
        return "\n".join([*lines, "System calls were not counted: strace is not installed.", ""])
    with running(meter.tools, server, meter.setting(cell, server), cpu=SERVER_CPU) as started:
        calls, total = traced(meter, replace(cell, pin=False), started)
    return "\n".join([*lines, f"System calls per operation, {total:.3f} in all, connection and its end included:", "",
                      markdown_table([["call", "per operation"], *calls], numbers=True), ""])


def sections(meter: Meter, cells: list[Cell], server: Server, milliseconds: int) -> tuple[list[str], bool]:
    parts, complete = [], True
    for cell in cells:
        try:
            parts.append(section(meter, cell, server, milliseconds))
        except BenchError as error:
            parts.append(f"## {cell.title}\n\n`{cell.name}`, {server.label}: no profile: {error}.\n")
            complete = False
        print(parts[-1], flush=True)
    return parts, complete


def document_text(tools: Tools, folder: Path, milliseconds: int, parts: list[str]) -> str:
    machine = describe(tools, folder)
    run = new_run(ROOT, f"{milliseconds} ms sampled for each cell, {SAMPLES_PER_SECOND} times a second", machine)
    known = {what: machine[what] for what in ("processor", "processors", "kernel", "virtual machine", "file system")}
    words = "; ".join(f"{what}: {value}" for what, value in known.items())
    return "\n".join([f"Run of {run.key}, commit {run.commit}; {run.settings}. {words}.", "", *parts])


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    cells = [replace(cell, pin=True) for cell in cell_list.select(options.cells)]
    try:
        tools = find_tools(options.build.resolve(), options.ours)
        server = BY_KEY[options.server]
        if tools.perf is None:
            raise BenchError("perf is not installed (package linux-perf: tools/setup.sh profile)")
        if server.why_not(tools):
            raise BenchError(f"{server.label}: {server.why_not(tools)}")
    except BenchError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    folder = (options.build / "bench-images").resolve()
    images = Images(tools, folder, small=False)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            meter = Meter(tools, images, Path(scratch), Timing(options.ms, 0), 1)
            parts, complete = sections(meter, cells, server, options.ms)
    finally:
        images.remove()
    main_run = server.family == "ours" and options.cells == list(MAIN_CELLS)
    document = options.document or (DOCUMENT if main_run else None)
    if document:
        write_document(document, document_text(tools, folder, options.ms, parts))
        print(f"written: {document.name}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
