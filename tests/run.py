#!/usr/bin/python3
"""Runs one test program: run.py nbd/handshake_test.py [TestClass[.test_name] ...]. Exit code 77 = all skipped."""

import importlib.util
import os
import resource
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77


def load(path):
    """Imports a test program by its path below tests/."""
    full = path if os.path.isabs(path) else os.path.join(HERE, path)
    sys.path[:0] = [HERE, os.path.dirname(full)]
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(full))[0], full)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def raise_limits():
    """As many open files as the system permits: clients and server share the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main():
    """Runs the named classes, or everything in the file."""
    raise_limits()
    module = load(sys.argv[1])
    loader = unittest.defaultTestLoader
    names = sys.argv[2:]
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        return 1
    if result.testsRun == 0:
        print("no test ran")
        return SKIPPED if result.skipped else 1
    return SKIPPED if len(result.skipped) == result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
