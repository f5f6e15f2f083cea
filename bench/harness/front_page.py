"""The first page of the benchmark's document: one table and one chart of the main cells, and the list of all cells."""

import re
from dataclasses import dataclass

from harness.cell import CPU, Cell
from harness.report import COLUMNS, markdown_table, number, ratio_text
from harness.rounds import CellResult
from harness.stats import Ratio, ratio_of
from harness.store import Run, Store
from harness.verdicts import MORE_IS_BETTER, best_key, our_key

# The cells of the table, with the words of its rows; those of which `charted` is set are in the chart, too.
MAIN = (
    ("read-4k-qd32", "4 KiB random reads", True),
    ("write-4k-qd32", "4 KiB random writes", True),
    ("read-1m", "1 MiB reads", True),
    ("write-1m", "1 MiB writes", True),
    ("many-16x8", "4 KiB random reads, 16 connections", True),
    ("tcp-read-4k-qd32", "4 KiB random reads over TCP", True),
    ("tls-read-4k-qd32", "4 KiB random reads over TLS", True),
    ("direct-read-qd32", "4 KiB random reads with O_DIRECT", True),
    ("qcow2-read-4k-qd32", "4 KiB random reads of qcow2", True),
    ("qcow2-write-4k-qd32", "4 KiB random overwrites of qcow2", True),
    ("qcow2-chain-4", "4 KiB random reads of 4 qcow2 layers", True),
    ("map-warm", "block status", False),
    ("connect", "connections", False),
    ("read-4k-qd1", "4 KiB random reads, one at a time", False),
)
FOLDER = "benchmarks"
CELLS = f"{FOLDER}/cells.md"
CHARTS = {"light": f"{FOLDER}/chart-light.svg", "dark": f"{FOLDER}/chart-dark.svg"}


@dataclass(frozen=True)
class Row:
    """A main cell: medians of the metric that ranks its servers, of ours and of each other's best configuration."""

    name: str
    title: str
    metric: str
    unit: str
    ours: float
    qsd: float | None
    nbdkit: float | None
    control: float | None
    ratio: Ratio | None  # ours / qsd
    qsd_version: str


def version_of(run: Run | None) -> str:
    """The version of qemu-storage-daemon in a run."""
    found = re.search(r"version ([0-9.]+)", run.machine.get("qemu-storage-daemon", "")) if run else None
    return found.group(1) if found else "–"


def row_of(title: str, result: CellResult, run: Run | None) -> Row | None:
    """The row of a cell; none without a measurement of ours."""
    cell = result.cell
    ours = our_key(result)
    if ours is None or result.median(ours, cell.primary) is None:
        return None

    def best(family: str) -> float | None:
        key = best_key(result, family, cell.primary)
        return None if key is None else result.median(key, cell.primary)

    qsd = best_key(result, "qsd", cell.primary)
    ratio = ratio_of(result.values(ours, cell.primary), result.values(qsd, cell.primary)) if qsd else None
    return Row(cell.name, title, cell.primary, cell.unit, result.median(ours, cell.primary), best("qsd"),
               best("nbdkit"), best("control"), ratio, version_of(run))


def rows_of(store: Store) -> list[Row]:
    """The main cells that were measured, in their order."""
    rows = (row_of(title, store.results[name], store.runs.get(store.results[name].run))
            for name, title, _ in MAIN if name in store.results)
    return [row for row in rows if row is not None]


def link(cell: str, text: str) -> str:
    return f"[{text}]({CELLS}#{cell})"


def table(rows: list[Row]) -> str:
    """The table of the main cells."""
    lines = [["cell", "measured", "ours", "QSD's best", "nbdkit", "control", "ours / QSD's best [95 %]", "QSD"]]
    for row in rows:
        measured = COLUMNS[row.metric].format(unit=row.unit)
        if row.metric in MORE_IS_BETTER:
            measured += " (more is better)"
        lines.append([link(row.name, row.title), measured, number(row.ours), number(row.qsd), number(row.nbdkit),
                      number(row.control), ratio_text(row.ratio), row.qsd_version])
    return markdown_table(lines, numbers=True)


def chart_rows(rows: list[Row]) -> list[dict]:
    """What bench/chart.py draws: CPU time per operation as a part of that of QSD's best configuration."""
    charted = {name for name, _, is_charted in MAIN if is_charted}
    return [{"title": row.title, "ours": row.ours / row.qsd,
             "nbdkit": row.nbdkit / row.qsd if row.nbdkit else None,
             "control": row.control / row.qsd if row.control else None}
            for row in rows if row.name in charted and row.metric == CPU and row.qsd]


def picture(folder: str = "") -> str:
    """The chart, as Markdown shows it by the reader's colours. `folder`: that of the page's document, with a slash."""
    return (f'<picture>\n<source media="(prefers-color-scheme: dark)" srcset="{folder}{CHARTS["dark"]}">\n'
            f'<img alt="Server CPU time per operation beside other servers" src="{folder}{CHARTS["light"]}">\n'
            "</picture>")


def all_cells(cells: list[Cell]) -> str:
    """A list of all measured cells."""
    return "\n".join(f"- {link(cell.name, f'`{cell.name}`')}: {cell.title}" for cell in cells)


def front_page(store: Store) -> str:
    """The measured part of the first page."""
    rows = rows_of(store)
    # The paragraph on the figures names their newest run; each cell names its own.
    newest = max(store.runs.values(), key=lambda run: run.key) if store.runs else None
    machine = newest.machine if newest else {}
    where = ", ".join(machine[key] for key in ("processor", "kernel") if key in machine)
    said = f"The newest run is of {newest.date} ({where}). " if newest else ""
    return "\n".join([picture(), "", table(rows), "",
                      f"{said}Each cell names its run, and [goals.md]({FOLDER}/goals.md) has all runs and their",
                      "machines. The last column is the version of qemu-storage-daemon in that run.",
                      "", "## All cells", "", all_cells([result.cell for result in store.results.values()]), ""])
