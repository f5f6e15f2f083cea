"""Client programs that other people wrote, run to their end with a deadline."""

import os
import shutil
import subprocess
import unittest

from lib import settings

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command, timeout=30.0, cwd=None, stdin=None, expected=0):
    """Runs a program; its standard output. AssertionError when it ends otherwise than expected (None: any code)."""
    result = finish(*command, timeout=timeout, cwd=cwd, stdin=stdin)
    if expected is not None and result.returncode != expected:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}, expected {expected}\n"
                             f"{result.stdout}\n{result.stderr}")
    return result.stdout


def finish(*command, timeout=30.0, cwd=None, stdin=None):
    """Runs a program; the CompletedProcess, whatever its exit code."""
    program = shutil.which(command[0], path=PATH)
    if program is None:
        raise unittest.SkipTest(f"{command[0]} is not installed")
    try:
        return subprocess.run([program, *command[1:]], capture_output=True, text=True, cwd=cwd or "/", input=stdin,
                              stdin=subprocess.DEVNULL if stdin is None else None, errors="replace",
                              env={"PATH": PATH, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"},
                              timeout=settings.seconds(timeout))
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{' '.join(command)} did not end in {settings.seconds(timeout):.0f} s") from None
