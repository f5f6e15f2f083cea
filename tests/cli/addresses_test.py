"""Addresses of the NBD server: TCP, IPv6, abstract sockets, inherited descriptors, vsock."""

import os
import socket
import unittest

from lib import daemon, nbd_raw, processes, settings, tools
from lib.images import MIB
from lib.testcase import nbd_export, null_node


class AddressesTest(unittest.TestCase):
    """One server for each test."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)

    def start(self, *address, pass_fds=()):
        """A server with one export on that address."""
        arguments = [*null_node("null", MIB), "--nbd-server", *address, *nbd_export("null")]
        server = daemon.Daemon(self.workdir, arguments, nbd_server=None, pass_fds=pass_fds)
        self.addCleanup(server.kill)
        return server.start()

    def serves(self, sock):
        """The connected socket is a client of the export."""
        sock.settimeout(settings.seconds(10))
        connection = nbd_raw.Connection(sock)
        self.assertEqual(connection.go("null").size, MIB)
        self.assertEqual(len(connection.read(0, 512)), 512)
        connection.close()

    def test_ipv4(self):
        """addr.type=inet on 127.0.0.1."""
        port = daemon.free_port()
        server = self.start(f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}")
        self.serves(socket.create_connection(("127.0.0.1", port)))
        server.stop()

    def test_ipv6(self):
        """addr.type=inet on ::1."""
        port = daemon.free_port()
        server = self.start(f"addr.type=inet,addr.host=::1,addr.port={port}")
        self.serves(socket.create_connection(("::1", port)))
        server.stop()

    def test_wildcard(self):
        """An empty host means every address, of both families."""
        port = daemon.free_port()
        server = self.start(f"addr.type=inet,addr.host=,addr.port={port}")
        self.serves(socket.create_connection(("127.0.0.1", port)))
        self.serves(socket.create_connection(("::1", port)))
        server.stop()

    def test_wildcard_of_one_family(self):
        """ipv6=off leaves IPv4 alone."""
        port = daemon.free_port()
        server = self.start(f"addr.type=inet,addr.host=,addr.port={port},addr.ipv6=off")
        self.serves(socket.create_connection(("127.0.0.1", port)))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("::1", port))
        server.stop()

    def test_range_of_ports(self):
        """`to`: the first free port of a range is taken."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            if port > 65000:
                self.skipTest("the range would end behind the last port")
            server = self.start(f"addr.type=inet,addr.host=127.0.0.1,addr.port={port},addr.to={port + 100}")
            listening = processes.listening_ports(server.pid)
            self.assertEqual(len(listening), 1)
            self.assertTrue(port < listening[0] <= port + 100, listening)
            self.serves(socket.create_connection(("127.0.0.1", listening[0])))
            server.stop()

    def test_port_zero(self):
        """Port 0 takes a free port."""
        server = self.start("addr.type=inet,addr.host=127.0.0.1,addr.port=0")
        (port,) = processes.listening_ports(server.pid)
        self.serves(socket.create_connection(("127.0.0.1", port)))
        server.stop()

    def test_port_in_use(self):
        """A port that is taken is an error at start."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            address = f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}"
            result = tools.finish(settings.program(), "--nbd-server", address)
            self.assertEqual(result.returncode, 1)
            self.assertIn("Address already in use", result.stderr)

    def test_restart_on_the_same_port(self):
        """A server that had clients can be started again on its port at once."""
        port = daemon.free_port()
        for _ in range(3):
            server = self.start(f"addr.type=inet,addr.host=127.0.0.1,addr.port={port}")
            client = socket.create_connection(("127.0.0.1", port))
            connection = nbd_raw.Connection(client)
            connection.go("null")
            server.stop()
            connection.close()

    def test_abstract(self):
        """An abstract unix socket, with its exact length."""
        name = os.path.basename(self.workdir)
        server = self.start(f"addr.type=unix,addr.path={name},addr.abstract=on")
        client = socket.socket(socket.AF_UNIX)
        client.connect(b"\0" + name.encode())
        self.serves(client)
        self.assertFalse(os.path.exists(os.path.join(self.workdir, name)))
        server.stop()

    def test_abstract_not_tight(self):
        """tight=off pads the abstract name with NULs to the size of the field."""
        name = os.path.basename(self.workdir)
        server = self.start(f"addr.type=unix,addr.path={name},addr.abstract=on,addr.tight=off")
        client = socket.socket(socket.AF_UNIX)
        client.connect((b"\0" + name.encode()).ljust(108, b"\0"))
        self.serves(client)
        server.stop()

    def test_inherited_unix_socket(self):
        """addr.type=fd: a listening unix socket that was inherited; a client that came before is served."""
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as early:
            path = os.path.join(self.workdir, "inherited.sock")
            listener.bind(path)
            listener.listen()
            early.connect(path)
            server = self.start(f"addr.type=fd,addr.str={listener.fileno()}", pass_fds=(listener.fileno(),))
            self.serves(early)
            late = socket.socket(socket.AF_UNIX)
            late.connect(path)
            self.serves(late)
            server.stop()

    def test_inherited_tcp_socket(self):
        """addr.type=fd: a listening TCP socket that was inherited."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = self.start(f"addr.type=fd,addr.str={listener.fileno()}", pass_fds=(listener.fileno(),))
            self.serves(socket.create_connection(listener.getsockname()))
            server.stop()

    def test_inherited_monitor_socket(self):
        """--chardev socket,fd=N,server=on: the documented recipe to connect without waiting for the socket file."""
        with socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(self.workdir, "qmp-inherited.sock")
            listener.bind(path)
            listener.listen()
            chardev = f"socket,id=c0,fd={listener.fileno()},server=on,wait=off"
            server = daemon.Daemon(self.workdir, ["--chardev", chardev, "--monitor", "c0"], nbd_server=None,
                                   pass_fds=(listener.fileno(),))
            self.addCleanup(server.kill)
            server.start()
            from lib.qmp import QmpClient
            client = QmpClient(path)
            self.addCleanup(client.close)
            self.assertEqual(client.execute("query-block"), [])
            server.stop()

    def test_a_file_is_not_a_socket(self):
        """addr.type=fd with a descriptor of something else is an error at start."""
        result = tools.finish(settings.program(), "--nbd-server", "addr.type=fd,addr.str=0")
        self.assertEqual(result.returncode, 1)
        self.assertIn("is not a socket", result.stderr)

    def test_vsock(self):
        """addr.type=vsock, where the kernel has a loopback for it."""
        port = 20_000 + os.getpid() % 20_000
        try:
            with socket.socket(socket.AF_VSOCK) as probe:
                probe.bind((1, port + 1))
                probe.listen()
        except OSError as error:
            self.skipTest(f"no vsock loopback here: {error}")
        server = self.start(f"addr.type=vsock,addr.cid=1,addr.port={port}")
        client = socket.socket(socket.AF_VSOCK)
        client.settimeout(settings.seconds(10))
        client.connect((1, port))
        self.serves(client)
        server.stop()
