#!/usr/bin/env python3
"""Gates on counts: system calls and allocations per operation, compared with the thresholds of gates.toml.

    bench/gates.py --build build                                 blockexportd; fails over a threshold
    bench/gates.py --build build --servers qsd nbdkit control    only prints
    bench/gates.py --build build --repeat 10 --calls             the spread of the counts, and the calls by name
"""

import argparse
import sys
import tempfile
import tomllib
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness.counting import STRAY, count_allocations, count_syscalls  # noqa: E402
from harness.images import Images  # noqa: E402
from harness.servers import Address, BY_KEY, Server, Setting  # noqa: E402
from harness.tools import BenchError, Tools, find_tools  # noqa: E402

FOLDER = Path(__file__).resolve().parent
MOST_CALLS_NAMED = 8
KNOWN_KEYS = {"args", "mode", "image", "unit", "control", "most", "most_io_uring", "most_epoll"}


def limits_of(server: Server, scenario: dict) -> dict[str, float]:
    """The thresholds by counted quantity: common ones, and those of this backend. Empty for peers."""
    if server.family != "ours":
        return {}
    return scenario.get("most", {}) | scenario.get(f"most_{server.backend or 'io_uring'}", {})


def measured(tools: Tools, server: Server, setting: Setting, scenario: dict) -> tuple[dict, dict]:
    """The counts for the gates (calls, allocations, and single calls by name), and all calls by name: per operation."""
    calls, found = {}, {}
    if tools.strace:
        calls = count_syscalls(tools, server, setting, scenario)
        found["calls"] = sum(calls.values())
        found |= {name: calls.get(name, 0.0) for name in limits_of(server, scenario) if name not in found}
    if tools.malloc_count:
        found["allocations"] = count_allocations(tools, server, setting, scenario)
    return {name: 0.0 if abs(value) < STRAY / 10 else value for name, value in found.items()}, calls


def check(tools: Tools, server: Server, setting: Setting, name: str, scenario: dict, options: argparse.Namespace
          ) -> bool:
    """Measures and prints one scenario. True when all of its measurements pass."""
    limits = limits_of(server, scenario)
    passes, seen, worst = True, {}, {}
    for _ in range(options.repeat):
        values, calls = measured(tools, server, setting, scenario)
        worst = max(worst, calls, key=lambda one: sum(one.values()))
        for what, value in values.items():
            seen.setdefault(what, []).append(value)
    words = []
    for what, values in seen.items():
        limit = limits.get(what)
        over = limit is not None and max(values) > limit
        passes = passes and not over
        least = "" if max(values) - min(values) < STRAY / 10 else f"{min(values):.3f}–"
        text = f"{least}{max(values):.3f}"
        words.append(f"{text} {what}" + ("" if limit is None else f" (at most {limit}{', EXCEEDED' if over else ''})"))
    missing = [what for what, tool in (("calls: strace", tools.strace), ("allocations: malloc_count",
                                                                          tools.malloc_count)) if tool is None]
    words += [f"no {what} is not there" for what in missing]
    print(f"{server.label:24} {name:18} per {scenario.get('unit', 'op')}: {'; '.join(words)}", flush=True)
    if options.calls:
        most = sorted(worst.items(), key=lambda entry: -entry[1])[:MOST_CALLS_NAMED]
        print(" " * 25 + ", ".join(f"{call} {value:.3f}" for call, value in most))
    return passes


def read_scenarios(path: Path) -> dict[str, dict]:
    """Reads all scenarios. An unknown key is an error, since it would be a threshold without effect."""
    scenarios = tomllib.loads(path.read_text(encoding="utf-8"))
    strange = [f"{name}.{key}" for name, scenario in scenarios.items() for key in scenario.keys() - KNOWN_KEYS]
    if strange:
        raise SystemExit(f"{path.name}: unknown: {', '.join(sorted(strange))}")
    return scenarios


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=FOLDER.parent / "build")
    parser.add_argument("--ours", help="the blockexportd to measure")
    parser.add_argument("--servers", nargs="+", default=["ours", "ours-epoll"])
    parser.add_argument("--scenarios", nargs="+")
    parser.add_argument("--repeat", type=int, default=1, help="measure each so often; the largest value counts")
    parser.add_argument("--calls", action="store_true", help="name the calls")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    scenarios = read_scenarios(FOLDER / "gates.toml")
    tools = find_tools(options.build.resolve(), options.ours)
    passes = True
    with tempfile.TemporaryDirectory(prefix="gates-", dir=options.build.resolve()) as folder:
        scratch = Path(folder)
        images = Images(tools, scratch, small=True)
        for server in (BY_KEY[key] for key in options.servers):
            why_not = server.why_not(tools)
            if why_not:
                print(f"{server.label}: {why_not}")
                continue
            for name in options.scenarios or scenarios:
                scenario = scenarios[name]
                image = images.readable(scenario.get("image", "dense"), server.opens_qcow2)
                try:
                    setting = Setting(images.path(image), Address(path=str(scratch / "socket")), scratch,
                                      scenario.get("control", "pread"), layers=images.layouts[image].layers)
                    images.prepare(image, "cached")
                    passes = check(tools, server, setting, name, scenario, options) and passes
                except BenchError as error:
                    print(f"{server.label:24} {name:18} failed: {error}")
                    passes = False
    return 0 if passes else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
