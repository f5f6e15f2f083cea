"""Budgets: memory that hostile clients can make the server take."""

import contextlib
import select
import socket
import threading
import time
import unittest

from hostile import HostileTest
from lib import daemon, images, nbd_raw, settings, wait
from lib.images import KIB, MIB
from lib.nbd_raw import request_bytes
from lib.nbd_wire import *
from lib.testcase import file_node, nbd_export, null_node


class MeasuredTest(HostileTest):
    """A server whose memory is measured while many clients do what they like."""

    @classmethod
    def setUpClass(cls):
        if settings.sanitized():
            raise unittest.SkipTest("memory is not measured in a sanitizer build")
        super().setUpClass()

    def sessions(self, stack, count, export="null"):
        """That many sessions whose sockets do not block."""
        found = []
        for _ in range(count):
            connection = nbd_raw.Connection(self.connect())
            stack.callback(connection.close)
            connection.go(export)
            connection.socket.setblocking(False)
            found.append(connection)
        return found

    def push(self, connections, data, quiet=0.7):
        """Sends to each connection as much of data as the server takes, until nothing has moved for `quiet` seconds."""
        left = {connection.socket: memoryview(data) for connection in connections}
        last = time.monotonic()
        while left and time.monotonic() - last < quiet:
            for sock in select.select([], list(left), [], 0.1)[1]:
                try:
                    sent = sock.send(left[sock][:1 << 20])
                except BlockingIOError:
                    continue
                last = time.monotonic()
                left[sock] = left[sock][sent:]
                if not left[sock]:
                    del left[sock]

    def growth(self, action):
        """Memory that the server took for what action() asked of it."""
        # Reads that clients of an earlier test left behind still end.
        before = wait.until(self.settled_rss, 10, "the server to come to rest")
        action()
        # The sent bytes are in its sockets; it has yet to look at it.
        return wait.until(self.settled_rss, 10, "the server to take what it wants") - before

    def settled_rss(self):
        """What the server takes; 0 while that changes."""
        first = self.daemon.rss()
        time.sleep(0.3)
        return first if abs(self.daemon.rss() - first) < MIB else 0


