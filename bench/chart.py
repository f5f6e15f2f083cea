#!/usr/bin/python3
"""Draws the chart of docs/benchmarks.md: reads rows as JSON from standard input, and writes an SVG.

    bench/chart.py light|dark FILE

A row has a title, and the CPU time per operation of ours, of nbdkit and of the control as parts of that of
qemu-storage-daemon's best configuration. Needs matplotlib (Debian: python3-matplotlib).
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

COLOURS = {
    "light": {"text": "#1f2328", "grid": "#d1d9e0", "ours": "#0969da", "nbdkit": "#9a6700", "control": "#8c959f"},
    "dark": {"text": "#f0f6fc", "grid": "#3d444d", "ours": "#4493f8", "nbdkit": "#d29922", "control": "#656c76"},
}
NAMES = {"ours": "blockexportd", "nbdkit": "nbdkit", "control": "control: the least possible work"}
BAR = 0.26


def draw(rows: list[dict], colours: dict[str, str], path: str) -> None:
    """One group of bars for each row, the first one at the top."""
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "blockexportd", "font.family": "sans-serif",
                                "text.color": colours["text"], "axes.labelcolor": colours["text"],
                                "xtick.color": colours["text"], "ytick.color": colours["text"], "font.size": 10})
    figure, axes = pyplot.subplots(figsize=(9, 0.62 * len(rows) + 1.4))
    for place, key in enumerate(NAMES):
        found = [(index, row[key]) for index, row in enumerate(rows) if row[key] is not None]
        heights = [index + (place - 1) * BAR for index, _ in found]
        bars = axes.barh(heights, [value for _, value in found], BAR, color=colours[key], label=NAMES[key])
        if key == "ours":
            axes.bar_label(bars, [f"{value:.2f}" for _, value in found], padding=3, fontsize=9)
    axes.axvline(1, color=colours["text"], linewidth=1, label="qemu-storage-daemon at its best = 1")
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("server CPU time per operation (less is better)")
    axes.grid(axis="x", color=colours["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.legend(loc="upper center", ncols=4, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main(arguments: list[str]) -> int:
    """Draws it."""
    if len(arguments) != 2 or arguments[0] not in COLOURS:
        print(__doc__, file=sys.stderr)
        return 2
    draw(json.load(sys.stdin), COLOURS[arguments[0]], arguments[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
