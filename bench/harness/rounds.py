"""Interleaved rounds: each round measures every server once, in alternating order; disturbed rounds are repeated."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.cell import Cell
from harness.measure import Measurement, Meter
from harness.servers import BY_KEY, Server
from harness.tools import BenchError, Tools

MOST_STEAL = 0.01
MOST_FOREIGN = 0.10
CONTROL_DEVIATION = 0.15
# Additional rounds that may replace disturbed ones, as a fraction of the wanted rounds.
SPARE_ROUNDS = 0.5
# Fewer rounds give no meaningful interval.
LEAST_ROUNDS = 3


@dataclass
class CellResult:
    """Results of one cell: the values per round of every server that ran in all rounds."""

    cell: Cell
    rounds: list[dict[str, Measurement]] = field(default_factory=list)
    discarded: int = 0
    noisy: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    # The run that measured it: a key of the document's runs.
    run: str = ""
    # Number of processors of the machine.
    processors: int = 0

    def servers(self) -> list[str]:
        return [key for key in self.cell.servers if self.rounds and all(key in one for one in self.rounds)]

    def words(self, key: str, what: str) -> str:
        """A server's choice in the last round, such as its cipher."""
        return self.rounds[-1][key].words.get(what, "")

    def metrics(self) -> list[str]:
        names: dict[str, None] = {}
        for one in self.rounds:
            for measurement in one.values():
                names.update(dict.fromkeys(measurement.values))
        return list(names)

    def values(self, key: str, metric: str) -> list[float]:
        return [one[key].values[metric] for one in self.rounds if metric in one[key].values]

    def median(self, key: str, metric: str) -> float | None:
        values = self.values(key, metric)
        return statistics.median(values) if values else None


def present(tools: Tools, cell: Cell, result: CellResult, only: set[str] | None) -> list[Server]:
    """The cell's servers that are installed and selected; records the others in `result`."""
    servers = []
    for key in cell.servers:
        server = BY_KEY[key]
        if only is not None and key not in only and server.family not in only:
            continue
        why_not = server.why_not(tools)
        if why_not is None:
            servers.append(server)
        else:
            result.skipped[key] = why_not
    return servers


def disturbed(cell: Cell, one: dict[str, Measurement]) -> bool:
    """Whether the machine did other work. Write cells count only steal time, since kernel threads write back pages."""
    writes = cell.condition.startswith(("dirty", "uncached", "new"))
    return any(m.steal > MOST_STEAL or (not writes and m.foreign > MOST_FOREIGN) for m in one.values())


def off_control(cell: Cell, rounds: list[dict[str, Measurement]], one: dict[str, Measurement]) -> bool:
    """Whether the control, which never changes, differs from its median."""
    def value(entry: dict[str, Measurement]) -> float | None:
        return entry["control"].values.get(cell.primary) if "control" in entry else None

    known = [v for v in map(value, rounds) if v is not None]
    mine = value(one)
    if mine is None or len(known) < 3:
        return False
    return abs(mine / statistics.median(known) - 1) > CONTROL_DEVIATION


def run_round(meter: Meter, cell: Cell, servers: list[Server], backwards: bool, result: CellResult
              ) -> dict[str, Measurement]:
    one = {}
    for server in reversed(servers) if backwards else list(servers):
        if server.key in result.skipped:
            continue
        try:
            one[server.key] = meter.measure(cell, server)
        except BenchError as error:
            result.skipped[server.key] = str(error)
    return one


def run_cell(meter: Meter, cell: Cell, wanted: int, only: set[str] | None, strict: bool, deadline: float,
             say: Callable[[str], None]) -> CellResult:
    """Measures `cell` until there are `wanted` undisturbed rounds, or no spare rounds or time are left.

    After `deadline` at most LEAST_ROUNDS are tried; the report shows the number of rounds.
    """
    result = CellResult(cell, processors=meter.processors)
    servers = present(meter.tools, cell, result, only)
    tried: list[dict[str, Measurement]] = []
    good: list[dict[str, Measurement]] = []
    most = wanted + round(wanted * SPARE_ROUNDS) if strict else wanted
    while servers and len(good) < wanted and len(tried) < most:
        if len(tried) >= min(wanted, LEAST_ROUNDS) and time.monotonic() > deadline:
            break
        one = run_round(meter, cell, servers, len(tried) % 2 == 1, result)
        if not one:
            break
        tried.append(one)
        good = [r for r in tried if not (strict and (disturbed(cell, r) or off_control(cell, tried, r)))]
        say(f"{cell.name}: round {len(tried)}, {len(good)} of {wanted} undisturbed")
    result.discarded = len(tried) - len(good)
    # With too few undisturbed rounds all are used, and the report marks the cell as noisy.
    result.noisy = len(good) < min(LEAST_ROUNDS, wanted)
    result.rounds = tried if result.noisy else good
    result.discarded = 0 if result.noisy else result.discarded
    for one in result.rounds:
        for key in result.skipped:
            one.pop(key, None)
    return result
