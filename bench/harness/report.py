"""The report: tables for a terminal and for the documentation."""

from pathlib import Path

from harness.cell import Cell
from harness.growth_cells import POINT
from harness.images import Layout
from harness.rounds import CellResult
from harness.servers import BY_KEY
from harness.stats import Ratio, ratio_of, spread
from harness.store import Run, Store
from harness.verdicts import MISSED, NOT_RUN, Verdict, judge, our_key

BEGIN = "<!-- measured: begin (written by bench/run.py) -->"
END = "<!-- measured: end -->"

COLUMNS = {
    "server_cpu_us": "CPU µs/{unit}",
    "client_cpu_us": "client CPU µs/{unit}",
    "per_second": "{unit}/s",
    "megabytes_per_second": "MB/s",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "switches": "switches/{unit}",
    "slowest_share": "slowest conn.",
    "wall_ms": "wall ms",
    "open_ms": "open ms",
    "start_ms": "start ms",
    "start_cpu_ms": "start CPU ms",
    "resident_kb": "RSS kB",
    "kb_per_connection": "kB/connection",
    "newcomer_us": "newcomer µs",
    "turned_away": "turned away",
    "small_share": "4 KiB keeps",
    "big_share": "1 MiB keeps",
    "smaller_share": "smaller share",
    "small_alone_us": "4 KiB client's CPU µs/op, alone",
    "small_together_us": "together",
    "small_processor": "its part of a processor, together",
}


def column(cell: Cell, metric: str) -> str:
    """A metric's heading; a point of a table of growth has its own."""
    name = metric.removeprefix(POINT) if metric.startswith(POINT) else COLUMNS[metric].format(unit=cell.unit)
    return f"CPU µs/{cell.unit} at {name}" if metric.startswith(POINT) else name


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio_text(ratio: Ratio | None) -> str:
    return "–" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def reference_of(result: CellResult) -> str | None:
    """The server that the ratio column divides by: ours, or the control if ours is missing."""
    return our_key(result) or ("control" if "control" in result.servers() else None)


def rows_of(cell: Cell, result: CellResult) -> list[list[str]]:
    """A header row, then a row for each server."""
    known = result.metrics()
    metrics = [metric for metric in known if metric.startswith(POINT)]
    metrics += [metric for metric in COLUMNS if metric in known]
    reference = reference_of(result)
    header = ["server", *(column(cell, metric) for metric in metrics), "± %"]
    has_ciphers = any(result.words(key, "cipher") for key in result.servers())
    if has_ciphers:
        header.insert(1, "cipher")
    if reference:
        header.append(f"{BY_KEY[reference].label} / this, {column(cell, cell.primary)} [95 %]")
    rows = [header]
    for key in result.servers():
        row = [BY_KEY[key].label, *(number(result.median(key, metric)) for metric in metrics)]
        if has_ciphers:
            row.insert(1, result.words(key, "cipher") or "–")
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


def conditions(cell: Cell, layouts: dict[str, Layout]) -> str:
    """A description of the image's preparation."""
    kind, _, size = cell.condition.partition(":")
    state = {"cached": "all in the page cache", "uncached": "dropped from the page cache", "as-is": "fresh",
             "new": "made anew for each measurement",
             "dirty": f"written out, then its first {size}iB rewritten and left dirty"}[kind]
    others = [BY_KEY[key].image for key in cell.servers if BY_KEY[key].image]
    names = dict.fromkeys([*cell.images, *others])
    return "; ".join([*(f"image: {layouts[name].words()}" for name in names), state])


def notes(result: CellResult) -> list[str]:
    lines = []
    count = len(result.rounds)
    kept = f"{count} rounds" + (f", {result.discarded} more discarded as disturbed" if result.discarded else "")
    lines.append(kept + ("; too few undisturbed rounds, so all are shown: noisy" if result.noisy else ""))
    lines += [f"{BY_KEY[key].label}: skipped: {why}" for key, why in result.skipped.items()]
    return lines


def terminal_section(cell: Cell, result: CellResult, layouts: dict[str, Layout]) -> str:
    lines = [f"\n{cell.name}: {cell.title}", f"  {conditions(cell, layouts)}"]
    if result.rounds:
        lines.append(terminal_table(rows_of(cell, result)))
    lines += [f"  {note}" for note in notes(result)]
    lines += [f"  goal {v.goal}: {v.outcome} ({v.measured})" for v in judge(cell, result)]
    return "\n".join(lines)


def markdown_section(cell: Cell, result: CellResult, layouts: dict[str, Layout], run: Run) -> str:
    lines = [f'<a id="{cell.name}"></a>', "", f"## {cell.title}", "",
             f"`{cell.name}`; {conditions(cell, layouts)}; run of {run.key}, commit {run.commit}.", ""]
    if result.rounds:
        lines += [markdown_table(rows_of(cell, result), numbers=True), ""]
    lines += [f"- {note}." for note in notes(result)]
    verdicts = judge(cell, result)
    if verdicts:
        rows = [["goal", "measured", "outcome"], *([v.goal, v.measured, v.outcome] for v in verdicts)]
        lines += ["", markdown_table(rows)]
    return "\n".join(lines) + "\n"


def verdicts_of(results: dict[str, CellResult]) -> list[tuple[CellResult, Verdict]]:
    return [(result, verdict) for result in results.values() for verdict in judge(result.cell, result)]


def goals_summary(store: Store) -> str:
    rows = [["cell", "goal", "measured", "outcome", "run"]]
    rows += [[result.cell.name, v.goal, v.measured, v.outcome, result.run] for result, v in verdicts_of(store.results)]
    return markdown_table(rows)


def missed_goals(results: dict[str, CellResult]) -> str:
    """The goals that were not met, by name, for the end of a run."""
    verdicts = verdicts_of(results)
    lines = []
    for outcome in (MISSED, "not sure", "not measured", NOT_RUN):
        found = [f"  {result.cell.name}: {v.goal}: {v.measured}" for result, v in verdicts if v.outcome == outcome]
        lines += [f"\nGoals {outcome}: {len(found)} of {len(verdicts)}", *found] if found else []
    return "\n".join(lines) or f"\nAll {len(verdicts)} goals are met."


def runs_section(store: Store) -> str:
    """The section of the runs in the tables, the newest first, each with its machine and settings."""
    parts = []
    for run in sorted(store.runs.values(), key=lambda one: one.key, reverse=True):
        names = [f"`{name}`" for name, result in store.results.items() if result.run == run.key]
        which = "all cells" if len(names) == len(store.results) else ", ".join(names)
        parts += [f"### Run of {run.key}", "", f"Commit {run.commit}; {which}.", "", run.settings, "",
                  markdown_table([["what", "which"], *map(list, run.machine.items())]), ""]
    return "\n".join(parts)


def goals_page(store: Store) -> str:
    """The measured part of the page of goals and runs."""
    return "\n".join(["## Goals", "", goals_summary(store), "", "## The machine and the runs", "", runs_section(store)])


def cells_page(store: Store, layouts: dict[str, Layout]) -> str:
    """The measured part of the page of cells."""
    return "\n".join(markdown_section(result.cell, result, layouts, store.runs[result.run])
                     for result in store.results.values())


def write_document(path: Path, section: str) -> None:
    """Replaces the text between the two marks of the document; the document must have them."""
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no marks for the measured part")
    path.write_text(f"{head}{BEGIN}\n\n{section}\n{END}{tail}", encoding="utf-8")
