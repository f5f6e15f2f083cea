#!/usr/bin/env python3
"""Compares blockexportd with its peers and with controls, in interleaved rounds: see docs/benchmarks.md.

    bench/run.py --build build            all cells, writes docs/benchmarks.md (at most 25 minutes)
    bench/run.py --build build --quick    the main cells (about 6 minutes)
    bench/run.py --build build --smoke    proves that everything runs (about a minute); its numbers mean nothing
    bench/run.py --build build --cells read-4k-qd32 'tcp-*' --servers ours qsd control
    bench/run.py --build build --cells 'tls-*' --update      measures these and replaces them alone in the document
    bench/run.py --build build --quick --peers installed    beside the installed peers, not the newest
    bench/run.py --render                 writes the document anew from what is stored beside it
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import cells as cell_list  # noqa: E402
from harness import store  # noqa: E402
from harness.cell import Cell  # noqa: E402
from harness.document import write_pages  # noqa: E402
from harness.images import Images, layouts  # noqa: E402
from harness.machine import describe  # noqa: E402
from harness.measure import Meter, Timing  # noqa: E402
from harness.peers import INSTALLED, Peers, installed, newest, of_folder  # noqa: E402
from harness.report import missed_goals, terminal_section  # noqa: E402
from harness.rounds import CellResult, run_cell  # noqa: E402
from harness.servers import BY_KEY  # noqa: E402
from harness.tools import BenchError, Tools, find_tools  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Effort:
    """Duration of a run: rounds per cell, milliseconds per measurement, minutes in total."""

    name: str
    rounds: int
    timing: Timing
    minutes: float
    strict: bool = True


EFFORTS = {
    "smoke": Effort("smoke", 1, Timing(100, 20), 1, strict=False),
    "quick": Effort("quick", 3, Timing(400, 100), 6),
    "full": Effort("full", 5, Timing(500, 100), 25),
    "thorough": Effort("thorough", 9, Timing(2000, 300), 180),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="the build tree with the programs")
    parser.add_argument("--effort", choices=EFFORTS, default="full")
    for name in EFFORTS:
        parser.add_argument(f"--{name}", dest="effort", action="store_const", const=name, help=f"--effort {name}")
    parser.add_argument("--cells", nargs="+", metavar="NAME", help="only these cells; 'tcp-*' for all that begin so")
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only these servers (or families of them)")
    parser.add_argument("--rounds", type=int, help="rounds per cell")
    parser.add_argument("--minutes", type=float, help="after so long no cell gets more than its least rounds")
    parser.add_argument("--list", action="store_true", help="name the cells and end")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--qsd", help="the qemu-storage-daemon to measure")
    parser.add_argument("--peers", default="newest", metavar="WHICH",
                        help="newest (the default; fetched once by tools/peer_root.sh), installed, or their folder")
    parser.add_argument("--images", type=Path, help="folder for the images, on the file system to measure")
    parser.add_argument("--keep-images", action="store_true")
    parser.add_argument("--json", type=Path, help="where this run's numbers go (default: in the build tree)")
    parser.add_argument("--update", action="store_true", help="replace the measured cells in the document")
    parser.add_argument("--render", action="store_true", help="only write the document anew from its stored results")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="the document; FILE.json is its store")
    options = parser.parse_args(arguments)
    if options.update and options.servers:
        parser.error("--update replaces whole cells, so it takes all their servers")
    if options.update and options.effort == "smoke" and options.document == DOCUMENT:
        parser.error("the numbers of a smoke run mean nothing: --update it into another --document")
    return options


def chosen_cells(options: argparse.Namespace) -> list[Cell]:
    if options.cells:
        return cell_list.select(options.cells)
    named = {"smoke": cell_list.SMOKE, "quick": cell_list.QUICK}.get(options.effort)
    return cell_list.select(list(named)) if named else list(cell_list.ALL)


def measure_all(cells: list[Cell], meter: Meter, effort: Effort, options: argparse.Namespace
                ) -> dict[str, CellResult]:
    """Gives every cell its share of the remaining time; unused time goes to the next cells."""
    results = {}
    end = time.monotonic() + (options.minutes or effort.minutes) * 60
    only = set(options.servers) if options.servers else None
    for place, cell in enumerate(cells):
        now = time.monotonic()
        deadline = now + (end - now) * cell.weight / sum(later.weight for later in cells[place:])
        results[cell.name] = run_cell(meter, cell, options.rounds or effort.rounds, only, effort.strict, deadline,
                                      lambda text: print(text, file=sys.stderr, flush=True))
        print(terminal_section(cell, results[cell.name], meter.images.layouts), flush=True)
    return results


def settings_text(effort: Effort, rounds: int, meter: Meter, seconds: float) -> str:
    pins = "servers pinned to one processor and the client to another" if meter.tools.can_pin else "nothing pinned"
    return (f"Effort `{effort.name}`: {rounds} undisturbed rounds wanted, fewer where time ran out (each cell says how "
            f"many it has), {effort.timing.measured_ms} ms measured after {effort.timing.warmup_ms} ms of warm-up each "
            f"time; {pins} (unless the cell says otherwise); the run took {seconds / 60:.0f} minutes.")


def missing_peers(tools: Tools) -> list[str]:
    peers = {"blockexportd": tools.ours, "qemu-storage-daemon": tools.qsd, "nbdkit": tools.nbdkit,
             "nbd-server": tools.nbd_server, "nbdcopy": tools.nbdcopy, "taskset": tools.taskset,
             "certtool": tools.certtool}
    return [name for name, path in peers.items() if path is None]


def chosen_peers(which: str) -> Peers:
    if which == INSTALLED:
        return installed()
    return newest(ROOT / "tools" / "peer_root.sh") if which == "newest" else of_folder(Path(which))


def render(document: Path, held: store.Store, small: bool) -> None:
    store.save(document.with_suffix(".json"), held)
    missing = write_pages(document, held, layouts(small))
    print(f"\nwritten: {document.name}, its pages, and {document.with_suffix('.json').name}")
    if missing:
        print(f"the chart stays as it was: {missing}", file=sys.stderr)


def measure(options: argparse.Namespace, tools: Tools) -> tuple[dict[str, CellResult], store.Run]:
    cells = chosen_cells(options)
    effort = EFFORTS[options.effort]
    started = time.monotonic()
    folder = (options.images or options.build / "bench-images").resolve()
    images = Images(tools, folder, small=options.effort == "smoke")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            meter = Meter(tools, images, Path(scratch), effort.timing, os.cpu_count() or 1)
            results = measure_all(cells, meter, effort, options)
    finally:
        if not options.keep_images:
            images.remove()
    settings = settings_text(effort, options.rounds or effort.rounds, meter, time.monotonic() - started)
    return results, store.new_run(ROOT, settings, describe(tools, folder))


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.list:
        print("\n".join(f"{cell.name:20} {cell.title}" for cell in cell_list.ALL))
        return 0
    stored = options.document.with_suffix(".json")
    if options.render:
        render(options.document, store.load(stored), small=False)
        return 0
    try:
        tools = find_tools(options.build.resolve(), options.ours, options.qsd, chosen_peers(options.peers))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(f"peers: {tools.peers}", file=sys.stderr)
    for name in missing_peers(tools):
        print(f"not found, skipped: {name}", file=sys.stderr)
    results, run = measure(options, tools)
    alone = store.Store()
    alone.merge(run, results)
    store.save(options.json or options.build / "bench-results.json", alone)
    whole = options.effort in ("full", "thorough") and not options.cells and not options.servers
    if whole or options.update:
        held = store.load(stored)
        held.merge(run, results)
        render(options.document, held, small=options.effort == "smoke")
    print(missed_goals(results))
    # The run fails only if a cell has no measurement at all; a smoke run also if one of ours has none.
    failed = [name for name, result in results.items() if not result.rounds or
              (options.effort == "smoke" and any(BY_KEY[key].family == "ours" for key in result.skipped))]
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
