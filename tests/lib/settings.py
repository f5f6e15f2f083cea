"""Settings of this run of the black-box tests, from the environment.

BLOCKEXPORTD                the server program; BLOCKEXPORTD_DEFAULT (set by ctest) is used when it is not given
BLOCKEXPORT_REFERENCE       the qemu-storage-daemon to compare with; see REFERENCE
BLOCKEXPORT_SANITIZE        not empty when that program is built with sanitizers: memory is not measured then
BLOCKEXPORTD_ARGUMENTS      arguments that every server gets first, such as `--aio-backend epoll`
BLOCKEXPORT_TIMEOUT_FACTOR  every deadline is multiplied by it
BLOCKEXPORT_KILLS           how often a server is killed: tests of bitmap stores, backups and qcow2 images
BLOCKEXPORT_SEQUENCES       how many courses of changes nbd/qcow2_write_test.py tries for each kind of image
BLOCKEXPORT_FIRST_SEQUENCE  the seed of the first of them
BLOCKEXPORT_THOROUGH        not empty: what is repeated is repeated as often as it is meant to be, which takes minutes
"""

import functools
import inspect
import os
import re
import shlex
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _reference():
    """The newest qemu-storage-daemon at hand: see REFERENCE."""
    peers = os.path.join(ROOT, "tools", "peer_root.sh")
    found = ""
    if os.access(peers, os.X_OK):
        found = subprocess.run([peers, "--cached"], capture_output=True, text=True, timeout=60, check=False).stdout
    candidates = [os.environ.get("BLOCKEXPORT_REFERENCE"), os.path.join(found.strip(), "qemu-storage-daemon")]
    return next((path for path in candidates if path and os.path.isabs(path) and os.access(path, os.X_OK)),
                "/usr/bin/qemu-storage-daemon")


# The reference of tests: the program of BLOCKEXPORT_REFERENCE, else the one among the peers that tools/peer_root.sh
# has fetched before, else the packaged one, which need not be there. Tests download nothing.
REFERENCE = _reference()


def program():
    """The path of the server under test."""
    path = os.environ.get("BLOCKEXPORTD") or os.environ.get("BLOCKEXPORTD_DEFAULT")
    if not path:
        raise RuntimeError("say which server to test: BLOCKEXPORTD=/path/to/blockexportd")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"the server to test is not there: {path}")
    return path


@functools.cache
def qemu_version(path=None):
    """(major, minor) when the program is qemu-storage-daemon itself, otherwise None."""
    output = subprocess.run([path or program(), "--version"], capture_output=True, text=True, timeout=60).stdout
    match = re.match(r"qemu-storage-daemon version (\d+)\.(\d+)", output)
    return (int(match.group(1)), int(match.group(2))) if match else None


def is_qemu(path=None):
    """True when the program, or else the server under test, is qemu-storage-daemon itself."""
    return qemu_version(path) is not None


def modes():
    """The modes of transmission that the server under test knows."""
    version = qemu_version()
    return ("simple", "structured") if version and version < (8, 2) else ("simple", "structured", "extended")


def extra_arguments():
    """Arguments that every server under test gets."""
    return shlex.split(os.environ.get("BLOCKEXPORTD_ARGUMENTS", ""))


def sanitized():
    """True when the server under test is built with sanitizers."""
    return bool(os.environ.get("BLOCKEXPORT_SANITIZE"))


def repetitions(usual, thorough):
    """How often something is repeated, of which a few times show most and many times the rest."""
    return thorough if os.environ.get("BLOCKEXPORT_THOROUGH") else usual


def seconds(value):
    """A deadline in seconds, stretched for slow builds."""
    factor = float(os.environ.get("BLOCKEXPORT_TIMEOUT_FACTOR") or (4 if sanitized() else 1))
    return value * factor


def unlike_qemu(reason):
    """The expectation is the specification's or our own, and qemu-storage-daemon departs from it: not asked of it.

    For functions: a test, or its setUp(). Of a class it would take all tests away.
    """
    return _only_when(lambda: qemu_version() is None, f"qemu-storage-daemon departs here: {reason}")


def since_qemu(major, minor, what):
    """The expectation holds for qemu-storage-daemon only from that version on."""
    newer = lambda: qemu_version() is None or qemu_version() >= (major, minor)
    return _only_when(newer, f"qemu-storage-daemon before {major}.{minor}: {what}")


def _only_when(condition, reason):
    def decorate(function):
        if not inspect.isfunction(function):
            raise TypeError(f"this is for functions, and {function!r} is none: decorate its setUp()")

        @functools.wraps(function)
        def wrapper(self, *args, **kwargs):
            if not condition() and not os.environ.get("BLOCKEXPORT_STRICT"):
                raise unittest.SkipTest(reason)
            return function(self, *args, **kwargs)
        return wrapper
    return decorate
