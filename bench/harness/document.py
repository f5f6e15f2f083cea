"""The pages of the benchmark's document, and its chart, written from the stored results."""

import json
import subprocess
from pathlib import Path

from harness.front_page import CHARTS, FOLDER, chart_rows, front_page, rows_of
from harness.images import Layout
from harness.report import BEGIN, END, cells_page, goals_page, write_document
from harness.store import Store

# The interpreter that has Debian's matplotlib.
PYTHON = "/usr/bin/python3"
CHART = Path(__file__).resolve().parent.parent / "chart.py"


def draw_charts(folder: Path, rows: list[dict]) -> str:
    """Draws the chart in both colours; the reason if that is not possible."""
    for colours, name in CHARTS.items():
        try:
            done = subprocess.run([PYTHON, "-B", CHART, colours, folder / name], input=json.dumps(rows), text=True,
                                  capture_output=True, check=False)
        except OSError as error:
            return str(error)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["bench/chart.py failed"])[-1]
        # matplotlib ends some lines with blanks.
        path = folder / name
        path.write_text("".join(line.rstrip() + "\n" for line in path.read_text().splitlines()), encoding="utf-8")
    return ""


def write_pages(document: Path, store: Store, layouts: dict[str, Layout]) -> str:
    """Writes the first page and those in the folder beside it; the reason why there is no new chart, or nothing."""
    folder = document.parent
    (folder / FOLDER).mkdir(exist_ok=True)
    for page, title in ((document, "Benchmarks"), (folder / FOLDER / "goals.md", "Goals and runs"),
                        (folder / FOLDER / "cells.md", "Every cell")):
        if not page.exists():
            page.write_text(f"# {title}\n\n{BEGIN}\n{END}\n", encoding="utf-8")
    write_document(document, front_page(store))
    write_document(folder / FOLDER / "goals.md", goals_page(store))
    write_document(folder / FOLDER / "cells.md", cells_page(store, layouts))
    return draw_charts(folder, chart_rows(rows_of(store)))
