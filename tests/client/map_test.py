"""`blockexport map`: the block status of exports of this server and of qemu-storage-daemon, as nbdinfo prints it."""

import json
import os
import unittest

from lib import daemon, images, settings, tools
from lib.client_tool import ToolTest

SIZE = 16 * images.MIB
GRANULE = 64 * images.KIB


class MapTest(ToolTest):
    """An image with data in two places, and a dirty bitmap in which one range is dirty."""

    program = None

    def setUp(self):
        super().setUp()
        images.make_sparse(self.path("disk.img"), SIZE, [(images.MIB, 3 * GRANULE), (5 * images.MIB, GRANULE)])
        self.server = daemon.Daemon(
            self.workdir, program=self.program or settings.program(),
            arguments=["--blockdev", "driver=file,node-name=disk,filename=disk.img,discard=unmap"])
        self.addCleanup(self.server.stop)
        self.server.start()
        self.server.qmp.execute("block-dirty-bitmap-add",
                                {"node": "disk", "name": "since", "granularity": GRANULE})
        self.server.qmp.execute("block-export-add",
                                {"type": "nbd", "id": "write", "node-name": "disk", "name": "write", "writable": True})
        tools.run("qemu-io", "-f", "raw", "-c", "write 9M 64k", "-c", "write 2M 1k", self.uri("write"))
        self.server.qmp.execute("block-export-del", {"id": "write", "mode": "hard"})
        self.server.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.server.qmp.execute("block-dirty-bitmap-disable", {"node": "disk", "name": "since"})
        self.server.qmp.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "name": "disk",
                                                     "bitmaps": ["since"]})

    def uri(self, export="disk"):
        """The NBD URI of an export."""
        return f"nbd+unix:///{export}?socket={self.server.nbd_path}"

    def map(self, *arguments):
        """The output of the command."""
        return self.tool("map", self.uri(), *arguments)[0]

    def test_allocation(self):
        """The JSON of base:allocation is that of nbdinfo."""
        expected = json.loads(tools.run("nbdinfo", "--map", "--json", self.uri()))
        self.assertGreaterEqual(len(expected), 5)
        self.assertEqual(json.loads(self.map("--json")), expected)

    def test_dirty_bitmap(self):
        """The JSON of a dirty bitmap is that of nbdinfo, and has the written ranges."""
        context = "qemu:dirty-bitmap:since"
        found = json.loads(self.map("--json", "--context", context))
        self.assertEqual(found, json.loads(tools.run("nbdinfo", f"--map={context}", "--json", self.uri())))
        dirty = [(entry["offset"], entry["length"]) for entry in found if entry["description"] == "dirty"]
        self.assertEqual(dirty, [(2 * images.MIB, GRANULE), (9 * images.MIB, GRANULE)])

    def test_totals(self):
        """The totals are those of nbdinfo."""
        expected = json.loads(tools.run("nbdinfo", "--map", "--totals", "--json", self.uri()))
        found = json.loads(self.map("--totals", "--json"))
        self.assertEqual([(entry["size"], entry["type"]) for entry in found],
                         [(entry["size"], entry["type"]) for entry in expected])

    def test_table(self):
        """The table has the lines of nbdinfo, and then the totals."""
        lines = self.map().split("\n\n")[0].splitlines()
        self.assertEqual([line.split() for line in lines],
                         [line.split() for line in tools.run("nbdinfo", "--map", self.uri()).splitlines()])

    def test_unknown_context(self):
        """The error names the contexts that the server offers."""
        _, said = self.tool("map", self.uri(), "--context", "qemu:dirty-bitmap:other", expected=1)
        self.assertIn("the export has no meta context 'qemu:dirty-bitmap:other'", said)
        self.assertIn("'base:allocation', 'qemu:dirty-bitmap:since'", said)

    def test_unknown_export(self):
        """The error names the export."""
        _, said = self.tool("map", self.uri("nothing"), expected=1)
        self.assertIn("the server refuses the export 'nothing'", said)


class MapOfReferenceTest(MapTest):
    """The same against the packaged qemu-storage-daemon."""

    program = "/usr/bin/qemu-storage-daemon"

    def setUp(self):
        if not os.access(self.program, os.X_OK):
            self.skipTest("qemu-storage-daemon is not installed")
        super().setUp()


class NoServerTest(ToolTest):
    """Without a server the error has its address."""

    def test_nobody_listens(self):
        """Nobody listens at the address."""
        _, said = self.tool("map", f"nbd://127.0.0.1:{daemon.free_port()}", expected=1)
        self.assertIn("cannot connect to 'nbd://127.0.0.1:", said)
        self.assertIn("Connection refused", said)


if __name__ == "__main__":
    unittest.main()
