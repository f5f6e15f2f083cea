#!/usr/bin/env python3
"""Repeats the evidence for qcow2 images: tools/qcow2_evidence.py [--quick] [--build DIR] [--fuzz-build DIR] [ROW...]

Runs each row of the table "The evidence" of docs/qcow2.md and prints its count, findings and seconds. Without --quick
in full, which takes hours; with it as often as the test suite does. Exits 1 if anything is found, or a row did not run.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"  # the one that has libnbd's module
FUZZ_TARGETS = ("qcow2_format", "qcow2_image", "qcow2_check")
FUZZ_SECONDS = {True: 20, False: 2400}  # each; 2 hours in full


class Row:
    """A row of the table. `parts`: functions of the settings that return a count and the number of findings."""

    def __init__(self, name, title, *parts):
        self.name, self.title, self.parts = name, title, parts


class Settings:
    """The settings of this run."""

    def __init__(self, options):
        self.quick, self.build, self.fuzz_build = options.quick, options.build.resolve(), options.fuzz_build.resolve()

    def environment(self, **more):
        """The environment of a part."""
        values = {**os.environ, "BLOCKEXPORTD": str(self.build / "blockexportd"),
                  "BLOCKEXPORT": str(self.build / "blockexport"), "BLOCKEXPORT_TEST_BACKEND": "simulation", **more}
        if not self.quick:
            values["BLOCKEXPORT_THOROUGH"] = "1"
            # Clients flush after each command; on a disk the courses take ten times longer.
            if os.access("/dev/shm", os.W_OK):
                values.setdefault("TMPDIR", "/dev/shm")
        return values


def gtest(program, pattern):
    """Tests of a program in the simulation. They tell their counts as the property "count"."""

    def run(settings):
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            finished = subprocess.run(
                [settings.build / "src/drivers/qcow2" / program, f"--gtest_filter={pattern}",
                 f"--gtest_output=json:{report.name}"],
                env=settings.environment(), capture_output=True, text=True, check=False)
            text = pathlib.Path(report.name).read_text(encoding="utf-8")
        if not text:
            return 0, fail(finished)
        suites = json.loads(text)["testsuites"]
        tests = [test for suite in suites for test in suite["testsuite"]]
        findings = sum(1 for test in tests if test.get("failures"))
        if finished.returncode != 0:
            findings = max(1, findings)
        if findings or not tests:
            return len(tests), fail(finished, findings)
        return sum(int(test.get("count", 1)) for test in tests), 0
    return run


def blackbox(file, name="", per_unit=0, full=0, usual=0, variable=""):
    """Black-box tests. Their count is that of "COUNT n" in their output, or `per_unit` for each unit of `variable`."""

    def run(settings):
        units = usual if settings.quick else full
        more = {variable: str(units)} if variable else {}
        finished = subprocess.run([PYTHON, "run.py", file, *([name] if name else [])], cwd=ROOT / "tests",
                                  env=settings.environment(**more), capture_output=True, text=True, check=False)
        output = finished.stdout + finished.stderr
        ran = int(re.search(r"Ran (\d+) test", output).group(1)) if "Ran " in output else 0
        if finished.returncode != 0 or ran == 0:
            return ran, fail(finished)
        told = [int(number) for number in re.findall(r"COUNT (\d+)", output)]
        return per_unit * units or sum(told) or ran, 0
    return run


def fuzzers(settings):
    """libFuzzer, for each target; the count is that of its runs."""
    count = findings = 0
    for target in FUZZ_TARGETS:
        program = settings.fuzz_build / "fuzz" / f"fuzz_{target}"
        if not program.exists():
            print(f"  {program} is not built: cmake --preset fuzz && cmake --build --preset fuzz", file=sys.stderr)
            findings += 1
            continue
        corpus = settings.fuzz_build / "corpus" / program.name
        corpus.mkdir(parents=True, exist_ok=True)
        finished = subprocess.run(
            [program, f"-max_total_time={FUZZ_SECONDS[settings.quick]}", "-rss_limit_mb=1024", "-timeout=60",
             f"-artifact_prefix={settings.fuzz_build}/{target}-", corpus, ROOT / "fuzz/seeds" / target],
            capture_output=True, text=True, errors="replace", check=False)
        done = re.search(r"Done (\d+) runs", finished.stderr)
        count += int(done.group(1)) if done else 0
        if finished.returncode != 0 or not done:
            findings += fail(finished)
    return count, findings


def fail(finished, findings=1):
    """Shows the end of what a part has said."""
    print((finished.stdout[-3000:] + finished.stderr[-3000:]), file=sys.stderr)
    return findings


ROWS = [
    Row("in-turn", "both ways with QEMU: courses of changes in turn",
        blackbox("nbd/qcow2_write_test.py", per_unit=20, full=510, usual=1, variable="BLOCKEXPORT_SEQUENCES")),
    Row("power-cuts", "power cut: states after lost, torn and reordered writes, with resizes",
        gtest("qcow2_tables_test", "ImageWriterTest.LosesNothing*"), gtest("qcow2_test", "*NoLongerWorkload*")),
    Row("short-workloads", "all workloads of up to 3 operations (quick: 2): states after power cuts",
        gtest("qcow2_test", "*NoShortWorkload*")),
    Row("reactors", "several connections on several reactors: seeds",
        gtest("qcow2_tables_test", "ImageWriterReactors*"), gtest("qcow2_test", "*Qcow2SnapshotsReactorsTest*")),
    Row("kills", "kill -9 under load: kills",
        blackbox("nbd/qcow2_kills_test.py", per_unit=6, full=170, usual=2, variable="BLOCKEXPORT_KILLS")),
    Row("errors", "k-th I/O error, and no space: courses",
        gtest("qcow2_tables_test", "ImageWriterTest.Survives*:ImageWriterTest.GoesOn*"),
        blackbox("nbd/blkdebug_test.py", "Qcow2FaultsTest")),
    Row("hostile", "hostile images, in memory and through the server",
        gtest("qcow2_test", "*Qcow2HostileTest*"), blackbox("nbd/hostile_qcow2_test.py"),
        blackbox("nbd/qcow2_read_test.py", "HostileTest"), blackbox("nbd/image_names_test.py")),
    Row("snapshots", "internal snapshots: power cuts, errors, pauses, damage; courses with QEMU in turn",
        gtest("qcow2_test", "*Qcow2SnapshotsTest*"),
        blackbox("nbd/qcow2_snapshots_test.py", "CourseTest", per_unit=10, full=100, usual=1,
                 variable="BLOCKEXPORT_SEQUENCES")),
    Row("bitmap-stores", "bitmaps with a store beside the image: crashes between any two writes; kills under load",
        gtest("qcow2_test", "*Qcow2StoreTest*"),
        blackbox("nbd/qcow2_store_test.py", per_unit=1, full=200, usual=8, variable="BLOCKEXPORT_KILLS")),
    Row("fuzz", "libFuzzer: inputs", fuzzers),
    Row("agreement", "check and repair beside qemu-img: tests", blackbox("client/image_check_test.py")),
    Row("pauses", "two operations at every suspension point: runs", gtest("qcow2_test", "*Qcow2PausesTest*")),
    Row("answers", "QMP answers within 100 ms during long work: scenarios", blackbox("qmp/answer_times_test.py")),
]


def main():
    """Runs the chosen rows, and prints each when it has ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="as often as the test suite")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", metavar="DIR")
    parser.add_argument("--fuzz-build", type=pathlib.Path, default=ROOT / "build-fuzz", metavar="DIR")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(row.name for row in ROWS)}")
    options = parser.parse_args()
    unknown = set(options.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"unknown row {sorted(unknown)[0]}")
    settings = Settings(options)
    all_findings = 0
    print(f"| row | {'what':74} | count | findings | seconds |\n|---|---|---|---|---|", flush=True)
    for row in ROWS:
        if options.rows and row.name not in options.rows:
            continue
        begin = time.monotonic()
        results = [part(settings) for part in row.parts]
        count, findings = (sum(column) for column in zip(*results))
        all_findings += findings
        print(f"| {row.name} | {row.title:74} | {count:,} | {findings} | {time.monotonic() - begin:.0f} |", flush=True)
    return 1 if all_findings else 0


if __name__ == "__main__":
    sys.exit(main())