class MemoryTest(MeasuredTest):
    """Clients that stall."""

    def test_stalled_write_headers(self):
        """100 clients announce a WRITE of 32 MiB and stall: at most 0.2 MB each."""
        with contextlib.ExitStack() as stack:
            header = request_bytes("simple", CMD_WRITE, 0, 32 * MIB)
            clients = self.sessions(stack, 100)
            self.assertLess(self.growth(lambda: self.push(clients, header)), 20 * MIB)
            self.good_client()

    def test_write_that_stalls_in_its_payload(self):
        """One WRITE of 32 MiB that stalls a byte before its end takes about its size at most."""
        with contextlib.ExitStack() as stack:
            data = request_bytes("simple", CMD_WRITE, 0, 32 * MIB) + bytes(32 * MIB - 1)
            clients = self.sessions(stack, 1)
            self.assertLess(self.growth(lambda: self.push(clients, data)), 40 * MIB)

    @settings.unlike_qemu("it takes 32 MiB for each of them")
    def test_hundred_writes_that_stall_in_their_payload(self):
        """100 WRITEs that stall like that stay within the budget of the process, 1 GiB, and others are still served."""
        with contextlib.ExitStack() as stack:
            data = request_bytes("simple", CMD_WRITE, 0, 32 * MIB) + bytes(32 * MIB - 1)
            clients = self.sessions(stack, 100)
            self.assertLess(self.growth(lambda: self.push(clients, data)), 1200 * MIB)
            self.good_client()

    @settings.unlike_qemu("it has no budget that could be used up")
    def test_large_requests_beside_stalled_writes(self):
        """With the process budget held by 36 stalled WRITEs, large requests are served: the stalled are cut."""
        with contextlib.ExitStack() as stack:
            data = request_bytes("simple", CMD_WRITE, 0, 32 * MIB) + bytes(32 * MIB - 1)
            self.push(self.sessions(stack, 36), data)
            good = self.session("null")
            good.socket.settimeout(settings.seconds(25))
            self.assertEqual(len(good.read(0, 32 * MIB)), 32 * MIB)
            good.write(0, bytes(8 * MIB))

    @settings.unlike_qemu("it takes 512 MiB")
    def test_reader_that_does_not_read(self):
        """A client with 64 READs of 32 MiB that reads no reply takes at most 64 MiB and a little."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 32 * MIB, cookie=index) for index in range(64))
            clients = self.sessions(stack, 1)
            self.assertLess(self.growth(lambda: self.push(clients, data)), 80 * MIB)

    @settings.unlike_qemu("it takes 512 MiB for each of them")
    def test_many_readers_that_do_not_read(self):
        """40 clients that read none of so many replies stay within the process's 1 GiB, and others are still served."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 32 * MIB, cookie=index) for index in range(64))
            clients = self.sessions(stack, 40)
            self.assertLess(self.growth(lambda: self.push(clients, data)), 1200 * MIB)
            self.good_client()

    @settings.unlike_qemu("it is busy with them for seconds")
    def test_newcomer_in_the_middle_of_long_reads(self):
        """While 40 clients' READs of 32 MiB are served from memory, a new client is served within a second."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 32 * MIB, cookie=index) for index in range(64))
            for connection in self.sessions(stack, 40):
                connection.socket.send(data)
            self.good_client()

    def test_flood_of_small_requests(self):
        """A client with 100,000 small requests that reads no reply takes at most 16 MiB."""
        with contextlib.ExitStack() as stack:
            data = request_bytes("simple", CMD_FLUSH) * 100_000
            clients = self.sessions(stack, 1)
            self.assertLess(self.growth(lambda: self.push(clients, data)), 16 * MIB)

    def test_memory_comes_back(self):
        """After big requests were answered and the clients left, most of their memory is not kept for ever."""
        def read_much():
            with contextlib.ExitStack() as stack:
                for connection in self.sessions(stack, 4):
                    connection.socket.settimeout(settings.seconds(20))
                    self.assertEqual(len(connection.read(0, 32 * MIB)), 32 * MIB)
        first = self.growth(read_much)
        self.assertLess(first, 256 * MIB)
        self.assertLess(self.growth(lambda: [read_much() for _ in range(3)]), 64 * MIB)

    @settings.unlike_qemu("it takes up to 16 buffers for each of them")
    def test_clients_that_stop_in_the_middle_of_a_file(self):
        """100 clients with 2000 large reads each, and none read on: little memory, and a good client is served."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 8 * MIB, cookie=index) for index in range(2000))
            clients = self.sessions(stack, 100, "disk")
            grown = self.growth(lambda: self.push(clients, data))
            self.assertLess(grown, 100 * MIB)
            self.assert_served(self.session("disk"), 200)

    def test_good_client_beside_non_readers(self):
        """Beside 10 stalled readers a good client's requests are served."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 4 * MIB, cookie=index) for index in range(16))
            self.push(self.sessions(stack, 10), data)
            good = self.session("disk")
            good.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.assert_served(good, 40)

    def assert_served(self, connection, count):
        """Reads, one after the other, take less time in all than if each were held up for 100 ms."""
        started = time.monotonic()
        for _ in range(count):
            self.assertEqual(len(connection.read(0, 4096)), 4096)
        self.assertLess(time.monotonic() - started, settings.seconds(0.1 * count))


class ScarceTest(MeasuredTest):
    """Requests that come while others hold all memory of the process."""

    PIECES = 8192  # of data, with a hole behind each

    @classmethod
    def prepare(cls):
        path = images.make_sparse(cls.path("pieces.img"), cls.PIECES * 8 * KIB,
                                  [(piece * 8 * KIB, 4 * KIB) for piece in range(cls.PIECES)])
        return [*super().prepare(), *file_node("pieces", path, **{"read-only": "on"}), *nbd_export("pieces")]

    @settings.unlike_qemu("it has no budget that could be used up")
    def test_block_status(self):
        """Block status is answered with fewer extents, which are right, and who asks on gets them all."""
        size = self.PIECES * 8 * KIB
        expected = [(4 * KIB, piece % 2 * (STATE_HOLE | STATE_ZERO)) for piece in range(2 * self.PIECES)]
        client = self.session("pieces", "structured", ["base:allocation"])
        self.assertEqual(client.block_status(0, size), expected)

        def first_is_short():
            with contextlib.ExitStack() as stack:
                self.hold_all_memory(stack)
                answers, offset = [], 0
                while offset < size:
                    answers.append(client.block_status(offset, size - offset))
                    offset += sum(length for length, _ in answers[-1])
            self.assertEqual([extent for extents in answers for extent in extents], expected)
            return len(answers[0]) < len(expected)
        # On a slow machine the first of those who stall may have been cut by then.
        wait.until(first_is_short, 60, "an answer in want of memory")

    def hold_all_memory(self, stack):
        """Writes that stall a byte before their end: large ones, and smaller ones for what is too little for those."""
        for length, count in ((32 * MIB, 34), (2 * MIB, 18), (600 * KIB, 8)):
            data = request_bytes("simple", CMD_WRITE, 0, length) + bytes(length - 1)
            self.push(self.sessions(stack, count), data)


class NewcomerTest(HostileTest):
    """Readers that take little, each with many large READs outstanding, hold all memory of the process."""

    READERS = 24

    @classmethod
    def prepare(cls):
        cls.port = daemon.free_port()
        return [*super().prepare(), "--listen", f"type=inet,host=127.0.0.1,port={cls.port}"]

    def slow_readers(self, stack):
        """They ask for 3 GiB in all, and read two megabytes a second until the test is over."""
        data = b"".join(request_bytes("simple", CMD_READ, 0, MIB, cookie=index) for index in range(128))
        readers = []
        for _ in range(self.READERS):
            readers.append(nbd_raw.Connection(self.connect()))
            stack.callback(readers[-1].close)
            readers[-1].go("null")
            readers[-1].send(data)
            readers[-1].socket.setblocking(False)
        over = threading.Event()
        def read():
            while not over.wait(0.1):
                for reader in readers:
                    with contextlib.suppress(OSError):
                        reader.socket.recv(2 * MIB // 10 // self.READERS)
        thread = threading.Thread(target=read)
        thread.start()
        stack.callback(thread.join)
        stack.callback(over.set)

    def newcomer(self, sock):
        """Large and small requests of a new client."""
        sock.settimeout(settings.seconds(20))
        connection = nbd_raw.Connection(sock)
        self.addCleanup(connection.close)
        connection.go("null")
        started = time.monotonic()
        self.assertEqual(len(connection.read(0, 4096)), 4096)
        connection.write(0, bytes(32 * MIB))
        self.assertEqual(len(connection.read(0, 32 * MIB)), 32 * MIB)
        return time.monotonic() - started

    @settings.unlike_qemu("it has no budget that could be used up")
    def test_newcomers_beside_slow_readers(self):
        """A new client's first requests of 4 KiB and of 32 MiB are served, over a unix socket and over TCP."""
        with contextlib.ExitStack() as stack:
            self.slow_readers(stack)
            if not settings.sanitized():
                wait.until(lambda: self.daemon.rss() > 900 * MIB, 20, "the memory to be used up")
            tcp = socket.create_connection(("127.0.0.1", self.port), settings.seconds(5))
            for sock in (self.connect(), tcp):
                self.assertLess(self.newcomer(sock), settings.seconds(4))


class SlowStorageTest(MeasuredTest):
    """Clients whose requests wait for storage."""

    @classmethod
    def prepare(cls):
        # Long enough that no request ends before all of them have come.
        slow = null_node("slow", 1 << 40, **{"latency-ns": 8_000_000_000})
        return [*super().prepare(), *slow, *nbd_export("slow")]

    @settings.unlike_qemu("it takes up to 16 requests of each client")
    def test_small_reads(self):
        """200 clients with 1024 reads of a byte each stay within the budget of the process, 1 GiB."""
        with contextlib.ExitStack() as stack:
            data = b"".join(request_bytes("simple", CMD_READ, 0, 1, cookie=index) for index in range(1024))
            clients = self.sessions(stack, 200, "slow")
            self.assertLess(self.growth(lambda: self.push(clients, data)), 1200 * MIB)
            self.good_client()
