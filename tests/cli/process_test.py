"""The server as a process: daemonize, pidfile, signals, exit codes, stdio monitors, relative paths."""

import fcntl
import os
import re
import signal
import stat
import subprocess
import unittest

from lib import daemon, images, nbd_raw, processes, settings, tools, wait
from lib.images import MIB
from lib.qmp import QmpClient
from lib.testcase import file_node, nbd_export, null_node


class ProcessTest(unittest.TestCase):
    """Servers that each test starts in its own way."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def run_server(self, *arguments, timeout=15):
        """Runs the server to its end (of the parent, when it daemonizes)."""
        return subprocess.run([settings.program(), *arguments], cwd=self.workdir, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=settings.seconds(timeout), check=False)

    def start(self, *arguments, **options):
        """A server with a monitor, ended when the test ends."""
        server = daemon.Daemon(self.workdir, arguments, nbd_server=None, **options)
        self.addCleanup(server.kill)
        return server.start()


class PidfileTest(ProcessTest):
    """--pidfile."""

    def test_content_and_mode(self):
        """The file has the pid and a newline, mode 0600, and goes away at the end."""
        server = self.start("--pidfile", "server.pid")
        with open(self.path("server.pid"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{server.pid}\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("server.pid")).st_mode), 0o600)
        server.stop()
        self.assertFalse(os.path.exists(self.path("server.pid")))

    def test_locked(self):
        """The file is locked as long as the server lives: a second server refuses it and leaves it alone."""
        server = self.start("--pidfile", "server.pid")
        with open(self.path("server.pid"), "r+", encoding="ascii") as file, self.assertRaises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        result = self.run_server("--pidfile", "server.pid")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"cannot create PID file: Cannot lock pid file: Resource temporarily unavailable", result.stderr)
        with open(self.path("server.pid"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{server.pid}\n")
        server.stop()

    def test_old_file_is_taken_over(self):
        """A file that a dead server left is used again, its content replaced."""
        images.write_file(self.path("server.pid"), b"999999999 and more\n")
        server = self.start("--pidfile", "server.pid")
        with open(self.path("server.pid"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"{server.pid}\n")
        server.stop()

    def test_last_one_wins(self):
        """--pidfile twice: the last one."""
        server = self.start("--pidfile", "first.pid", "--pidfile", "second.pid")
        self.assertFalse(os.path.exists(self.path("first.pid")))
        self.assertTrue(os.path.exists(self.path("second.pid")))
        server.stop()

    def test_not_made_when_the_start_fails(self):
        """A start that fails leaves no file."""
        self.assertEqual(self.run_server("--pidfile", "server.pid", "--blockdev", "nonsense").returncode, 1)
        self.assertFalse(os.path.exists(self.path("server.pid")))


class DaemonizeTest(ProcessTest):
    """--daemonize."""

    def daemonize(self, *arguments):
        """Starts a daemon and returns its pid; it is killed when the test ends."""
        result = self.run_server("--daemonize", "--pidfile", "server.pid", *arguments)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        with open(self.path("server.pid"), encoding="ascii") as file:
            pid = int(file.read())
        self.addCleanup(processes.kill, pid)
        return pid

    def test_ready_when_the_parent_ends(self):
        """The parent ends with 0 when everything is served: no waiting afterwards."""
        pid = self.daemonize("--blockdev", "null-co,node-name=n0,size=1048576",
                             "--nbd-server", "addr.type=unix,addr.path=nbd.sock", "--export", "nbd,id=e0,node-name=n0")
        uri = f"nbd+unix:///n0?socket={self.path('nbd.sock')}"
        self.assertEqual(tools.run("nbdinfo", "--size", uri).strip(), "1048576")
        os.kill(pid, signal.SIGTERM)
        wait.until(lambda: not processes.alive(pid), 10, "the daemon's end")
        self.assertFalse(os.path.exists(self.path("server.pid")))

    def test_detached(self):
        """The daemon leads its own session, stands in /, and has /dev/null for what the caller reads or types."""
        pid = self.daemonize("--blockdev", "null-co,node-name=n0")
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        self.assertNotEqual(int(fields[3]), os.getsid(0))
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
        self.assertEqual({os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)}, {"/dev/null"})

    def test_relative_paths(self):
        """Relative paths in options mean the directory where it was started; umask is 027."""
        images.make_empty(self.path("disk.img"), MIB)
        pid = self.daemonize(*file_node("f0", "disk.img"), "--nbd-server", "addr.type=unix,addr.path=nbd.sock",
                             *nbd_export("f0", writable="on"),
                             "--chardev", "socket,id=c0,path=qmp.sock,server=on,wait=off", "--monitor", "c0")
        client = QmpClient(self.path("qmp.sock"))
        self.addCleanup(client.close)
        self.assertEqual(len(client.execute("query-block-exports")), 1)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("nbd.sock")).st_mode) & 0o027, 0)
        client.execute("quit")
        wait.until(lambda: not processes.alive(pid), 10, "the daemon's end")
        self.assertFalse(os.path.exists(self.path("server.pid")))
        if settings.qemu_version() is None:  # It looks for them in the root directory.
            self.assertFalse(os.path.exists(self.path("qmp.sock")))

    def test_errors_reach_the_caller(self):
        """An error at start appears on the caller's standard error, exit code 1, and no process stays."""
        result = self.run_server("--daemonize", "--pidfile", "server.pid", "--blockdev", "driver=nonsense,node-name=n0")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"does not accept value 'nonsense'", result.stderr)
        self.assertFalse(os.path.exists(self.path("server.pid")))

    def test_pipe_of_the_caller_is_closed(self):
        """The daemon does not keep the caller's pipes: a reader of its output sees the end at once."""
        self.daemonize("--object", "iothread,id=io0")


