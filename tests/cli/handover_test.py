"""Two servers on the same paths, and starts with busy addresses and images: takeover, retries and cleanup."""

import contextlib
import fcntl
import os
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
import unittest

from lib import daemon, images, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.testcase import file_node, nbd_export, null_node

PATHS = ("nbd.sock", "more.sock", "spare.sock", "control.sock")


class HandoverTest(unittest.TestCase):
    """Each test has a private directory for the paths that servers share; each server has one of its own besides."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def path(self, name):
        """A path in the private directory."""
        return os.path.join(self.workdir, name)

    def names(self):
        """What is in the private directory."""
        return sorted(os.listdir(self.workdir))

    def arguments(self, *more):
        """A server that listens on all of PATHS; `more` comes last."""
        nbd, second, spare, control = map(self.path, PATHS)
        return [*null_node("null", MIB), "--nbd-server", f"addr.type=unix,addr.path={nbd}",
                *(["--listen", f"unix,path={second}"] if settings.qemu_version() is None else []),
                "--chardev", f"socket,id=spare,path={spare},server=on,wait=off",
                "--chardev", f"socket,id=control,path={control},server=on,wait=off", "--monitor", "control",
                *nbd_export("null"), *more]

    def start(self, *more):
        """A server on all of PATHS, with a monitor of its own."""
        return self.start_plain(*self.arguments(*more))

    def start_plain(self, *arguments):
        """A server with a monitor of its own."""
        own = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, own)
        server = daemon.Daemon(own, arguments, nbd_server=None)
        self.addCleanup(server.kill)
        return server.start()

    def finish(self, *arguments):
        """Runs a server that cannot start, to its end."""
        return subprocess.run([settings.program(), *arguments], cwd=self.workdir, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=settings.seconds(20), check=False)

    def listener_of(self, name):
        """The process that listens on a path, or None."""
        client = daemon.connected_or_none(self.path(name))
        if client is None:
            return None
        with client:
            return struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def assert_served_by(self, server, names=PATHS):
        """Whoever calls one of the paths reaches that server, and an NBD client is served."""
        self.assertEqual({name: self.listener_of(name) for name in names}, dict.fromkeys(names, server.pid))
        if "nbd.sock" in names:
            server.nbd_path = self.path("nbd.sock")
            connection = nbd_raw.Connection(server.connect_nbd())
            self.assertEqual(connection.go("null").size, MIB)
            connection.close()


class RollingRestartTest(HandoverTest):
    """A newer server on the paths of an older one, which ends afterwards."""

    @settings.unlike_qemu("it removes whatever is at the path of a chardev")
    def setUp(self):
        super().setUp()

    def test_each_end_of_the_older_leaves_the_newer_alone(self):
        """Signals and quit: the newer is reached on every path."""
        ends = {
            "SIGTERM": lambda old: old.signal(signal.SIGTERM),
            "SIGINT": lambda old: old.signal(signal.SIGINT),
            "SIGHUP": lambda old: old.signal(signal.SIGHUP),
            "quit": lambda old: old.qmp.execute("quit"),
        }
        older = self.start()
        for name, end in ends.items():
            with self.subTest(end=name):
                newer = self.start()
                end(older)
                self.assertEqual(older.wait_exit(), 0)
                self.assert_served_by(newer)
                older = newer
        older.stop()

    def test_commands_of_the_older_leave_the_newer_alone(self):
        """nbd-server-stop and chardev-remove: the same."""
        older = self.start()
        newer = self.start()
        older.qmp.execute("nbd-server-stop")
        older.qmp.execute("chardev-remove", {"id": "spare"})
        self.assert_served_by(newer)
        self.assertEqual(self.names(), sorted(PATHS))
        older.stop()
        newer.stop()

    def test_the_newer_says_what_it_does(self):
        """A warning for each path on which somebody answers, with the process; none for a path that is free."""
        older = self.start()
        self.assertNotIn(b"replaces it", older.stderr())
        newer = self.start()
        for name in PATHS:
            text = f"warning: process {older.pid} listens on the unix socket '{self.path(name)}'"
            self.assertIn(text, newer.stderr().decode())
        older.stop()
        newer.stop()

    def test_a_dead_socket_is_replaced_in_silence(self):
        """After SIGKILL the paths are taken again, and nothing is said."""
        older = self.start()
        older.process.kill()
        older.process.wait()
        self.assertEqual(self.names(), sorted(PATHS))
        newer = self.start()
        self.assertEqual(newer.stderr(), b"")
        self.assert_served_by(newer)
        newer.stop()

    def test_monitors_command_takes_over_for_good(self):
        """chardev-add and nbd-server-start while the server runs: the path is theirs at once."""
        with socket.socket(socket.AF_UNIX) as older:
            older.bind(self.path("taken.sock"))
            older.listen()
            server = self.start_plain()
            backend = {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": self.path("taken.sock")}},
                                                  "wait": False}}
            server.qmp.execute("chardev-add", {"id": "c0", "backend": backend})
            self.assertEqual(self.names(), ["taken.sock"])
            self.assertEqual(self.listener_of("taken.sock"), server.pid)
            server.qmp.execute("chardev-remove", {"id": "c0"})
            self.assertEqual(self.names(), [])
            server.stop()

    def test_pid_file_of_another_stays(self):
        """A pid file that somebody put in the place of ours is not removed."""
        server = self.start("--pidfile", self.path("server.pid"))
        wait.until(lambda: os.path.exists(self.path("server.pid")), what="the pid file")
        os.unlink(self.path("server.pid"))
        images.write_file(self.path("server.pid"), b"4711\n")
        server.stop()
        with open(self.path("server.pid"), "rb") as file:
            self.assertEqual(file.read(), b"4711\n")


class FailedStartTest(HandoverTest):
    """A start that does not come to its end."""

    @settings.unlike_qemu("it leaves what it has made, and the older server without its paths")
    def test_the_older_keeps_its_paths(self):
        """An option that fails after all others: the server that was there is reached as before."""
        older = self.start()
        result = self.finish(*self.arguments("--blockdev", "nonsense"))
        self.assertEqual(result.returncode, 1)
        self.assertEqual(self.names(), sorted(PATHS))
        self.assert_served_by(older)
        older.stop()

    @settings.unlike_qemu("it leaves what it has made, and the older server without its paths")
    def test_a_pid_file_that_is_locked(self):
        """A service that is started twice: the second one ends, and the first one is reached as before."""
        older = self.start("--pidfile", self.path("server.pid"))
        wait.until(lambda: os.path.exists(self.path("server.pid")), what="the pid file")
        result = self.finish(*self.arguments("--pidfile", "server.pid"))
        self.assertIn("Cannot lock pid file", result.stderr)
        self.assert_served_by(older)
        older.stop()

    @settings.unlike_qemu("a start that waits for a client cannot be interrupted but by SIGKILL")
    def test_a_signal_during_the_start(self):
        """SIGTERM while the start waits for a client: the same."""
        older = self.start()
        with processes.running([settings.program(), *self.arguments("--chardev", "socket,id=w,path=w.sock,server=on")],
                               cwd=self.workdir, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as newer:
            wait.until(lambda: os.path.exists(self.path("w.sock")) and processes.takes_signals(newer.pid),
                       what="the socket that is waited at")
            self.assertEqual(self.listener_of("nbd.sock"), newer.pid)
            newer.terminate()
            self.assertEqual(newer.wait(settings.seconds(10)), 0)
        self.assertEqual(self.names(), sorted(PATHS))
        self.assert_served_by(older)
        older.stop()

    @settings.unlike_qemu("it leaves what it has made")
    def test_nothing_is_left(self):
        """Where nobody was before, a failed start leaves no socket."""
        self.assertEqual(self.finish(*self.arguments("--blockdev", "nonsense")).returncode, 1)
        self.assertEqual(self.names(), [])


    @settings.unlike_qemu("it has one address only")
    def test_a_second_address_that_is_taken(self):
        """A server whose second address belongs to somebody else leaves no socket at its first one."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = self.finish("--nbd-server", "addr.type=unix,addr.path=nbd.sock", "--listen",
                                 f"type=inet,host=127.0.0.1,port={port}")
        self.assertEqual(result.returncode, 1)
        self.assertIn("Failed to find an available port: Address already in use", result.stderr)
        self.assertEqual(self.names(), [])


