"""Paths, PAM modules and clients that hang: no other work waits for them, and a signal still ends the server."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import threading
import time

from lib import certificates, daemon, images, nbd_raw, processes, settings, wait
from lib.images import MIB
from lib.nbd_wire import *
from lib.testcase import file_node, nbd_export, null_node
from process_test import ProcessTest

# The grace of clients, 1 s by default, 1.5 s that the end may take beside, and what a busy machine takes.
END_MAX_SECONDS = 4


class HangingTest(ProcessTest):
    """Servers that are ended while something hangs."""

    def make_pipe(self, name="pipe"):
        """A named pipe without anybody at its other end."""
        os.mkfifo(self.path(name))
        return self.path(name)

    def serve(self, *arguments, **options):
        """A server with a monitor and an NBD server."""
        server = daemon.Daemon(self.workdir, [*null_node("null", 1 << 30), *nbd_export("null"), *arguments], **options)
        self.addCleanup(server.kill)
        return server.start()

    def end(self, server, limit=END_MAX_SECONDS, number=signal.SIGTERM):
        """Ends the server in time, with 0; the seconds that it took."""
        started = time.monotonic()
        server.signal(number)
        server.check_end(server.wait_exit(limit))
        return time.monotonic() - started

    def check_service(self, server):
        """NBD clients are served."""
        connection = nbd_raw.Connection(server.connect_nbd())
        connection.go("null")
        self.assertEqual(connection.read(0, 512), bytes(512))
        connection.close()


class CommandPathsTest(HangingTest):
    """Commands of QMP that name a pipe nobody is at the other end of."""

    def refuse(self, command, arguments, text):
        """The command is answered in time, with an error, and others are served meanwhile and later."""
        server = self.serve()
        started = time.monotonic()
        server.qmp.send({"execute": command, "arguments": arguments})
        self.check_service(server)
        reply = server.qmp.read_reply()
        self.assertLess(time.monotonic() - started, settings.seconds(6))
        self.assertIn(text, reply["error"]["desc"])
        self.check_service(server)
        self.end(server)

    def test_chardev_output(self):
        """chardev-add of a file that is a pipe."""
        pipe = self.make_pipe()
        self.refuse("chardev-add", {"id": "c", "backend": {"type": "file", "data": {"out": pipe}}},
                    f"Could not open '{pipe}': No such device or address")

    def test_secret(self):
        """object-add of a secret."""
        pipe = self.make_pipe()
        self.refuse("object-add", {"qom-type": "secret", "id": "s", "file": pipe}, f"Unable to read {pipe}")

    def test_list_file(self):
        """object-add of a list of rules."""
        pipe = self.make_pipe()
        self.refuse("object-add", {"qom-type": "authz-list-file", "id": "a", "filename": pipe},
                    "it is not a regular file")

    def test_keys(self):
        """object-add of credentials whose certificate is a pipe."""
        pki = certificates.make(self.path("pki"))
        os.unlink(pki.file("server-cert.pem"))
        os.mkfifo(pki.file("server-cert.pem"))
        self.refuse("object-add", {"qom-type": "tls-creds-x509", "id": "t", "endpoint": "server", "dir": pki.path},
                    "not a regular file")

    def test_directory_of_keys(self):
        """object-add of credentials whose directory is a pipe."""
        self.refuse("object-add", {"qom-type": "tls-creds-psk", "id": "t", "dir": self.make_pipe()}, "Not a directory")

    def test_image(self):
        """blockdev-add of an image that is a pipe."""
        pipe = self.make_pipe()
        self.refuse("blockdev-add", {"driver": "file", "node-name": "n", "filename": pipe},
                    f"'file' driver requires '{pipe}' to be a regular file")

    def test_pipes_that_work(self):
        """A pipe whose other end is there works: a secret that somebody writes, a monitor that somebody reads."""
        server = self.serve()
        secret, output = self.make_pipe("secret"), self.make_pipe("output")
        writer = threading.Thread(target=images.write_file, args=(secret, b"123456"))
        writer.start()
        server.qmp.execute("object-add", {"qom-type": "secret", "id": "s", "file": secret})
        writer.join()
        reader = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        server.qmp.execute("chardev-add", {"id": "c", "backend": {"type": "file", "data": {"out": output}}})
        self.end(server)


class StartTest(HangingTest):
    """A command line that names what hangs is waited for, as long as nobody sends a signal."""

    @contextlib.contextmanager
    def starting(self, *arguments):
        """A process that is not up yet."""
        with open(self.path("log"), "wb") as log, processes.running(
                [settings.program(), "--pidfile", "server.pid", *arguments], cwd=self.workdir,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            yield process

    def check_signal(self, *arguments):
        """The start goes on waiting, and SIGTERM ends it."""
        with self.starting(*arguments) as process:
            wait.until(lambda: processes.takes_signals(process.pid), 10, "the start to begin")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(END_MAX_SECONDS)), 0)
        self.assertFalse(os.path.exists(self.path("server.pid")))

    @settings.unlike_qemu("a start that waits in open() can be ended by SIGKILL alone")
    def test_chardev(self):
        """A monitor's output that nobody reads yet."""
        pipe = self.make_pipe()
        self.check_signal("--chardev", f"file,id=c,path={pipe}", "--monitor", "c")

    @settings.unlike_qemu("a start that waits in open() can be ended by SIGKILL alone")
    def test_secret(self):
        """A secret that nobody writes yet."""
        self.check_signal("--object", f"secret,id=s,file={self.make_pipe()}")

    def test_reader_who_comes_later(self):
        """The start goes on when somebody reads the pipe, and the monitor greets."""
        pipe = self.make_pipe()
        with self.starting("--chardev", f"file,id=c,path={pipe}", "--monitor", "c") as process:
            with open(pipe, "rb") as reader:
                self.assertIn(b'"QMP"', reader.readline())
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)

    def test_writer_who_comes_later(self):
        """The start goes on when somebody has written the secret."""
        pipe = self.make_pipe()
        with self.starting("--object", f"secret,id=s,file={pipe}") as process:
            images.write_file(pipe, b"123456")
            wait.until(lambda: os.path.exists(self.path("server.pid")), 10, "the server to be up")
            process.terminate()
            self.assertEqual(process.wait(settings.seconds(10)), 0)


