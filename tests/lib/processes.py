"""What /proc tells of a process."""

import contextlib
import os
import subprocess

from lib import wait


def threads(pid, name):
    """The numbers of the process's threads of this name."""
    found = []
    for number in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{number}/comm", encoding="ascii") as file:
            if file.read().strip() == name:
                found.append(int(number))
    return found


def _sleeps(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "S"


def settle_log(pid):
    """Waits until what the process has logged so far is in the files.

    A thread named "log" writes them, and is runnable from the moment somebody hands it a line. It may also sleep for
    an instant because another thread has its lock: so it is looked at twice.
    """
    try:
        for thread in threads(pid, "log"):
            for _ in range(2):
                wait.until(lambda thread=thread: _sleeps(pid, thread), 10, "the log to be written", 0.001)
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended, and writes nothing any more


def takes_signals(pid):
    """True once the process takes its signals in its loop, and no longer dies of them."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") == "anon_inode:[signalfd]":
                return True
        except FileNotFoundError:
            continue
    return False


@contextlib.contextmanager
def running(command, **keywords):
    """A subprocess.Popen that is killed where the block ends, if it has not ended by then: a test that fails ends."""
    with subprocess.Popen(command, **keywords) as process:
        try:
            yield process
        finally:
            process.kill()
