"""The driver preallocate: the file below an image grows in large steps, and is cut to its size in the end."""

import json
import os
import unittest

from lib import daemon, images, tools
from lib.images import KIB, MIB
from lib.testcase import DaemonTest

SIZE = 64 * MIB
STEP = 8 * MIB


class PreallocateTest(DaemonTest):
    """A qcow2 image over a preallocate node over a file."""

    @classmethod
    def prepare(cls):
        return []

    def setUp(self):
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", str(SIZE), cwd=self.workdir)

    def expose(self, **options):
        """Exports the image."""
        below = {"driver": "preallocate", "node-name": "space", "prealloc-size": STEP, "prealloc-align": MIB,
                 "file": {"driver": "file", "node-name": "file", "filename": self.path("disk.qcow2")}, **options}
        self.add_node("disk", driver="qcow2", file=below)
        self.add_export("disk", writable=True)

    def size(self):
        """The size of the file."""
        return os.path.getsize(self.path("disk.qcow2"))

    def shown_size(self):
        """The size that the node shows."""
        nodes = self.qmp.execute("query-named-block-nodes", {"flat": True})
        return next(node for node in nodes if node["node-name"] == "space")["image"]["virtual-size"]

    def write(self, offset, length):
        """A client writes."""
        tools.run("qemu-io", "-f", "raw", "-c", f"write -P 5 {offset} {length}", self.uri("disk"))

    def test_file_grows_in_steps(self):
        """Writes that follow change the size of the file once; the node shows the size without the space."""
        self.expose()
        self.write(0, 64 * KIB)
        first = self.size()
        self.assertGreaterEqual(first, STEP)
        self.assertEqual(first % MIB, 0)
        self.assertLess(self.shown_size(), MIB)
        for number in range(1, 20):
            self.write(number * MIB, 64 * KIB)
        self.assertEqual(self.size(), first)
        self.write(32 * MIB, 16 * MIB)
        self.assertGreater(self.size(), first)

    def test_file_is_cut(self):
        """Without its users the file has its own size, and the image is sound."""
        self.expose()
        self.write(0, 3 * MIB)
        shown = self.shown_size()
        self.assertGreater(self.size(), shown)
        self.doCleanups()
        self.assertEqual(self.size(), shown)
        tools.run("qemu-img", "check", "-q", self.path("disk.qcow2"))
        tools.run("qemu-io", "-f", "qcow2", "-c", "read -P 5 0 3M", "-c", "read -P 0 3M 1M", self.path("disk.qcow2"))

    def test_raw_disk(self):
        """A disk whose size does not change has no space beyond its end."""
        images.make_random(self.path("raw.img"), MIB)
        self.add_node("raw", driver="preallocate", file={"driver": "file", "filename": self.path("raw.img")})
        self.add_export("raw", writable=True)
        tools.run("qemu-io", "-f", "raw", "-c", "write 0 1M", self.uri("raw"))
        self.assertEqual(os.path.getsize(self.path("raw.img")), MIB)


class KillTest(unittest.TestCase):
    """A server that is killed, and one that comes after it."""

    def setUp(self):
        self.workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, self.workdir)
        self.image = os.path.join(self.workdir, "disk.qcow2")
        tools.run("qemu-img", "create", "-q", "-f", "qcow2", self.image, str(SIZE))

    def serve(self):
        """A server of the image."""
        options = {"driver": "qcow2", "node-name": "disk",
                   "file": {"driver": "preallocate", "prealloc-size": STEP,
                            "file": {"driver": "file", "filename": self.image}}}
        server = daemon.Daemon(self.workdir, ["--blockdev", json.dumps(options)], nbd_server="")
        self.addCleanup(server.kill)
        server.start()
        server.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "writable": True})
        return server

    def test_image_after_a_kill(self):
        """The file of a killed server is longer and the image sound; the next server cuts the file."""
        server = self.serve()
        uri = f"nbd+unix:///disk?socket={server.nbd_path}"
        tools.run("qemu-io", "-f", "raw", "-c", "write -P 5 0 3M", "-c", "flush", uri)
        server.kill()
        self.assertGreaterEqual(os.path.getsize(self.image), STEP)
        tools.run("qemu-io", "-f", "qcow2", "-c", "read -P 5 0 3M", self.image)
        tools.run("qemu-img", "check", "-q", self.image)
        server = self.serve()
        tools.run("qemu-io", "-f", "raw", "-c", "write -P 6 10M 1M", uri)
        server.stop()
        tools.run("qemu-img", "check", "-q", self.image)
        tools.run("qemu-io", "-f", "qcow2", "-c", "read -P 5 0 3M", "-c", "read -P 6 10M 1M", self.image)
