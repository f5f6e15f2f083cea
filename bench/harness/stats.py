"""Medians of per-round ratios and their bootstrap intervals, which all claims use."""

import random
import statistics
from dataclasses import dataclass

RESAMPLES = 4000
SEED = 20
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """A median of per-round ratios with its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 1."""
        return self.high < 1 or self.low > 1


def ratio_of(ours: list[float], theirs: list[float]) -> Ratio | None:
    """The ratio ours/theirs of values measured in the same rounds. None without a usable pair."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b > 0]
    if not ratios:
        return None
    chance = random.Random(SEED)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    return Ratio(statistics.median(ratios), medians[int(RESAMPLES * tail)], medians[int(RESAMPLES * (1 - tail)) - 1])


def spread(values: list[float]) -> float:
    """Half the interquartile range as a fraction of the median, a measure of a row's noise."""
    if len(values) < 3 or statistics.median(values) == 0:
        return 0.0
    quartiles = statistics.quantiles(values, n=4)
    return (quartiles[2] - quartiles[0]) / 2 / statistics.median(values)
