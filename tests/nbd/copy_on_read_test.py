"""The driver copy-on-read: what clients read of backing files is stored in the image above them."""

import json
import threading

from lib import images, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest

SIZE = 8 * MIB


class CopyOnReadTest(DaemonTest):
    """An image over two others, each with bytes of its own."""

    @classmethod
    def prepare(cls):
        return []

    def setUp(self):
        qemu_img = lambda *arguments: tools.run("qemu-img", *arguments, cwd=self.workdir)
        images.make_sparse(self.path("base.img"), SIZE, [(0, MIB), (5 * MIB, 300 * KIB)])
        qemu_img("create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", "mid.qcow2")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 1M", self.path("mid.qcow2"))
        qemu_img("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2")
        tools.run("qemu-io", "-f", "qcow2", "-c", "write -P 9 2M 64k", self.path("top.qcow2"))
        qemu_img("convert", "-O", "raw", "top.qcow2", "expected.img")
        self.expected = images.read_range(self.path("expected.img"), 0, SIZE)

    def expose(self, **options):
        """Exports the image through the filter."""
        self.add_node("base", driver="raw", file={"driver": "file", "filename": self.path("base.img")},
                      **{"read-only": True})
        for name, backing, read_only in (("mid", "base", True), ("top", "mid", False)):
            self.add_node(name, driver="qcow2", file={"driver": "file", "filename": self.path(f"{name}.qcow2")},
                          backing=backing, **{"read-only": read_only})
        self.add_node("disk", driver="copy-on-read", file="top", **options)
        self.add_export("disk", writable=True)

    def end(self):
        """Takes all nodes away, and checks the image; what it has of its own is returned."""
        self.doCleanups()
        tools.run("qemu-img", "check", "-q", self.path("top.qcow2"))
        runs = json.loads(tools.run("qemu-img", "map", "--output=json", self.path("top.qcow2")))
        return [(run["start"], run["start"] + run["length"]) for run in runs if run["depth"] == 0]

    def test_reads_are_stored(self):
        """What was read stands in the image, and the rest does not."""
        self.expose()
        session = self.session("disk")
        self.assertEqual(session.read(100, 1000), self.expected[100:1100])
        self.assertEqual(session.read(MIB + 128 * KIB, 64 * KIB), bytes([7]) * 64 * KIB)
        session.disconnect()
        self.assertEqual(self.end(), [(0, 64 * KIB), (MIB + 128 * KIB, MIB + 192 * KIB), (2 * MIB, 2 * MIB + 64 * KIB)])

    def test_bottom(self):
        """Bytes of nodes below the bottom node are not stored."""
        self.expose(bottom="mid")
        session = self.session("disk")
        self.assertTrue(session.read(0, SIZE) == self.expected, "the disk differs")
        session.disconnect()
        self.assertEqual(self.end(), [(MIB, 2 * MIB), (2 * MIB, 2 * MIB + 64 * KIB)])

    def test_whole_disk(self):
        """A client that reads everything leaves an image that needs its backing files no more."""
        self.expose()
        tools.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", self.uri("disk"), self.new_file("copy.img"))
        self.assertTrue(images.read_range(self.path("copy.img"), 0, SIZE) == self.expected, "the copy differs")
        session = self.session("disk")
        session.read(0, SIZE)
        session.disconnect()
        self.end()
        tools.run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "", self.path("top.qcow2"))
        tools.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", self.path("top.qcow2"), self.path("expected.img"))

    def new_file(self, name):
        """An empty file of the disk's size."""
        images.make_empty(self.path(name), SIZE)
        return self.path(name)

    def test_cache_request(self):
        """The request CACHE stores without a reply of data."""
        self.expose()
        session = self.session("disk")
        self.assertEqual(session.call(5, 5 * MIB, 128 * KIB).error, 0)
        session.disconnect()
        self.assertEqual(self.end(), [(2 * MIB, 2 * MIB + 64 * KIB), (5 * MIB, 5 * MIB + 128 * KIB)])

    def test_writes_beside_reads(self):
        """Clients that write while others read the same clusters: every write stays."""
        self.expose()

        def read():
            session = self.session("disk")
            for offset in range(0, 3 * MIB, 16 * KIB):
                session.read(offset, 16 * KIB)

        def write(number):
            session = self.session("disk")
            for offset in range(4 * KIB * number, 3 * MIB, 16 * KIB):
                self.assertEqual(session.write(offset, bytes([100 + number]) * 4 * KIB), 0)

        clients = [threading.Thread(target=read) for _ in range(2)]
        clients += [threading.Thread(target=write, args=(number,)) for number in range(3)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        expected = bytearray(self.expected)
        for number in range(3):
            for offset in range(4 * KIB * number, 3 * MIB, 16 * KIB):
                expected[offset:offset + 4 * KIB] = bytes([100 + number]) * 4 * KIB
        self.assertTrue(self.session("disk").read(0, SIZE) == expected, "the disk differs")
        self.end()
        tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.path("top.qcow2"), self.path("after.img"))
        self.assertTrue(images.read_range(self.path("after.img"), 0, SIZE) == expected, "the image differs")
