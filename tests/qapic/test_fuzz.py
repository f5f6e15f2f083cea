"""A short run of the fuzzer, always from the same seed; tools/qapic/fuzz.py runs for longer."""

from __future__ import annotations

import glob
import os
import unittest

from support import ROOT

from qapic.fuzz import fuzz


class Fuzz(unittest.TestCase):
    def test_damaged_schemas_cause_schema_errors_only(self) -> None:
        paths = sorted(glob.glob(os.path.join(ROOT, "schema", "[a-eg-z]*.json")))
        paths += sorted(glob.glob(os.path.join(ROOT, "src", "schema", "sample", "[ps]*.json")))
        done, right = fuzz(paths, seed=20250101, seconds=20, runs=1500)
        self.assertGreater(done, 100)
        self.assertGreater(right, 0, "all were wrong: the damage is too great to reach the later passes")


if __name__ == "__main__":
    unittest.main()
