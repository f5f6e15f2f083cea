"""Ten thousand exports, of one node or of many: the last costs as little as the first."""

import signal
import time
import unittest

from lib import daemon, images, nbd_raw, settings
from lib.images import MIB
from lib.testcase import file_node

EXPORTS = 10_000
# With the square of their number, adding or removing this many would take minutes.
BAR = 15


class ManyExportsTest(unittest.TestCase):
    """One server for each test."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.disk = images.make_empty(f"{self.workdir}/disk.img", MIB)
        self.daemon = daemon.Daemon(self.workdir, file_node("disk", self.disk))
        self.addCleanup(self.daemon.kill)
        self.daemon.start()
        self.qmp = self.daemon.qmp

    def timed(self, what, function):
        """Runs it, and holds it against the bar."""
        started = time.monotonic()
        result = function()
        self.assertLess(time.monotonic() - started, settings.seconds(BAR), what)
        return result

    def execute_all(self, commands):
        """Runs commands that all succeed, many on their way at a time."""
        window, waiting = 200, 0
        for command, arguments in commands:
            self.qmp.send({"execute": command, "arguments": arguments})
            waiting += 1
            if waiting == window:
                self.assertIn("return", self.qmp.read_reply())
                waiting -= 1
        for _ in range(waiting):
            self.assertIn("return", self.qmp.read_reply())

    def add_exports(self, node=None):
        """Exports e0, e1, ... of that node, or of nodes of the same name."""
        self.execute_all(("block-export-add", {"type": "nbd", "id": f"e{i}", "node-name": node or f"e{i}",
                                               "name": f"e{i}", "writable": True}) for i in range(EXPORTS))

    def connect(self):
        """A raw NBD connection."""
        connection = nbd_raw.Connection(self.daemon.connect_nbd())
        self.addCleanup(connection.close)
        return connection

    def test_of_one_node(self):
        """Added, listed, looked at, resized under, half of them removed, and the rest at the end of the server."""
        self.timed("adding", lambda: self.add_exports("disk"))
        self.assertEqual(len(self.timed("query", lambda: self.qmp.execute("query-block-exports"))), EXPORTS)
        self.assertEqual(len(self.timed("LIST", self.connect().list)), EXPORTS)
        graph = self.timed("graph", lambda: self.qmp.execute("x-debug-query-block-graph"))
        self.assertEqual(len(graph["edges"]), EXPORTS)
        if settings.qemu_version() is None:
            self.timed("resize", lambda: self.qmp.execute("block_resize", {"node-name": "disk", "size": 2 * MIB}))
        self.timed("removing", lambda: self.execute_all(
            ("block-export-del", {"id": f"e{i}"}) for i in range(0, EXPORTS, 2)))
        self.daemon.signal(signal.SIGTERM)
        self.daemon.check_end(self.daemon.wait_exit(BAR))

    def test_of_one_node_each(self):
        """So with as many nodes, each on the same file below."""
        self.timed("nodes", lambda: self.execute_all(
            ("blockdev-add", {"driver": "raw", "node-name": f"e{i}", "file": "disk"}) for i in range(EXPORTS)))
        self.timed("adding", self.add_exports)
        self.assertEqual(len(self.timed("nodes", lambda: self.qmp.execute("query-named-block-nodes"))), EXPORTS + 1)
        self.timed("removing", lambda: self.execute_all(
            ("block-export-del", {"id": f"e{i}"}) for i in range(0, EXPORTS, 2)))
        self.timed("removing nodes", lambda: self.execute_all(
            ("blockdev-del", {"node-name": f"e{i}"}) for i in range(0, EXPORTS, 2)))
        self.timed("quit", lambda: self.qmp.execute("quit"))
        self.daemon.check_end(self.daemon.wait_exit(BAR))

    def test_objects(self):
        """So with as many objects."""
        self.timed("adding", lambda: self.execute_all(
            ("object-add", {"qom-type": "secret", "id": f"s{i}", "data": "x"}) for i in range(EXPORTS)))
        self.assertGreater(len(self.timed("list", lambda: self.qmp.execute("qom-list", {"path": "/objects"}))), EXPORTS)
        self.timed("removing", lambda: self.execute_all(
            ("object-del", {"id": f"s{i}"}) for i in range(0, EXPORTS, 2)))
        self.daemon.signal(signal.SIGTERM)
        self.daemon.check_end(self.daemon.wait_exit(BAR))