class SocketFilesTest(HandoverTest):
    """What happens to the files of unix sockets when nobody interferes."""

    def test_what_stays_at_exit(self):
        """The NBD server's socket stays, as with qemu-storage-daemon; monitors' sockets go."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            server = self.start()
            server.signal(number)
            self.assertEqual(server.wait_exit(), 0)
            self.assertEqual(set(self.names()) - {"more.sock"}, {"nbd.sock"})
        server = self.start()
        server.qmp.execute("quit")
        self.assertEqual(server.wait_exit(), 0)
        self.assertEqual(set(self.names()) - {"more.sock"}, {"nbd.sock"})

    def test_what_the_commands_remove(self):
        """nbd-server-stop removes the NBD server's sockets, chardev-remove that of the chardev."""
        server = self.start()
        server.qmp.execute("nbd-server-stop")
        server.qmp.execute("chardev-remove", {"id": "spare"})
        self.assertEqual(set(self.names()) - {"more.sock"}, {"control.sock"})
        server.stop()
        self.assertNotIn("control.sock", self.names())

    @settings.unlike_qemu("it removes files, pipes and links")
    def test_what_is_no_socket_is_never_removed(self):
        """A file, a pipe or a directory at the path: an error that names it, at start and for a command."""
        images.write_file(self.path("file"), b"precious")
        os.mkfifo(self.path("pipe"))
        os.mkdir(self.path("directory"))
        server = self.start_plain()
        for name in ("file", "pipe", "directory"):
            kind = stat.S_IFMT(os.stat(self.path(name)).st_mode)
            for option in (("--nbd-server", f"addr.type=unix,addr.path={name}"),
                           ("--chardev", f"socket,id=c0,path={name},server=on,wait=off")):
                result = self.finish(*option)
                self.assertEqual(result.returncode, 1)
                self.assertIn(f"Failed to unlink socket {name}: ", result.stderr)
            address = {"type": "unix", "data": {"path": self.path(name)}}
            _, text = server.qmp.failure("nbd-server-start", {"addr": address})
            self.assertIn(f"Failed to unlink socket {self.path(name)}: ", text)
            self.assertEqual(stat.S_IFMT(os.stat(self.path(name)).st_mode), kind)
        with open(self.path("file"), "rb") as file:
            self.assertEqual(file.read(), b"precious")
        server.stop()


