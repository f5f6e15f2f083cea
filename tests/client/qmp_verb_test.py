"""`blockexport qmp`: commands of a running daemon with arguments as a command line has them."""

import json
import subprocess

from lib import images, settings
from lib.client_tool import program
from lib.images import MIB
from lib.testcase import DaemonTest


class QmpVerbTest(DaemonTest):
    """A daemon with a second monitor, for the tool."""

    def setUp(self):
        super().setUp()
        images.make_sparse(self.path("disk.img"), MIB, [])
        self.qmp.execute("chardev-add", {"id": "tool", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": self.path("tool.sock")}}, "server": True, "wait": False}}})
        self.addCleanup(self.qmp.execute, "chardev-remove", {"id": "tool"})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "tool-monitor", "chardev": "tool"})
        self.addCleanup(self.qmp.execute, "object-del", {"id": "tool-monitor"})

    def run_tool(self, *arguments, expected=0):
        """What the tool prints, on both outputs."""
        result = subprocess.run([program(), "qmp", "--monitor", self.path("tool.sock"), *arguments],
                                capture_output=True, text=True, timeout=settings.seconds(30), check=False)
        self.assertEqual(result.returncode, expected, f"{result.stdout}\n{result.stderr}")
        return result.stdout, result.stderr

    def value(self, *arguments):
        """The value of a command."""
        return json.loads(self.run_tool(*arguments)[0])

    def test_life_of_a_node(self):
        """Values of all kinds reach the daemon as their types."""
        self.assertEqual(self.value("blockdev-add", "driver=raw", "node-name=disk", "read-only=off",
                                    "cache.no-flush=on", "file.driver=file", f"file.filename={self.path('disk.img')}"),
                         {})
        (node,) = [each for each in self.value("query-named-block-nodes") if each["node-name"] == "disk"]
        self.assertTrue(node["cache"]["no-flush"])
        self.value("block_resize", "node-name=disk", "size=3M")
        self.value("block-dirty-bitmap-add", "node=disk", "name=12", "granularity=64k")
        self.value("transaction", json.dumps({"actions": [
            {"type": "block-dirty-bitmap-clear", "data": {"node": "disk", "name": "12"}}]}))
        self.value("transaction", "actions.0.type=block-dirty-bitmap-disable", "actions.0.data.node=disk",
                   "actions.0.data.name=12")
        (node,) = [each for each in self.value("query-named-block-nodes", "flat=on") if each["node-name"] == "disk"]
        self.assertEqual(node["image"]["virtual-size"], 3 * MIB)
        (bitmap,) = node["dirty-bitmaps"]
        self.assertEqual((bitmap["name"], bitmap["granularity"], bitmap["recording"]), ("12", 65536, False))

    def test_help(self):
        """The arguments of a command, with those of each choice."""
        said, _ = self.run_tool("block-export-add", "help")
        self.assertIn("  [iothread]=string or list of string\n", said)
        self.assertIn("with type=nbd:\n", said)
        self.assertIn("  node-name=string\n", said)

    def test_errors(self):
        """The daemon's words, or the tool's for what it cannot send."""
        for arguments, text in ((("blockdev-del", "node-name=none"), "Failed to find node with node-name='none'"),
                                (("blockdev-dle", "node-name=none"), "Did you mean 'blockdev-del'?"),
                                (("block_resize", "node-name=none", "size=big"), "size: 'big' is no integer"),
                                (("blockdev-del", "force"), "'force' is neither NAME=VALUE nor a JSON object"),
                                (("blockdev-del", "{nonsense"), "JSON"),
                                (("blockdev-del", "node-name=a", "other=b"), "other")):
            with self.subTest(arguments=arguments):
                self.assertIn(text, self.run_tool(*arguments, expected=1)[1])

    def test_nobody_answers(self):
        """Without a daemon the tool says so."""
        self.assertIn("tool.sock2", subprocess.run(
            [program(), "qmp", "--monitor", self.path("tool.sock2"), "query-status"], capture_output=True, text=True,
            timeout=settings.seconds(30), check=False).stderr)
