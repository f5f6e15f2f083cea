"""The report: tables for a terminal and for the documentation, and everything that was measured as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from harness.cells import Cell
from harness.images import Layout
from harness.rounds import CellResult
from harness.servers import BY_KEY
from harness.stats import Ratio, ratio_of, spread
from harness.verdicts import judge, our_key

BEGIN = "<!-- measured: begin (written by bench/run.py) -->"
END = "<!-- measured: end -->"

COLUMNS = {
    "server_cpu_us": "CPU µs/{unit}",
    "per_second": "{unit}/s",
    "megabytes_per_second": "MB/s",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "switches": "switches/{unit}",
    "slowest_share": "slowest conn.",
    "wall_ms": "wall ms",
    "start_ms": "start ms",
    "start_cpu_ms": "start CPU ms",
    "resident_kb": "RSS kB",
    "kb_per_connection": "kB/connection",
    "newcomer_us": "newcomer µs",
    "turned_away": "turned away",
    "small_share": "4 KiB keeps",
    "big_share": "1 MiB keeps",
    "smaller_share": "smaller share",
}


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio_text(ratio: Ratio | None) -> str:
    return "–" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def reference_of(result: CellResult) -> str | None:
    """What the ratio column divides by: ours, or while ours is not there the control."""
    return our_key(result) or ("control" if "control" in result.servers() else None)


def rows_of(cell: Cell, result: CellResult) -> list[list[str]]:
    """A header row, then a row for each server."""
    metrics = [metric for metric in COLUMNS if metric in result.metrics()]
    reference = reference_of(result)
    header = ["server", *(COLUMNS[metric].format(unit=cell.unit) for metric in metrics), "± %"]
    if reference:
        header.append(f"{BY_KEY[reference].label} / this, {COLUMNS[cell.primary].format(unit=cell.unit)} [95 %]")
    rows = [header]
    for key in result.servers():
        row = [BY_KEY[key].label, *(number(result.median(key, metric)) for metric in metrics)]
        row.append(f"{spread(result.values(key, cell.primary)) * 100:.0f}")
        if reference:
            ratio = ratio_of(result.values(reference, cell.primary), result.values(key, cell.primary))
            row.append("1" if key == reference else ratio_text(ratio))
        rows.append(row)
    return rows


def terminal_table(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(rows: list[list[str]], numbers: bool = False) -> str:
    def line(row: list[str]) -> str:
        return "| " + " | ".join(row) + " |"

    ruler = "| --- |" + (" ---: |" if numbers else " --- |") * (len(rows[0]) - 1)
    return "\n".join([line(rows[0]), ruler, *map(line, rows[1:])])


def conditions(cell: Cell, layout: Layout) -> str:
    """How the image was prepared, in words."""
    kind, _, size = cell.condition.partition(":")
    state = {"cached": "all in the page cache", "uncached": "dropped from the page cache", "as-is": "fresh",
             "dirty": f"written out, then its first {size}iB rewritten and left dirty"}[kind]
    return f"image: {layout.words()}; {state}"


def notes(result: CellResult) -> list[str]:
    lines = []
    count = len(result.rounds)
    kept = f"{count} rounds" + (f", {result.discarded} more discarded as disturbed" if result.discarded else "")
    lines.append(kept + ("; too few undisturbed rounds, so all are shown: noisy" if result.noisy else ""))
    lines += [f"{BY_KEY[key].label}: skipped: {why}" for key, why in result.skipped.items()]
    return lines


def terminal_section(cell: Cell, result: CellResult, layout: Layout) -> str:
    lines = [f"\n{cell.name}: {cell.title}", f"  {conditions(cell, layout)}"]
    if result.rounds:
        lines.append(terminal_table(rows_of(cell, result)))
    lines += [f"  {note}" for note in notes(result)]
    lines += [f"  goal {v.goal}: {v.outcome} ({v.measured})" for v in judge(cell, result)]
    return "\n".join(lines)


def markdown_section(cell: Cell, result: CellResult, layout: Layout) -> str:
    lines = [f"### {cell.title}", "", f"`{cell.name}`; {conditions(cell, layout)}.", ""]
    if result.rounds:
        lines += [markdown_table(rows_of(cell, result), numbers=True), ""]
    lines += [f"- {note}." for note in notes(result)]
    verdicts = judge(cell, result)
    if verdicts:
        rows = [["goal", "measured", "outcome"], *([v.goal, v.measured, v.outcome] for v in verdicts)]
        lines += ["", markdown_table(rows)]
    return "\n".join(lines) + "\n"


def goals_summary(cells: list[Cell], results: dict[str, CellResult]) -> str:
    rows = [["cell", "goal", "measured", "outcome"]]
    for cell in cells:
        rows += [[cell.name, v.goal, v.measured, v.outcome] for v in judge(cell, results[cell.name])]
    return markdown_table(rows) if len(rows) > 1 else "Ours was not measured in this run, so no goal was judged."


def markdown(cells: list[Cell], results: dict[str, CellResult], machine: dict[str, str], layouts: dict[str, Layout],
             settings: str) -> str:
    parts = ["## The machine and the run", "", markdown_table([["what", "which"], *map(list, machine.items())]), "",
             settings, "", "## Goals", "", goals_summary(cells, results), "", "## Every cell", ""]
    parts += [markdown_section(cell, results[cell.name], layouts[cell.image]) for cell in cells]
    return "\n".join(parts)


def write_document(path: Path, section: str) -> None:
    """Replaces what stands between the two marks of the document; the document must have them."""
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no marks for the measured part")
    path.write_text(f"{head}{BEGIN}\n\n{section}\n{END}{tail}", encoding="utf-8")


def write_json(path: Path, results: dict[str, CellResult], machine: dict[str, str]) -> None:
    cells = {name: {"title": result.cell.title, "discarded": result.discarded, "noisy": result.noisy,
                    "skipped": result.skipped,
                    "rounds": [{key: asdict(m) for key, m in one.items()} for one in result.rounds]}
             for name, result in results.items()}
    path.write_text(json.dumps({"machine": machine, "cells": cells}, indent=1), encoding="utf-8")
