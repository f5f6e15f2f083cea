"""State of a process from /proc."""

import contextlib
import ctypes
import os
import signal
import subprocess

from lib import wait

# A joined thread is listed until the kernel has taken it apart, and has this flag by then; proc_pid_stat(5), "flags".
EXITING = 0x4


def thread_names(pid):
    """The process's threads, without those that are about to end: {number: name}."""
    names = {}
    for number in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{number}/stat", encoding="ascii", errors="replace") as file:
                before, _, fields = file.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not int(fields.split()[6]) & EXITING:
            names[int(number)] = before.partition("(")[2]
    return names


def threads(pid, name):
    """The numbers of the process's threads of this name."""
    return [number for number, found in thread_names(pid).items() if found == name]


def state(pid, thread=None):
    """The letter of ps for the process or one of its threads (R, S, D, Z, ...); None when there is none."""
    path = f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat"
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid):
    """True while the process runs (a zombie does not)."""
    return state(pid) not in (None, "Z")


def kill(pid):
    """Ends a process if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def settle_log(pid):
    """Waits until what the process has logged so far is in the files.

    A thread named "log" writes them, and is runnable from the moment somebody hands it a line. It may also sleep for
    an instant because another thread has its lock: so it is looked at twice.
    """
    try:
        for thread in threads(pid, "log"):
            for _ in range(2):
                wait.until(lambda thread=thread: state(pid, thread) in ("S", None), 10, "the log to be written", 0.001)
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


def listening_ports(pid):
    """The TCP ports on which the process listens."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}", encoding="ascii") as file:
            for fields in map(str.split, list(file)[1:]):
                if fields[3] == "0A" and fields[9] in inodes:
                    ports.append(int(fields[1].rsplit(":", 1)[1], 16))
    return ports


def landlock_version():
    """The version of Landlock that the kernel has; 0: none."""
    create_ruleset, flag_version = 444, 1
    return max(ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), ctypes.c_uint(flag_version)), 0)


@contextlib.contextmanager
def running(command, **keywords):
    """A subprocess.Popen that is killed where the block ends, if it has not ended by then: a test that fails ends."""
    with subprocess.Popen(command, **keywords) as process:
        try:
            yield process
        finally:
            process.kill()