class EndTest(HangingTest):
    """SIGTERM with clients that do not take what they asked for."""

    def deaf_client(self, server):
        """An NBD client that reads none of its replies."""
        client = nbd_raw.Connection(server.connect_nbd())
        self.addCleanup(client.close)
        client.go("null")
        for index in range(16):
            client.send_request(CMD_READ, index * MIB, MIB)
        # The first of them are on their way to it.
        self.assertTrue(select.select([client.socket], [], [], settings.seconds(10))[0], "nothing was answered")

    def deaf_monitor(self, server):
        """A QMP client that reads none of its answers."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(self.path("second.sock"))
        client.settimeout(settings.seconds(0.3))
        with contextlib.suppress(OSError):
            client.sendall(b'{"execute":"qmp_capabilities"}\n' + b'{"execute":"query-qmp-schema"}\n' * 2000)

    def second_monitor(self):
        """The arguments of a monitor for hostile clients."""
        return ["--chardev", f"socket,id=second,path={self.path('second.sock')},server=on,wait=off",
                "--monitor", "second"]

    @settings.unlike_qemu("waits for it for ever")
    def test_grace(self):
        """Clients that do not read are waited for as long as --shutdown-grace-seconds says, 1 s by default."""
        server = self.serve()
        self.deaf_client(server)
        self.assertGreaterEqual(self.end(server), 0.9)
        server = self.serve("--shutdown-grace-seconds", "0")
        self.deaf_client(server)
        self.end(server, 2)
        server = self.serve("--shutdown-grace-seconds", "3")
        self.deaf_client(server)
        self.assertGreaterEqual(self.end(server, 6), 2.9)

    @settings.unlike_qemu("waits for it for ever")
    def test_second_signal(self):
        """A second SIGTERM or SIGINT ends the grace; SIGHUP, which supervisors send too, does not."""
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.serve("--shutdown-grace-seconds", "3600")
            self.deaf_client(server)
            server.signal(signal.SIGTERM)
            wait.until(lambda: not os.path.exists(server.nbd_path) or self.refuses(server), 10, "the end to begin")
            server.signal(signal.SIGHUP)
            with self.assertRaises(subprocess.TimeoutExpired):
                server.process.wait(0.5)
            self.end(server, END_MAX_SECONDS, number)

    def refuses(self, server):
        """True when nobody listens any longer."""
        try:
            server.connect_nbd().close()
            return False
        except OSError:
            return True

    def test_monitor(self):
        """A monitor whose client does not read."""
        server = self.serve(*self.second_monitor())
        self.deaf_monitor(server)
        self.end(server)

    def test_all_at_once(self):
        """Clients of both kinds together."""
        server = self.serve(*self.second_monitor())
        self.deaf_monitor(server)
        for _ in range(8):
            self.deaf_client(server)
        self.end(server)

    @settings.unlike_qemu("never ends")
    def test_monitor_on_a_full_pipe(self):
        """A monitor on standard input and output, whose output nobody reads and whose input has ended."""
        for ends_input in (True, False):
            with processes.running([settings.program(), "--chardev", "stdio,id=c", "--monitor", "c"], cwd=self.workdir,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                process.stdin.write(b'{"execute":"qmp_capabilities"}\n' + b'{"execute":"query-qmp-schema"}\n' * 50)
                process.stdin.flush()
                process.stdout.readline()
                if ends_input:
                    process.stdin.close()
                process.terminate()
                self.assertEqual(process.wait(settings.seconds(END_MAX_SECONDS)), 0)
                process.stdout.close()

    def test_command_that_waits_for_a_peer(self):
        """chardev-add with wait=on: a signal ends the wait, and the monitor is told why."""
        server = self.serve()
        server.qmp.send({"execute": "chardev-add", "arguments": {"id": "c", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": self.path("peer.sock")}}, "server": True, "wait": True}}}})
        wait.until(lambda: os.path.exists(self.path("peer.sock")), 10, "the socket")
        self.check_service(server)
        self.end(server)
        self.assertIn("error", server.qmp.read_reply())


class FrozenDiskTest(HangingTest):
    """A file system that answers no writes."""

    def setUp(self):
        super().setUp()
        self.device = None
        if os.geteuid() != 0:
            self.skipTest("freezing a file system needs root")
        images.make_empty(self.path("fs.img"), 64 * MIB)
        os.mkdir(self.path("mnt"))
        for command in (["mkfs.ext4", "-q", "-F", self.path("fs.img")],
                        ["mount", "-o", "loop", self.path("fs.img"), self.path("mnt")]):
            try:
                done = subprocess.run(command, capture_output=True, check=False)
            except FileNotFoundError:
                self.skipTest(f"{command[0]} is not installed")
            if done.returncode != 0:
                self.skipTest(f"{command[0]} does not work here: {done.stderr!r}")
        self.addCleanup(subprocess.run, ["umount", self.path("mnt")], check=False)

    def freeze(self):
        """Stops every write, until the test ends."""
        done = subprocess.run(["fsfreeze", "-f", self.path("mnt")], capture_output=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"the file system cannot be frozen: {done.stderr!r}")
        # Done twice it fails, which does not matter.
        self.addCleanup(subprocess.run, ["fsfreeze", "-u", self.path("mnt")], capture_output=True, check=False)

    @settings.unlike_qemu("waits for the disk")
    def test_chardev(self):
        """chardev-add of a file that a frozen file system would have to make: the rest is served, SIGTERM ends all."""
        server = self.serve()
        self.freeze()
        server.qmp.send({"execute": "chardev-add", "arguments": {
            "id": "c", "backend": {"type": "file", "data": {"out": self.path("mnt/new")}}}})
        self.check_service(server)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        # A call inside of the kernel cannot be ended before that answers: the process has let go of all the rest.
        wait.until(lambda: self.is_leaving(server), END_MAX_SECONDS, "the end to come to the kernel")
        self.assertLess(time.monotonic() - started, settings.seconds(END_MAX_SECONDS))
        subprocess.run(["fsfreeze", "-u", self.path("mnt")], check=True)
        server.check_end(server.wait_exit(10))

    def is_leaving(self, server):
        """True when the process has ended, or its first thread has and the kernel waits for another one."""
        if not server.alive():
            return True
        return processes.state(server.pid) in (None, "Z")


class InheritedTest(HangingTest):
    """Numbers of descriptors: only of sockets that were handed down, only on the command line."""

    @settings.since_qemu(7, 2, "the text")
    def test_number_in_a_command(self):
        """chardev-add and nbd-server-start take no number, whatever it stands for in the process."""
        server = self.serve()
        for name in [*os.listdir(f"/proc/{server.pid}/fd"), "99999", "x"]:
            for is_server in (False, True):
                reply = server.qmp.command("chardev-add", {"id": "c", "backend": {"type": "socket", "data": {
                    "addr": {"type": "fd", "data": {"str": name}}, "server": is_server}}})
                self.assertIn("only QEMU supports file descriptor passing", reply["error"]["desc"])
        server.qmp.execute("nbd-server-stop")
        reply = server.qmp.command("nbd-server-start", {"addr": {"type": "fd", "data": {"str": "3"}}})
        self.assertIn("only QEMU supports file descriptor passing", reply["error"]["desc"])
        server.stop()

    def refused(self, *arguments, pass_fds=()):
        """What a start that fails says."""
        result = subprocess.run([settings.program(), *arguments], cwd=self.workdir, stdin=subprocess.DEVNULL,
                                capture_output=True, timeout=settings.seconds(15), check=False, pass_fds=pass_fds)
        self.assertEqual(result.returncode, 1)
        return result.stderr.decode()

    def test_number_of_our_own(self):
        """Numbers that the process itself has by then are not sockets of the command line."""
        for number in range(3, 16):
            self.assertIn(f"File descriptor '{number}' is not a socket",
                          self.refused("--nbd-server", f"addr.type=fd,addr.str={number}"))

    @settings.unlike_qemu("listens twice on it")
    def test_twice(self):
        """A socket can be taken once."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path("inherited.sock"))
            number = listener.fileno()
            self.assertIn(f"File descriptor '{number}' is not a socket", self.refused(
                "--chardev", f"socket,id=c,fd={number},server=on,wait=off",
                "--nbd-server", f"addr.type=fd,addr.str={number}", pass_fds=(number,)))

    def test_path_of_a_descriptor(self):
        """/dev/fd/N and /proc/self/fd/N open the file anew: the descriptor itself stays with whoever has it."""
        disk = images.make_empty(self.path("disk.img"), MIB)
        for directory in ("/dev/fd", "/proc/self/fd"):
            with open(disk, "r+b") as file:
                server = self.serve(*file_node("d", f"{directory}/{file.fileno()}"), pass_fds=(file.fileno(),))
                self.check_service(server)
                server.stop()


class ReconnectTest(HangingTest):
    """How long a socket that calls waits before it calls again."""

    @settings.unlike_qemu("takes numbers that wrap")
    def test_beyond_the_range(self):
        """A time that cannot be is refused, in commands and on the command line."""
        server = self.serve()
        for name, value, most in (("reconnect-ms", 1 << 33, 4294967295), ("reconnect-ms", (1 << 63) - 1, 4294967295),
                                  ("reconnect-ms", -1, 4294967295), ("reconnect", 4294968, 4294967),
                                  ("reconnect", (1 << 63) - 1, 4294967), ("reconnect", -1, 4294967)):
            reply = server.qmp.command("chardev-add", {"id": "c", "backend": {"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": "none"}}, "server": False, name: value}}})
            self.assertIn(f"Parameter '{name}' expects a number from 0 to {most}", reply["error"]["desc"])
            if value > 0:
                result = self.run_server("--chardev", f"socket,id=c,path=none,{name}={value}")
                self.assertIn(f"Parameter '{name}' expects a number from 0 to {most}".encode(), result.stderr)
        server.stop()