class SignalsTest(ProcessTest):
    """Signals and exit codes."""

    def ends_with(self, number):
        """The exit code after a signal."""
        server = self.start("--blockdev", "null-co,node-name=n0")
        server.signal(number)
        return server.wait_exit()

    def test_clean_signals(self):
        """SIGTERM, SIGINT and SIGHUP end the server with 0."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.assertEqual(self.ends_with(number), 0, number)

    def test_signals_that_do_nothing(self):
        """SIGPIPE, SIGUSR1, SIGALRM and SIGIO do not end the server."""
        server = self.start()
        for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGALRM, signal.SIGIO):
            server.signal(number)
            self.assertEqual(server.qmp.execute("query-block"), [], number)
        server.stop()

    def test_quit_code(self):
        """quit ends the server with 0 and removes the monitor's socket."""
        server = self.start()
        server.qmp.execute("quit")
        server.check_end(server.wait_exit())

    @settings.unlike_qemu("a start that waits for a client cannot be interrupted but by SIGKILL")
    def test_term_while_waiting_for_a_client(self):
        """--chardev socket,server=on without wait=off waits for a client; SIGTERM ends that wait."""
        with open(self.path("log"), "wb") as log, processes.running(
                [settings.program(), "--chardev", "socket,id=c0,path=c0.sock,server=on"], cwd=self.workdir,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            wait.until(lambda: os.path.exists(self.path("c0.sock")) and processes.takes_signals(process.pid), 10,
                       "the wait to begin")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)
        self.assertFalse(os.path.exists(self.path("c0.sock")))

    def test_waiting_for_a_client(self):
        """server=on alone says that it waits, and goes on when a client has come."""
        with open(self.path("log"), "wb") as log, processes.running(
                [settings.program(), "--chardev", "socket,id=c0,path=c0.sock,server=on", "--monitor", "c0"],
                cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            # The path is there an instant before anybody listens at it.
            client = QmpClient(wait.until(lambda: daemon.connected_or_none(self.path("c0.sock")), 10, "the socket"))
            self.assertEqual(client.execute("query-block"), [])
            client.execute("quit")
            client.close()
            self.assertEqual(process.wait(settings.seconds(10)), 0)
        with open(self.path("log"), "rb") as log:
            self.assertIn(b"waiting for connection on: disconnected:unix:c0.sock,server=on", log.read())


class StandardStreamsTest(ProcessTest):
    """Monitors on the standard streams, files and client sockets."""

    def test_stdio_monitor(self):
        """--chardev stdio: QMP on standard input and output; the end of input does not end the server."""
        with processes.running([settings.program(), "--chardev", "stdio,id=c0", "--monitor", "c0"], cwd=self.workdir,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self.assertIn(b'"QMP"', process.stdout.readline())
            process.stdin.write(b'{"execute": "qmp_capabilities"}\n{"execute": "query-block"}\n')
            process.stdin.flush()
            self.assertEqual(process.stdout.readline(), b'{"return": {}}\r\n')
            self.assertEqual(process.stdout.readline(), b'{"return": []}\r\n')
            process.stdin.close()
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_client_socket_monitor(self):
        """--chardev socket,server=off: the server connects to us."""
        import socket
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("ours.sock"))
            listener.listen()
            listener.settimeout(settings.seconds(10))
            with processes.running([settings.program(), "--chardev", "socket,id=c0,path=ours.sock", "--monitor", "c0"],
                                   cwd=self.workdir, stdin=subprocess.DEVNULL) as process:
                client = QmpClient(listener.accept()[0])
                self.assertEqual(client.execute("query-block"), [])
                client.execute("quit")
                client.close()
                self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_tcp_monitor(self):
        """--chardev socket,host=,port=: QMP over TCP."""
        port = daemon.free_port()
        chardev = f"socket,id=tcp,host=127.0.0.1,port={port},server=on,wait=off"
        server = self.start("--chardev", chardev, "--monitor", "tcp")
        client = QmpClient(("127.0.0.1", port))
        self.addCleanup(client.close)
        self.assertEqual(client.execute("query-block"), [])
        server.stop()

    def test_file_chardev(self):
        """--chardev file: the monitor's output goes to the file."""
        server = self.start("--chardev", "file,id=log,path=qmp.log", "--monitor", "log")
        wait.until(lambda: b'"QMP"' in open(self.path("qmp.log"), "rb").read(), 10, "the greeting in the file")
        server.stop()


class SocketPathsTest(ProcessTest):
    """Paths of unix sockets; who takes one from whom is in handover_test.py."""

    def test_no_client_is_answered_before_the_start_is_over(self):
        """A start that fails after --nbd-server greets nobody, though somebody had called."""
        with open(self.path("log"), "wb") as log, processes.running(
                [settings.program(), "--nbd-server", f"addr.type=unix,addr.path={self.path('nbd.sock')}",
                 "--chardev", "socket,id=c0,path=c0.sock,server=on", "--export", "nbd,id=e,node-name=n"],
                cwd=self.workdir, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            client = wait.until(lambda: daemon.connected_or_none(self.path("nbd.sock")), 10, "the NBD socket")
            client.settimeout(settings.seconds(10))
            # It waits for somebody here, and then comes to the export of a node that is not there.
            wait.until(lambda: daemon.connected_or_none(self.path("c0.sock")), 10, "the chardev's socket").close()
            with client:
                try:
                    self.assertEqual(client.recv(18), b"")
                except ConnectionResetError:
                    pass
            self.assertEqual(process.wait(settings.seconds(10)), 1)

    def test_path_of_107_bytes(self):
        """The longest path of a unix socket works."""
        name = "n" * (107 - len(self.workdir) - 1)
        server = self.start(*null_node("null", MIB), "--nbd-server", f"addr.type=unix,addr.path={self.path(name)}",
                            *nbd_export("null"))
        server.nbd_path = self.path(name)
        connection = nbd_raw.Connection(server.connect_nbd())
        self.assertEqual(connection.go("null").size, MIB)
        connection.close()
        server.stop()


class HelpTest(ProcessTest):
    """Help and version."""

    def test_help(self):
        """--help and -h list every option and end with 0."""
        for option in ("--help", "-h"):
            result = self.run_server(option)
            self.assertEqual(result.returncode, 0)
            for name in (b"--blockdev", b"--export", b"--nbd-server", b"--object", b"--chardev", b"--monitor",
                         b"--daemonize", b"--pidfile", b"--version", b"--help", b"--trace"):
                self.assertIn(name, result.stdout)
            self.assertEqual(result.stderr, b"")

    def test_version(self):
        """--version tells a version number and ends with 0."""
        result = self.run_server("--version")
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertTrue(re.search(rb"version \d+\.\d+", result.stdout), result.stdout)

    def test_object_help(self):
        """--object help lists iothread, --chardev help the backends; both end with 0."""
        result = self.run_server("--object", "help")
        self.assertEqual(result.returncode, 0)
        self.assertIn(b"iothread", result.stdout)
        result = self.run_server("--chardev", "help")
        self.assertEqual(result.returncode, 0)
        for backend in (b"socket", b"stdio", b"file", b"null"):
            self.assertIn(backend, result.stdout)

    def test_nothing_to_do(self):
        """A server that has nothing to do runs until it is told to end."""
        with processes.running([settings.program(), "--pidfile", "server.pid"], cwd=self.workdir,
                               stdin=subprocess.DEVNULL) as process:
            wait.until(lambda: os.path.exists(self.path("server.pid")), 10, "the server to be up")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)
