"""Independent client programs, run to their end with a deadline."""

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


def injecting(fault, trace):
    """The prefix of a server in which the kernel answers as strace's `inject=` says; `trace` is a file for strace.

    unittest.SkipTest where that cannot be. A call that io_uring makes is not seen: the server needs another backend.
    """
    strace = shutil.which("strace", path=PATH)
    if strace is None:
        raise unittest.SkipTest("strace is not installed")
    if settings.sanitized():
        raise unittest.SkipTest("a sanitizer looks for leaks as a debugger does, of which there can be one")
    prefix = [strace, "-D", "-f", "-qq", "-o", trace, "-e", f"inject={fault}"]
    if subprocess.run([*prefix, "/bin/true"], capture_output=True, timeout=60, check=False).returncode:
        raise unittest.SkipTest("strace cannot look into processes here")
    return prefix


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
