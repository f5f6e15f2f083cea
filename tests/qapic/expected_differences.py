"""The deliberate differences between our schema and those of versions of qemu-storage-daemon: expected/.

qsd-VERSION.txt has those from that version which the next newer one has not; qsd-older.txt those from versions before
all of these. So a version's differences are those of its own file and of all newer ones.
"""

from __future__ import annotations

import os

import reference_schema
import support  # noqa: F401 (finds qapic)

from qapic import compare_schema
from qapic.compare_schema import Comparison, Introspected

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected")


class Expected(compare_schema.Expected):
    """The meant differences from one version."""

    def __init__(self, lines: list[str], own: int = 0):
        super().__init__(lines)
        self.own = own

    @classmethod
    def of_version(cls, version: str | None) -> Expected:
        """Those from a recorded version; None: from one that is not recorded, which may be older than all."""
        known = reference_schema.versions()
        names = ["older", *known] if version is None else known[known.index(version):]
        lines = [_lines(name) for name in names]
        return cls(sum(lines, []), own=sum(map(_is_pattern, lines[0])))

    def unused(self) -> list[str]:
        """Of the patterns for this version alone: those for newer ones need not fit."""
        return [pattern for pattern, _ in self.patterns[:self.own] if pattern not in self.used]


def _lines(name: str) -> list[str]:
    with open(os.path.join(FOLDER, f"qsd-{name}.txt"), encoding="utf-8") as file:
        return file.readlines()


def _is_pattern(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def surprises(ours: Introspected, theirs: list[dict], known: Expected) -> list[str]:
    """The differences that are not meant."""
    return [difference for difference in Comparison(ours, Introspected(theirs)).run()
            if known.reason(difference) is None]
