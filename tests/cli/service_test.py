"""The server as a service: sd_notify, the watchdog, sockets of systemd, and the units of packaging/systemd."""

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from lib import daemon, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.qmp import QmpError
from lib.testcase import nbd_export, null_node

UNITS = os.path.join(settings.ROOT, "packaging", "systemd")
EXPORT = [*null_node("disk", MIB), *nbd_export("disk")]

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000


class FrozenThread:
    """Stops one thread of another process, as a call that hangs in the kernel would."""

    def __init__(self, thread):
        self.thread = thread
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        if self.ptrace(PTRACE_SEIZE, self.thread, None, None) != 0:
            raise unittest.SkipTest("the system permits no ptrace")
        self.ptrace(PTRACE_INTERRUPT, self.thread, None, None)
        os.waitpid(self.thread, WALL)
        return self

    def __exit__(self, *error):
        self.ptrace(PTRACE_DETACH, self.thread, None, None)


@unittest.skipIf(settings.is_qemu(), "it knows no service manager")
class NotifyTest(unittest.TestCase):
    """A service manager's socket, which the test reads."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.supervisor.close)
        self.supervisor.bind(os.path.join(self.workdir, "notify"))
        self.supervisor.settimeout(settings.seconds(20))

    def start(self, *arguments, **environment):
        """A server that knows the manager."""
        address = os.path.join(self.workdir, "notify")
        server = daemon.Daemon(self.workdir, [*arguments, *EXPORT],
                               environment={**os.environ, "NOTIFY_SOCKET": address, **environment})
        self.addCleanup(server.kill)
        return server.start()

    def message(self):
        """The next message, as lines."""
        return self.supervisor.recv(4096).decode().splitlines()

    def test_ready_and_stopping(self):
        """READY=1 when clients are served, STOPPING=1 when the end begins; each with a status."""
        server = self.start()
        self.assertEqual(self.message(), ["READY=1", "STATUS=Serving 1 export"])
        connection = nbd_raw.Connection(server.connect_nbd())
        self.assertEqual(connection.go("disk").size, MIB)
        connection.disconnect()
        connection.close()
        server.stop()
        self.assertEqual(self.message()[0], "STOPPING=1")
        self.supervisor.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.supervisor.recv(4096)

    def test_ready_comes_after_the_listeners(self):
        """The moment of the message, the sockets are there: a wait for a client of a chardev comes before."""
        path = os.path.join(self.workdir, "nbd2.sock")
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            [settings.program(), *EXPORT[:2], "--chardev", "socket,id=c0,path=c0.sock,server=on,wait=on",
             "--nbd-server", f"addr.type=unix,addr.path={path}", *EXPORT[2:]], cwd=self.workdir,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "NOTIFY_SOCKET": os.path.join(self.workdir, "notify")})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        client = wait.until(lambda: daemon.connected_or_none(os.path.join(self.workdir, "c0.sock")), 20, "the chardev")
        self.addCleanup(client.close)
        self.assertEqual(self.message()[0], "READY=1")
        daemon.connected_or_none(path).close()

    def test_reload(self):
        """RELOADING=1 with the time, then READY=1, also when the reload fails; SIGHUP and QMP do the same."""
        path = os.path.join(self.workdir, "main.toml")

        def write(text):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o600)
        write("")
        server = self.start("--config", path)
        self.assertEqual(self.message(), ["READY=1", "STATUS=Serving 1 export"])
        second = '[exports.more]\nnode = { driver = "null-co" }\n'
        failed = "; the last reload failed and has changed nothing"
        for text, status in ((second, "2 exports"), ("nonsense = 1\n", "2 exports" + failed), ("", "1 export")):
            write(text)
            before = time.monotonic_ns() // 1000
            if text == second:
                server.signal(signal.SIGHUP)
            elif status.endswith(failed):
                with self.assertRaises(QmpError):
                    server.qmp.execute("config-reload")
            else:
                server.qmp.execute("config-reload")
            begin = self.message()
            self.assertEqual(begin[0], "RELOADING=1")
            name, value = begin[1].split("=")
            self.assertEqual((name, len(begin)), ("MONOTONIC_USEC", 2))
            self.assertTrue(before <= int(value) <= time.monotonic_ns() // 1000, value)
            self.assertEqual(self.message(), ["READY=1", f"STATUS=Serving {status}"])
        # A dry run is no reload.
        server.qmp.execute("config-reload", {"dry-run": True})
        server.stop()
        self.assertEqual(self.message()[0], "STOPPING=1")

    def test_a_failed_start_is_not_ready(self):
        """No message."""
        result = subprocess.run([settings.program(), "--blockdev", "driver=fil,node-name=x"], check=False,
                                capture_output=True, timeout=settings.seconds(20),
                                env={**os.environ, "NOTIFY_SOCKET": os.path.join(self.workdir, "notify")})
        self.assertEqual(result.returncode, 1)
        self.supervisor.setblocking(False)
        with self.assertRaises(BlockingIOError):
            self.supervisor.recv(4096)

    def kicks_until(self, deadline):
        """The kicks that come before a time of the monotonic clock."""
        kicks = 0
        while (left := deadline - time.monotonic()) > 0:
            self.supervisor.settimeout(left)
            try:
                kicks += self.message() == ["WATCHDOG=1"]
            except TimeoutError:
                break
        self.supervisor.settimeout(settings.seconds(20))
        return kicks

    def test_a_reactor_that_hangs_stops_the_kicks(self):
        """The watchdog is kicked while every thread turns: one that does not stops the kicks until it turns again."""
        server = self.start("--object", "iothread,id=io0", WATCHDOG_USEC="400000")
        self.assertEqual(self.message()[0], "READY=1")
        for _ in range(3):
            self.assertEqual(self.message(), ["WATCHDOG=1"])
        thread, = processes.threads(server.pid, "io0")
        with FrozenThread(thread):
            # A round that has begun before may still be complete.
            self.kicks_until(time.monotonic() + 0.5)
            self.assertEqual(self.kicks_until(time.monotonic() + 2), 0)
        self.assertEqual(self.message(), ["WATCHDOG=1"])
        server.stop()

    def test_no_watchdog_no_kicks(self):
        """Without a limit, or with that of another process."""
        self.start(WATCHDOG_USEC="100000", WATCHDOG_PID="1")
        self.assertEqual(self.message()[0], "READY=1")
        self.assertEqual(self.kicks_until(time.monotonic() + 1), 0)

    def test_a_supervisor_that_is_gone(self):
        """Nobody reads, or nobody is there: the server serves all the same."""
        self.supervisor.close()
        server = self.start(WATCHDOG_USEC="100000")
        connection = nbd_raw.Connection(server.connect_nbd())
        self.assertEqual(connection.go("disk").size, MIB)
        connection.close()
        server.stop()


@unittest.skipIf(settings.is_qemu(), "it takes no descriptors by number")
class SocketActivationTest(unittest.TestCase):
    """Sockets of systemd, as systemd-socket-activate hands them down."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        if shutil.which("systemd-socket-activate") is None:
            self.skipTest("systemd-socket-activate is not installed")

    def test_the_first_client_starts_the_server(self):
        """The socket is descriptor 3, and the connection that was waiting is served."""
        path = os.path.join(self.workdir, "nbd.sock")
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["systemd-socket-activate", "-l", path, settings.program(), *null_node("disk", MIB),
             "--nbd-server", "addr.type=fd,addr.str=3", *nbd_export("disk")], cwd=self.workdir,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        client = wait.until(lambda: daemon.connected_or_none(path), 20, "the socket")
        client.settimeout(settings.seconds(20))
        connection = nbd_raw.Connection(client)
        self.assertEqual(connection.go("disk").size, MIB)
        connection.disconnect()
        connection.close()
        wait.until(lambda: processes.takes_signals(process.pid), 10, "the server")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(settings.seconds(20)), 0)
        self.assertTrue(os.path.exists(path), "the socket is systemd's")


