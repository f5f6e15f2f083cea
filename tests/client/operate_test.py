"""`blockexport status`, `exports`, `ping`, `add`, `del` and `resize` with a running daemon."""

import json
import os
import socket
import subprocess
import threading

from lib import images, settings, tools
from lib.client_tool import program
from lib.images import KIB, MIB
from lib.testcase import DaemonTest, file_node, nbd_export


class OperateCase(DaemonTest):
    """A daemon with one export, and a second monitor for the tool."""

    @classmethod
    def prepare(cls):
        images.make_sparse(cls.path("first.img"), 2 * MIB, [])
        return [*file_node("first", cls.path("first.img")), *nbd_export("first")]

    def setUp(self):
        super().setUp()
        if settings.is_qemu():
            self.skipTest("a second monitor is an addition of ours")
        images.make_sparse(self.path("disk.img"), MIB, [(0, 100 * KIB)])
        self.qmp.execute("chardev-add", {"id": "tool", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": self.path("tool.sock")}}, "server": True, "wait": False}}})
        self.addCleanup(self.qmp.execute, "chardev-remove", {"id": "tool"})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "tool-monitor", "chardev": "tool"})
        self.addCleanup(self.qmp.execute, "object-del", {"id": "tool-monitor"})

    def run_tool(self, verb, *arguments, expected=0, monitor=None):
        """What the tool prints, on both outputs."""
        environment = {**os.environ, "BLOCKEXPORT_MONITOR": monitor or self.path("tool.sock")}
        result = subprocess.run([program(), verb, *arguments], capture_output=True, text=True, cwd=self.workdir,
                                env=environment, timeout=settings.seconds(30), check=False)
        self.assertEqual(result.returncode, expected, f"{result.stdout}\n{result.stderr}")
        return result.stdout, result.stderr

    def value(self, verb, *arguments):
        """What the tool prints as JSON."""
        return json.loads(self.run_tool(verb, "--json", *arguments)[0])

    def ids(self):
        """The IDs of the exports, the oldest first."""
        return [each["id"] for each in self.value("exports")]

    def nodes(self):
        """The names of the nodes."""
        return {each["node-name"] for each in self.qmp.execute("query-named-block-nodes", {"flat": True})}


