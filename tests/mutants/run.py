#!/usr/bin/env python3
"""Puts small faults into the code, one at a time, and tells which of them the tests notice.

    tests/mutants/run.py [--list | --check] [--jobs N] [--build-dir DIR] [NAME ...]

Each fault stands in a TOML file beside this program: the file, the text to find there (once), the text to put in its
place, and the tests that should notice. The sources are copied once for each job, so the work tree stays as it is.
Exit code: 1 when more than SURVIVORS_MAX_PERCENT of the faults survive, when one does not build, or when the tests
fail without a fault.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SURVIVORS_MAX_PERCENT = 10
# A variable that a fault leaves unused is no error of the build.
NOTHING_IS_UNUSED = "".join(f'#pragma clang diagnostic ignored "-W{name}"\n' for name in ("unused", "unused-parameter"))
# A fault may make a test wait for ever. So a test with a fault may take this much longer than it took without one, and
# without one it may take TEST_SECONDS_MAX.
TEST_SECONDS_MAX = 900
TIMES_SLOWER_MAX = 3
SECONDS_MORE_MAX = 60
# Programs that run whole on a backend that the environment names, and those that see the most.
BACKENDS = {"block_test": ("io_uring", "simulation"), "filters_test": ("io_uring", "simulation"),
            "drivers_test": ("io_uring", "epoll"), "qcow2_test": ("simulation",)}
NOTICED, SURVIVED, BROKEN = "noticed", "SURVIVED", "DOES NOT BUILD"


@dataclasses.dataclass
class Mutant:
    """One small fault: `edits` are pairs of the text to find and its replacement."""

    name: str
    fault: str
    file: str
    edits: list
    tests: list

    def changed(self, text):
        """The file's `text` with the fault in it."""
        for find, replace in self.edits:
            if text.count(find) != 1:
                raise ValueError(f"{self.name}: {self.file} has this text {text.count(find)} times:\n{find}")
            text = text.replace(find, replace)
        return NOTHING_IS_UNUSED + text if self.file.endswith(".cc") else text


def load(folder=HERE):
    """All mutants of the TOML files in `folder`."""
    mutants = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["mutant"]:
            edits = [(entry["find"], entry["replace"])]
            edits += [(more["find"], more["replace"]) for more in entry.get("also", [])]
            mutants.append(Mutant(entry["name"], entry["fault"], entry["file"], edits, entry["tests"]))
    return mutants


class Tree:
    """A copy of the sources with a build of its own, for one fault at a time."""

    def __init__(self, root, build_jobs):
        self.root = root
        self.build = root / "build"
        self.build_jobs = build_jobs

    def prepare(self):
        """Copies what git knows, and configures."""
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                check=True, capture_output=True).stdout.decode()
        wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in wanted:
            target = self.root / name
            if target.is_file() and target.read_bytes() == (ROOT / name).read_bytes():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            # The copy gets the current time: objects of a fault that an interrupted run left there are rebuilt.
            shutil.copy(ROOT / name, target)
        for path in list(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_file() and name not in wanted and not name.startswith("build/"):
                path.unlink()
        # The preset of the suite, whose objects the compiler cache has.
        subprocess.run(["cmake", "--preset", "release"], cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def make(self, targets):
        """Builds; None, or what the build printed."""
        command = ["cmake", "--build", self.build, "--parallel", str(self.build_jobs), "--target", *targets]
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode == 0 else done.stdout[-4000:]

    def run(self, test, seconds_max):
        """Runs one test; None, or in a few words how it failed."""
        kind, _, rest = test.partition(":")
        if kind == "blackbox":
            command = ["/usr/bin/python3", self.root / "tests/run.py", *rest.split()]
            return self.finish(test, command, {"BLOCKEXPORTD_DEFAULT": str(self.build / "blockexportd")},
                               seconds_max)
        command = [next(self.build.glob(f"src/**/{kind}")), f"--gtest_filter={rest or '*'}", "--gtest_fail_fast"]
        seen = (self.finish(test, command, {"BLOCKEXPORT_TEST_BACKEND": backend}, seconds_max)
                for backend in BACKENDS.get(kind, ("io_uring",)))
        return next((failure for failure in seen if failure is not None), None)

    def finish(self, test, command, environment, seconds_max):
        """Waits for the end of a test program; None, or how it failed."""
        try:
            done = subprocess.run(command, cwd=self.build, env={**os.environ, **environment}, capture_output=True,
                                  text=True, timeout=seconds_max)
        except subprocess.TimeoutExpired:
            return f"{test}: no end in {seconds_max:.0f} s"
        if done.returncode == 0:
            return None
        failed = [line for line in (done.stdout + done.stderr).splitlines()
                  if line.startswith(("[  FAILED  ] ", "FAIL: ", "ERROR: ")) or "ssertion" in line]
        return f"{test}: {failed[0].strip() if failed else f'exit status {done.returncode}'}"


def targets_of(tests):
    """The programs that `tests` need."""
    names = {test.partition(":")[0] for test in tests}
    return sorted("blockexportd" if name == "blackbox" else name for name in names)


def judge(tree, mutant, limits):
    """Puts the fault in, builds, runs each test for as long as `limits` says; the outcome and what was seen."""
    path = tree.root / mutant.file
    before = path.read_text()
    path.write_text(mutant.changed(before))
    try:
        problem = tree.make(targets_of(mutant.tests))
        if problem is not None:
            return BROKEN, problem
        for test in mutant.tests:
            seen = tree.run(test, limits[test])
            if seen is not None:
                return NOTICED, seen
        return SURVIVED, mutant.fault
    finally:
        path.write_text(before)


def prepare(trees, mutants):
    """Builds all trees. The tests pass while there is no fault; otherwise nothing that follows says anything.

    Gives the seconds that each test may take with a fault.
    """
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    for tree in trees:
        tree.prepare()
        problem = tree.make(targets_of(tests))
        if problem is not None:
            sys.exit(f"{tree.root} does not build:\n{problem}")
    runs = list(in_trees(trees, timed_run, tests))
    failed = [seen for _, seen, _ in runs if seen is not None]
    if failed:
        sys.exit("tests fail without a fault:\n" + "\n".join(failed))
    return {test: seconds * TIMES_SLOWER_MAX + SECONDS_MORE_MAX for test, _, seconds in runs}


def timed_run(tree, test):
    """A test without a fault, how it failed, and the seconds that took."""
    started = time.monotonic()
    seen = tree.run(test, TEST_SECONDS_MAX)
    return test, seen, time.monotonic() - started


def in_trees(trees, work, items):
    """Calls `work(tree, item)` for all items, each in the next tree that is free; gives the results as they come."""
    free = queue.SimpleQueue()
    for tree in trees:
        free.put(tree)

    def one(item):
        tree = free.get()
        try:
            return work(tree, item)
        finally:
            free.put(tree)
    with concurrent.futures.ThreadPoolExecutor(len(trees)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, item) for item in items]):
            yield done.result()