class BusyStartTest(HandoverTest):
    """What was busy when the server started becomes free soon."""

    @settings.unlike_qemu("it gives up at once")
    def setUp(self):
        super().setUp()

    TRIES = 5

    def check_busy_start(self, arguments, take):
        """A server comes up although what it needs is busy at first: take() takes it, and returns what frees it."""
        for _ in range(self.TRIES):
            # An address that is busy for a second is an error; a machine may be too slow to free it by then.
            if self.comes_up(arguments, take()):
                return
        self.fail(f"it was freed too late {self.TRIES} times")

    def comes_up(self, arguments, free):
        """True when the server is up and has said nothing, False when it gave up because free() came too late."""
        began = time.monotonic()
        with open(self.path("stderr-busy"), "wb") as stderr:
            # Its last option is the busy one: the others make a socket that can be seen.
            process = subprocess.Popen(  # pylint: disable=consider-using-with
                [settings.program(), "--chardev", "socket,id=seen,path=seen.sock,server=on,wait=off", *arguments,
                 "--pidfile", "server.pid"], cwd=self.workdir, stdin=subprocess.DEVNULL, stderr=stderr)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait.until(lambda: os.path.exists(self.path("seen.sock")) or process.poll() is not None,
                   what="the first option")
        # It does not give up at once.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
        is_up_too_soon = os.path.exists(self.path("server.pid"))
        free()
        freed_after = time.monotonic() - began
        self.assertFalse(is_up_too_soon, "it did not need what was busy")
        wait.until(lambda: os.path.exists(self.path("server.pid")) or process.poll() is not None, what="the server")
        if process.poll() is not None and freed_after > 0.9:
            return False
        with open(self.path("stderr-busy"), "rb") as stderr:
            self.assertEqual((process.poll(), stderr.read()), (None, b""))
        return True

    def take_port(self, port):
        """Listens on a port of the loopback address."""
        return socket.create_server(("127.0.0.1", port)).close

    def test_a_port(self):
        """A TCP port."""
        port = daemon.free_port()
        self.check_busy_start(["--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}"],
                              lambda: self.take_port(port))

    def test_a_port_of_a_monitor(self):
        """A TCP port of a chardev."""
        port = daemon.free_port()
        self.check_busy_start(["--chardev", f"socket,id=c0,host=127.0.0.1,port={port},server=on,wait=off"],
                              lambda: self.take_port(port))

    def test_a_port_of_one_more_listener(self):
        """A TCP port of --listen."""
        port = daemon.free_port()
        self.check_busy_start(["--nbd-server", "addr.type=unix,addr.path=nbd.sock", "--listen",
                               f"inet,host=127.0.0.1,port={port}"], lambda: self.take_port(port))

    def test_an_abstract_name(self):
        """An abstract unix socket."""
        name = os.path.basename(self.workdir)

        def take():
            taken = socket.socket(socket.AF_UNIX)
            taken.bind(b"\0" + name.encode())
            taken.listen()
            return taken.close
        self.check_busy_start(["--nbd-server", f"addr.type=unix,addr.path={name},addr.abstract=on"], take)

    def test_an_image(self):
        """Locks of an image, which go when the last requests of a dead process have ended."""
        disk = images.make_empty(self.path("disk.img"), MIB)

        def take():
            holder = open(disk, "r+b")  # pylint: disable=consider-using-with
            for byte in (101, 201):  # Has `write`, and does not share it.
                lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
                fcntl.fcntl(holder, fcntl.F_OFD_SETLK, lock)
            return holder.close
        self.check_busy_start([*file_node("f0", disk), "--nbd-server", "addr.type=unix,addr.path=nbd.sock",
                               *nbd_export("f0", writable="on")], take)

    def test_what_stays_busy_is_an_error_after_a_second(self):
        """The error is the one it always was; a signal does not wait for it."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"addr.type=inet,addr.host=127.0.0.1,addr.port={taken.getsockname()[1]}"
            began = time.monotonic()
            result = self.finish("--nbd-server", address)
            self.assertGreaterEqual(time.monotonic() - began, 1.0)
            self.assertEqual(result.returncode, 1)
            program = os.path.basename(settings.program())
            self.assertEqual(result.stderr, f"{program}: --nbd-server {address}: Failed to find an available port: "
                                            "Address already in use\nAnother socket has the address "
                                            f"127.0.0.1:{taken.getsockname()[1]}.\n")

    def test_restart_after_sigkill(self):
        """A server under load that is killed is followed by another one on its port and image, at once."""
        disk = images.make_empty(self.path("disk.img"), 16 * MIB)
        port = daemon.free_port()
        for _ in range(settings.repetitions(5, 100)):
            server = self.start_plain(
                *file_node("f0", disk), "--nbd-server", f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
                *nbd_export("f0", writable="on"))
            connection = nbd_raw.Connection(socket.create_connection(("127.0.0.1", port), settings.seconds(10)))
            connection.go("f0")
            writer = threading.Thread(target=self.write_until_it_ends, args=(connection,))
            writer.start()
            server.process.kill()
            server.process.wait()
            writer.join(settings.seconds(10))
            self.assertFalse(writer.is_alive())

    def write_until_it_ends(self, connection):
        """Writes on a connection that will break."""
        with contextlib.suppress(OSError, AssertionError, EOFError):
            while True:
                connection.write(0, b"w" * 65536)
