"""Store of the results: every round of every cell, with its run, as JSON beside the document.

A later run of some cells replaces only these; the document is always generated from the complete store, so that no row
is edited by hand.
"""

import json
import re
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from harness import cells as cell_list
from harness.measure import Measurement
from harness.rounds import CellResult
from harness.servers import BY_KEY

DIGITS = 5
DISTURBANCES = ("steal", "foreign")


@dataclass
class Run:
    """Time, settings, version and machine of a run."""

    key: str
    date: str
    commit: str
    settings: str
    machine: dict[str, str] = field(default_factory=dict)


@dataclass
class Store:
    """Results by cell, in the order of the list of cells, and the runs that they come from."""

    runs: dict[str, Run] = field(default_factory=dict)
    results: dict[str, CellResult] = field(default_factory=dict)

    def merge(self, run: Run, results: dict[str, CellResult]) -> None:
        """Adds the results of `run`; removes runs without remaining results."""
        for result in results.values():
            result.run = run.key
        together = self.results | results
        self.results = {cell.name: together[cell.name] for cell in cell_list.ALL if cell.name in together}
        used = {result.run for result in self.results.values()}
        self.runs = {key: one for key, one in (self.runs | {run.key: run}).items() if key in used}


def source_version(root: Path) -> str:
    """The commit of the tree, with a note if the tree has changes; "unknown" outside of a clone."""
    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10,
                                  check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + (" with changes" if git("status", "--porcelain", "--", "src", "schema", "bench") else "")


def new_run(root: Path, settings: str, machine: dict[str, str]) -> Run:
    now = datetime.now(timezone.utc)
    return Run(now.strftime("%Y-%m-%d %H:%M:%S"), now.strftime("%Y-%m-%d"), source_version(root), settings, machine)


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def plain(result: CellResult) -> dict:
    """A result as JSON values: for every server each metric's values, one for each round."""
    servers = {}
    for key in result.servers():
        series = {metric: result.values(key, metric) for metric in result.rounds[0][key].values}
        series |= {"steal": [one[key].steal for one in result.rounds],
                   "foreign": [one[key].foreign for one in result.rounds]}
        servers[key] = {metric: [rounded(value) for value in values] for metric, values in series.items()}
    words = {key: result.rounds[-1][key].words for key in servers if result.rounds[-1][key].words}
    return {"run": result.run, "processors": result.processors, "discarded": result.discarded, "noisy": result.noisy,
            "skipped": result.skipped, "servers": servers, "words": words}


def revived(name: str, entry: dict) -> CellResult:
    cell = next(cell for cell in cell_list.ALL if cell.name == name)
    servers = {key: series for key, series in entry["servers"].items() if key in BY_KEY}
    count = max((len(series["steal"]) for series in servers.values()), default=0)
    rounds = []
    for place in range(count):
        one = {}
        for key, series in servers.items():
            values = {metric: numbers[place] for metric, numbers in series.items() if metric not in DISTURBANCES}
            one[key] = Measurement(values, series["steal"][place], series["foreign"][place],
                                   entry["words"].get(key, {}))
        rounds.append(one)
    skipped = {key: why for key, why in entry["skipped"].items() if key in BY_KEY}
    return CellResult(cell, rounds, entry["discarded"], entry["noisy"], skipped, entry["run"], entry["processors"])


def load(path: Path) -> Store:
    """Loads the store at `path`; empty if there is none. Omits cells that no longer exist."""
    if not path.exists():
        return Store()
    document = json.loads(path.read_text(encoding="utf-8"))
    known = {cell.name for cell in cell_list.ALL}
    return Store({key: Run(key, **entry) for key, entry in document["runs"].items()},
                 {name: revived(name, entry) for name, entry in document["cells"].items() if name in known})


def save(path: Path, store: Store) -> None:
    """Writes one line per server of each cell, so that a diff is readable."""
    runs = {run.key: {"date": run.date, "commit": run.commit, "settings": run.settings, "machine": run.machine}
            for run in store.runs.values()}
    document = {"runs": runs, "cells": {name: plain(result) for name, result in store.results.items()}}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    # Joins lists, and then objects that contain only lists, on one line.
    for innermost in (r"\[[^\[\]{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda found: re.sub(r"\s*\n\s*", " ", found.group(0)), text)
    path.write_text(text + "\n", encoding="utf-8")
