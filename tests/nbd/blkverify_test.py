"""The drivers blkverify and quorum with blkverify=on: two nodes that have to be the same, and the end of it."""

import itertools

from lib import images, settings, tools
from lib.images import KIB, MIB
from lib.nbd_wire import (CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE_ZEROES, EIO, ENOSPC, FLAG_FUA, STATE_HOLE,
                          STATE_ZERO)
from lib.testcase import DaemonTest

SIZE = MIB
NAMES = itertools.count()


class PairTest(DaemonTest):
    """Two images with the same bytes, over which a test puts a node that compares them."""

    def setUp(self):
        self.names = [f"n{next(NAMES)}" for _ in range(2)]
        for name in self.names:
            images.make_random(self.path(name), SIZE)

    def child(self, index, *rules):
        """The options of a child, whose node has the name of its image, and rules of blkdebug for failures."""
        name = self.names[index]
        given = {"inject-error": list(rules)} if rules else {}
        image = {"driver": "file", "filename": self.path(name)}
        return {"driver": "blkdebug", "node-name": name, "image": image, **given}

    def expose(self, **options):
        """Exports a node, and returns a session."""
        self.node = f"v{next(NAMES)}"
        self.add_node(self.node, **options)
        self.add_export(self.node, writable=True)
        return self.session(self.node)

    def verify(self, test=(), raw=()):
        """Exports a blkverify node, and returns a session. The arguments: rules of its children."""
        return self.expose(driver="blkverify", test=self.child(0, *test), raw=self.child(1, *raw))

    def peek(self, child, offset, length):
        """Bytes of a child."""
        return images.read_range(self.path(self.names[child]), offset, length)

    def poke(self, child, offset, data):
        """Changes the bytes of a child behind the server's back."""
        with open(self.path(self.names[child]), "r+b") as file:
            file.seek(offset)
            file.write(data)


class EqualTest(PairTest):
    """Children that are the same."""

    def test_requests(self):
        """Both children get each write, and reads are those of the tested one."""
        session = self.verify()
        self.assertEqual(session.write(1000, b"x" * 3000, FLAG_FUA), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        self.assertEqual(session.read(0, SIZE), self.peek(0, 0, SIZE))
        self.assertEqual(session.read(1000, 3000), b"x" * 3000)
        self.assertEqual(self.peek(0, 0, SIZE), self.peek(1, 0, SIZE))

    def test_trim(self):
        """A discard changes nothing."""
        session = self.verify()
        self.assertEqual(session.call(CMD_TRIM, 0, 64 * KIB).error, 0)
        self.assertEqual(session.read(0, 64 * KIB), self.peek(1, 0, 64 * KIB))

    def test_same_errors(self):
        """An error of both children is that of the request."""
        rule = {"event": "none", "iotype": "write", "errno": 28}
        session = self.verify([rule], [rule])
        self.assertEqual(session.write(0, b"x" * 512), ENOSPC)
        self.assertEqual(session.read(0, 512), self.peek(0, 0, 512))

    def test_flush(self):
        """The tested child alone is flushed."""
        rule = {"event": "none", "iotype": "flush", "errno": 28}
        session = self.verify(raw=[rule])
        self.assertEqual(session.write(0, b"x"), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, 0)
        session = self.verify_again(rule)
        self.assertEqual(session.write(0, b"x"), 0)
        self.assertEqual(session.call(CMD_FLUSH).error, ENOSPC)

    def verify_again(self, rule):
        """The same with other images, whose tested one fails to flush."""
        self.setUp()
        return self.verify(test=[rule])

    def test_status(self):
        """Block status is that of the raw child."""
        if not images.makes_holes(self.workdir):
            self.skipTest("the file system makes no holes")
        images.make_sparse(self.path(self.names[0]), SIZE, [(0, 64 * KIB)])
        images.make_empty(self.path(self.names[1]), SIZE)
        self.verify()
        session = self.session(self.node, "structured", ["base:allocation"])
        self.assertEqual(session.block_status(0, SIZE), [(SIZE, STATE_HOLE | STATE_ZERO)])

    def test_formats(self):
        """A qcow2 image is compared with a raw one under the requests of qemu-io."""
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", self.path("t.qcow2"), str(SIZE))
        images.make_empty(self.path("t.raw"), SIZE)
        self.expose(driver="blkverify", raw={"driver": "file", "filename": self.path("t.raw")},
                    test={"driver": "qcow2", "file": {"driver": "file", "filename": self.path("t.qcow2")}})
        output = tools.run("qemu-io", "-f", "raw", "-c", "write -P 1 1000 200000", "-c", "write -P 2 300k 300k", "-c",
                           "read -P 1 1000 200000", "-c", "read -P 0 0 1000", "-c", "read 0 1M", self.uri(self.node))
        self.assertNotIn("failed", output)


class DifferentTest(PairTest):
    """Children that differ, and the requests afterwards."""

    @settings.unlike_qemu("it ends the whole process")
    def setUp(self):
        super().setUp()

    def assert_failing(self, session):
        """Every request fails, while the server and its other nodes go on."""
        self.assertEqual(session.call(CMD_READ, 0, 512).error, EIO)
        self.assertEqual(session.write(0, b"x"), EIO)
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 0, 512).error, EIO)
        self.add_node("other", driver="null-co", size=SIZE)

    def test_contents(self):
        """Other bytes fail the read and all later requests, and the log tells of the first one."""
        self.poke(1, 70000, b"other")
        session = self.verify()
        self.assertEqual(session.read(0, 4096), self.peek(0, 0, 4096))
        self.assertEqual(session.call(CMD_READ, 65536, 65536).error, EIO)
        self.assertIn(f"blkverify: node '{self.node}': offset=65536 bytes=65536 contents mismatch at offset 70000",
                      self.daemon.stderr().decode())
        self.poke(1, 70000, self.peek(0, 70000, 5))
        self.assert_failing(session)

    def test_results(self):
        """Other results fail the write and all later requests."""
        session = self.verify(raw=[{"event": "none", "iotype": "write", "errno": 28, "once": True}])
        self.assertEqual(session.write(512, b"x" * 512), EIO)
        self.assertIn(f"blkverify: node '{self.node}': write offset=512 bytes=512 return value mismatch: success != "
                      "No space left on device", self.daemon.stderr().decode())
        self.assert_failing(session)

    def test_zeroes(self):
        """Zeroes go to both children, if need be as data."""
        session = self.verify()
        self.assertEqual(session.call(CMD_WRITE_ZEROES, 4096, 8192).error, 0)
        for index in range(2):
            self.assertEqual(self.peek(index, 4096, 8192), bytes(8192))
        self.assertEqual(session.read(0, SIZE), self.peek(0, 0, SIZE))

    def test_quorum(self):
        """With blkverify=on, a quorum node does the same, and its event tells of the failure."""
        self.poke(0, 1000, b"other")
        session = self.expose(driver="quorum", children=[self.child(0), self.child(1)], **{"vote-threshold": 2},
                              blkverify=True)
        self.assertEqual(session.read(4096, 512), self.peek(0, 4096, 512))
        self.assertEqual(session.call(CMD_READ, 512, 1024).error, EIO)
        event = self.qmp.wait_event("QUORUM_FAILURE")
        self.assertEqual(event["data"], {"reference": self.node, "sector-num": 1, "sectors-count": 2})
        self.assertIn(f"quorum: node '{self.node}': offset=512 bytes=1024 contents mismatch at offset 1000",
                      self.daemon.stderr().decode())
        self.assert_failing(session)
