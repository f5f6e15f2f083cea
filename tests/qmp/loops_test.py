"""The two directions of a connection end each other, however the client disconnects (docs/loops.md)."""

import contextlib
import socket
import ssl
import struct

from lib import certificates, daemon, nbd_raw, settings, wait
from lib.nbd_wire import *
from lib.qmp import QmpClient
from lib.testcase import DaemonTest, nbd_export, null_node

# Commands that fill the output, that fill it slowly, and that are refused.
FLOODS = {"query-qmp-schema": 300, "query-named-block-nodes": 5000, "no-such-command": 5000}


def close(client):
    """Leaves as a program does that ends."""
    client.close()


def reset(client):
    """Leaves with a reset where the protocol has one."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def stop_sending(client):
    """Closes one direction and stays, without reading."""
    client.shutdown(socket.SHUT_WR)


def stop_receiving(client):
    """Says that it will read nothing more."""
    client.shutdown(socket.SHUT_RD)


def close_both(client):
    """Closes both directions and keeps the descriptor."""
    client.shutdown(socket.SHUT_RDWR)


LEAVE = (close, reset, stop_sending, close_both)


class MonitorLoopsTest(DaemonTest):
    """A monitor serves its next client, whatever the one before was waited for with."""

    @classmethod
    def prepare(cls):
        cls.unix = cls.path("other.sock")
        cls.tcp, cls.tls = daemon.free_port(), daemon.free_port()
        certificates.make(cls.path("pki"))
        return ["--object", f"tls-creds-x509,id=tls0,endpoint=server,dir={cls.path('pki')}",
                "--chardev", f"socket,id=other,path={cls.unix},server=on,wait=off", "--monitor", "other",
                "--chardev", f"socket,id=tcp,host=127.0.0.1,port={cls.tcp},server=on,wait=off", "--monitor", "tcp",
                "--chardev", f"socket,id=tls,host=127.0.0.1,port={cls.tls},server=on,wait=off,tls-creds=tls0",
                "--monitor", "tls", *null_node("null", 1 << 20), *nbd_export("null")]

    def dial(self, kind, patience=10):
        """A connection to the monitor of that kind."""
        limit = settings.seconds(patience)
        if kind == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(limit)
            client.connect(self.unix)
        else:
            client = socket.create_connection(("127.0.0.1", self.tcp if kind == "tcp" else self.tls), limit)
        if kind == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(self.path("pki/ca-cert.pem"))
            context.load_cert_chain(self.path("pki/client-cert.pem"), self.path("pki/client-key.pem"))
            context.check_hostname = False
            client = context.wrap_socket(client)
        self.addCleanup(client.close)
        return client

    def check_next_client(self, kind, patience=10):
        """Somebody else is greeted and answered."""
        with QmpClient(self.dial(kind, patience), timeout=patience) as client:
            self.assertEqual(client.execute("query-block"), [])

    def flood(self, client, message, count):
        """Sends a command many times and reads nothing; stops when the server takes no more."""
        client.settimeout(settings.seconds(0.3))
        with contextlib.suppress(OSError):
            client.sendall(message * count)

    def leave_in_every_way(self, kind):
        """Every flood, every way to leave."""
        for command, count in FLOODS.items():
            for leave in LEAVE:
                with self.subTest(command=command, leave=leave.__name__):
                    client = self.dial(kind)
                    QmpClient(client)
                    self.flood(client, b'{"execute":"%s"}\n' % command.encode(), count)
                    with contextlib.suppress(OSError):
                        leave(client)
                    self.check_next_client(kind)
                    client.close()

    def test_plain(self):
        """On a unix socket."""
        self.leave_in_every_way("unix")

    def test_tcp(self):
        """On TCP, where a client can also reset."""
        self.leave_in_every_way("tcp")

    def test_tls(self):
        """Over TLS, whose records may be cut anywhere."""
        self.leave_in_every_way("tls")

    def test_one_that_will_not_read(self):
        """A client that closed its reading side is told nothing more, and the monitor is free when it leaves."""
        for kind in ("unix", "tcp"):
            client = self.dial(kind)
            QmpClient(client)
            stop_receiving(client)
            self.flood(client, b'{"execute":"query-qmp-schema"}\n', 300)
            client.close()
            self.check_next_client(kind)

    def test_queue_of_commands(self):
        """With out-of-band execution, more commands than may wait, and then nobody."""
        for leave in LEAVE:
            client = self.dial("unix")
            monitor = QmpClient(client, negotiate=False)
            monitor.execute("qmp_capabilities", {"enable": ["oob"]})
            self.flood(client, b'{"execute":"query-qmp-schema"}\n', 200)
            with contextlib.suppress(OSError):
                leave(client)
            self.check_next_client("unix")
            client.close()

    def test_before_negotiation(self):
        """Messages of a client that never negotiates."""
        for leave in LEAVE:
            client = self.dial("unix")
            self.flood(client, b'{"execute":"query-block"}\n', 5000)
            with contextlib.suppress(OSError):
                leave(client)
            self.check_next_client("unix")
            client.close()

    def test_silence_in_a_handshake(self):
        """A TLS client that stops in its handshake, or leaves in it, holds the monitor up no longer than 10 s."""
        with socket.create_connection(("127.0.0.1", self.tls), settings.seconds(10)) as client:
            client.sendall(b"\x16\x03\x01\x02\x00")
        self.check_next_client("tls")
        with socket.create_connection(("127.0.0.1", self.tls), settings.seconds(10)) as client:
            client.sendall(b"\x16\x03\x01\x02\x00")
            self.check_next_client("tls", 20)
            self.assertEqual(client.recv(1), b"")


class TransmissionLoopsTest(DaemonTest):
    """The reader and the sender of an NBD connection."""

    @classmethod
    def prepare(cls):
        return [*null_node("null", 1 << 30), *nbd_export("null", writable="on")]

    def check_gone(self):
        """No connection is left behind, and a new client is served."""
        self.assertEqual(self.session("null").read(0, 512), bytes(512))

    def deaf(self):
        """A client whose replies fill every buffer."""
        client = self.session("null")
        for index in range(64):
            client.send_request(CMD_READ, index << 20, 1 << 20)
        return client

    def test_a_client_that_reads_nothing(self):
        """The reader waits for memory while the sender waits for the client; each way to leave ends both."""
        before = self.daemon.open_sockets()
        for leave in (close, reset, close_both):
            client = self.deaf()
            leave(client.socket)
            client.close()
        wait.until(lambda: self.daemon.open_sockets() <= before, 20, "the connections to go")
        self.check_gone()

    def test_half_closed_in_the_middle_of_a_write(self):
        """A client that closes its sending side within a payload is not waited for."""
        before = self.daemon.open_sockets()
        client = self.session("null")
        client.send(nbd_raw.request_bytes("simple", CMD_WRITE, 0, 1 << 20) + b"x" * 1000)
        stop_sending(client.socket)
        wait.until(lambda: self.daemon.open_sockets() <= before, 20, "the connection to go")
        self.check_gone()
