"""Shared code of the tests of the tools: a private directory, and commands that replace those of the system."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class ToolCase(unittest.TestCase):
    """Runs the tools of the checkout with `stand_ins` before the system's commands."""

    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="tools-test-")
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.stand_ins = self.place / "bin"
        self.stand_ins.mkdir()

    def stand_in(self, name, script):
        """A command that does what a shell script says instead."""
        path = self.stand_ins / name
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def run_tool(self, *command, timeout_s=120, **environment):
        """Runs a command in the checkout; what it printed, and its exit code, are in the result."""
        environment = {**os.environ, "PATH": f"{self.stand_ins}:{os.environ['PATH']}:/usr/sbin:/sbin",
                       "BLOCKEXPORT_CACHE": str(self.place / "cache"), "LC_ALL": "C", "MAKEFLAGS": "", **environment}
        return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout_s, check=False)


def purposes_of(target):
    """What a target of the Makefile, and those it needs, have tools/setup.sh install."""
    shown = subprocess.run(["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True,
                           timeout=60, check=True, env={**os.environ, "MAKEFLAGS": ""}).stdout
    return [word for line in re.findall(r"^tools/setup\.sh ([a-z ]+)", shown, re.MULTILINE) for word in line.split()]
