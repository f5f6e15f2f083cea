"""Process attributes: I/O signals do not end the server, and its privileges cannot grow."""

import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import termios
import time
import unittest

from lib import daemon, images, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.nbd_wire import *
from lib.qmp import QmpClient
from lib.testcase import DaemonTest, file_node, nbd_export, null_node

# Those that a read, a write, or the size of a file can raise.
IO_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGIO, signal.SIGTTIN, signal.SIGTTOU)


def ignored(task):
    """The signals that a thread of a process ignores, by /proc/PID/task/TID."""
    with open(f"{task}/status", encoding="ascii") as file:
        mask = int(re.search(r"SigIgn:\s+([0-9a-f]+)", file.read()).group(1), 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def tasks(pid):
    """/proc/PID/task/TID of all threads."""
    return [f"/proc/{pid}/task/{name}" for name in os.listdir(f"/proc/{pid}/task")]


def no_new_privileges(task):
    """Whether a thread has given them up."""
    with open(f"{task}/status", encoding="ascii") as file:
        return re.search(r"NoNewPrivs:\s+(\d)", file.read()).group(1) == "1"


class FileSizeLimitTest(DaemonTest):
    """RLIMIT_FSIZE: what a file may not hold is an error of the request, and the other clients are served on."""

    limit = 1 * MIB

    @classmethod
    def prepare(cls):
        images.make_empty(cls.path("disk.img"), 8 * MIB)
        return [*file_node("disk", "disk.img"), *nbd_export("disk", writable="on"), *file_node("grow", "grow.img")]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        resource.prlimit(cls.daemon.pid, resource.RLIMIT_FSIZE, (cls.limit, resource.RLIM_INFINITY))

    @classmethod
    def make_file(cls):
        """A file that may grow as long as the limit lets it."""
        images.make_empty(cls.path("grow.img"), 4096)

    @classmethod
    def objects(cls):
        cls.make_file()
        return []

    def test_writes(self):
        """ENOSPC for a write that begins beyond the limit, small or large, with FUA or without; others are done."""
        for mode in ("simple", "structured"):
            connection = self.session("disk", mode)
            for flags in (0, FLAG_FUA):
                for length in (512, 64 * 1024, 2 * MIB):
                    data = images.random_bytes(length, length)
                    self.assertEqual(connection.write(4 * MIB, data, flags), ENOSPC, (flags, length))
                self.assertEqual(connection.write(4096, b"x" * 4096, flags), 0)
            self.assertEqual(connection.read(4096, 4096), b"x" * 4096)

    def test_a_write_across_the_limit(self):
        """ENOSPC, though its first part was written."""
        connection = self.session("disk")
        self.assertEqual(connection.write(self.limit - 4096, b"y" * 8192), ENOSPC)
        self.assertEqual(connection.write(self.limit - 4096, b"z" * 4096), 0)

    def test_zeroes(self):
        """Zeroes beyond the limit: written, where that does not make the file longer, or ENOSPC; never the end."""
        connection = self.session("disk", "structured")
        for flags in (0, FLAG_NO_HOLE, FLAG_FUA, FLAG_NO_HOLE | FLAG_FUA):
            self.assertIn(connection.call(CMD_WRITE_ZEROES, 4 * MIB, MIB, flags).error, (0, ENOSPC), flags)
        self.assertEqual(connection.call(CMD_TRIM, 4 * MIB, MIB).error, 0)
        self.assertEqual(connection.read(4 * MIB, 4096), bytes(4096))

    def test_resize(self):
        """block_resize says so."""
        answer = self.qmp.command("block_resize", {"node-name": "grow", "size": 16 * MIB})
        self.assertIn("File too large", answer["error"]["desc"])
        self.qmp.execute("block_resize", {"node-name": "grow", "size": 64 * 1024})


class SignalsTest(unittest.TestCase):
    """Every thread, and the process that --daemonize leaves."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def check(self, pid, client):
        """All threads ignore them, and being sent all of them is survived."""
        for task in tasks(pid):
            self.assertLessEqual(set(IO_SIGNALS), ignored(task), task)
        for number in (*IO_SIGNALS, signal.SIGURG):
            os.kill(pid, number)
            self.assertEqual(client.execute("query-block"), [])

    @settings.unlike_qemu("it ignores SIGPIPE alone")
    def test_server(self):
        """With an iothread and a second thread for clients."""
        images.make_empty(self.path("disk.img"), MIB)
        server = daemon.Daemon(self.workdir, ["--object", "iothread,id=io0", *file_node("disk", "disk.img"),
                                              *nbd_export("disk", writable="on")])
        self.addCleanup(server.kill)
        server.start()
        connections = [nbd_raw.Connection(server.connect_nbd()) for _ in range(3)]
        for connection in connections:
            connection.go("disk")
            self.assertEqual(connection.write(0, b"x" * 512), 0)
        self.assertGreater(len(tasks(server.pid)), 2)
        self.check(server.pid, server.qmp)
        for connection in connections:
            self.assertEqual(connection.read(0, 512), b"x" * 512)
            connection.close()
        server.stop()

    @settings.unlike_qemu("it ignores SIGPIPE alone")
    def test_daemonized(self):
        """The same for the process in the background."""
        result = subprocess.run(
            [settings.program(), *settings.extra_arguments(), "--daemonize", "--pidfile", "pid", "--chardev",
             "socket,id=c0,path=qmp.sock,server=on,wait=off", "--monitor", "c0"],
            cwd=self.workdir, stdin=subprocess.DEVNULL, capture_output=True, timeout=settings.seconds(20), check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(self.path("pid"), encoding="ascii") as file:
            pid = int(file.read())
        client = QmpClient(self.path("qmp.sock"))
        self.addCleanup(client.close)
        self.check(pid, client)
        client.execute("quit")
        wait.until(lambda: not os.path.exists(self.path("pid")), 10, "the daemon's end")

    def test_help_into_a_pipe_that_is_closed(self):
        """Nobody reads the help: no crash, and no words about it."""
        for option in (["--help"], ["--object", "help"], ["--trace", "help"], ["--chardev", "socket,help"]):
            reading, writing = os.pipe()
            os.close(reading)
            result = subprocess.run([settings.program(), *option], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                    stdout=writing, stderr=subprocess.PIPE, timeout=settings.seconds(20), check=False)
            os.close(writing)
            self.assertEqual(result.returncode, 1 if option[0] == "--chardev" else 0, option)  # as there
            self.assertEqual(result.stderr, b"")

    @settings.unlike_qemu("closed standard streams are its caller's business")
    def test_mistakes_with_standard_error_full(self):
        """A mistake that cannot be told is still exit code 1."""
        for option in (["--reactors", "none"], ["--aio-backend", "none"], ["nonsense"], ["--blockdev", "nonsense"]):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([settings.program(), *option], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                        stdout=full, stderr=full, timeout=settings.seconds(20), check=False)
            self.assertEqual(result.returncode, 1, option)


class TerminalTest(unittest.TestCase):
    """A server in the background of a terminal, with a monitor there."""

    @settings.unlike_qemu("it is stopped, with all its clients")
    def test_in_the_background(self):
        """What is typed for the job in front does not stop the server; its monitor listens when it is in front."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        nbd_path = os.path.join(workdir, "nbd.sock")
        pid, terminal = pty.fork()
        if pid == 0:
            # The session's leader, as a shell is: it puts the server into the background, and in front when told so.
            try:
                os.chdir(workdir)
                self.shell(nbd_path)
            finally:
                os._exit(1)
        self.addCleanup(os.close, terminal)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        wait.until(lambda: daemon.connected_or_none(nbd_path), 20, "the NBD socket").close()
        wait.until(lambda: os.path.exists(os.path.join(workdir, "pid")), 10, "the process id")
        with open(os.path.join(workdir, "pid"), encoding="ascii") as file:
            server = int(file.read())
        self.addCleanup(processes.kill, server)
        os.write(terminal, b"ls -l\n")
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            self.assertIn(processes.state(server), ("S", "R", "D"))
            client = daemon.connected_or_none(nbd_path)
            client.settimeout(settings.seconds(10))
            connection = nbd_raw.Connection(client)
            self.assertEqual(connection.go("disk").size, MIB)
            connection.close()
            time.sleep(0.1)
        os.kill(pid, signal.SIGUSR1)
        wait.until(lambda: os.path.exists(os.path.join(workdir, "in-front")), 10, "the server to be in front")
        os.write(terminal, b'\n{"execute": "qmp_capabilities", "id": "typed"}\n{"execute": "quit"}\n')
        said = b""
        deadline = time.monotonic() + settings.seconds(20)
        while b'{"return": {}, "id": "typed"}' not in said:
            self.assertGreater(deadline, time.monotonic(), said)
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 4096)

    def shell(self, nbd_path):
        """Never returns."""
        arguments = [settings.program(), *settings.extra_arguments(), *null_node("disk", MIB), "--nbd-server",
                     f"addr.type=unix,addr.path={nbd_path}", *nbd_export("disk"), "--chardev", "stdio,id=c0",
                     "--monitor", "c0"]
        quiet = termios.tcgetattr(0)
        quiet[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSANOW, quiet)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        server = os.fork()
        if server == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
            os.execv(arguments[0], arguments)
        with open("pid.new", "w", encoding="ascii") as file:
            file.write(str(server))
        os.rename("pid.new", "pid")
        signal.sigwait([signal.SIGUSR1])
        os.tcsetpgrp(0, server)
        with open("in-front", "wb"):
            pass
        while True:
            signal.pause()


