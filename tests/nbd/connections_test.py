"""Many connections: silent, idle, slow; the limits that keep the server open for others."""

import contextlib
import resource
import select
import socket
import struct
import time
import unittest

from hostile import HostileTest, threads_of
from lib import daemon, nbd_raw, settings
from lib.nbd_raw import option_bytes
from lib.nbd_wire import *
from lib.testcase import DaemonTest, nbd_export, null_node

NO_LIMIT = "max-connections=0"


def no_handshake_limit():
    """The option that switches the handshake limit off, for servers that have it."""
    version = settings.qemu_version()
    return "" if version and version < (10, 0) else ",handshake-max-seconds=0"


class CrowdTest(HostileTest):
    """Thousands of connections at once."""

    @classmethod
    def setUpClass(cls):
        cls.nbd_server = NO_LIMIT + no_handshake_limit()
        super().setUpClass()

    def need_files(self, count):
        """Skips where the system does not permit that many open files."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < count + 500:
            self.skipTest(f"{count} connections need more than the {hard} open files that are permitted")

    def silent(self, stack, count):
        """Opens connections that never say a word."""
        connections = []
        for _ in range(count):
            connections.append(self.connect())
            stack.callback(connections[-1].close)
        return connections

    def noticed(self, connections):
        """Waits until the server has greeted every connection, or dropped it."""
        poll = select.poll()
        for sock in connections:
            poll.register(sock, select.POLLIN)
        left = {sock.fileno() for sock in connections}
        deadline = time.monotonic() + settings.seconds(30)
        while left:
            self.assertLess(time.monotonic(), deadline, f"{len(left)} connections were neither greeted nor dropped")
            for descriptor, _ in poll.poll(200):
                poll.unregister(descriptor)
                left.discard(descriptor)

    def silent_crowd(self, count):
        """That many silent connections come; a good client still gets in at once, and nothing stays of the crowd."""
        self.need_files(count)
        with contextlib.ExitStack() as stack:
            self.noticed(self.silent(stack, count))
            self.good_client()
            self.assertLessEqual(threads_of(self.daemon.pid), 64)
        self.fds_return()

    def test_2000_silent(self):
        """Among 2,000 silent connections a good client is served in less than a second."""
        self.silent_crowd(2000)

    @settings.unlike_qemu("it has not accepted them all after 45 seconds")
    def test_15000_silent(self):
        """Among 15,000 silent connections, far more than select() can watch, a good client is served."""
        self.silent_crowd(15_000)

    def test_2000_idle(self):
        """2,000 negotiated idle connections, each still alive, a new client at once, few threads."""
        self.need_files(2000)
        with contextlib.ExitStack() as stack:
            connections = []
            for _ in range(2000):
                connections.append(nbd_raw.Connection(self.connect()))
                stack.callback(connections[-1].close)
                connections[-1].go("disk")
            self.good_client()
            for connection in connections[::50]:
                self.assertEqual(len(connection.read(0, 512)), 512)
            self.assertLessEqual(threads_of(self.daemon.pid), 64)
        self.fds_return()

    def test_memory_of_idle_connections(self):
        """An idle negotiated connection takes at most 6 kB."""
        self.measure_memory()
        with contextlib.ExitStack() as stack:
            before = self.daemon.rss()
            for _ in range(1000):
                connection = nbd_raw.Connection(self.connect())
                stack.callback(connection.close)
                connection.go("disk")
            self.assertLess((self.daemon.rss() - before) / 1000, 6 * 1024)

    @settings.unlike_qemu("it takes nearly 6 kB")
    def test_memory_of_silent_connections(self):
        """A connection that has said nothing yet holds no buffer for it: at most 5 kB."""
        self.measure_memory()
        with contextlib.ExitStack() as stack:
            before = self.daemon.rss()
            self.noticed(self.silent(stack, 1000))
            self.good_client()
            self.assertLess((self.daemon.rss() - before) / 1000, 5 * 1024)

    def test_churn(self):
        """3,000 whole sessions, no descriptor left, at most 1 MiB of growth after the first thousand."""
        def cycle():
            connection = nbd_raw.Connection(self.connect())
            connection.go("disk")
            connection.read(0, 512)
            connection.disconnect()
            connection.close()
        for _ in range(1000):
            cycle()
        before = self.daemon.rss()
        for _ in range(2000):
            cycle()
        self.fds_return()
        if not settings.sanitized():
            self.assertLess(self.daemon.rss() - before, 1 << 20)


class StopUnderCrowdTest(HostileTest):
    """nbd-server-stop while clients are at every stage."""

    def restart_server(self):
        """Starts the NBD server and the export again."""
        address = {"type": "unix", "data": {"path": self.daemon.nbd_path}}
        self.qmp.execute("nbd-server-start", {"addr": address, "max-connections": 0})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        self.qmp.execute("block-export-add", {"type": "nbd", "id": "null", "node-name": "null", "writable": True})

    @settings.since_qemu(9, 1, "nbd-server-stop waits for clients that say nothing")
    def test_stop_with_silent_clients(self):
        """300 silent clients, then nbd-server-stop, 10 times (CVE-2024-7409: a server crashed)."""
        for _ in range(10):
            crowd = [self.connect() for _ in range(300)]
            self.qmp.execute("nbd-server-stop")
            for sock in crowd:
                with contextlib.suppress(ConnectionError):
                    while sock.recv(4096):
                        pass
                sock.close()
            self.restart_server()
        self.fds_return()

    @settings.since_qemu(9, 1, "nbd-server-stop waits for clients that say nothing")
    def test_stop_with_clients_at_every_stage(self):
        """The same with clients in the greeting, in haggling, idle, and with requests in flight."""
        for _ in range(20):
            stages = [self.connect(), self.connect(), self.connect(), self.connect()]
            haggling = nbd_raw.Connection(stages[1])
            haggling.structured_reply()
            idle = nbd_raw.Connection(stages[2])
            idle.go("disk")
            busy = nbd_raw.Connection(stages[3])
            busy.go("null")
            for index in range(16):
                busy.send_request(CMD_READ, index << 20, 4096)
            self.qmp.execute("nbd-server-stop")
            for sock in stages:
                with contextlib.suppress(ConnectionError):
                    while sock.recv(1 << 20):
                        pass
                sock.close()
            self.restart_server()
        self.fds_return()


class LimitTest(DaemonTest):
    """max-connections."""

    nbd_server = "max-connections=3"

    @classmethod
    def prepare(cls):
        return [*null_node("null", 1 << 20), *nbd_export("null")]

    def greeted(self, sock, seconds):
        """True when the greeting comes in that time."""
        return bool(select.select([sock], [], [], seconds)[0])

    def test_fourth_client_waits_for_a_slot(self):
        """At the limit a client connects but gets no greeting until a slot is free, as QSD does."""
        clients = [self.session("null") for _ in range(3)]
        waiting = self.daemon.connect_nbd()
        self.addCleanup(waiting.close)
        self.assertFalse(self.greeted(waiting, 0.3))
        clients[0].close()
        self.assertTrue(self.greeted(waiting, settings.seconds(5)))
        nbd_raw.Connection(waiting).go("null")

    @settings.unlike_qemu("a connection in negotiation takes a slot")
    def test_negotiating_clients_do_not_count(self):
        """Clients in negotiation, or silent ones, leave the slots to those that get through."""
        for _ in range(5):
            self.client()
            self.addCleanup(self.daemon.connect_nbd().close)
        self.assertEqual(len(self.session("null").read(0, 512)), 512)


class OneConnectionTest(DaemonTest):
    """max-connections=1."""

    nbd_server = "max-connections=1"

    @classmethod
    def prepare(cls):
        return [*null_node("null", 1 << 20), *nbd_export("null")]

    @settings.since_qemu(9, 0, "MULTI_CONN is announced all the same")
    def test_no_multi_conn(self):
        """With one connection CAN_MULTI_CONN is not announced."""
        self.assertFalse(self.session("null").info.flags & CAN_MULTI_CONN)


class FairnessTest(DaemonTest):
    """Silent clients of one address do not lock out another."""

    nbd_server = None

    @classmethod
    def prepare(cls):
        cls.port = daemon.free_port()
        return ["--nbd-server", f"addr.type=inet,addr.host=0.0.0.0,addr.port={cls.port}",
                *null_node("null", 1 << 20), *nbd_export("null")]

    @settings.unlike_qemu("100 silent connections lock everybody out until the handshake limit")
    def test_other_peer_gets_in(self):
        """400 silent connections from 127.0.0.2 at the default limit of 100; a client from 127.0.0.1 gets in."""
        for _ in range(400):
            silent = socket.socket()
            silent.bind(("127.0.0.2", 0))
            silent.setblocking(False)
            silent.connect_ex(("127.0.0.1", self.port))
            self.addCleanup(silent.close)
        started = time.monotonic()
        good = nbd_raw.Connection(socket.create_connection(("127.0.0.1", self.port), settings.seconds(5)))
        self.addCleanup(good.close)
        good.go("null")
        self.assertLess(time.monotonic() - started, settings.seconds(2))


class HandshakeLimitTest(DaemonTest):
    """The handshake limit: each shape of a stalled handshake ends in time; an idle session does not."""

    @classmethod
    def setUpClass(cls):
        version = settings.qemu_version()
        if version and version < (10, 0):
            raise unittest.SkipTest("qemu-storage-daemon before 10.0 has no handshake limit")
        super().setUpClass()

    @classmethod
    def prepare(cls):
        return [*null_node("null", 1 << 20), *nbd_export("null")]

    def shapes(self):
        """Stalled connections by name."""
        scripts = {"silent": b"", "half of the flags": b"\0\0", "flags": struct.pack(">I", 3),
                   "half of an option": struct.pack(">IQ", 3, IHAVEOPT),
                   "option without its data": struct.pack(">I", 3) + struct.pack(">QII", IHAVEOPT, OPT_GO, 100),
                   "half of the data": struct.pack(">I", 3) + struct.pack(">QII", IHAVEOPT, 99, 5000) + bytes(2000),
                   "after LIST": struct.pack(">I", 3) + option_bytes(OPT_LIST),
                   "after GO failed": struct.pack(">I", 3) + option_bytes(OPT_GO, nbd_raw.info_bytes("nowhere")),
                   "after INFO": struct.pack(">I", 3) + option_bytes(OPT_INFO, nbd_raw.info_bytes("null"))}
        sockets = {}
        for name, script in scripts.items():
            sockets[name] = self.daemon.connect_nbd()
            sockets[name].sendall(script)
            self.addCleanup(sockets[name].close)
        return sockets

    def check_limit(self, limit):
        """All shapes are closed after the limit, not much before or after; one that trickles options as well."""
        session = self.session("null")
        started = time.monotonic()
        sockets = self.shapes()
        trickler = self.client()
        open_ones = dict(sockets, trickler=trickler.socket)
        while open_ones:
            self.assertLess(time.monotonic() - started, settings.seconds(limit + 4), f"still open: {list(open_ones)}")
            select.select(list(open_ones.values()), [], [], 0.25)
            if "trickler" in open_ones:
                with contextlib.suppress(OSError):
                    trickler.send(option_bytes(99))
            for name, sock in list(open_ones.items()):
                sock.setblocking(False)
                try:
                    ended = sock.recv(65536) == b""
                except BlockingIOError:
                    ended = False
                except ConnectionError:
                    ended = True
                if ended:
                    del open_ones[name]
                    self.assertGreater(time.monotonic() - started, limit - 0.5, f"{name} was closed too early")
        self.assertEqual(len(session.read(0, 512)), 512)


class DefaultHandshakeLimitTest(HandshakeLimitTest):
    """Without an option."""

    def test_ten_seconds(self):
        """All shapes end after 10 seconds."""
        self.check_limit(10)


class ShortHandshakeLimitTest(HandshakeLimitTest):
    """handshake-max-seconds=2."""

    nbd_server = "handshake-max-seconds=2"

    def test_two_seconds(self):
        """The limit is the one that was set."""
        self.check_limit(2)


class NoHandshakeLimitTest(HandshakeLimitTest):
    """handshake-max-seconds=0."""

    nbd_server = "handshake-max-seconds=0"

    def test_no_limit(self):
        """0 means no limit: after 12 seconds the connections are still there."""
        sockets = [sock for name, sock in self.shapes().items()]
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            for sock in select.select(sockets, [], [], 0.5)[0]:
                self.assertNotEqual(sock.recv(65536), b"", "a connection was closed")
