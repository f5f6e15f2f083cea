"""A bitmap store in a file system that becomes full."""

import contextlib
import os
import unittest

from lib import tools
from lib.images import KIB


def mount(test):
    """The path of a file system of one megabyte, in the directory of the test and for as long as it runs."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("mounting needs root")
    path = os.path.join(test.workdir, "small")
    os.mkdir(path)
    if tools.finish("mount", "-t", "tmpfs", "-o", "size=1m", "none", path).returncode:
        raise unittest.SkipTest("nothing can be mounted here")
    test.addCleanup(tools.finish, "umount", "-l", path)
    return path


def fill(path, store):
    """Takes all space of the file system, and the space of the store's intents, so that they need new space."""
    tools.run("fallocate", "--punch-hole", "--offset", str(8 * KIB), "--length", str(136 * KIB), store)
    with open(os.path.join(path, "filler"), "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"f" * 4096):
            pass
