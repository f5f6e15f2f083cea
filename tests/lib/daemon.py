"""The server under test as a process: start in a private directory, readiness, stop, and a check of its exit."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from lib import processes, settings, wait
from lib.qmp import QmpClient

SANITIZER = re.compile(rb"Sanitizer|runtime error:|Assertion .* failed|stack smashing|terminate called")


def make_workdir():
    """A private directory whose path is short enough for a unix socket."""
    return tempfile.mkdtemp(prefix="bxd-")


def remove_workdir(path):
    """Removes what make_workdir() made."""
    shutil.rmtree(path, ignore_errors=True)


def free_port():
    """A TCP port of the loopback address that nobody used a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connected_or_none(path):
    """A socket connected to the unix socket at this path, or None while nobody listens there."""
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(path)
        return client
    except OSError:
        client.close()
        return None


class Daemon:
    """One server process with a QMP monitor on `qmp_path`, and an NBD server on `nbd_path` when asked for.

    Relative paths in `arguments` are relative to the private directory, in which the server runs. `prefix` is a command
    that becomes the server, with the same process id; see tools.injecting().
    """

    def __init__(self, workdir, arguments=(), nbd_server="", monitor=True, pass_fds=(), environment=None,
                 program=None, objects=(), prefix=()):
        self.workdir = workdir
        self.program = program or settings.program()
        self.prefix = list(prefix)
        self.qmp_path = os.path.join(workdir, "qmp.sock")
        self.nbd_path = os.path.join(workdir, "nbd.sock")
        self.stderr_path = os.path.join(workdir, f"stderr-{time.monotonic_ns()}")
        self.arguments = [] if settings.is_qemu(self.program) else settings.extra_arguments()
        if monitor:
            self.arguments += ["--chardev", f"socket,id=qmp0,path={self.qmp_path},server=on,wait=off",
                               "--monitor", "chardev=qmp0"]
        # The named files have to exist before.
        self.arguments += [part for text in objects for part in ("--object", text)]
        if nbd_server is not None:
            extra = f",{nbd_server}" if nbd_server else ""
            self.arguments += ["--nbd-server", f"addr.type=unix,addr.path={self.nbd_path}{extra}"]
        self.own_arguments = list(arguments)
        self.arguments += self.own_arguments
        self.monitor = monitor
        self.pass_fds = pass_fds
        self.environment = environment
        self.process = None
        self.qmp = None

    def start(self):
        """Starts the process and returns when it answers QMP (or, without a monitor, when its NBD socket exists)."""
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                [*self.prefix, self.program, *self.arguments], cwd=self.workdir, stdin=subprocess.DEVNULL,
                stdout=stderr, stderr=stderr, pass_fds=self.pass_fds, env=self.environment)
        if self.monitor:
            self.qmp = wait.until(lambda: self._connected(self.qmp_path), 20, "the QMP socket")
            self.qmp = QmpClient(self.qmp, may_greet_twice=settings.is_qemu(self.program))
        else:
            wait.until(lambda: self._connected(self.nbd_path), 20, "the NBD socket").close()
        return self

    def _connected(self, path):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode} at start: {self.stderr()!r}")
        return connected_or_none(path)

    @property
    def pid(self):
        """The process id."""
        return self.process.pid

    def alive(self):
        """True while the process runs."""
        return self.process.poll() is None

    def stderr(self):
        """All that the server has written to its standard output and error, lines of before this call included."""
        if self.process and self.alive():
            processes.settle_log(self.process.pid)
        with open(self.stderr_path, "rb") as file:
            return file.read()

    def signal(self, number):
        """Sends a signal to the process."""
        self.process.send_signal(number)

    def wait_exit(self, timeout=15.0):
        """Waits for the end of the process and returns its exit code."""
        try:
            return self.process.wait(settings.seconds(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end in {settings.seconds(timeout):.0f} s") from None

    def stop(self, timeout=15.0):
        """Ends the server with SIGTERM, and checks that it ended well."""
        if self.process is None:
            return
        if self.alive():
            self.signal(signal.SIGTERM)
        is_reference = settings.is_qemu(self.program)
        try:
            code = self.wait_exit(5.0 if is_reference else timeout)
        except AssertionError:
            # A signal that comes while the packaged reference starts can get lost there; that is no finding about us.
            if not is_reference:
                raise
            return
        finally:
            self.kill()
        self.check_end(code)

    def check_end(self, code, expected=0):
        """Checks exit code, sanitizer reports and sockets left behind."""
        output = self.stderr()
        if code != expected:
            raise AssertionError(f"the server ended with {code}, expected {expected}: {output[-4000:]!r}")
        if SANITIZER.search(output):
            raise AssertionError(f"the server complained: {output[-8000:].decode(errors='replace')}")
        if self.monitor and os.path.exists(self.qmp_path):
            raise AssertionError("the monitor's socket file was left behind")

    def kill(self):
        """Makes sure that nothing of this server is left."""
        if self.qmp is not None:
            self.qmp.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def connect_nbd(self, timeout=10.0):
        """A fresh socket to the NBD server's unix socket."""
        client = socket.socket(socket.AF_UNIX)
        limit = struct.pack("ll", int(settings.seconds(timeout)), 0)
        # A socket that does not block would fail at once while the backlog is full.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            client.connect(self.nbd_path)
        except OSError:
            client.close()
            raise
        client.settimeout(settings.seconds(timeout))
        return client

    def rss(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def open_sockets(self):
        """How many sockets the process has."""
        found = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            # One may go meanwhile.
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/{self.pid}/fd/{name}").startswith("socket:")
        return found

    def open_fds(self):
        """How many descriptors the process has."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))