class UnitTest(unittest.TestCase):
    """The files of packaging/systemd."""

    def analyze(self, *arguments):
        """The output of systemd-analyze."""
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not installed")
        result = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False,
                                timeout=settings.seconds(60), env={**os.environ, "SYSTEMD_PAGER": "", "LC_ALL": "C"})
        return result.stdout + result.stderr

    def test_the_exposure(self):
        """`systemd-analyze security` says at most 2.0."""
        output = self.analyze("security", "--offline=yes", os.path.join(UNITS, "blockexportd.service"))
        if "unrecognized option" in output:
            self.skipTest("systemd-analyze is too old")
        self.assertLessEqual(float(re.search(r"exposure level for \S+: ([\d.]+)", output).group(1)), 2.0)

    def test_the_units_are_valid(self):
        """`systemd-analyze verify` complains of nothing but of programs and pages that are not installed."""
        output = self.analyze("verify", os.path.join(UNITS, "blockexportd.service"),
                              os.path.join(UNITS, "blockexportd.socket"))
        ours = [line for line in output.splitlines() if line.startswith("blockexportd.") or UNITS in line]
        unexpected = [line for line in ours if "is not executable" not in line and "Command 'man " not in line]
        self.assertEqual(unexpected, [])


if __name__ == "__main__":
    unittest.main()