class StateTest(OperateCase):
    """Commands that only ask."""

    def test_ping(self):
        """A daemon that answers, and one that is not there."""
        said, _ = self.run_tool("ping")
        self.assertRegex(said, r"^blockexportd [0-9.]+ answers\n$")
        self.assertEqual(set(self.value("ping")), {"program", "interface"})
        _, said = self.run_tool("ping", monitor=self.path("none.sock"), expected=1)
        self.assertIn("none.sock", said)

    def test_ping_of_a_silent_peer(self):
        """A socket on which nobody speaks ends the wait after --timeout."""
        path = self.path("silent.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.addCleanup(os.unlink, path)
            accepted = []
            thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
            thread.start()
            _, said = self.run_tool("ping", "--timeout", "1", monitor=path, expected=1)
            thread.join()
            accepted[0].close()
        self.assertIn("has not answered for 1 s", said)

    def test_status(self):
        """The numbers are those of the queries."""
        state = self.value("status")
        self.assertEqual((state["exports"], state["exports-shutting-down"], state["nodes"]), (1, 0, 1))
        said, _ = self.run_tool("status")
        self.assertIn("exports    1\n", said)
        self.assertRegex(said, r"program    blockexportd [0-9.]+\n")

    def test_exports(self):
        """A line and an object for each export."""
        said, _ = self.run_tool("exports")
        head, line = said.splitlines()
        self.assertEqual(head.split(), ["EXPORT", "NODE", "DRIVER", "SIZE", "STATE", "FILE"])
        self.assertEqual(line.split(), ["first", "first", "file", "2.0", "MiB", "open", self.path("first.img")])
        self.assertEqual(self.value("exports"), [
            {"id": "first", "type": "nbd", "node-name": "first", "shutting-down": False, "driver": "file",
             "filename": self.path("first.img"), "read-only": False, "virtual-size": 2 * MIB}])

    def test_without_a_daemon(self):
        """Each command says which socket it tried, and names the option that opens one."""
        for words in (("status",), ("exports",), ("add", "disk.img"), ("del", "x"), ("resize", "x", "1G")):
            with self.subTest(words=words):
                _, said = self.run_tool(*words, monitor=self.path("none.sock"), expected=1)
                self.assertIn(f"Cannot connect to the monitor '{self.path('none.sock')}'", said)
                self.assertIn("--chardev", said)

    def test_the_option_goes_before_the_environment(self):
        """--monitor names the socket whatever the environment says."""
        said, _ = self.run_tool("ping", "--monitor", self.path("tool.sock"), monitor=self.path("none.sock"))
        self.assertIn("answers", said)


class ChangeTest(OperateCase):
    """Commands that change exports."""

    def test_life_of_an_export(self):
        """A relative path is added, read, and removed with its node."""
        said, _ = self.run_tool("add", "disk.img")
        self.assertEqual(said, f"{self.path('disk.img')} is exported as 'disk.img'\n")
        self.assertEqual(self.ids(), ["first", "disk.img"])
        self.assertIn("is_read_only: true", tools.run("nbdinfo", self.uri("disk.img")))
        tools.run("nbdcopy", self.uri("disk.img"), self.path("copy.img"))
        self.assertEqual(images.sha256(self.path("copy.img")), images.sha256(self.path("disk.img")))
        said, _ = self.run_tool("del", "disk.img")
        self.assertEqual(said, "'disk.img' is removed\n")
        self.assertEqual((self.ids(), self.nodes()), (["first"], {"first"}))

    def test_names_and_access(self):
        """ID, name for clients, description and writing are chosen."""
        value = self.value("add", "--id", "d1", "-x", "vm 1/vda", "-D", "the disk", "-w", "-f", "raw", "disk.img")
        self.assertEqual(value, {"id": "d1", "node-name": "d1", "name": "vm 1/vda", "driver": "raw"})
        described = tools.run("nbdinfo", self.uri("vm%201/vda"))
        self.assertIn("is_read_only: false", described)
        self.assertIn("description: the disk", described)
        self.assertEqual(self.value("del", "d1"), {"id": "d1", "removed": True, "node-removed": True})

    def test_formats(self):
        """A qcow2 file needs --format; with it clients see its disk."""
        tools.run("qemu-img", "convert", "-O", "qcow2", "disk.img", "disk.qcow2", cwd=self.workdir)
        _, said = self.run_tool("add", "disk.qcow2", expected=1)
        self.assertIn("--format qcow2", said)
        self.run_tool("add", "-f", "qcow2", "disk.qcow2")
        self.assertEqual(int(tools.run("nbdinfo", "--size", self.uri("disk.qcow2"))), MIB)
        self.run_tool("del", "disk.qcow2")

    def test_a_failed_export_leaves_no_node(self):
        """The name for clients is taken: the node goes again."""
        _, said = self.run_tool("add", "-x", "first", "disk.img", expected=1)
        self.assertIn("first", said)
        self.assertEqual((self.ids(), self.nodes()), (["first"], {"first"}))

    def test_nodes_that_stay(self):
        """--keep-node keeps it; so does another use of the node."""
        self.run_tool("add", "--id", "d1", "disk.img")
        said, _ = self.run_tool("del", "--keep-node", "d1")
        self.assertEqual(said, "'d1' is removed; the node 'd1' stays\n")
        self.add_export("second", "d1")
        self.add_export("d1", name="third")
        self.assertEqual(self.value("del", "d1"), {"id": "d1", "removed": True, "node-removed": False})
        self.drop_export("second")
        self.qmp.execute("blockdev-del", {"node-name": "d1"})

    def test_clients(self):
        """With a client, safe refuses, hide waits for it, and hard ends it."""
        self.run_tool("add", "--id", "d1", "disk.img")
        client = self.session("d1")
        _, said = self.run_tool("del", "d1", expected=1)
        self.assertIn("d1", said)
        said, _ = self.run_tool("del", "--mode", "hide", "d1")
        self.assertEqual(said, "'d1' goes when its last client has gone; the node 'd1' stays\n")
        said, _ = self.run_tool("exports")
        self.assertIn("going", said)
        self.assertEqual(self.value("status")["exports-shutting-down"], 1)
        client.close()
        self.qmp.wait_event("BLOCK_EXPORT_DELETED")
        self.qmp.execute("blockdev-del", {"node-name": "d1"})

    def test_resize(self):
        """An absolute size and an addition; a smaller one and nonsense are refused."""
        self.run_tool("add", "--id", "d1", "-w", "disk.img")
        self.assertEqual(self.value("resize", "d1", "3M"), {"id": "d1", "node-name": "d1", "virtual-size": 3 * MIB})
        said, _ = self.run_tool("resize", "d1", "+1M")
        self.assertIn("4.0 MiB", said)
        self.assertEqual(int(tools.run("nbdinfo", "--size", self.uri("d1"))), 4 * MIB)
        self.run_tool("resize", "d1", "1M", expected=1)
        self.assertIn("is no size", self.run_tool("resize", "d1", "big", expected=1)[1])
        self.assertEqual(os.path.getsize(self.path("disk.img")), 4 * MIB)
        self.run_tool("del", "d1")

    def test_mistakes(self):
        """A word that is nearly right gets a suggestion; the exit code tells the line's faults from the daemon's."""
        for words, code, text in ((("del", "frist"), 1, "Did you mean 'first'"),
                                  (("resize", "none", "1G"), 1, "There is no export 'none'"),
                                  (("add", "missing.img"), 1, "missing.img"),
                                  (("add", "--id", "1x", "disk.img"), 1, "'1x' is no ID"),
                                  (("exprots",), 2, "Did you mean 'exports'"),
                                  (("exports", "--jsno"), 2, "Did you mean '--json'"),
                                  (("del", "first", "--mode", "sotf"), 2, "sotf"),
                                  (("resize", "first"), 2, "SIZE")):
            with self.subTest(words=words):
                self.assertIn(text, self.run_tool(*words, expected=code)[1])
        self.assertEqual(self.ids(), ["first"])


if __name__ == "__main__":
    import unittest
    unittest.main()
