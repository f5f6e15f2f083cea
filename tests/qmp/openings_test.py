"""Commands that open what does not answer hold up nobody but their own monitor.

Such a command is here a chardev-add that waits for a peer, for 30 s at most: less than the answers of others may take.
"""

import os
import signal
import socket
import unittest

from lib import daemon, images, settings
from lib.images import MIB
from lib.qmp import QmpClient
from lib.testcase import DaemonTest, nbd_export, null_node

END_MAX_SECONDS = 4


def second_monitor(path):
    """The arguments of a monitor beside the one that every server has."""
    return ["--chardev", f"socket,id=second,path={path},server=on,wait=off", "--monitor", "second"]


def waiting_chardev(name, path):
    """The arguments of a chardev-add that waits for a peer."""
    return {"id": name, "backend": {"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": True}}}


class OpeningsTest(DaemonTest):
    """A server with two monitors, one of which waits."""

    @classmethod
    @settings.unlike_qemu("the process stands still")
    def prepare(cls):
        return [*second_monitor(cls.path("second.sock")), *null_node("null", 1 << 20), *nbd_export("null")]

    def setUp(self):
        super().setUp()
        self.other = self.second_monitor(self.path("second.sock"))
        self.peer_path = self.path("peer.sock")

    def begin(self, client, name="c"):
        """A chardev-add that waits for its peer, at work now."""
        client.send({"execute": "chardev-add", "arguments": waiting_chardev(name, self.peer_path)})
        self.other.wait_for_tasks("qmp opening", 1)

    def let_it_end(self):
        """The peer comes."""
        peer = socket.socket(socket.AF_UNIX)
        self.addCleanup(peer.close)
        peer.connect(self.peer_path)

    def test_other_monitors(self):
        """The commands of another monitor are answered meanwhile: queries, and such that open things themselves."""
        images.make_empty(self.path("disk.img"), MIB)
        self.begin(self.qmp)
        self.other.execute("query-named-block-nodes")
        self.other.execute("blockdev-add", {"driver": "file", "node-name": "disk", "filename": self.path("disk.img")})
        self.other.execute("object-add", {"qom-type": "secret", "id": "other", "data": "x"})
        self.other.execute("chardev-add", {"id": "n", "backend": {"type": "null", "data": {}}})
        self.other.execute("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk"})
        self.other.execute("block-export-del", {"id": "disk"})
        self.let_it_end()
        self.assertEqual(self.qmp.read_reply(), {"return": {}})
        self.qmp.execute("chardev-remove", {"id": "c"})

    def test_same_monitor(self):
        """The commands of one monitor are answered in the order in which it has sent them."""
        self.begin(self.qmp)
        self.qmp.send({"execute": "chardev-remove", "arguments": {"id": "c"}})
        self.other.execute("query-block")
        self.let_it_end()
        self.assertEqual([self.qmp.read_reply() for _ in range(2)], [{"return": {}}, {"return": {}}])

    def test_an_id_that_is_being_made(self):
        """Nobody else can take it, and it belongs to whoever asked first."""
        self.begin(self.qmp)
        self.assertEqual(self.other.failure("chardev-add", {"id": "c", "backend": {"type": "null", "data": {}}})[1],
                         "Chardev with id 'c' already exists")
        self.let_it_end()
        self.assertEqual(self.qmp.read_reply(), {"return": {}})
        self.other.execute("chardev-remove", {"id": "c"})

    def test_removal_of_the_monitor(self):
        """The removal of the monitor that waits cancels its command, of which nothing is left."""
        path = self.path("third.sock")
        self.qmp.execute("chardev-add", {"id": "third", "backend": {"type": "socket", "data": {
            "addr": {"type": "unix", "data": {"path": path}}, "server": True, "wait": False}}})
        self.qmp.execute("object-add", {"qom-type": "monitor-qmp", "id": "m-third", "chardev": "third"})
        third = QmpClient(path)
        self.addCleanup(third.close)
        self.begin(third, "d")
        self.other.execute("object-del", {"id": "m-third"})
        self.assertIn("Operation canceled", third.read_reply()["error"]["desc"])
        self.assertFalse(os.path.exists(self.peer_path))
        self.other.execute("chardev-add", {"id": "d", "backend": {"type": "null", "data": {}}})
        for name in ("d", "third"):
            self.other.execute("chardev-remove", {"id": name})


class EndTest(unittest.TestCase):
    """The end of a server with a monitor that waits."""

    def check(self, end):
        """The server ends in time, and the monitor that waits is told why its command did not."""
        workdir = daemon.make_workdir()
        self.addCleanup(daemon.remove_workdir, workdir)
        second = os.path.join(workdir, "second.sock")
        server = daemon.Daemon(workdir, second_monitor(second), nbd_server=None)
        self.addCleanup(server.kill)
        server.start()
        with QmpClient(second) as other:
            arguments = waiting_chardev("c", os.path.join(workdir, "peer.sock"))
            server.qmp.send({"execute": "chardev-add", "arguments": arguments})
            other.wait_for_tasks("qmp opening", 1)
            end(server, other)
            reply = server.qmp.read_reply()
        self.assertIn("chardev-add was cancelled, because the daemon is shutting down: ", reply["error"]["desc"])
        server.check_end(server.wait_exit(END_MAX_SECONDS))

    @settings.unlike_qemu("the process stands still")
    def test_quit(self):
        """The command quit of another monitor."""
        self.check(lambda server, other: other.execute("quit"))

    @settings.unlike_qemu("the process stands still")
    def test_signal(self):
        """SIGTERM."""
        self.check(lambda server, other: server.signal(signal.SIGTERM))