@unittest.skipIf(settings.program() == settings.REFERENCE, "it leaves that to its caller")
class RestrictionTest(unittest.TestCase):
    """no_new_privs, and no core."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def start(self, *arguments):
        """A server with a monitor, and two threads at least."""
        server = daemon.Daemon(self.workdir, ["--object", "iothread,id=io0", *arguments], nbd_server=None)
        self.addCleanup(server.kill)
        return server.start()

    def core_limit(self, pid):
        """Soft and hard."""
        return resource.prlimit(pid, resource.RLIMIT_CORE)

    def test_always(self):
        """Every thread has given up new privileges, and no core is written, whatever the caller allows."""
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        server = self.start()
        self.assertGreater(len(tasks(server.pid)), 2)
        for task in tasks(server.pid):
            self.assertTrue(no_new_privileges(task), task)
        self.assertEqual(self.core_limit(server.pid), (0, 0))
        server.stop()

    def test_with_pam(self):
        """A line with an authz-pam object keeps what modules of PAM need; the limit for cores stays."""
        for form in ("authz-pam,id=a0,service=nothing", "qom-type=authz-pam,id=a0,service=nothing",
                     json.dumps({"qom-type": "authz-pam", "id": "a0", "service": "nothing"})):
            server = self.start("--object", form)
            for task in tasks(server.pid):
                self.assertFalse(no_new_privileges(task), task)
            self.assertEqual(self.core_limit(server.pid), (0, 0))
            server.stop()
            self.assertNotIn(b"no_new_privs", server.stderr())

    def test_pam_that_comes_later(self):
        """authz-pam by QMP, in a process that is not root's: a warning says what cannot work."""
        if os.geteuid() != 0:
            self.skipTest("becoming another user needs root")
        os.chmod(self.workdir, 0o777)
        with open(os.path.join(self.workdir, "log"), "w+b") as log, processes.running(
                [settings.program(), "--chardev", "socket,id=c0,path=qmp.sock,server=on,wait=off", "--monitor", "c0"],
                cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=65534, group=65534,
                extra_groups=[]) as process:
            path = os.path.join(self.workdir, "qmp.sock")
            client = QmpClient(wait.until(lambda: daemon.connected_or_none(path), 20, "the QMP socket"))
            client.execute("object-add", {"qom-type": "authz-pam", "id": "a0", "service": "nothing"})
            client.execute("quit")
            client.close()
            self.assertEqual(process.wait(settings.seconds(10)), 0)
            log.seek(0)
            self.assertIn(b"warning: authz-pam 'a0': this process has no_new_privs", log.read())


if __name__ == "__main__":
    unittest.main()