def timed_judgement(tree, mutant, limits):
    """A mutant with what judge() says of it, and the seconds that took."""
    started = time.monotonic()
    outcome, seen = judge(tree, mutant, limits)
    return mutant, outcome, seen, time.monotonic() - started


def check_list(mutants):
    """Every fault fits the code as it is, and has a name of its own."""
    names = [mutant.name for mutant in mutants]
    problems = [f"{name}: there are two of this name" for name in sorted(set(names)) if names.count(name) > 1]
    for mutant in mutants:
        try:
            mutant.changed((ROOT / mutant.file).read_text())
        except (OSError, ValueError) as problem:
            problems.append(str(problem))
    print("\n".join(problems) or f"{len(mutants)} mutants fit the code")
    return 1 if problems else 0


def main():
    """Runs the mutants that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="mutants to run; all if none is named")
    parser.add_argument("--list", action="store_true", help="print the names and faults, and do nothing")
    parser.add_argument("--check", action="store_true", help="tell whether all faults fit the code, and do nothing")
    parser.add_argument("--jobs", type=int, help="faults that are tried at a time; as many as processors if not given")
    parser.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build-mutants")
    arguments = parser.parse_args()
    mutants = load()
    unknown = set(arguments.names) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if arguments.names:
        mutants = [mutant for mutant in mutants if mutant.name in arguments.names]
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.fault}")
        return 0
    if arguments.check:
        return check_list(mutants)
    cores = len(os.sched_getaffinity(0))
    jobs = arguments.jobs or cores
    trees = [Tree(arguments.build_dir.resolve() / str(number), max(1, cores // jobs)) for number in range(jobs)]
    limits = prepare(trees, mutants)
    judgement = functools.partial(timed_judgement, limits=limits)
    outcomes = []
    survivors = []
    for mutant, outcome, seen, seconds in in_trees(trees, judgement, mutants):
        outcomes.append(outcome)
        if outcome == SURVIVED:
            survivors.append(mutant.name)
        print(f"{len(outcomes):3}/{len(mutants)} {outcome:9} {mutant.name} ({seconds:.0f} s): {seen}", flush=True)
    print(f"{outcomes.count(NOTICED)} of {len(mutants)} noticed; survivors: {', '.join(survivors) or 'none'}")
    too_many = len(survivors) * 100 > SURVIVORS_MAX_PERCENT * len(mutants)
    return 1 if too_many or BROKEN in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
