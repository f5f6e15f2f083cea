"""A full table of handshakes: a normal client can still connect, whatever addresses the others have."""

import resource
import socket

from lib import daemon, nbd_raw, settings
from lib.nbd_wire import *
from lib.testcase import DaemonTest, null_node

# The server keeps half of its descriptors for handshakes.
DESCRIPTORS = 400
PLACES = DESCRIPTORS // 2
GOOD = "127.0.0.1"


class CrowdedHandshakesTest(DaemonTest):
    """Silent connections take every place, and more of them come between any two messages of the good client."""

    nbd_server = None

    @classmethod
    def prepare(cls):
        return null_node("null", 1 << 20)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        resource.prlimit(cls.daemon.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        cls.port = daemon.free_port()
        cls.qmp.execute("nbd-server-start", {"addr": {"type": "inet", "data": {"host": GOOD, "port": str(cls.port)}}})
        cls.qmp.execute("block-export-add", {"type": "nbd", "id": "null", "node-name": "null"})

    def setUp(self):
        self.crowd = []
        self.next_peer = 0

    def tearDown(self):
        for silent in self.crowd:
            silent.close()
        super().tearDown()

    def connect(self, address):
        """A connection from that address of this host."""
        client = socket.socket()
        client.settimeout(settings.seconds(5))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((address, 0))
        client.connect((GOOD, self.port))
        return client

    def silent(self, count, address=None):
        """That many more silent connections, from one address or each from a new one."""
        for _ in range(count):
            self.next_peer += 1
            self.crowd.append(self.connect(address or f"127.9.{self.next_peer >> 8}.{self.next_peer & 255}"))
        # Those that came first were dropped long ago.
        while len(self.crowd) > 2 * PLACES:
            self.crowd.pop(0).close()

    def good_client(self, between):
        """A client that needs four round trips; between() is called before each."""
        connection = nbd_raw.Connection(self.connect(GOOD))
        self.addCleanup(connection.close)
        between()
        connection.structured_reply()
        between()
        connection.set_contexts("null", ["base:allocation"])
        between()
        connection.go("null")
        self.assertEqual(connection.read(0, 512), bytes(512))

    def check(self, first, between):
        """The table is filled by first(); then three good clients come one after the other."""
        first()
        for _ in range(3):
            self.good_client(between)

    @settings.unlike_qemu("silent connections lock everybody out until the handshake limit")
    def test_many_addresses(self):
        """Each connection has an address of its own."""
        self.check(lambda: self.silent(PLACES + 10), lambda: self.silent(20))

    @settings.unlike_qemu("silent connections lock everybody out until the handshake limit")
    def test_one_address(self):
        """All of them come from one address."""
        self.check(lambda: self.silent(PLACES + 10, "127.7.7.7"), lambda: self.silent(20, "127.7.7.7"))

    @settings.unlike_qemu("silent connections lock everybody out until the handshake limit")
    def test_address_of_the_good_client(self):
        """They come from the good client's own address."""
        self.check(lambda: self.silent(PLACES + 10, GOOD), lambda: self.silent(10, GOOD))

    @settings.unlike_qemu("silent connections lock everybody out until the handshake limit")
    def test_mixture(self):
        """Half of them have one address, and each of the others its own; both kinds keep coming."""
        def first():
            self.silent(PLACES // 2, "127.7.7.7")
            self.silent(PLACES)
        def between():
            self.silent(10, "127.7.7.7")
            self.silent(10)
        self.check(first, between)
